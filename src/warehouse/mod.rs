//! The only room that names `aws_sdk_redshiftdata`: submit, describe, cancel, scan, resolve.
//!
//! Decides: what a call looks like, what its answer means (`classify`), how statements are
//! named (`names`) and written (`sql`), and how fast the API is asked (`limit`).
//! Deliberately absent: retries and timing. They are the scheduler's, which is why the SDK's
//! own retries are off and every failure comes back as an answer.

mod classify;
mod client;
mod clients;
mod failure;
mod form;
#[cfg(test)]
mod lab_tests;
mod limit;
mod names;
mod outcome;
pub mod question;
#[cfg(test)]
mod question_tests;
mod records;
mod roles;
mod sql;
mod sweep;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use tidekeeper_scheduler::{Timestamp, ViewId, WarehouseId};

pub use client::Client;
pub use clients::Clients;
pub use roles::assume;
pub use sweep::rows_of_a_view;

/// The settings that go before a statement of a view.
#[must_use]
pub fn settings(session: &Session) -> Vec<String> {
    sql::settings(session)
}

/// A view's refresh, led by a comment that says who asked.
#[must_use]
pub fn refresh_sql(refresh: &Refresh, why: &str) -> String {
    sql::refresh(refresh, why)
}

/// A view's name, quoted.
#[must_use]
pub fn view_sql(refresh: &Refresh) -> String {
    sql::view(refresh)
}

/// A view's schema and name as the catalog writes them.
#[must_use]
pub fn stored_name(view: &Refresh) -> (String, String) {
    let schema = view.schema.as_deref().unwrap_or("public");
    let stored = |name| records::folded(name, view);
    (stored(schema), stored(&view.name))
}

/// Where a warehouse is and how it is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub id: WarehouseId,
    pub target: Target,
    /// From the environment or the profile when absent.
    pub region: Option<String>,
    /// Where every service is asked instead, STS included.
    pub endpoint_url: Option<String>,
    /// Roles assumed one after the other.
    pub assume_role: Vec<AssumeRole>,
    /// Share of each API quota that may be used.
    pub quota_share: f64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Cluster(String),
    Workgroup(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssumeRole {
    pub arn: String,
    pub external_id: Option<String>,
}

/// What refreshing one view takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Refresh {
    pub view: ViewId,
    pub database: String,
    pub schema: Option<String>,
    pub name: String,
    pub auth: Auth,
    pub session: Session,
}

/// As whom a statement runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Auth {
    Iam,
    DbUser(String),
    Secret(String),
}

impl Auth {
    /// For people.
    fn who(&self) -> &str {
        match self {
            Self::Iam => "the daemon's own role",
            Self::DbUser(user) => user,
            Self::Secret(arn) => arn,
        }
    }
}

/// Settings sent along with a refresh.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    pub query_group: Option<String>,
    pub case_sensitive: bool,
}

impl Session {
    /// Whether there is nothing to send along.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.query_group.is_none() && !self.case_sensitive
    }
}

/// One request to the API and how it ended, for `data_api_requests_total`.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    pub warehouse: &'a WarehouseId,
    /// The operation as the API spells it.
    pub operation: &'static str,
    /// `ok`, or the class of the failure.
    pub result: &'static str,
}

/// What all clients of one life of the daemon share.
#[derive(Clone)]
pub struct Life {
    /// Names this daemon among those that share an account.
    pub instance: String,
    /// Different in every life.
    pub boot: String,
    /// The daemon's clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Called once for every request made.
    pub on_call: Arc<dyn Fn(Call<'_>) + Send + Sync>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life")
            .field("instance", &self.instance)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}
