//! Streams that forget: a view is refreshed before what it has not read is gone.

use tidekeeper_scheduler::{
    AlertReason, Event, FailureClass, OverloadOrder, Phase, Priority, Span, StateName, ViewSpec,
    WaitReason,
};

use crate::core::{Core, at, view};

fn day() -> Span {
    Span::from_secs(86_400)
}

fn open(yes: bool) -> Phase {
    Phase {
        open: yes,
        until: None,
    }
}

/// Views that are refreshed at 0 and closed at 10; nothing has ended yet.
fn closed(views: &[ViewSpec]) -> Core {
    let mut plan = crate::core::even(4, views);
    plan.schedules.insert("office".into(), open(true));
    let mut core = Core::new();
    core.plan(0.0, plan);
    core.scanned(0.0, Vec::new());
    let (schedule, phase) = ("office".into(), open(false));
    core.give(10.0, Event::Phase { schedule, phase });
    core
}

fn office(name: &str) -> ViewSpec {
    let mut view = view(name);
    view.schedule = Some("office".into());
    view.retention = Some(day());
    view
}

#[test]
fn a_closed_view_is_refreshed_before_its_stream_forgets() {
    let mut view = view("v");
    view.schedule = Some("office".into());
    view.retention = Some(Span::from_secs(86_400));
    let mut plan = crate::core::plan(4, &[view]);
    let open = Phase {
        open: true,
        until: None,
    };
    plan.schedules.insert("office".into(), open);
    let mut core = Core::new();
    core.plan(0.0, plan);
    core.scanned(0.0, Vec::new());
    core.finished(3.0, "v", "s1");
    let schedule = "office".into();
    let phase = Phase {
        open: false,
        until: None,
    };
    core.give(10.0, Event::Phase { schedule, phase });
    assert!((core.due() - 43_200.0).abs() < 1e-6, "{}", core.due());
    assert_eq!(core.pass(43_200.0), ["submit v #2 wait 12s"]);
    core.finished(43_203.0, "v", "s2");
    assert_eq!(core.state("v"), StateName::Closed, "it is, but for that");
    assert_eq!(core.snapshot("v").wait.unwrap().reason, WaitReason::Closed);
}

#[test]
fn a_closed_view_of_which_nothing_is_known_is_refreshed_in_time() {
    let mut plan = crate::core::plan(4, &[office("v")]);
    plan.schedules.insert("office".into(), open(false));
    let mut core = Core::new();
    core.plan(0.0, plan);
    assert!(core.scanned(0.0, Vec::new()).is_empty());
    assert_eq!(core.state("v"), StateName::Closed);
    assert_eq!(core.pass(43_200.0), ["submit v #1 wait 30s"]);
}

#[test]
fn the_guard_waits_out_failures_like_everybody() {
    let mut core = closed(&[office("v")]);
    core.finished(11.0, "v", "s1");
    let due = core.due();
    assert_eq!(core.pass(due).len(), 1);
    let again = core.refused(due + 1.0, "v", FailureClass::Unreachable);
    assert!(again.is_empty(), "not at once: {again:?}");
    assert!(core.due() > due + 1.4, "{}", core.due() - due);
}

#[test]
fn a_view_on_views_is_not_refreshed_for_its_stream_before_its_parents_are() {
    let mut child = office("child");
    child.schedule = None;
    child.after = vec!["parent".into()];
    let mut core = closed(&[office("parent"), child]);
    assert_eq!(
        core.finished(11.0, "parent", "s1"),
        ["submit child #2 wait 30s"]
    );
    assert!(core.finished(14.0, "child", "s2").is_empty());
    let pause = Event::Pause {
        view: "parent".into(),
    };
    core.give(20.0, pause);
    for hour in 1..100 {
        let commands = core.pass(f64::from(hour) * 3_600.0);
        assert!(commands.is_empty(), "{commands:?} at {hour} h");
    }
}

#[test]
fn who_is_about_to_lose_records_goes_before_every_order() {
    let mut views: Vec<ViewSpec> = ["a", "b", "c", "d"].map(view).into();
    for view in &mut views {
        view.target_lag = Span::from_secs(10);
        view.priority = Priority::High;
    }
    let mut poor = view("poor");
    poor.priority = Priority::Low;
    poor.retention = Some(Span::from_secs(600));
    views.push(poor);
    let mut plan = crate::core::even(1, &views);
    for warehouse in &mut plan.warehouses {
        warehouse.overload = OverloadOrder::Priority;
    }
    let mut core = Core::new();
    core.plan(0.0, plan);
    let mut running = core.scanned(0.0, Vec::new());
    let mut refreshed = Vec::new();
    let mut now = 0.0;
    while now < 900.0 {
        now += 5.0;
        let name = running[0].split(' ').nth(1).unwrap().to_owned();
        if name == "poor" {
            refreshed.push(now);
        }
        running = core.finished(now, &name, "s");
    }
    // Once it is known that there is too little for all, only the guard lets it through.
    let last = refreshed.last().unwrap();
    assert!(*last > 300.0, "{refreshed:?}");
    let held = core.snapshot("poor").data_ts.unwrap();
    assert!(at(now) - held < Span::from_secs(400), "{refreshed:?}");
}

#[test]
fn what_is_lost_for_good_is_told_before_what_can_be_mended() {
    let mut core = closed(&[office("v")]);
    core.finished(11.0, "v", "s1");
    assert_eq!(core.snapshot("v").alerts, []);
    let due = core.due();
    core.pass(due + 1.0);
    let alerts = core.snapshot("v").alerts;
    assert_eq!(alerts[0].reason, AlertReason::Retention);
}
