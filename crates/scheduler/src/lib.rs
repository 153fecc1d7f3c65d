//! The scheduler of Tidekeeper: when to refresh which view, as a state machine.
//!
//! Events go in, commands come out, `now` is an argument. The shell carries commands to the
//! Redshift Data API; the simulator carries them to a virtual world; both run this code.
//! Deliberately absent: a clock, I/O, threads, randomness, Prometheus, logging, SQL.
//!
//! The call order is `handle*` or `handle_timeout`, then [`Scheduler::poll`] until it says
//! [`Output::Wait`].

mod answers;
mod arrivals;
mod awake;
mod breaker;
mod dispatch;
mod ending;
mod event;
mod idle;
mod invariants;
mod law;
mod overload;
mod plan;
mod record;
mod reload;
mod scheduler;
mod snapshot;
mod state;
mod sweep;
mod time;
mod trouble;
mod verdict;
mod view;
mod wake;
mod warehouse;

pub use arrivals::BELIEVED;
pub use awake::Awake;
pub use event::{
    AttemptId, Command, Cycle, Deadline, DeadlineReason, DescribeAnswer, Event, Failure,
    FailureClass, Found, Notice, Origin, Output, ResolveAnswer, Seen, StatementStatus,
    SubmitAnswer,
};
pub use law::unit_interval;
pub use plan::{
    ApiScope, Billing, Mode, Outcomes, OverloadOrder, Phase, Plan, Priority, ScheduleId,
    StatementId, StatementTimeout, ViewId, ViewSpec, WarehouseId, WarehouseSpec, WhileClosed,
};
pub use record::{Asked, Foreign, Outcome, Read, Record, RefreshedBy, Sweep};
pub use scheduler::Scheduler;
pub use snapshot::{
    Access, Snapshot, StateName, Unread, ViewSnapshot, Wait, WaitReason, WarehouseSnapshot,
};
pub use time::{Span, Timestamp};
pub use view::{Alert, AlertReason};
