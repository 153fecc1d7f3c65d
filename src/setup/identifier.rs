//! Names and texts in SQL.
//!
//! Decides: which names stand without quotes: lower-case words that mean nothing else to
//! Redshift.

/// Words that Redshift keeps for itself (its manual's list).
const RESERVED: &str = "
aes128 aes256 all allowoverwrite analyse analyze and any array as asc authorization az64
backup between binary blanksasnull both bytedict bzip2 case cast check collate column
connect constraint create credentials cross current_date current_time current_timestamp
current_user current_user_id default deferrable deflate defrag delta delta32k desc disable
distinct do else emptyasnull enable encode encrypt encryption end except explicit false for
foreign freeze from full globaldict256 globaldict64k grant group gzip having identity ignore
ilike in initially inner intersect interval into is isnull join leading left like limit
localtime localtimestamp lun luns lzo lzop minus mostly16 mostly32 mostly8 natural new not
notnull null nulls off offline offset oid old on only open or order outer overlaps parallel
partition percent permissions pivot placing primary raw readratio recover references
rejectlog resort respect restore right select session_user similar snapshot some sysdate
system table tag tdes text255 text32k then timestamp to top trailing true truncatecolumns
type union unique unnest unpivot user using verbose wallet when where with without
";

/// A name as it can stand in a statement.
pub(crate) fn identifier(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let reserved = RESERVED.split_whitespace().any(|word| word == name);
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts && name.chars().all(plain) && !reserved {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in quotes.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_where_redshift_would_not_read_them_as_they_are() {
        for (name, written) in [
            ("clicks", "clicks"),
            ("_2024", "_2024"),
            ("my-data-stream", "\"my-data-stream\""),
            ("Clicks", "\"Clicks\""),
            ("user", "\"user\""),
            ("2024", "\"2024\""),
            ("", "\"\""),
            ("a\"; DROP TABLE b; --", "\"a\"\"; DROP TABLE b; --\""),
        ] {
            assert_eq!(identifier(name), written);
        }
    }

    #[test]
    fn texts_cannot_leave_their_quotes() {
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
    }
}
