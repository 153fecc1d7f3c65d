//! Hand-computed days, and the figures of the simulator.

use tidekeeper_scheduler::{Event, Mode};

use super::*;
use crate::metrics::world::{World, view as shown};

const MINUTE: f64 = 60.0;

/// Refreshes last 3 s, foreseen as 4.
fn view(name: &str, target_lag: f64) -> Rhythm {
    Rhythm {
        view: name.into(),
        target_lag,
        interval: target_lag - 4.0,
        lasts: 3.0,
        lasts_at_most: 4.0,
        arrivals: None,
    }
}

fn probed(name: &str, target_lag: f64, gap: f64) -> Rhythm {
    Rhythm {
        arrivals: Some(gap),
        ..view(name, target_lag)
    }
}

fn names(views: &[ViewId]) -> Vec<&str> {
    views.iter().map(ViewId::as_str).collect()
}

fn close(found: f64, wanted: f64) -> bool {
    (found - wanted).abs() <= 0.02 * wanted
}

#[test]
fn a_blind_view_below_the_minimum_keeps_it_awake_all_day_and_is_told_what_helps() {
    let day = of(&[view("tight", 30.0), view("lax", 3_600.0)], MINUTE).unwrap();
    assert_eq!(day.awake, Span::from_secs(86_400));
    assert_eq!(names(&day.kept_by), ["tight"]);
    // A minute is no cheaper: P is 56 s then. Two are.
    let longer = day.longer_target.unwrap();
    assert_eq!(longer.target_lag, Some(Span::from_secs(120)));
    assert_eq!(names(&longer.views), ["tight"]);
    let probe = day.probe.unwrap();
    assert_eq!(
        (probe.target_lag, names(&probe.views)),
        (None, vec!["tight"])
    );
    // What is left is an hourly view.
    assert!(probe.saves > Span::from_secs(80_000), "{probe:?}");
}

#[test]
fn two_refreshes_a_wake_up_are_counted_with_a_minute_each() {
    // P = 296 s. It wakes at 0 and is read again at 56, the last chance in the paid minute, so
    // that it sleeps until 56 + 296 = 352: awake from 0 to 116 of every 352 s.
    let day = of(&[view("v", 300.0)], MINUTE).unwrap();
    let share = day.awake.as_secs_f64() / DAY;
    assert!(close(share, 116.0 / 352.0), "{share}");
    assert_eq!(names(&day.kept_by), ["v"]);
}

#[test]
fn a_refresh_longer_than_the_minimum_is_paid_for_until_it_ends() {
    // No second refresh fits into the paid minute: 200 s of every 396 + … s.
    let long = Rhythm {
        interval: 396.0,
        lasts: 200.0,
        lasts_at_most: 204.0,
        ..view("long", 600.0)
    };
    let day = of(&[long], MINUTE).unwrap();
    let share = day.awake.as_secs_f64() / DAY;
    assert!(close(share, 200.0 / 396.0), "{share}");
}

#[test]
fn a_probed_view_costs_a_minute_for_each_time_something_comes() {
    // Something every 20 min, read 116 s later: 60 s of every 1,200.
    let day = of(&[probed("v", 120.0, 1_200.0)], MINUTE).unwrap();
    let share = day.awake.as_secs_f64() / DAY;
    assert!(close(share, 60.0 / 1_200.0), "{share}");
    assert_eq!((day.longer_target, day.probe), (None, None));
}

#[test]
fn a_probed_view_with_something_to_read_every_minute_is_told_of_a_longer_target() {
    // With 20 s between records a minute's target is already cheaper.
    for (gap, target_lag) in [(0.0, 120), (20.0, 60)] {
        let day = of(&[probed("dense", 30.0, gap)], MINUTE).unwrap();
        let longer = day.longer_target.unwrap();
        assert_eq!(
            longer.target_lag,
            Some(Span::from_secs(target_lag)),
            "{gap}"
        );
        assert_eq!(names(&longer.views), ["dense"]);
        assert_eq!(day.probe, None);
    }
}

#[test]
fn all_tight_views_are_changed_together_and_lax_ones_left_alone() {
    let views = [view("a", 30.0), view("b", 60.0), view("c", 86_400.0)];
    let longer = of(&views, MINUTE).unwrap().longer_target.unwrap();
    assert_eq!(names(&longer.views), ["a", "b"]);
    assert_eq!(longer.target_lag, Some(Span::from_secs(120)));
}

#[test]
fn a_minimum_that_is_shorter_is_cheaper() {
    let day = of(&[view("v", 60.0)], 6.0).unwrap();
    // Read twice in six seconds only where the second still fits: 4 s before the end of 6.
    let share = day.awake.as_secs_f64() / DAY;
    assert!(close(share, 8.0 / 58.0), "{share}");
}

#[test]
fn nothing_to_refresh_costs_nothing() {
    assert_eq!(of(&[], MINUTE), None);
}

/// Awake share of one simulated day, with every statement counted with a minute of its own.
fn simulated(awake: f64, rhythms: &[Rhythm]) {
    let share = of(rhythms, MINUTE).unwrap().awake.as_secs_f64() / DAY;
    assert!(
        (awake * 0.8..awake * 1.25).contains(&share),
        "estimated {share}, simulated {awake}"
    );
}

#[test]
fn the_estimate_is_near_what_the_simulator_finds() {
    // Measured over 6 h and 12 h of the simulator's worlds; 3 s, σ = 0.2, margin 1.4.
    simulated(0.66, &[view("v", 120.0)]);
    simulated(
        0.31,
        &[view("a", 300.0), view("b", 300.0), view("c", 900.0)],
    );
    let sparse: Vec<Rhythm> = (0..20).map(|_| probed("v", 300.0, 540.0)).collect();
    simulated(0.32, &sparse);
}

#[test]
fn a_probed_view_is_taken_to_be_refreshed_as_often_as_it_has_been() {
    let mut world = World::open(vec![shown("sparse", 60)]);
    world.bill_while_awake();
    world.refresh("sparse", 3);
    world.pass(1_200);
    world.refresh("sparse", 3);
    let of_today = |world: &World| {
        let snapshot = world.snapshot();
        estimate(&snapshot, &snapshot.warehouses[0]).unwrap()
    };
    assert_eq!(of_today(&world).awake, Span::from_secs(86_400), "blind");
    world.probe("sparse");
    let day = of_today(&world);
    // Twice in 1,200 s, a minute each.
    let share = day.awake.as_secs_f64() / DAY;
    assert!(close(share, 0.1), "{share}");
    assert_eq!((day.longer_target, day.probe), (None, None));
}

#[test]
fn a_view_that_was_only_observed_counts_since_it_is_refreshed() {
    let mut sparse = shown("sparse", 60);
    sparse.mode = Mode::Observe;
    let mut world = World::open(vec![sparse]);
    world.bill_while_awake();
    world.pass(100_000);
    world.plan.views[0].mode = Mode::Active;
    world.tell(Event::Plan(world.plan.clone()));
    world.refresh("sparse", 3);
    world.pass(1_200);
    world.refresh("sparse", 3);
    world.probe("sparse");
    let snapshot = world.snapshot();
    let day = estimate(&snapshot, &snapshot.warehouses[0]).unwrap();
    let share = day.awake.as_secs_f64() / DAY;
    assert!(close(share, 0.1), "{share}");
}

#[test]
fn what_is_billed_otherwise_has_no_estimate() {
    let mut world = World::open(vec![shown("v", 60)]);
    world.refresh("v", 3);
    let snapshot = world.snapshot();
    assert_eq!(estimate(&snapshot, &snapshot.warehouses[0]), None);
}
