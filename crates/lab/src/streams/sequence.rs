//! Decides how a place in a shard is written for the outside: a decimal number in the shape
//! of Kinesis's sequence numbers, 56 digits that start with 49.
//!
//! Three words of 64 bits: a leading 2 and the shard, the place, the stream. So numbers grow
//! within a shard, those of a shard created later are greater, and no two streams that a lab
//! has ever had share one.

use std::fmt;
use std::str::FromStr;

/// What Kinesis has in the highest digit of its numbers; 2^56 in the highest word.
const VERSION: u64 = 2 << 56;
const SHARD_SHIFT: u32 = 24;
/// Beyond this many shards the numbers would no longer start with 49.
const SHARDS: u64 = 1 << 27;
/// Decimal digits that one step of the conversion takes.
const CHUNK: u128 = 1_000_000_000_000_000_000;

/// A place in a shard. Place 0 is the shard's start; the record that the log counts as `n`
/// is at `n + 1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SequenceNumber {
    /// The stream's creation number.
    pub(crate) stream: u32,
    pub(crate) shard: usize,
    pub(crate) place: u64,
}

impl SequenceNumber {
    fn words(self) -> [u64; 3] {
        let shard = u64::try_from(self.shard).unwrap_or(SHARDS).min(SHARDS);
        [
            VERSION | shard << SHARD_SHIFT,
            self.place,
            u64::from(self.stream) << 4 | 2,
        ]
    }

    fn from_words(words: [u64; 3]) -> Option<Self> {
        let [high, place, low] = words;
        let found = Self {
            stream: u32::try_from(low >> 4).ok()?,
            shard: usize::try_from(high.checked_sub(VERSION)? >> SHARD_SHIFT).ok()?,
            place,
        };
        (found.words() == words).then_some(found)
    }
}

/// The sequence number of record `sequence` of a shard.
pub(crate) fn sequence_text(stream: u32, shard: usize, sequence: u64) -> String {
    let place = sequence.saturating_add(1);
    SequenceNumber {
        stream,
        shard,
        place,
    }
    .to_string()
}

/// The name of the shard with this index.
pub(crate) fn shard_id(index: usize) -> String {
    format!("shardId-{index:012}")
}

/// The index in a shard's name.
pub(crate) fn shard_index(id: &str) -> Option<usize> {
    let index = id.strip_prefix("shardId-")?.parse().ok()?;
    (shard_id(index) == id).then_some(index)
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = self.words();
        let mut chunks = [0_u128; 4];
        for chunk in chunks.iter_mut().rev() {
            for word in &mut words {
                let value = *chunk << 64 | u128::from(*word);
                // Below 2^64, as the remainder before was below the divisor.
                *word = u64::try_from(value / CHUNK).unwrap_or_default();
                *chunk = value % CHUNK;
            }
        }
        let [first, rest @ ..] = chunks;
        let digits: String = rest.iter().map(|chunk| format!("{chunk:018}")).collect();
        write!(f, "{}", format!("{first}{digits}").trim_start_matches('0'))
    }
}

/// The text is no sequence number of this lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Foreign;

impl FromStr for SequenceNumber {
    type Err = Foreign;

    fn from_str(text: &str) -> Result<Self, Foreign> {
        let mut words = [0_u64; 3];
        for digit in text.chars() {
            let mut carry = u128::from(digit.to_digit(10).ok_or(Foreign)?);
            for word in words.iter_mut().rev() {
                let value = u128::from(*word) * 10 + carry;
                *word = u64::try_from(value & u128::from(u64::MAX)).unwrap_or_default();
                carry = value >> 64;
            }
            if carry != 0 {
                return Err(Foreign);
            }
        }
        Self::from_words(words).ok_or(Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_number_has_56_digits_and_starts_with_49() {
        for (stream, shard, sequence) in [(0, 0, 0), (u32::MAX, 99_999_999, u64::MAX - 1)] {
            let text = sequence_text(stream, shard, sequence);
            assert_eq!(text.len(), 56, "{text}");
            assert!(text.starts_with("49"), "{text}");
        }
    }

    #[test]
    fn the_number_is_the_sum_of_its_words() {
        // 2 * 2^184 + 1 * 2^64 + (3 * 16 + 2), by arbitrary precision arithmetic elsewhere.
        assert_eq!(
            sequence_text(3, 0, 0),
            "49039857307708443467467104868809893894246395983584821298"
        );
    }

    #[test]
    fn a_sequence_number_is_read_back_as_what_was_written() {
        for (stream, shard, place) in [(0, 0, 0), (7, 3, 12_345), (u32::MAX, 1 << 26, u64::MAX)] {
            let number = SequenceNumber {
                stream,
                shard,
                place,
            };
            assert_eq!(number.to_string().parse(), Ok(number));
        }
    }

    #[test]
    fn text_that_no_shard_wrote_is_not_read() {
        for text in [
            "0",
            "49x",
            "",
            "49039857307708443467467104868809893894246395983584821297",
            &"9".repeat(129),
        ] {
            assert_eq!(text.parse::<SequenceNumber>(), Err(Foreign), "{text}");
        }
    }

    #[test]
    fn numbers_grow_within_a_shard_and_from_parent_to_child() {
        let numbers = [(0, 0), (0, 1), (0, 1 << 40), (1, 0), (2, 0), (2, 9)];
        let texts: Vec<String> = numbers
            .iter()
            .map(|(shard, sequence)| sequence_text(5, *shard, *sequence))
            .collect();
        assert!(texts.is_sorted(), "{texts:?}");
    }

    #[test]
    fn only_the_exact_name_of_a_shard_is_one() {
        assert_eq!(shard_id(7), "shardId-000000000007");
        assert_eq!(shard_index("shardId-000000000007"), Some(7));
        assert_eq!(shard_index("shardId-7"), None);
        assert_eq!(shard_index("shardId-+00000000007"), None);
    }
}
