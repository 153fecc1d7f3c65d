//! The control law in the virtual world: what control-law §10 asks for.

use tidekeeper_scheduler::{Notice, Span};
use tidekeeper_simulator::{
    ArrivalModel, Fault, FaultKind, Nobody, Policy, Report, Restart, Scenario, ViewModel,
    WarehouseModel, run,
};

use crate::watch::Watch;

fn scenario(views: Vec<ViewModel>, hours: i64) -> Scenario {
    let mut warehouse = WarehouseModel::new("wh", 5);
    warehouse.submit_delay = Span::from_millis(200);
    Scenario {
        name: "test".to_owned(),
        duration: Span::from_secs(hours * 3600),
        seed: 7,
        warehouses: vec![warehouse],
        views,
        restarts: Vec::new(),
    }
}

/// One view, a target of 60 s, refreshes of `seconds` exactly.
fn fixed(seconds: i64) -> Scenario {
    let (target, service) = (Span::from_secs(60), Span::from_secs(seconds));
    scenario(vec![ViewModel::new("v", target, service)], 24)
}

fn many(count: usize, service: Span, hours: i64) -> Scenario {
    let names = (0..count).map(|number| format!("v{number}"));
    let views = names.map(|name| ViewModel::new(&name, Span::from_secs(60), service));
    scenario(views.collect(), hours)
}

fn noisy(sigma: f64, miss_rate: f64) -> ViewModel {
    let mut view = ViewModel::new("v", Span::from_secs(60), Span::from_secs(3));
    view.service.sigma = sigma;
    view.miss_rate = miss_rate;
    view.arrivals = ArrivalModel::Steady {
        bytes_per_s: 200_000.0,
    };
    view
}

fn always(kind: FaultKind, share: f64) -> Fault {
    Fault {
        kind,
        from: Span::ZERO,
        until: Span::MAX,
        share,
        factor: 1.0,
        view: None,
    }
}

fn assert_settled_gaps(seconds: i64, low: f64, high: f64) {
    let mut watch = Watch::default();
    let run = run(&fixed(seconds), 7, Policy::Adaptive, &mut watch);
    assert_eq!(run.violations, [""; 0]);
    let gaps = watch.submit_gaps(0);
    let settled = &gaps[200..];
    assert!(settled.len() > 1_000);
    for gap in settled {
        assert!((low..=high).contains(gap), "{gap}");
    }
    let missed: Vec<_> = watch
        .attempts
        .windows(2)
        .skip(5)
        .filter(|pair| pair[1].finish - pair[0].data > Span::from_secs(60))
        .collect();
    assert!(missed.is_empty(), "{missed:?}");
}

#[test]
fn after_200_refreshes_of_3_s_submits_are_52_to_57_s_apart() {
    assert_settled_gaps(3, 52.0, 57.0);
}

#[test]
fn after_200_refreshes_of_12_s_submits_are_40_to_48_s_apart() {
    assert_settled_gaps(12, 40.0, 48.0);
}

#[test]
fn without_noise_every_peak_is_in_target_at_little_more_than_the_bound() {
    for seconds in [1, 3, 7, 12, 15] {
        let scenario = fixed(seconds);
        let run = run(&scenario, 7, Policy::Adaptive, &mut Watch::default());
        let (cycles, in_target) = run.cycles();
        assert_eq!(cycles, in_target, "a = {seconds} s");
        let report = Report::new(&scenario, 7, &[run]);
        let view = &report.policies[0].views[0];
        let most = view.lower_bound.unwrap() * 105 / 100 + 2;
        assert!(view.refreshes <= most, "{} {most}", view.refreshes);
    }
}

#[test]
fn the_late_rate_tends_to_the_miss_rate() {
    for (sigma, miss_rate) in [(0.2, 0.05), (0.2, 0.02), (0.5, 0.05)] {
        let mut scenario = scenario(vec![noisy(sigma, miss_rate)], 24);
        scenario.duration = Span::from_secs(10 * 86_400);
        let run = run(&scenario, 3, Policy::Adaptive, &mut Nobody);
        let (late, judged) = run.late();
        assert!(judged > 15_000);
        let late = f64::from(u32::try_from(late).unwrap());
        let rate = late / f64::from(u32::try_from(judged).unwrap());
        assert!(
            (rate - miss_rate).abs() <= 0.005,
            "{sigma} {miss_rate} {rate}"
        );
    }
}

#[test]
fn throttling_suspends_nobody_and_nine_tenths_of_the_wanted_submits_are_made() {
    let calm = many(20, Span::from_secs(1), 6);
    let mut throttled = calm.clone();
    let faults = &mut throttled.warehouses[0].faults;
    faults.push(always(FaultKind::Throttle, 0.1));
    let wanted = run(&calm, 7, Policy::Adaptive, &mut Nobody);
    let mut watch = Watch::default();
    let delivered = run(&throttled, 7, Policy::Adaptive, &mut watch);
    let sum = |refreshes: Vec<u64>| refreshes.iter().sum::<u64>();
    assert!(sum(delivered.refreshes()) * 10 >= sum(wanted.refreshes()) * 9);
    assert!(!watch.saw(|notice| matches!(notice, Notice::Suspended { .. })));
    assert_eq!(delivered.violations, [""; 0]);
}

#[test]
fn an_endpoint_that_loses_and_ignores_keeps_its_views_near_their_rate() {
    let calm = many(8, Span::from_secs(3), 6);
    let mut rough = calm.clone();
    rough.warehouses[0].faults = vec![
        always(FaultKind::LostAnswers, 0.08),
        always(FaultKind::Throttle, 0.1),
        always(FaultKind::ServerErrors, 0.04),
        always(FaultKind::IgnoreWait, 1.0),
    ];
    let wanted = run(&calm, 7, Policy::Adaptive, &mut Nobody);
    let run = run(&rough, 7, Policy::Adaptive, &mut Watch::default());
    assert_eq!(run.violations, [""; 0]);
    for (refreshes, wanted) in run.refreshes().into_iter().zip(wanted.refreshes()) {
        assert!(refreshes * 10 >= wanted * 9, "{refreshes} of {wanted}");
        assert!(refreshes * 10 <= wanted * 12, "{refreshes} of {wanted}");
    }
    let refreshes: u64 = run.refreshes().iter().sum();
    let report = Report::new(&rough, 7, &[run]);
    let calls: u64 = report.policies[0].warehouses[0].api_calls.values().sum();
    assert!(
        calls <= 8 * refreshes,
        "{calls} calls, {refreshes} refreshes"
    );
}

#[test]
fn a_killed_daemon_adopts_what_runs_and_never_runs_two_on_one_view() {
    let mut killed = many(8, Span::from_secs(12), 2);
    killed.warehouses[0].max_in_flight = 8;
    killed.restarts = (1..11)
        .map(|number| Restart {
            at: Span::from_secs(number * 577 + number * number * 7),
            down: Span::from_secs(number % 3),
        })
        .collect();
    let mut watch = Watch::default();
    let run = run(&killed, 7, Policy::Adaptive, &mut watch);
    assert_eq!(run.violations, [""; 0]);
    let lives = watch.count(|notice| matches!(notice, Notice::WarehouseReady { .. }));
    assert_eq!(lives, 11);
    let adopted = watch.count(|notice| matches!(notice, Notice::Adopted { .. }));
    assert!(adopted >= 10, "{adopted}");
}

#[test]
fn a_statement_that_never_ends_is_cancelled_and_the_view_goes_on() {
    let mut stuck = fixed(3);
    stuck.views[0].statement_timeout = Some(Span::from_secs(300));
    let mut fault = always(FaultKind::Stuck, 1.0);
    (fault.from, fault.until) = (Span::from_secs(3_600), Span::from_secs(3_700));
    stuck.warehouses[0].faults.push(fault);
    let mut watch = Watch::default();
    let run = run(&stuck, 7, Policy::Adaptive, &mut watch);
    assert_eq!(run.violations, [""; 0]);
    assert!(watch.saw(|notice| matches!(notice, Notice::TimedOut { .. })));
    let (cycles, in_target) = run.cycles();
    assert_eq!(cycles - in_target, 1, "the one it was stuck in");
}

#[test]
fn one_seed_is_one_history() {
    let mut scenario = scenario(vec![noisy(0.3, 0.05)], 6);
    let faults = &mut scenario.warehouses[0].faults;
    faults.push(always(FaultKind::LostAnswers, 0.1));
    faults.push(always(FaultKind::Throttle, 0.1));
    for policy in Policy::ALL {
        let digest = |seed| run(&scenario, seed, policy, &mut Nobody).digest;
        assert_eq!(digest(1), digest(1));
        assert_ne!(digest(1), digest(2));
    }
}

#[test]
fn what_befalls_one_view_does_not_depend_on_the_others() {
    let alone = scenario(vec![noisy(0.3, 0.05)], 6);
    let mut together = alone.clone();
    let other = ViewModel::new("other", Span::from_secs(45), Span::from_secs(2));
    together.views.push(other);
    let mut watches = [Watch::default(), Watch::default()];
    for (watch, scenario) in watches.iter_mut().zip([&alone, &together]) {
        run(scenario, 7, Policy::Half, watch);
        watch.attempts.retain(|attempt| attempt.view == 0);
    }
    assert_eq!(watches[0].attempts, watches[1].attempts);
}

#[test]
fn cron_misses_every_cycle_and_half_of_the_target_pays_nearly_twice() {
    let scenario = fixed(3);
    let runs = [Policy::Cron, Policy::Half].map(|policy| run(&scenario, 7, policy, &mut Nobody));
    assert_eq!(runs[0].cycles(), (1_439, 0));
    assert_eq!(runs[1].cycles(), (2_879, 2_879));
    let report = Report::new(&scenario, 7, &runs);
    let ratio = report.policies[1].views[0].ratio.unwrap();
    assert!((1.89..1.91).contains(&ratio), "{ratio}");
}
