//! Decides how the Data API's endpoint behaves: its operations, quotas, limits and faults.

use std::time::Duration;

use serde::Deserialize;

use super::number::{Count, Seconds, Share};
use crate::clock::Moment;

/// The operations that the lab knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(crate) enum Operation {
    ExecuteStatement,
    BatchExecuteStatement,
    DescribeStatement,
    GetStatementResult,
    GetStatementResultV2,
    CancelStatement,
    ListStatements,
}

impl Operation {
    pub(crate) const ALL: [Self; 7] = [
        Self::ExecuteStatement,
        Self::BatchExecuteStatement,
        Self::DescribeStatement,
        Self::GetStatementResult,
        Self::GetStatementResultV2,
        Self::CancelStatement,
        Self::ListStatements,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ExecuteStatement => "ExecuteStatement",
            Self::BatchExecuteStatement => "BatchExecuteStatement",
            Self::DescribeStatement => "DescribeStatement",
            Self::GetStatementResult => "GetStatementResult",
            Self::GetStatementResultV2 => "GetStatementResultV2",
            Self::CancelStatement => "CancelStatement",
            Self::ListStatements => "ListStatements",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|operation| operation.name() == name)
    }

    const fn submits(self) -> bool {
        matches!(self, Self::ExecuteStatement | Self::BatchExecuteStatement)
    }
}

/// Limits of the endpoint. The defaults are AWS's where AWS publishes a number.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Endpoint {
    waiters_per_statement: Count,
    active_statements: Count,
    quotas: Quotas,
    kinesis_limits: bool,
    refused_roles: Vec<String>,
}

impl Endpoint {
    /// Requests that may wait on one statement at once.
    pub(crate) fn waiters_per_statement(&self) -> usize {
        self.waiters_per_statement.get()
    }

    /// Statements of one warehouse that may be active at once.
    pub(crate) fn active_statements(&self) -> usize {
        self.active_statements.get()
    }

    /// Whether the lab's Kinesis refuses who is too fast.
    pub(crate) fn kinesis_limits(&self) -> bool {
        self.kinesis_limits
    }

    /// Roles that nobody may assume; any other may be.
    pub(crate) fn refused_roles(&self) -> &[String] {
        &self.refused_roles
    }

    /// Requests per second.
    pub(crate) fn quota(&self, operation: Operation) -> usize {
        let quota = match operation {
            Operation::ExecuteStatement => self.quotas.execute,
            Operation::BatchExecuteStatement => self.quotas.batch,
            Operation::DescribeStatement => self.quotas.describe,
            // The quota of V2 is not published: as much as the other's, on its own.
            Operation::GetStatementResult | Operation::GetStatementResultV2 => self.quotas.result,
            Operation::CancelStatement => self.quotas.cancel,
            Operation::ListStatements => self.quotas.list,
        };
        quota.get()
    }
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            // AWS documents the error but not the number; ten is the lab's own.
            waiters_per_statement: Count::new(10),
            // Redshift Management Guide, "Considerations when calling the Data API".
            active_statements: Count::new(500),
            quotas: Quotas::default(),
            kinesis_limits: true,
            refused_roles: Vec::new(),
        }
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Quotas {
    execute: Count,
    batch: Count,
    describe: Count,
    result: Count,
    cancel: Count,
    list: Count,
}

impl Default for Quotas {
    /// Redshift Management Guide, "Quotas and limits", Data API, per account and Region.
    fn default() -> Self {
        Self {
            execute: Count::new(30),
            batch: Count::new(20),
            describe: Count::new(100),
            result: Count::new(20),
            cancel: Count::new(3),
            list: Count::new(3),
        }
    }
}

/// Something that goes wrong between client and endpoint.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawFault")]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    operations: Vec<Operation>,
    probability: Share,
    from: Duration,
    until: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum FaultKind {
    /// The submit was executed; its answer never arrives.
    LoseAnswer(Loss),
    /// The request is refused as over the quota; `wrapped` is the share of refusals that
    /// come as a `ValidationException` around Serverless's own throttling.
    Throttle { wrapped: f64 },
    /// `InternalServerException`; `executed` says whether a submit was executed before it.
    Error500 { executed: bool },
    /// `WaitTimeSeconds` is accepted and has no effect, as before it existed.
    IgnoreWait,
    /// `WaitTimeSeconds` is refused.
    RefuseWait,
}

/// How an answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Loss {
    /// The connection is closed without a byte.
    Close,
    /// The connection stays open and silent until the client gives up.
    Hang,
}

impl Fault {
    /// Whether this fault may strike `operation` at `now`.
    pub(crate) fn covers(&self, operation: Operation, now: Moment) -> bool {
        self.operations.contains(&operation)
            && now >= self.from
            && self.until.is_none_or(|until| now < until)
    }

    pub(crate) fn probability(&self) -> f64 {
        self.probability.get()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    kind: RawKind,
    operations: Option<Vec<Operation>>,
    probability: Option<Share>,
    from: Option<Seconds>,
    until: Option<Seconds>,
    how: Option<Loss>,
    wrapped: Option<Share>,
    executed: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawKind {
    LoseAnswer,
    Throttle,
    #[serde(rename = "error_500")]
    Error500,
    IgnoreWait,
    RefuseWait,
}

impl TryFrom<RawFault> for Fault {
    type Error = String;

    fn try_from(raw: RawFault) -> Result<Self, String> {
        if raw.how.is_some() && raw.kind != RawKind::LoseAnswer {
            return Err("`how` belongs to lose_answer".to_owned());
        }
        if raw.wrapped.is_some() && raw.kind != RawKind::Throttle {
            return Err("`wrapped` belongs to throttle".to_owned());
        }
        if raw.executed.is_some() && raw.kind != RawKind::Error500 {
            return Err("`executed` belongs to error_500".to_owned());
        }
        let submits = || {
            Operation::ALL
                .into_iter()
                .filter(|o| o.submits())
                .collect::<Vec<_>>()
        };
        let lost = raw.kind == RawKind::LoseAnswer;
        let operations = match raw.operations {
            Some(named) if lost && named.iter().any(|operation| !operation.submits()) => {
                return Err("lose_answer strikes submits only".to_owned());
            }
            Some(named) => named,
            None if lost => submits(),
            None => Operation::ALL.to_vec(),
        };
        let kind = match raw.kind {
            RawKind::LoseAnswer => FaultKind::LoseAnswer(raw.how.unwrap_or(Loss::Close)),
            RawKind::Throttle => FaultKind::Throttle {
                wrapped: raw.wrapped.unwrap_or(Share::NEVER).get(),
            },
            RawKind::Error500 => FaultKind::Error500 {
                executed: raw.executed.unwrap_or(false),
            },
            RawKind::IgnoreWait => FaultKind::IgnoreWait,
            RawKind::RefuseWait => FaultKind::RefuseWait,
        };
        Ok(Self {
            kind,
            operations,
            probability: raw.probability.unwrap_or(Share::ALWAYS),
            from: raw.from.unwrap_or_default().get(),
            until: window_end(raw.from, raw.until)?,
        })
    }
}

/// The end of a window, refused when it is not after its beginning.
pub(super) fn window_end(
    from: Option<Seconds>,
    until: Option<Seconds>,
) -> Result<Option<Duration>, String> {
    let until = until.map(Seconds::get);
    if until.is_some_and(|until| until <= from.unwrap_or_default().get()) {
        return Err("`until` is not after `from`".to_owned());
    }
    Ok(until)
}
