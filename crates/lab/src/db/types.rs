//! Decides what a column, a value and a result are: Redshift's types, and how SQLite holds
//! their values.
//!
//! Timestamps are texts of one width, so that they compare as times do; SUPER is JSON text;
//! decimals are numbers inside and texts with their scale at the end.

use serde::{Deserialize, Serialize};

/// A type of Redshift's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Type {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric {
        precision: u8,
        scale: u8,
    },
    Char(u32),
    Varchar(u32),
    Date,
    Time,
    Timestamp,
    TimestampTz,
    Interval,
    Super,
    Varbyte(u32),
    /// Of a literal text or a null, until something says more.
    Unknown,
}

/// What a text has that nobody gave a length.
pub(super) const TEXT: Type = Type::Varchar(65535);

impl Type {
    /// As `ColumnMetadata.typeName` has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Float4 => "float4",
            Self::Float8 => "float8",
            Self::Numeric { .. } => "numeric",
            Self::Char(_) => "bpchar",
            Self::Varchar(_) | Self::Unknown => "varchar",
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::Interval => "interval",
            Self::Super => "super",
            Self::Varbyte(_) => "varbyte",
        }
    }

    /// As messages have it.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Int2 => "smallint",
            Self::Int4 => "integer",
            Self::Int8 => "bigint",
            Self::Float4 => "real",
            Self::Float8 => "double precision",
            Self::Numeric { .. } => "numeric",
            Self::Char(_) => "character",
            Self::Varchar(_) => "character varying",
            Self::Date => "date",
            Self::Time => "time without time zone",
            Self::Timestamp => "timestamp without time zone",
            Self::TimestampTz => "timestamp with time zone",
            Self::Interval => "interval",
            Self::Super => "super",
            Self::Varbyte(_) => "binary varying",
            Self::Unknown => "\"unknown\"",
        }
    }

    pub(super) const fn is_integer(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    pub(super) const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Int2
                | Self::Int4
                | Self::Int8
                | Self::Float4
                | Self::Float8
                | Self::Numeric { .. }
        )
    }

    pub(super) const fn is_text(self) -> bool {
        matches!(self, Self::Char(_) | Self::Varchar(_) | Self::Unknown)
    }

    pub(super) const fn is_time(self) -> bool {
        matches!(self, Self::Date | Self::Timestamp | Self::TimestampTz)
    }

    /// The type that holds the values of both, where there is one.
    pub(super) fn with(self, other: Self) -> Option<Self> {
        if self == other {
            return Some(self);
        }
        match (self, other) {
            (Self::Unknown, ty) | (ty, Self::Unknown) => Some(ty),
            (Self::Super, _) | (_, Self::Super) => Some(Self::Super),
            (one, two) if one.is_number() && two.is_number() => Some(wider(one, two)),
            (one, two) if one.is_text() && two.is_text() => {
                Some(Self::Varchar(length(one).max(length(two))))
            }
            (Self::Varbyte(one), Self::Varbyte(two)) => Some(Self::Varbyte(one.max(two))),
            (one, two) if one.is_time() && two.is_time() => {
                let zoned = one == Self::TimestampTz || two == Self::TimestampTz;
                Some(if zoned {
                    Self::TimestampTz
                } else {
                    Self::Timestamp
                })
            }
            (_, _) => None,
        }
    }
}

fn length(ty: Type) -> u32 {
    match ty {
        Type::Char(length) | Type::Varchar(length) => length,
        Type::Bool
        | Type::Int2
        | Type::Int4
        | Type::Int8
        | Type::Float4
        | Type::Float8
        | Type::Numeric { .. }
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::TimestampTz
        | Type::Interval
        | Type::Super
        | Type::Varbyte(_)
        | Type::Unknown => 0,
    }
}

/// How many digits before and after the point a number of this type has.
pub(super) fn digits(ty: Type) -> (u8, u8) {
    match ty {
        Type::Numeric { precision, scale } => (precision.saturating_sub(scale), scale),
        Type::Int2 => (5, 0),
        Type::Int4 => (10, 0),
        Type::Int8
        | Type::Bool
        | Type::Float4
        | Type::Float8
        | Type::Char(_)
        | Type::Varchar(_)
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::TimestampTz
        | Type::Interval
        | Type::Super
        | Type::Varbyte(_)
        | Type::Unknown => (19, 0),
    }
}

/// The type of sums and comparisons of two numbers.
pub(super) fn wider(one: Type, two: Type) -> Type {
    let rank = |ty: Type| match ty {
        Type::Int2 => 1,
        Type::Int4 => 2,
        Type::Int8 => 3,
        Type::Numeric { .. } => 4,
        Type::Float4 => 5,
        Type::Bool
        | Type::Float8
        | Type::Char(_)
        | Type::Varchar(_)
        | Type::Date
        | Type::Time
        | Type::Timestamp
        | Type::TimestampTz
        | Type::Interval
        | Type::Super
        | Type::Varbyte(_)
        | Type::Unknown => 6,
    };
    let (low, high) = if rank(one) <= rank(two) {
        (one, two)
    } else {
        (two, one)
    };
    match high {
        Type::Numeric { .. } => {
            let ((whole, scale), (other_whole, other_scale)) = (digits(low), digits(high));
            let scale = scale.max(other_scale);
            Type::Numeric {
                precision: (whole.max(other_whole) + scale).min(38),
                scale,
            }
        }
        Type::Float4 | Type::Float8 => Type::Float8,
        other => other,
    }
}

/// A column of a relation or a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) ty: Type,
}

impl Column {
    pub(super) fn new(name: &str, ty: Type) -> Self {
        Self {
            name: name.to_owned(),
            ty,
        }
    }
}

/// Something that rows are kept in; names are in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Relation {
    /// Whose it is: relations of different namespaces never meet by accident.
    pub(crate) namespace: String,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
}

/// A value; times, SUPER and decimals are texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
}

/// Columns and their rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<Cell>>,
}

/// Who asks, when, and where names are looked for.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// In this order.
    pub(crate) namespaces: Vec<String>,
    /// Schemas of names without one, in this order.
    pub(crate) search_path: Vec<String>,
    /// UTC in microseconds since 1970.
    pub(crate) now_us: i64,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) pid: i64,
}

/// The columns of a Kinesis stream (Developer Guide, "Getting started with streaming ingestion
/// from Amazon Kinesis Data Streams").
pub(crate) fn stream_columns() -> Vec<Column> {
    vec![
        Column::new("approximate_arrival_timestamp", Type::Timestamp),
        Column::new("partition_key", Type::Varchar(256)),
        Column::new("shard_id", Type::Char(20)),
        Column::new("sequence_number", Type::Varchar(128)),
        Column::new("refresh_time", Type::Timestamp),
        Column::new("kinesis_data", Type::Varbyte(1_048_576)),
    ]
}

/// What the columns of a stream were called when streaming ingestion was new.
pub(super) const OLDER_NAMES: [(&str, &str); 5] = [
    (
        "approximatearrivaltimestamp",
        "approximate_arrival_timestamp",
    ),
    ("partitionkey", "partition_key"),
    ("shardid", "shard_id"),
    ("sequencenumber", "sequence_number"),
    ("data", "kinesis_data"),
];
