//! When a healthy view is refreshed.

use tidekeeper_scheduler::Span;

use crate::core::{Core, view};

#[test]
fn nothing_is_submitted_before_the_scan_and_everything_due_after_it() {
    let mut core = Core::new();
    let plan = crate::core::plan(4, &[view("a"), view("b")]);
    assert_eq!(core.plan(0.0, plan), ["scan wh"]);
    assert!(core.pass(5.0).is_empty());
    assert_eq!(
        core.scanned(6.0, Vec::new()),
        ["submit a #1 wait 30s", "submit b #2 wait 30s"]
    );
}

#[test]
fn a_failed_scan_is_repeated_and_blocks_until_one_succeeds() {
    let mut core = Core::new();
    core.plan(0.0, crate::core::plan(4, &[view("v")]));
    let failed = |class| tidekeeper_scheduler::Event::Scanned {
        warehouse: "wh".into(),
        result: Err(crate::core::failure(class)),
    };
    let unreachable = tidekeeper_scheduler::FailureClass::Unreachable;
    assert!(core.give(1.0, failed(unreachable)).is_empty());
    let again = core.due();
    // A second after the answer, a quarter more or less.
    assert!((1.7..2.3).contains(&again), "{again}");
    assert!(core.pass(again - 0.001).is_empty());
    assert_eq!(core.pass(again), ["scan wh"]);
    assert_eq!(core.scanned(again, Vec::new()), ["submit v #1 wait 30s"]);
}

#[test]
fn the_second_refresh_is_jittered_and_the_third_is_not() {
    let (mut core, second) = Core::on_its_second_refresh();
    // Anywhere in P = 60 − 3·2.
    assert!((2.0..=54.0).contains(&second), "{second}");
    assert!(core.finished(second + 3.0, "v", "s2").is_empty());
    // P = 60 − 3·e^q, where one refresh that was not late has lowered q.
    let q = 2.0_f64.ln() - 0.12 * 0.05;
    let third = second + 60.0 - 3.0 * q.exp();
    assert!((core.due() - third).abs() < 1e-5, "{} {third}", core.due());
    assert!(core.pass(core.due() - 0.001).is_empty());
    let due = core.due();
    assert_eq!(core.pass(due), ["submit v #3 wait 12s"]);
}

#[test]
fn the_second_refresh_of_all_views_is_spread_over_the_interval() {
    let names: Vec<String> = (0..50).map(|i| format!("v{i}")).collect();
    let views: Vec<_> = names.iter().map(|name| view(name)).collect();
    let mut plan = crate::core::plan(50, &views);
    for warehouse in &mut plan.warehouses {
        warehouse.submits_per_second = 1_000.0;
    }
    let mut core = Core::new();
    core.plan(0.0, plan);
    assert_eq!(core.scanned(0.0, Vec::new()).len(), 50);
    for name in &names {
        core.finished(3.0, name, "s");
    }
    let mut dues: Vec<f64> = core
        .scheduler
        .snapshot()
        .views
        .iter()
        .filter_map(|view| Some(view.wait?.until?.as_secs_f64()))
        .collect();
    dues.sort_by(f64::total_cmp);
    // The others were due again before they had ended.
    assert!(dues.len() > 40, "{}", dues.len());
    let mean = dues.iter().sum::<f64>() / f64::from(u32::try_from(dues.len()).unwrap());
    assert!((22.0..35.0).contains(&mean), "{mean}");
    assert!(dues.windows(2).all(|pair| match pair {
        [a, b] => b - a < 10.0,
        _ => true,
    }));
}

#[test]
fn a_spurious_timeout_does_nothing() {
    let (mut core, second) = Core::on_its_second_refresh();
    core.finished(second + 3.0, "v", "s2");
    let (deadline, notices) = (core.deadline, core.notices.len());
    for i in 1..20 {
        assert!(core.pass(second + 3.0 + f64::from(i)).is_empty());
        assert_eq!(core.deadline, deadline);
    }
    assert_eq!(core.notices.len(), notices);
}

#[test]
fn time_never_goes_back() {
    let (mut core, _) = Core::started_evenly(4, &[view("v")]);
    assert!(core.pass(10.0).is_empty());
    assert!(core.finished(4.0, "v", "s1").is_empty());
    assert_eq!(core.scheduler.snapshot().at, crate::core::at(10.0));
}

#[test]
fn an_interval_stays_inside_what_the_operator_allows() {
    let mut brisk = view("v");
    brisk.max_interval = Some(Span::from_secs(20));
    let (mut core, _) = Core::started(4, &[brisk]);
    core.finished(3.0, "v", "s1");
    let second = core.due();
    core.pass(second);
    core.finished(second + 3.0, "v", "s2");
    assert!((core.due() - second - 20.0).abs() < 1e-6);
}
