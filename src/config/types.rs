//! A checked configuration: whatever stands here can run.
//!
//! Decides: the shapes in which the rest of the program sees the configuration, all values
//! resolved. Deliberately absent: TOML, and anything that could still be wrong.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::calendar::Schedule;
use crate::logging::Secret;

/// Retention of a Kinesis stream that nobody has changed.
pub(super) const KINESIS_RETENTION: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub daemon: Daemon,
    pub warehouses: BTreeMap<String, Warehouse>,
    pub streams: BTreeMap<String, Stream>,
    pub schedules: BTreeMap<String, Schedule>,
    /// By id.
    pub views: BTreeMap<String, View>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Daemon {
    /// Names this daemon's statements: two daemons with one name adopt each other's.
    pub instance: String,
    pub listen: SocketAddr,
    /// How long a shutdown may wait for running statements.
    pub drain: Duration,
    /// Whether the files are watched for changes (SIGHUP always works).
    pub watch: bool,
    /// Turns the mutating routes on.
    pub admin_token: Option<Secret>,
    /// The role it runs as: for what `setup` prints and checks, not for running.
    pub role_arn: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Warehouse {
    pub target: Target,
    /// From the environment unless given.
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    /// Roles assumed one after the other, before any call.
    pub assume_role: Vec<Role>,
    /// Statements of the daemon that may run at once.
    pub max_in_flight: u32,
    /// Share of the account's API quotas that may be used, above 0, at most 1.
    pub quota_share: f64,
    pub billing: Billing,
    /// What a wake-up is billed at least.
    pub wake_minimum: Duration,
    /// What an hour awake costs, in the operator's currency.
    pub price_per_hour: Option<f64>,
    pub overload: Overload,
    pub outcomes: Outcomes,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    Cluster(String),
    Workgroup(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    pub arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Billing {
    Provisioned,
    Serverless,
}

/// Who goes first when the targets need more slots than there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overload {
    #[default]
    Fair,
    Priority,
    MaxSatisfied,
}

/// How closely the warehouse's own records of refreshes are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcomes {
    Every,
    Sampled,
    Off,
}

/// What stands behind a view.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    pub source: StreamSource,
    /// The roles that Redshift walks to the stream.
    pub role_chain: Vec<String>,
    /// The role that the daemon itself may assume to look at the stream.
    pub probe_role_arn: Option<String>,
    /// Share of each shard's reads that probes may take, above 0, at most 1.
    pub probe_share: f64,
    pub retention: Option<Duration>,
    /// Where the brokers of a topic are; never for Kinesis.
    pub brokers: Option<Brokers>,
}

impl Stream {
    /// How long it keeps records, where that is stated or known.
    #[must_use]
    pub fn keeps(&self) -> Option<Duration> {
        let unchanged = match self.source {
            StreamSource::Kinesis(_) => Some(KINESIS_RETENTION),
            StreamSource::Kafka(_) => None,
        };
        self.retention.or(unchanged)
    }
}

/// How Redshift reaches a Kafka topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brokers {
    /// `host:port`, separated by commas.
    pub uri: String,
    pub auth: KafkaAuth,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KafkaAuth {
    None,
    Iam,
    /// Mutual TLS with a certificate of ACM, by its ARN.
    MtlsCertificate(String),
    /// Mutual TLS with a certificate in a secret, by its ARN.
    MtlsSecret(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamSource {
    /// ARN of a Kinesis data stream.
    Kinesis(String),
    /// Name of a Kafka topic.
    Kafka(String),
}

/// A view, with everything that defaults, warehouse and groups have given it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct View {
    pub id: String,
    pub warehouse: String,
    pub database: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(serialize_with = "as_text")]
    pub target_lag: Duration,
    pub miss_rate: f64,
    #[serde(serialize_with = "as_text")]
    pub min_interval: Duration,
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_text_option"
    )]
    pub max_interval: Option<Duration>,
    pub priority: Priority,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Cron patterns of five fields, UTC.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refresh_at: Vec<String>,
    pub mode: Mode,
    pub auth: Auth,
    #[serde(skip_serializing_if = "Session::is_empty")]
    pub session: Session,
    /// `None`: the default, which does not hold for first refreshes.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_text_option"
    )]
    pub statement_timeout: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create: Option<Create>,
}

/// How a view over a stream is created, if `setup` is to create it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Create {
    pub external_schema: String,
    #[serde(flatten)]
    pub definition: Definition,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diststyle: Option<DistStyle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distkey: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sortkey: Vec<String>,
    pub auto_refresh: bool,
}

/// The defining query.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Definition {
    Select {
        select: Vec<String>,
        #[serde(rename = "where")]
        condition: String,
    },
    Whole {
        #[serde(rename = "as")]
        query: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DistStyle {
    Even,
    Key,
    All,
}

fn as_text<S: serde::Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&super::values::write_duration(*duration))
}

#[expect(clippy::ref_option, reason = "the shape that serde calls")]
fn as_text_option<S: serde::Serializer>(
    duration: &Option<Duration>,
    to: S,
) -> Result<S::Ok, S::Error> {
    as_text(&duration.unwrap_or_default(), to)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    Normal,
    High,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Active,
    /// Decides and reports, never submits.
    Observe,
}

/// As whom the view's statements run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// As the daemon's own role.
    Iam,
    DbUser(String),
    SecretArn(String),
}

/// Settings sent along with the refresh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Session {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query_group: Option<String>,
    pub case_sensitive: bool,
}

impl Session {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.query_group.is_none() && !self.case_sensitive
    }
}

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// The text itself, and what to call it.
    Text {
        name: String,
        text: String,
    },
}
