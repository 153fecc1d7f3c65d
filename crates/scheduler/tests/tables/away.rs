//! A warehouse that is away, has too much to do, or sleeps.

use tidekeeper_scheduler::{FailureClass, Notice, OverloadOrder, Span, StateName, WaitReason};

use crate::core::{Core, failure, view};

fn ten() -> Vec<tidekeeper_scheduler::ViewSpec> {
    (0..10).map(|i| view(&format!("v{i}"))).collect()
}

fn submits(commands: &[String]) -> usize {
    let submits = commands.iter().filter(|line| line.starts_with("submit"));
    submits.count()
}

/// The view that was just submitted, of `submit v3 #7 wait 5s`.
fn submitted(commands: &[String]) -> String {
    let mut words = commands.first().unwrap().split(' ');
    words.nth(1).unwrap().to_owned()
}

#[test]
fn one_view_tries_a_warehouse_that_is_away_and_the_others_come_back_in_steps() {
    let (mut core, first) = Core::started(10, &ten());
    assert_eq!(submits(&first), 10);
    for i in 0..10 {
        let sent = core.refused(1.0, &format!("v{i}"), FailureClass::Away);
        assert!(sent.is_empty(), "{sent:?}");
    }
    let opened = |notice: &&Notice| matches!(notice, Notice::BreakerOpened { .. });
    assert_eq!(core.notices.iter().filter(opened).count(), 1);
    assert_eq!(
        core.snapshot("v3").wait.unwrap().reason,
        WaitReason::Breaker
    );
    // 15 s, then twice as long each time.
    let mut at = 1.0;
    for wait in [15.0, 30.0, 60.0, 120.0, 240.0, 300.0, 300.0] {
        assert!((core.due() - (at + wait)).abs() < 1e-6, "{}", core.due());
        assert!(core.pass(at + wait - 0.001).is_empty());
        at += wait;
        let sent = core.pass(at);
        assert_eq!(submits(&sent), 1);
        assert!(
            core.refused(at, &submitted(&sent), FailureClass::Away)
                .is_empty()
        );
    }
    at += 300.0;
    let sent = core.pass(at);
    let mut sent = core.finished(at + 3.0, &submitted(&sent), "s");
    // One slot, then two, then four.
    assert_eq!(submits(&sent), 1);
    sent = core.finished(at + 6.0, &submitted(&sent), "s");
    assert_eq!(submits(&sent), 2);
    for i in 0..10 {
        assert_eq!(core.snapshot(&format!("v{i}")).failures_in_a_row, 0);
        assert_ne!(core.state(&format!("v{i}")), StateName::Suspended);
    }
}

#[test]
fn many_views_that_fail_twice_open_the_breaker_and_none_is_suspended() {
    let (mut core, _) = Core::started(10, &ten());
    for round in 0..40 {
        let now = 1.0 + f64::from(round) * 0.5;
        for i in 0..10 {
            let name = format!("v{i}");
            if core.state(&name) == StateName::Submitting {
                core.refused(now, &name, FailureClass::Transient);
            }
        }
        core.pass(now + 0.25);
    }
    let opened = |notice: &Notice| matches!(notice, Notice::BreakerOpened { .. });
    assert!(core.notices.iter().any(opened));
    for i in 0..10 {
        assert_ne!(core.state(&format!("v{i}")), StateName::Suspended);
    }
}

#[test]
fn one_view_that_fails_alone_is_its_own_affair() {
    let (mut core, _) = Core::started(10, &ten());
    for i in 1..10 {
        core.finished(1.0, &format!("v{i}"), "s");
    }
    let mut now = 1.0;
    while core.state("v0") != StateName::Suspended {
        if core.state("v0") == StateName::Submitting {
            core.refused(now, "v0", FailureClass::Transient);
        }
        now += 0.05;
        core.pass(now);
        assert!(now < 30.0, "never suspended");
    }
    let opened = |notice: &Notice| matches!(notice, Notice::BreakerOpened { .. });
    assert!(!core.notices.iter().any(opened));
    assert_eq!(
        core.snapshot("v0").last_failure,
        Some(failure(FailureClass::Transient))
    );
}

/// Three views that each need a third of the time and more, on one slot.
fn overloaded(order: OverloadOrder) -> (Core, Vec<String>) {
    let views = [("a", 600), ("b", 60), ("c", 60)].map(|(name, target)| {
        let mut view = view(name);
        view.target_lag = Span::from_secs(target);
        view
    });
    let mut plan = crate::core::plan(1, &views);
    for warehouse in &mut plan.warehouses {
        warehouse.overload = order;
    }
    let mut core = Core::new();
    core.plan(0.0, plan);
    let mut sent = core.scanned(0.0, Vec::new());
    let (mut now, mut order) = (0.0, Vec::new());
    for _ in 0..40 {
        if sent.is_empty() {
            now = core.due();
            sent = core.pass(now);
            continue;
        }
        let name = submitted(&sent);
        now += 29.0;
        sent = core.finished(now, &name, "s");
        order.push(name);
    }
    (core, order)
}

#[test]
fn in_an_overload_all_are_late_alike_and_it_is_said() {
    let (core, order) = overloaded(OverloadOrder::Fair);
    let snapshot = core.snapshot("b");
    assert!(snapshot.cycles_missed > 0);
    let said = |notice: &Notice| {
        matches!(
            notice,
            Notice::Overload {
                overloaded: true,
                ..
            }
        )
    };
    assert!(core.notices.iter().any(said));
    let count = |name: &str| order.iter().filter(|at| *at == name).count();
    assert!(count("a") >= 1, "{order:?}");
    assert!(count("b").abs_diff(count("c")) <= 4, "{order:?}");
}

#[test]
fn a_wake_up_that_is_paid_for_is_shared() {
    let mut views: Vec<_> = ["a", "b"].map(view).into();
    for view in &mut views {
        view.target_lag = Span::from_secs(300);
        view.probe_every = Some(Span::from_secs(1_000));
    }
    let mut core = Core::new();
    core.plan(0.0, crate::core::even(4, &views));
    core.scanned(0.0, Vec::new());
    core.finished(3.0, "a", "s1");
    core.finished(3.0, "b", "s2");
    let sees = |core: &mut Core, view: &str, oldest: f64| {
        let seen = tidekeeper_scheduler::Seen {
            at: crate::core::at(100.0),
            oldest: Some(crate::core::at(oldest)),
            bytes: None,
        };
        let view = view.into();
        core.give(100.0, tidekeeper_scheduler::Event::Probed { view, seen })
    };
    assert!(sees(&mut core, "a", 5.0).is_empty());
    assert!(sees(&mut core, "b", 99.0).is_empty());
    // `a` wakes the warehouse at its latest safe start, 5 + 300 − 3·2.
    assert!((core.due() - 299.0).abs() < 1e-3, "{}", core.due());
    let now = core.due();
    assert_eq!(core.pass(now).len(), 1);
    core.finished(now + 3.0, "a", "s3");
    // `b` could wait until 393, and ends with the paid minute instead.
    assert!(
        (core.due() - (now + 60.0 - 6.0)).abs() < 0.1,
        "{}",
        core.due()
    );
    let now = core.due();
    assert_eq!(submitted(&core.pass(now)), "b");
}
