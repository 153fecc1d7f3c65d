//! Decides what a streaming materialized view is in a world: where it lives, what it reads,
//! how long its refreshes take, and what goes wrong with them.

use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::endpoint::window_end;
use super::number::{Amount, Count, Seconds, Share};
use crate::clock::Moment;
use crate::sql::ViewName;

/// A view over one stream.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct View {
    pub(crate) name: Spanned<String>,
    #[serde(default = "default_schema")]
    pub(crate) schema: String,
    pub(crate) database: Spanned<String>,
    pub(crate) warehouse: Spanned<String>,
    pub(crate) stream: Spanned<String>,
    /// Who may refresh it; absent: whoever asks.
    pub(crate) owner: Option<String>,
    /// Its defining query; absent: every column of the stream, the data parsed.
    pub(crate) sql: Option<Spanned<String>>,
    /// Whether the warehouse refreshes it by itself.
    #[serde(default)]
    pub(crate) auto_refresh: bool,
    /// What one refresh reads at most.
    max_records: Option<Count>,
    #[serde(default)]
    pub(crate) service: Service,
    #[serde(default)]
    faults: Vec<ViewFault>,
}

impl View {
    /// A view that a statement creates.
    pub(crate) fn created(name: &ViewName, warehouse: &str, database: &str, owner: &str) -> Self {
        let nowhere = |text: &str| Spanned::new(0..0, text.to_owned());
        Self {
            name: nowhere(&name.view),
            schema: name.schema.clone(),
            database: nowhere(database),
            warehouse: nowhere(warehouse),
            stream: nowhere(""),
            owner: Some(owner.to_owned()),
            sql: None,
            auto_refresh: false,
            max_records: None,
            service: Service::default(),
            faults: Vec::new(),
        }
    }

    /// Names the stream of the lab's own behind it.
    pub(crate) fn read_from(&mut self, stream: &str) {
        self.stream = Spanned::new(0..0, stream.to_owned());
    }

    /// What one refresh reads at most.
    pub(crate) fn max_records(&self) -> Option<usize> {
        self.max_records.map(Count::get)
    }

    /// `schema.view`, in lower case as Redshift stores names.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.schema, self.name.get_ref()).to_lowercase()
    }

    /// The faults that hold for the `attempt`-th refresh (from 1) at `now`.
    pub(crate) fn faults(&self, attempt: u64, now: Moment) -> impl Iterator<Item = &ViewFaultKind> {
        self.faults
            .iter()
            .filter(move |fault| fault.holds(attempt, now))
            .map(|fault| &fault.kind)
    }
}

fn default_schema() -> String {
    "public".to_owned()
}

/// How long a refresh takes: (`fixed` + `per_mb` · megabytes) · e^(`sigma` · N(0,1)), and
/// `factor` times that for stragglers.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) fixed: Seconds,
    #[serde(default)]
    pub(crate) per_mb: Seconds,
    #[serde(default)]
    pub(crate) sigma: Amount,
    pub(crate) stragglers: Option<Stragglers>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            fixed: Seconds::new(Duration::from_millis(500)),
            per_mb: Seconds::default(),
            sigma: Amount::default(),
            stragglers: None,
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stragglers {
    pub(crate) probability: Share,
    pub(crate) factor: Amount,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawFault")]
struct ViewFault {
    kind: ViewFaultKind,
    first: Option<u64>,
    from: Duration,
    until: Option<Duration>,
}

impl ViewFault {
    fn holds(&self, attempt: u64, now: Moment) -> bool {
        self.first.is_none_or(|first| attempt <= first)
            && now >= self.from
            && self.until.is_none_or(|until| now < until)
    }
}

#[derive(Debug, Clone)]
pub(crate) enum ViewFaultKind {
    /// The view does not exist.
    Missing,
    /// The refresh never ends by itself.
    Stuck,
    /// A cancelled refresh goes on for this long before it stops.
    SlowCancel(Duration),
    /// A cancel is answered with `Status: false` and changes nothing.
    RefuseCancel,
    /// The refresh fails with this text at the end of its service time.
    Fail(String),
    /// The refresh goes as it goes, and `SYS_MV_REFRESH_HISTORY` says this of it.
    Status(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    kind: RawKind,
    first: Option<u64>,
    from: Option<Seconds>,
    until: Option<Seconds>,
    seconds: Option<Seconds>,
    text: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawKind {
    Missing,
    Stuck,
    SlowCancel,
    RefuseCancel,
    Fail,
    Status,
}

impl TryFrom<RawFault> for ViewFault {
    type Error = String;

    fn try_from(raw: RawFault) -> Result<Self, String> {
        if raw.seconds.is_some() != (raw.kind == RawKind::SlowCancel) {
            return Err("`seconds` belongs to slow_cancel, and slow_cancel needs it".to_owned());
        }
        if raw.text.is_some() != matches!(raw.kind, RawKind::Fail | RawKind::Status) {
            return Err("`text` belongs to fail and status, and they need it".to_owned());
        }
        let kind = match raw.kind {
            RawKind::Missing => ViewFaultKind::Missing,
            RawKind::Stuck => ViewFaultKind::Stuck,
            RawKind::SlowCancel => ViewFaultKind::SlowCancel(raw.seconds.unwrap_or_default().get()),
            RawKind::RefuseCancel => ViewFaultKind::RefuseCancel,
            RawKind::Fail => ViewFaultKind::Fail(raw.text.unwrap_or_default()),
            RawKind::Status => ViewFaultKind::Status(raw.text.unwrap_or_default()),
        };
        Ok(Self {
            kind,
            first: raw.first,
            from: raw.from.unwrap_or_default().get(),
            until: window_end(raw.from, raw.until)?,
        })
    }
}
