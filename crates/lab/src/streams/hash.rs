//! Decides where a partition key lands: MD5 (RFC 1321) read as a number of 128 bits, and the
//! ranges of such numbers that shards own.
//!
//! MD5 is used here as Kinesis uses it, to spread keys. Deliberately absent: any use of it
//! that would have to withstand an attacker.

/// An inclusive range of hash keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HashRange {
    pub(crate) start: u128,
    pub(crate) end: u128,
}

impl HashRange {
    /// The whole key space in `count` parts as Kinesis cuts it: equal ones, and the last
    /// takes what is left over.
    pub(super) fn even(count: usize) -> Vec<Self> {
        let count = u128::try_from(count.max(1)).unwrap_or(1);
        if count == 1 {
            let (start, end) = (0, u128::MAX);
            return vec![Self { start, end }];
        }
        // 2^128 does not fit: its quotient differs from that of 2^128 - 1 where nothing is left.
        let size = u128::MAX / count + u128::from(u128::MAX % count == count - 1);
        (0..count)
            .map(|index| Self {
                start: size * index,
                end: if index + 1 == count {
                    u128::MAX
                } else {
                    size * index + (size - 1)
                },
            })
            .collect()
    }

    /// Whether the two touch, and together are one range.
    pub(crate) fn is_adjacent(self, other: Self) -> bool {
        self.end.checked_add(1) == Some(other.start) || other.end.checked_add(1) == Some(self.start)
    }
}

/// Where a partition key lands.
pub(crate) fn hash_key(partition_key: &str) -> u128 {
    u128::from_be_bytes(md5(partition_key.as_bytes()))
}

const SHIFTS: [[u32; 4]; 4] = [
    [7, 12, 17, 22],
    [5, 9, 14, 20],
    [4, 11, 16, 23],
    [6, 10, 15, 21],
];

/// `floor(2^32 * abs(sin(i + 1)))`, as the RFC gives them.
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

fn md5(message: &[u8]) -> [u8; 16] {
    let bits = u64::try_from(message.len())
        .unwrap_or_default()
        .wrapping_mul(8);
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend(bits.to_le_bytes());
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        state = digest_block(state, block);
    }
    let [a, b, c, d] = state.map(u32::swap_bytes).map(u128::from);
    (a << 96 | b << 64 | c << 32 | d).to_be_bytes()
}

fn digest_block(state: [u32; 4], block: &[u8]) -> [u32; 4] {
    let words: Vec<u32> = block
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_le_bytes(*bytes))
        .collect();
    let [mut a, mut b, mut c, mut d] = state;
    for (step, sine) in SINES.iter().enumerate() {
        let round = step / 16;
        let (mixed, word) = match round {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), (5 * step + 1) % 16),
            2 => (b ^ c ^ d, (3 * step + 5) % 16),
            _ => (c ^ (b | !d), (7 * step) % 16),
        };
        let shift = SHIFTS
            .get(round)
            .and_then(|of_round| of_round.get(step % 4));
        let turned = a
            .wrapping_add(mixed)
            .wrapping_add(*sine)
            .wrapping_add(words.get(word).copied().unwrap_or_default())
            .rotate_left(shift.copied().unwrap_or_default());
        (a, d, c, b) = (d, c, b, b.wrapping_add(turned));
    }
    let [was_a, was_b, was_c, was_d] = state;
    [
        was_a.wrapping_add(a),
        was_b.wrapping_add(b),
        was_c.wrapping_add(c),
        was_d.wrapping_add(d),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_gives_the_digests_of_the_rfc() {
        let long = "1234567890".repeat(8);
        for (text, digest) in [
            ("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128),
            ("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72),
            (
                "abcdefghijklmnopqrstuvwxyz",
                0xc3fc_d3d7_6192_e400_7dfb_496c_ca67_e13b,
            ),
            (long.as_str(), 0x57ed_f4a2_2be3_c955_ac49_da2e_2107_b67a),
        ] {
            assert_eq!(hash_key(text), digest, "{text}");
        }
    }

    #[test]
    fn three_shards_share_the_key_space_as_kinesis_shares_it() {
        let ranges = HashRange::even(3);
        let third = 113_427_455_640_312_821_154_458_202_477_256_070_485_u128;
        let starts: Vec<u128> = ranges.iter().map(|range| range.start).collect();
        assert_eq!(starts, [0, third, 2 * third]);
        assert_eq!(ranges.last().unwrap().end, u128::MAX);
    }

    #[test]
    fn any_number_of_shards_covers_the_key_space_without_gaps() {
        for count in [1, 2, 4, 5, 7, 1_000] {
            let ranges = HashRange::even(count);
            assert_eq!(ranges.len(), count);
            assert_eq!(ranges.first().unwrap().start, 0);
            assert_eq!(ranges.last().unwrap().end, u128::MAX);
            for (left, right) in ranges.iter().zip(ranges.iter().skip(1)) {
                assert_eq!(left.end + 1, right.start);
                assert!(left.is_adjacent(*right) && right.is_adjacent(*left));
            }
        }
    }
}
