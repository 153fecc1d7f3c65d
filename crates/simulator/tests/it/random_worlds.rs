//! Random worlds: whatever goes wrong and whatever people do, the invariants hold after every
//! step, every attempt ends, and once the faults are over every view is fresh again.
//!
//! A failing case is printed whole; it becomes a named test at the end of this file.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidekeeper_scheduler::{
    Billing, Notice, Outcomes, OverloadOrder, Plan, Scheduler, Span, Timestamp, ViewId,
};
use tidekeeper_simulator::{
    Action, ArrivalModel, Attempt, Fault, FaultKind, Observer, Policy, ProbeModel, Run, Scenario,
    ViewModel, WarehouseModel, run_script,
};

/// Faults and people come to rest here …
const CALM_AT: i64 = 40 * 60;
/// … and by then everything must have recovered: a suspended view is probed after 15 min,
/// then 30, so what broke before `CALM_AT` is whole again an hour later.
const END: i64 = 150 * 60;

/// What people do, in seconds and numbers of views.
#[derive(Clone, Debug)]
enum Deed {
    Pause(usize),
    Resume(usize),
    Refresh(usize),
    /// Bit i of the mask keeps view i; `moved` gives one another location, `hasty` a shorter
    /// target.
    Reload {
        keep: u8,
        moved: usize,
        hasty: usize,
    },
    Crash {
        down: i64,
    },
}

#[derive(Clone, Debug)]
struct Case {
    scenario: Scenario,
    deeds: Vec<(i64, Deed)>,
}

impl Case {
    fn script(&self) -> Vec<(Timestamp, Action)> {
        let plan = self.scenario.plan();
        let id = |view: usize| plan.views[view % plan.views.len()].id.clone();
        let mut script: Vec<_> = self
            .deeds
            .iter()
            .enumerate()
            .map(|(number, (second, deed))| {
                let action = match deed {
                    Deed::Pause(view) => Action::Pause(id(*view)),
                    Deed::Resume(view) => Action::Resume(id(*view)),
                    Deed::Refresh(view) => Action::Refresh(id(*view)),
                    Deed::Crash { down } => Action::Crash {
                        down: Span::from_secs(*down),
                    },
                    Deed::Reload { keep, moved, hasty } => {
                        Action::Reload(changed(&plan, number, *keep, *moved, *hasty))
                    }
                };
                (at(*second), action)
            })
            .collect();
        script.push((at(CALM_AT), Action::Reload(plan.clone())));
        let resumed = plan
            .views
            .iter()
            .map(|view| Action::Resume(view.id.clone()));
        script.extend(resumed.map(|action| (at(CALM_AT + 40), action)));
        script
    }
}

fn changed(plan: &Plan, number: usize, keep: u8, moved: usize, hasty: usize) -> Plan {
    let mut plan = plan.clone();
    if let Some(view) = plan.views.get_mut(moved) {
        view.location = format!("elsewhere/{number}").into();
    }
    if let Some(view) = plan.views.get_mut(hasty) {
        view.target_lag = view.target_lag.scale(0.7);
    }
    let mut bit = 0;
    plan.views.retain(|_| {
        bit += 1;
        keep & (1 << (bit - 1)) != 0
    });
    plan
}

fn at(second: i64) -> Timestamp {
    Timestamp::default() + Span::from_secs(second)
}

/// Checks after every step what can only be seen from outside.
#[derive(Default)]
struct Judge {
    really: BTreeMap<ViewId, Timestamp>,
    known: BTreeMap<ViewId, Timestamp>,
    open: BTreeMap<ViewId, u64>,
    ended: BTreeMap<ViewId, BTreeSet<u64>>,
    last_success: BTreeMap<usize, Timestamp>,
    names: Vec<ViewId>,
    /// What a refresh did is told later.
    records: bool,
    /// Whose `data_ts` a probe that found nothing may move too, or a refresh that stopped
    /// half-way and whose record was not found.
    lenient: BTreeSet<ViewId>,
    dispatched: bool,
    complaints: Vec<String>,
}

impl Judge {
    fn new(scenario: &Scenario) -> Self {
        let mut warehouses = scenario.warehouses.iter();
        let records = warehouses.any(|warehouse| warehouse.outcomes != Outcomes::Off);
        let names = scenario.views.iter().map(|view| view.name.as_str().into());
        Self {
            names: names.collect(),
            records,
            lenient: (scenario.views.iter())
                .filter(|view| {
                    view.probe.is_some() || (view.service.most_bytes.is_some() && records)
                })
                .map(|view| view.name.as_str().into())
                .collect(),
            ..Self::default()
        }
    }
}

impl Observer for Judge {
    fn attempt(&mut self, attempt: &Attempt) {
        if attempt.outcome.succeeded() {
            self.really
                .insert(self.names[attempt.view].clone(), attempt.data);
            self.last_success.insert(attempt.view, attempt.finish);
        }
    }

    fn notice(&mut self, at: Timestamp, notice: &Notice) {
        self.dispatched |= matches!(notice, Notice::Dispatched { .. });
        match notice {
            // Another life, or another view of that name, knows nothing of the one before.
            Notice::ViewAdded { view } => {
                self.known.remove(view);
                self.open.remove(view);
                self.ended.remove(view);
            }
            Notice::Dispatched { view, attempt, .. } | Notice::Adopted { view, attempt, .. } => {
                let open = self.open.insert(view.clone(), attempt.serial());
                // Its verdict may come while the next one runs.
                if let Some(open) = open.filter(|_| !self.records) {
                    self.complaints
                        .push(format!("{view}: #{open} never ended, at {at:?}"));
                }
            }
            Notice::Refreshed { view, attempt, .. } | Notice::Failed { view, attempt, .. } => {
                // It may have left the view before its verdict came, or a reload took it out.
                if self.open.get(view) == Some(&attempt.serial()) {
                    self.open.remove(view);
                }
                let ended = self.ended.entry(view.clone()).or_default();
                if !ended.insert(attempt.serial()) {
                    self.complaints
                        .push(format!("{view}: {attempt} ended twice, at {at:?}"));
                }
            }
            Notice::WouldRefresh { .. }
            | Notice::Unsure { .. }
            | Notice::Resolved { .. }
            | Notice::CallFailed { .. }
            | Notice::TimedOut { .. }
            | Notice::Suspended { .. }
            | Notice::Resumed { .. }
            | Notice::Paused { .. }
            | Notice::Infeasible { .. }
            | Notice::FeasibleAgain { .. }
            | Notice::ViewRemoved { .. }
            | Notice::WarehouseReady { .. }
            | Notice::WarehouseBlocked { .. }
            | Notice::BreakerOpened { .. }
            | Notice::BreakerClosed { .. }
            | Notice::Overload { .. }
            | Notice::Foreign { .. }
            | Notice::Read { .. }
            | Notice::Skipped { .. }
            | Notice::UnknownStatus { .. }
            | Notice::StaleParent { .. }
            | Notice::Recreated { .. }
            | Notice::SweepFailed { .. }
            | Notice::Stale { .. }
            | Notice::LeftRunning { .. } => {}
        }
    }

    fn step(&mut self, at: Timestamp, scheduler: &Scheduler) {
        let snapshot = scheduler.snapshot();
        // What is found running may exceed the slots; then nothing is added to it.
        let dispatched = std::mem::take(&mut self.dispatched);
        for warehouse in &snapshot.warehouses {
            if dispatched && warehouse.in_flight > warehouse.slots_configured {
                self.complaints
                    .push(format!("too many in flight at {at:?}"));
            }
        }
        for view in snapshot.views {
            if view.attempt.is_none() {
                self.open.remove(&view.view);
            }
            let Some(data_ts) = view.data_ts else {
                continue;
            };
            let before = self.known.insert(view.view.clone(), data_ts);
            if before.is_some_and(|before| before > data_ts) {
                self.complaints
                    .push(format!("{}: data_ts went back", view.view));
            }
            if !self.lenient.contains(&view.view)
                && self
                    .really
                    .get(&view.view)
                    .is_none_or(|really| *really < data_ts)
            {
                self.complaints
                    .push(format!("{}: data_ts claims too much", view.view));
            }
        }
    }

    fn checks_every_step(&self) -> bool {
        true
    }
}

fn judge(case: &Case) -> (Run, Judge) {
    let mut judge = Judge::new(&case.scenario);
    let seed = case.scenario.seed;
    let run = run_script(
        &case.scenario,
        seed,
        Policy::Adaptive,
        case.script(),
        &mut judge,
    );
    (run, judge)
}

fn assert_all_is_well(case: &Case) {
    let (run, judge) = judge(case);
    assert_eq!(run.violations, [""; 0]);
    assert_eq!(judge.complaints, [""; 0]);
    for (index, view) in case.scenario.views.iter().enumerate() {
        let last = judge.last_success.get(&index);
        // Where arrivals are seen, a refresh waits for one.
        if view.probe.is_some() && view.arrivals == ArrivalModel::Silent {
            continue;
        }
        let gap = view.probe.map_or(30, |_| 300);
        let patience = view.target_lag * 2 + Span::from_secs(gap);
        assert!(
            last.is_some_and(|last| *last >= at(END) - patience),
            "{}: not refreshed since {last:?}; {:#?}",
            view.name,
            run.snapshot,
        );
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    let kind = prop_oneof![
        Just(FaultKind::Throttle),
        Just(FaultKind::LostAnswers),
        Just(FaultKind::ServerErrors),
        Just(FaultKind::IgnoreWait),
        Just(FaultKind::Unreachable),
        Just(FaultKind::Away),
        Just(FaultKind::Failing),
        Just(FaultKind::Broken),
        Just(FaultKind::Stuck),
        Just(FaultKind::Slow),
    ];
    (kind, 0..CALM_AT, 1..900_i64, 0.05..1.0_f64, any::<bool>()).prop_map(
        |(kind, from, length, share, one)| Fault {
            kind,
            from: Span::from_secs(from),
            until: Span::from_secs((from + length).min(CALM_AT)),
            share,
            factor: 6.0,
            view: one.then(|| "v0".to_owned()),
        },
    )
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        (0..6_usize).prop_map(Deed::Pause),
        (0..6_usize).prop_map(Deed::Resume),
        (0..6_usize).prop_map(Deed::Refresh),
        (any::<u8>(), 0..12_usize, 0..12_usize).prop_map(|(keep, moved, hasty)| Deed::Reload {
            keep,
            moved,
            hasty
        }),
        (0..40_i64).prop_map(|down| Deed::Crash { down }),
    ]
}

fn view() -> impl Strategy<Value = ViewModel> {
    let numbers = (10..120_i64, 0.01..0.09_f64, 0.0..0.5_f64);
    (numbers, any::<bool>(), 0..6_u8).prop_map(|((target, share, sigma), silent, kind)| {
        let target = Span::from_secs(target);
        let mut view = ViewModel::new("", target, target.scale(share));
        view.service.sigma = sigma;
        view.statement_timeout = Some(Span::from_secs(120));
        if !silent {
            view.arrivals = ArrivalModel::Poisson {
                mean_gap: Span::from_secs(20),
                bytes: 1_000.0,
                exponential: false,
            };
        }
        if kind < 2 {
            view.probe = Some(ProbeModel {
                every: Span::from_secs(5),
                delay: Span::from_millis(300),
                bytes: kind == 0,
            });
        }
        // Many a refresh stops half-way, and yet they read faster than records come.
        view.service.most_bytes = (kind == 3).then_some(9_000.0);
        view
    })
}

prop_compose! {
    fn case()(
        mut views in prop::collection::vec(view(), 1..6),
        slots in 1..5_u32,
        spare in 0..4_u32,
        delay in 0..400_i64,
        billed in any::<bool>(),
        outcomes in 0..3_u8,
        order in 0..3_u8,
        latency in 0..200_i64,
        faults in prop::collection::vec(fault(), 0..5),
        deeds in prop::collection::vec((0..CALM_AT, deed()), 0..20),
        seed in any::<u64>(),
    ) -> Case {
        for (number, view) in views.iter_mut().enumerate() {
            view.name = format!("v{number}");
        }
        let mut warehouse = WarehouseModel::new("wh", slots);
        warehouse.max_in_flight = slots + spare;
        warehouse.submit_delay = Span::from_millis(delay);
        warehouse.jitter = Span::from_millis(delay / 2);
        warehouse.api_latency = Span::from_millis(latency);
        warehouse.faults = faults;
        warehouse.outcomes = match outcomes {
            0 => Outcomes::Off,
            1 => Outcomes::Every,
            _ => Outcomes::Sampled,
        };
        if billed {
            warehouse.billing = Billing::Serverless;
        }
        warehouse.overload = match order {
            0 => OverloadOrder::Fair,
            1 => OverloadOrder::Priority,
            _ => OverloadOrder::MaxSatisfied,
        };
        let scenario = Scenario {
            name: "random".to_owned(),
            duration: Span::from_secs(END),
            seed,
            warehouses: vec![warehouse],
            views,
            restarts: Vec::new(),
        };
        Case { scenario, deeds }
    }
}

/// The same cases on every machine, or, with `TIDEKEEPER_CASES` set when the tests are built,
/// so many new ones.
fn config() -> ProptestConfig {
    let wanted = option_env!("TIDEKEEPER_CASES").and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: wanted.unwrap_or(96),
        failure_persistence: None,
        rng_seed: wanted.map_or(RngSeed::Fixed(1), |_| RngSeed::Random),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_invariants_hold_and_every_view_recovers(case in case()) {
        assert_all_is_well(&case);
    }

    #[test]
    fn a_drain_stops_within_its_budget_and_begins_nothing(
        mut case in case(),
        second in 1..CALM_AT,
        budget in 0..120_i64,
    ) {
        case.deeds.retain(|(at, deed)| *at < second || !matches!(deed, Deed::Crash { .. }));
        let crashed_lately = case.deeds.iter().any(|(at, deed)| match deed {
            Deed::Crash { down } => at + down >= second,
            Deed::Pause(_) | Deed::Resume(_) | Deed::Refresh(_) | Deed::Reload { .. } => false,
        });
        prop_assume!(!crashed_lately);
        let mut script = case.script();
        let budget = Span::from_secs(budget);
        script.push((at(second), Action::Shutdown { budget }));
        let mut last = LastSubmit::default();
        let seed = case.scenario.seed;
        let run = run_script(&case.scenario, seed, Policy::Adaptive, script, &mut last);
        prop_assert_eq!(&run.violations, &[""; 0]);
        let stopped_at = run.stopped_at.unwrap();
        prop_assert!(stopped_at <= at(second) + budget);
        prop_assert!(last.dispatched.is_none_or(|dispatched| dispatched <= at(second)));
        prop_assert!(last.noticed.is_none_or(|noticed| noticed <= stopped_at));
    }
}

#[derive(Default)]
struct LastSubmit {
    dispatched: Option<Timestamp>,
    noticed: Option<Timestamp>,
}

impl Observer for LastSubmit {
    fn notice(&mut self, at: Timestamp, notice: &Notice) {
        self.noticed = Some(at);
        if matches!(notice, Notice::Dispatched { .. }) {
            self.dispatched = Some(at);
        }
    }

    fn checks_every_step(&self) -> bool {
        true
    }
}

/// Found by random worlds: killed, started without its views, and given them back while their
/// statements were still running.
#[test]
fn a_view_that_comes_back_after_a_restart_awaits_its_old_statement() {
    let mut view = ViewModel::new("v0", Span::from_secs(60), Span::from_secs(20));
    view.statement_timeout = Some(Span::from_secs(600));
    let scenario = Scenario {
        name: "orphan".to_owned(),
        duration: Span::from_secs(END),
        seed: 0,
        warehouses: vec![WarehouseModel::new("wh", 1)],
        views: vec![view],
        restarts: Vec::new(),
    };
    let without = Deed::Reload {
        keep: 0,
        moved: 9,
        hasty: 9,
    };
    let with = Deed::Reload {
        keep: 1,
        moved: 9,
        hasty: 9,
    };
    let deeds = vec![(5, Deed::Crash { down: 5 }), (6, without), (12, with)];
    assert_all_is_well(&Case { scenario, deeds });
}
