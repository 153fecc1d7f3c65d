//! Decides what a world's `[aws]` table may say: where AWS is, and as whom the lab asks it.
//!
//! Invariant: the secret is never printed. Deliberately absent: session tokens and profiles;
//! whoever has those leaves the keys out, and the SDK's default chain finds them.

use std::fmt;

use serde::Deserialize;

/// Where AWS is, and as whom the lab asks it.
#[derive(Clone, Deserialize)]
#[serde(try_from = "Table")]
pub(crate) struct Aws {
    pub(super) endpoint_url: Option<String>,
    pub(super) region: Option<String>,
    pub(super) key: Option<Key>,
    /// How long assumed credentials are asked for, in seconds.
    pub(super) session_seconds: Option<u32>,
}

/// An access key; without one the SDK's default chain is asked.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) secret: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    endpoint_url: Option<String>,
    region: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_seconds: Option<u32>,
}

impl TryFrom<Table> for Aws {
    type Error = &'static str;

    fn try_from(table: Table) -> Result<Self, Self::Error> {
        // With half a pair the default chain would be asked, and answer as somebody else.
        let key = match (table.access_key_id, table.secret_access_key) {
            (Some(id), Some(secret)) => Some(Key { id, secret }),
            (None, None) => None,
            (Some(_), None) => return Err("access_key_id needs secret_access_key"),
            (None, Some(_)) => return Err("secret_access_key needs access_key_id"),
        };
        Ok(Self {
            endpoint_url: table.endpoint_url,
            region: table.region,
            key,
            session_seconds: table.session_seconds,
        })
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("endpoint_url", &self.endpoint_url)
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}
