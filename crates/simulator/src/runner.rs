//! Runs a policy in a world to the horizon.
//!
//! Decides: who is asked first when several things happen at one moment (the world, then the
//! script, then the policy's own deadlines), and what counts as a hot loop.
//! Deliberately absent: decisions about refreshes.

use tidekeeper_scheduler::{
    Event, Notice, Origin, Output, Plan, Scheduler, Snapshot, Span, Timestamp, ViewId,
};

use crate::baseline::Baseline;
use crate::meter::Meter;
use crate::scenario::Scenario;
use crate::trace::{Attempt, Digest};
use crate::world::{Calls, World};

/// Steps without progress of time after which the policy is taken to run in circles.
const STEPS_AT_ONE_MOMENT: u32 = 1_000_000;
/// Where nobody watches, invariants are checked once in so many steps.
const SAMPLE: u64 = 65_536;

/// Who decides when to refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// The production scheduler.
    Adaptive,
    /// Every target lag, exactly.
    Cron,
    /// Every minute, at a random second of it.
    EventBridge,
    /// Again as soon as the last one has ended.
    ZeroWait,
    /// Every half of the target lag.
    Half,
    /// At aligned ticks 48·2ⁿ seconds apart.
    Ladder,
    /// The target less the 95th percentile of the last durations.
    WindowP95,
    /// The longest fixed share of the target that would have held it, in hindsight.
    BestFixed,
    /// A model of Redshift's AUTO REFRESH: an assumption.
    AutoRefresh,
    /// Knows what will arrive, and how long the next refresh will take.
    Clairvoyant,
}

impl Policy {
    pub const ALL: [Self; 10] = [
        Self::Adaptive,
        Self::Cron,
        Self::EventBridge,
        Self::ZeroWait,
        Self::Half,
        Self::Ladder,
        Self::WindowP95,
        Self::BestFixed,
        Self::AutoRefresh,
        Self::Clairvoyant,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Cron => "cron",
            Self::EventBridge => "eventbridge",
            Self::ZeroWait => "zero-wait",
            Self::Half => "half",
            Self::Ladder => "ladder",
            Self::WindowP95 => "window-p95",
            Self::BestFixed => "best-fixed",
            Self::AutoRefresh => "auto-refresh",
            Self::Clairvoyant => "clairvoyant",
        }
    }

    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }
}

/// What people and operators do to the daemon.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Pause(ViewId),
    Resume(ViewId),
    Refresh(ViewId),
    Reload(Plan),
    /// Killed; a new life begins `down` later with the latest plan.
    Crash {
        down: Span,
    },
    /// Asked to end within `budget`.
    Shutdown {
        budget: Span,
    },
}

/// Watches a run.
pub trait Observer {
    /// An attempt has ended; in order of their ends.
    fn attempt(&mut self, _attempt: &Attempt) {}
    /// The scheduler has reported something.
    fn notice(&mut self, _at: Timestamp, _notice: &Notice) {}
    /// The scheduler waits again after a step.
    fn step(&mut self, _at: Timestamp, _scheduler: &Scheduler) {}
    /// Whether invariants are to be checked after every step, not now and then.
    fn checks_every_step(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Observer for Nobody {}

/// What came of a run.
#[derive(Debug)]
pub struct Run {
    pub policy: Policy,
    pub(crate) meters: Vec<Meter>,
    pub(crate) calls: Vec<Calls>,
    /// Per warehouse, as Serverless would be billed.
    pub(crate) awake: Vec<Span>,
    /// Late refreshes and judged ones, per view, where the policy has a margin.
    pub(crate) late: Vec<(u64, u64)>,
    pub digest: Digest,
    /// What must never happen and did; empty when all is well.
    pub violations: Vec<String>,
    /// Times the policy was asked.
    pub steps: u64,
    /// When the daemon stopped by itself.
    pub stopped_at: Option<Timestamp>,
    /// The scheduler's own view at the end.
    pub snapshot: Option<Snapshot>,
}

impl Run {
    /// Cycles and those in target, over all views.
    #[must_use]
    pub fn cycles(&self) -> (u64, u64) {
        let sum = |of: fn(&Meter) -> u64| self.meters.iter().map(of).sum();
        (
            sum(|meter| meter.cycles),
            sum(|meter| meter.cycles_in_target),
        )
    }

    /// Successful refreshes per view, in the scenario's order.
    #[must_use]
    pub fn refreshes(&self) -> Vec<u64> {
        self.meters.iter().map(|meter| meter.refreshes).collect()
    }

    /// Late refreshes and judged ones, over all views.
    #[must_use]
    pub fn late(&self) -> (u64, u64) {
        let sum = |late: (u64, u64), one: &(u64, u64)| (late.0 + one.0, late.1 + one.1);
        self.late.iter().fold((0, 0), sum)
    }
}

/// Runs `policy` with the restarts that the scenario has.
pub fn run(scenario: &Scenario, seed: u64, policy: Policy, observer: &mut dyn Observer) -> Run {
    let restarts = scenario.restarts.iter().map(|restart| {
        let crash = Action::Crash { down: restart.down };
        (Timestamp::default() + restart.at, crash)
    });
    run_script(scenario, seed, policy, restarts.collect(), observer)
}

/// Runs `policy` while `script`, in any order, happens to it; baselines are spared the script.
pub fn run_script(
    scenario: &Scenario,
    seed: u64,
    policy: Policy,
    mut script: Vec<(Timestamp, Action)>,
    observer: &mut dyn Observer,
) -> Run {
    script.sort_by_key(|(at, _)| *at);
    script.reverse();
    let share = if policy == Policy::BestFixed {
        best_share(scenario, seed)
    } else if policy == Policy::Half {
        0.5
    } else {
        1.0
    };
    let mut stage = Stage::new(scenario, seed, policy, observer);
    if policy == Policy::Adaptive {
        Daemon::new(scenario.plan(), seed).live(&mut stage, script);
    } else {
        Baseline::new(scenario, seed, policy, share).live(&mut stage);
    }
    stage.close()
}

/// The largest fortieth of the target at which a fixed interval holds the wanted share of
/// cycles, by bisection: a longer interval never holds more.
fn best_share(scenario: &Scenario, seed: u64) -> f64 {
    let miss_rate = scenario.views.first().map_or(0.05, |view| view.miss_rate);
    let (mut good, mut bad) = (4_u32, 41_u32);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        let mut observer = Nobody;
        let mut stage = Stage::new(scenario, seed, Policy::BestFixed, &mut observer);
        let share = f64::from(middle) / 40.0;
        Baseline::new(scenario, seed, Policy::BestFixed, share).live(&mut stage);
        let (cycles, held) = stage.close().cycles();
        #[expect(clippy::cast_precision_loss, reason = "counts of cycles")]
        let attained = held as f64 / cycles.max(1) as f64;
        if attained >= 1.0 - miss_rate {
            good = middle;
        } else {
            bad = middle;
        }
    }
    f64::from(good) / 40.0
}

/// The world, its horizon, and who keeps the books.
pub(crate) struct Stage<'a> {
    pub(crate) world: World,
    pub(crate) horizon: Timestamp,
    run: Run,
    observer: &'a mut dyn Observer,
}

impl<'a> Stage<'a> {
    fn new(scenario: &Scenario, seed: u64, policy: Policy, observer: &'a mut dyn Observer) -> Self {
        let horizon = scenario.horizon();
        let meters = scenario
            .views
            .iter()
            .map(|view| Meter::new(view.target_lag, horizon, view.probe.is_some()));
        Self {
            world: World::new(scenario, seed),
            run: Run {
                policy,
                meters: meters.collect(),
                calls: Vec::new(),
                awake: Vec::new(),
                late: vec![(0, 0); scenario.views.len()],
                digest: Digest::default(),
                violations: Vec::new(),
                steps: 0,
                stopped_at: None,
                snapshot: None,
            },
            observer,
            horizon,
        }
    }

    pub(crate) fn take_ended(&mut self) {
        for attempt in self.world.ended.drain(..) {
            if let Some(meter) = self.run.meters.get_mut(attempt.view) {
                meter.take(&attempt);
            }
            self.run.digest.add(&attempt);
            self.observer.attempt(&attempt);
        }
    }

    fn close(mut self) -> Run {
        let horizon = self.horizon;
        let views = self.world.views.iter_mut();
        let unread: Vec<_> = views
            .map(|view| view.arrivals.unread(horizon).oldest)
            .collect();
        self.world.run_out();
        self.take_ended();
        for (meter, oldest) in self.run.meters.iter_mut().zip(unread) {
            meter.close(oldest);
        }
        self.run.awake = self
            .world
            .warehouses
            .iter()
            .map(|warehouse| warehouse.awake.total(horizon))
            .collect();
        self.run.calls = self.world.warehouses.iter().map(|w| w.calls).collect();
        self.run.violations.append(&mut self.world.violations);
        self.run
    }
}

/// The production scheduler and what its shell would remember.
struct Daemon {
    plan: Plan,
    seed: u64,
    scheduler: Option<Scheduler>,
    /// When the next life begins.
    back_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
}

impl Daemon {
    fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            seed,
            scheduler: None,
            back_at: Some(Timestamp::default()),
            deadline: None,
        }
    }

    fn live(&mut self, stage: &mut Stage<'_>, mut script: Vec<(Timestamp, Action)>) {
        stage.world.begin_probes();
        let (mut moment, mut steps) = (Timestamp::default(), 0);
        loop {
            let world = stage.world.next_at();
            let scripted = script.last().map(|(at, _)| *at);
            let own = [self.back_at, self.deadline].into_iter().flatten().min();
            let Some(next) = [world, scripted, own].into_iter().flatten().min() else {
                break;
            };
            // A deadline may lie in the past: it is passed now.
            let now = next.max(stage.world.now);
            if now > stage.horizon {
                break;
            }
            steps = if now > moment { 0 } else { steps + 1 };
            moment = now;
            if steps > STEPS_AT_ONE_MOMENT {
                let violation = format!("a hot loop at {now:?}");
                stage.run.violations.push(violation);
                break;
            }
            stage.world.now = now;
            if world == Some(next) {
                let event = stage.world.step();
                if let (Some(event), Some(scheduler)) = (event, &mut self.scheduler) {
                    scheduler.handle(now, event);
                    self.poll(stage);
                }
            } else if scripted == Some(next) {
                if let Some((_, action)) = script.pop() {
                    self.act(stage, action);
                }
            } else if self.back_at == Some(next) {
                self.begin(stage);
            } else if let Some(scheduler) = &mut self.scheduler {
                scheduler.handle_timeout(now);
                self.poll(stage);
            }
            stage.take_ended();
        }
        self.bury(stage);
    }

    fn begin(&mut self, stage: &mut Stage<'_>) {
        self.back_at = None;
        let now = stage.world.now;
        let mut scheduler = Scheduler::new(now, self.seed);
        scheduler.handle(now, Event::Plan(self.plan.clone()));
        self.scheduler = Some(scheduler);
        self.poll(stage);
    }

    fn act(&mut self, stage: &mut Stage<'_>, action: Action) {
        let now = stage.world.now;
        let event = match action {
            Action::Crash { down } => {
                self.bury(stage);
                stage.world.kill_daemon();
                self.back_at = Some(now + down);
                return;
            }
            Action::Reload(plan) => {
                self.plan = plan.clone();
                Event::Plan(plan)
            }
            Action::Pause(view) => Event::Pause { view },
            Action::Resume(view) => Event::Resume { view },
            Action::Refresh(view) => Event::Refresh {
                view,
                origin: Origin::Manual,
            },
            Action::Shutdown { budget } => Event::Shutdown {
                until: now + budget,
            },
        };
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.handle(now, event);
            self.poll(stage);
        }
    }

    /// Carries out what the scheduler wants, until it waits.
    fn poll(&mut self, stage: &mut Stage<'_>) {
        let Some(scheduler) = &mut self.scheduler else {
            return;
        };
        let now = stage.world.now;
        loop {
            match scheduler.poll() {
                Output::Command(command) => stage.world.execute(command),
                Output::Notice(notice) => stage.observer.notice(now, &notice),
                Output::Wait(deadline) => {
                    self.deadline = deadline.map(|deadline| deadline.at);
                    break;
                }
                Output::Stopped => {
                    self.deadline = None;
                    stage.run.stopped_at = stage.run.stopped_at.or(Some(now));
                    break;
                }
            }
        }
        stage.run.steps += 1;
        if stage.observer.checks_every_step() || stage.run.steps.is_multiple_of(SAMPLE) {
            let broken = scheduler.broken_invariants().into_iter();
            let broken = broken.map(|broken| format!("{broken}, at {now:?}"));
            stage.run.violations.extend(broken);
        }
        stage.observer.step(now, scheduler);
    }

    /// A life is over: what only it knew is put down.
    fn bury(&mut self, stage: &mut Stage<'_>) {
        self.deadline = None;
        let Some(scheduler) = self.scheduler.take() else {
            return;
        };
        let snapshot = scheduler.snapshot();
        for view in &snapshot.views {
            let index = stage.world.view_by_name.get(view.view.as_str());
            if let Some(late) = index.and_then(|index| stage.run.late.get_mut(*index)) {
                late.0 += view.late_refreshes;
                late.1 += view.judged_refreshes;
            }
        }
        stage.run.snapshot = Some(snapshot);
    }
}
