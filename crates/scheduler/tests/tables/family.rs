//! Views on views: what they hold is what their parents hold.

use tidekeeper_scheduler::{
    Event, Mode, Outcome, Seen, Span, StatementStatus, ViewSpec, WaitReason,
};

use crate::core::{Core, at, done, even, view};

fn family() -> [ViewSpec; 2] {
    let mut parent = view("parent");
    parent.probe_every = Some(Span::from_secs(5));
    let mut child = view("child");
    child.after = vec!["parent".into()];
    [parent, child]
}

/// Both have been refreshed once: the parent from 0 to 3, the child until 6.
fn begun() -> Core {
    let (mut core, _) = Core::started_evenly(4, &family());
    assert_eq!(
        core.finished(3.0, "parent", "s1"),
        ["submit child #2 wait 30s"]
    );
    core.finished(6.0, "child", "s2");
    core
}

fn sees(core: &mut Core, seconds: f64, oldest: Option<f64>) -> Vec<String> {
    let seen = Seen {
        at: at(seconds),
        oldest: oldest.map(at),
        bytes: None,
    };
    let view = "parent".into();
    core.give(seconds, Event::Probed { view, seen })
}

#[test]
fn while_a_parents_stream_is_silent_its_children_rest_and_hold_what_it_holds() {
    let mut core = begun();
    for second in (7..3_600).step_by(5) {
        let now = f64::from(second);
        assert!(sees(&mut core, now, None).is_empty());
        assert!(core.pass(now + 1.0).is_empty());
    }
    let child = core.snapshot("child");
    assert_eq!(child.wait.unwrap().reason, WaitReason::Parent);
    assert_eq!(child.data_ts, core.snapshot("parent").data_ts);
}

#[test]
fn a_probe_that_comes_while_a_child_is_refreshed_is_no_news_for_it() {
    let (mut core, _) = Core::started_evenly(4, &family());
    core.finished(3.0, "parent", "s1");
    sees(&mut core, 4.0, None);
    core.finished(30.0, "child", "s2");
    for second in (31..300).step_by(5) {
        let now = f64::from(second);
        let commands = sees(&mut core, now, None);
        assert!(commands.is_empty(), "{commands:?} at {now}");
    }
}

#[test]
fn a_child_follows_once_its_parent_has_read_something() {
    let mut core = begun();
    sees(&mut core, 7.0, None);
    for second in (12..60).step_by(5) {
        sees(&mut core, f64::from(second), Some(11.0));
    }
    let due = core.due();
    assert_eq!(core.pass(due), ["submit parent #3 wait 12s"]);
    let next = core.finished(due + 3.0, "parent", "s3");
    assert_eq!(next, ["submit child #4 wait 12s"]);
}

#[test]
fn a_parent_that_read_nothing_is_no_news() {
    let mut blind = family();
    blind[0].probe_every = None;
    let mut core = Core::new();
    core.plan(0.0, even(4, &blind));
    core.scanned(0.0, Vec::new());
    core.finished(3.0, "parent", "s1");
    core.finished(6.0, "child", "s2");
    let due = core.due();
    assert_eq!(core.pass(due).len(), 1, "the parent, which cannot know");
    let nothing = StatementStatus::Finished {
        at: Some(at(due + 3.0)),
        outcome: Outcome::NoData,
    };
    assert!(core.accepted(due + 3.0, "parent", "s3", nothing).is_empty());
    let (parent, child) = (core.snapshot("parent"), core.snapshot("child"));
    assert_eq!(child.data_ts, parent.data_ts);
}

#[test]
fn a_view_that_turns_out_to_stand_on_another_holds_no_more_than_that() {
    let orphan = view("child");
    let (mut core, _) = Core::started_evenly(4, &[view("parent"), orphan]);
    core.accepted(3.0, "child", "s1", done(3.0));
    let held = core.snapshot("child").data_ts;
    assert_eq!(held, Some(at(0.0)));
    core.plan(4.0, even(4, &family()));
    assert_eq!(
        core.snapshot("child").data_ts,
        None,
        "its parent holds nothing"
    );
}

#[test]
fn a_view_that_was_observed_is_active_from_the_reload_on() {
    let mut observed = view("v");
    observed.mode = Mode::Observe;
    let (mut core, _) = Core::started_evenly(4, &[observed]);
    assert_eq!(core.snapshot("v").active_since, at(0.0));
    core.plan(500.0, even(4, &[view("v")]));
    assert_eq!(core.snapshot("v").active_since, at(500.0));
    core.plan(600.0, even(4, &[view("v"), view("w")]));
    assert_eq!(core.snapshot("v").active_since, at(500.0));
}
