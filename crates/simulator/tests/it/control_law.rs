//! The control law in the virtual world: what control-law §10 asks for.

use tidekeeper_scheduler::{Notice, Span};
use tidekeeper_simulator::{
    ArrivalModel, Fault, FaultKind, Nobody, Policy, Report, Scenario, ViewModel, WarehouseModel,
    run,
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

fn fixed(seconds: i64) -> Scenario {
    let (target, service) = (Span::from_secs(60), Span::from_secs(seconds));
    scenario(vec![ViewModel::new("v", target, service)], 24)
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
    for seconds in [1, 3, 7, 15] {
        let scenario = fixed(seconds);
        let mut watch = Watch::default();
        let run = run(&scenario, 7, Policy::Adaptive, &mut watch);
        let (cycles, in_target) = run.cycles();
        assert_eq!(cycles, in_target, "a = {seconds} s");
        let report = Report::new(&scenario, 7, &[run]);
        let view = &report.policies[0].views[0];
        let bound = view.lower_bound.unwrap();
        println!("a={seconds} refreshes {} bound {bound}", view.refreshes);
    }
}

#[test]
fn the_late_rate_tends_to_the_miss_rate() {
    for (sigma, miss_rate) in [(0.2, 0.05), (0.2, 0.02), (0.5, 0.05)] {
        let mut scenario = scenario(vec![noisy(sigma, miss_rate)], 24);
        scenario.duration = Span::from_secs(10 * 86_400);
        let run = run(&scenario, 3, Policy::Adaptive, &mut Nobody);
        let (late, judged) = run.late();
        println!(
            "{sigma} {miss_rate} {late} {judged} {}",
            late as f64 / judged as f64
        );
    }
}

#[test]
fn throttling_suspends_nobody_and_most_wanted_submits_are_made() {
    let views: Vec<_> = (0..20)
        .map(|i| ViewModel::new(&format!("v{i}"), Span::from_secs(60), Span::from_secs(1)))
        .collect();
    let calm = scenario(views, 6);
    let mut throttled = calm.clone();
    throttled.warehouses[0].faults.push(Fault {
        kind: FaultKind::Throttle,
        from: Span::ZERO,
        until: Span::MAX,
        share: 0.1,
        factor: 1.0,
        view: None,
    });
    let wanted: u64 = run(&calm, 7, Policy::Adaptive, &mut Nobody)
        .refreshes()
        .iter()
        .sum();
    let mut watch = Watch::default();
    let run = run(&throttled, 7, Policy::Adaptive, &mut watch);
    let delivered: u64 = run.refreshes().iter().sum();
    println!("{delivered} of {wanted} {:?}", run.cycles());
    assert!(
        watch
            .notices
            .iter()
            .all(|(_, n)| !matches!(n, Notice::Suspended { .. }))
    );
    assert_eq!(run.violations, [""; 0]);
}
