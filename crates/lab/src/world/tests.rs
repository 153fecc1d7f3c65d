//! Worlds: the built-in ones, and every kind of mistake with its place.

use super::*;

const GOOD: &str = r#"
[[warehouses]]
name = "w"
kind = "cluster"
databases = ["dev"]

[[streams]]
name = "s"

[[views]]
name = "v"
database = "dev"
warehouse = "w"
stream = "s"
"#;

fn refused(text: &str) -> String {
    World::from_toml(text, "w.toml").unwrap_err().to_string()
}

#[test]
fn the_sample_world_has_six_views_over_four_streams() {
    let world = World::sample();
    assert_eq!(world.warehouses.first().unwrap().name.get_ref(), "lab");
    assert_eq!(world.warehouses.first().unwrap().databases, ["dev"]);
    let streams: BTreeSet<_> = world.views.iter().map(|v| v.stream.get_ref()).collect();
    assert!(world.views.len() >= 6 && streams.len() >= 4);
}

#[test]
fn the_demo_world_shows_every_pattern_and_one_slow_view() {
    let world = World::demo();
    let warehouse = world.warehouses.first().unwrap();
    assert_eq!(
        (warehouse.name.get_ref().as_str(), warehouse.slots()),
        ("demo", 8)
    );
    let patterns: BTreeSet<_> = world
        .producers
        .iter()
        .map(|p| match p.pattern {
            Pattern::Steady { .. } => "steady",
            Pattern::Diurnal { .. } => "diurnal",
            Pattern::Bursts { .. } => "bursts",
            Pattern::Sparse { .. } | Pattern::Gaps { .. } => "sparse",
        })
        .collect();
    assert_eq!(patterns.len(), 4);
    assert!(world.views.len() > 7);
    for view in &world.views {
        let fixed = view.service.fixed.get();
        if view.id() == "public.slow_orders" {
            assert_eq!(fixed, Duration::from_secs(4));
        } else {
            assert!(fixed >= Duration::from_millis(300) && fixed <= Duration::from_secs(1));
        }
    }
}

#[test]
fn a_small_world_is_completed_with_defaults() {
    let world = World::from_toml(GOOD, "w.toml").unwrap();
    let quotas = Operation::ALL.map(|operation| world.endpoint.quota(operation));
    assert_eq!(
        quotas,
        [30, 20, 100, 20, 20, 3, 3],
        "execute, batch, describe, result, result v2, cancel, list"
    );
    assert_eq!(world.endpoint.active_statements(), 500);
    assert_eq!(
        world.streams.first().unwrap().retention(),
        Duration::from_secs(86_400)
    );
    assert_eq!(world.views.first().unwrap().id(), "public.v");
}

#[test]
fn an_unknown_key_is_refused_where_it_stands() {
    let text = GOOD.replace("kind =", "colour = 1\nkind =");
    let error = World::from_toml(&text, "w.toml").unwrap_err();
    assert_eq!(error.position(), (4, 1));
    assert!(
        error.message().contains("unknown field `colour`"),
        "{error}"
    );
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_place() {
    assert!(refused("seed = = 1").starts_with("w.toml:1:8: "));
}

#[test]
fn every_dangling_reference_is_refused_where_it_stands() {
    for (from, to, expected) in [
        (
            "stream = \"s\"",
            "stream = \"t\"",
            "w.toml:14:10: there is no stream \"t\"",
        ),
        (
            "warehouse = \"w\"",
            "warehouse = \"x\"",
            "w.toml:13:13: there is no warehouse \"x\"",
        ),
        (
            "database = \"dev\"",
            "database = \"d\"",
            "w.toml:12:12: warehouse \"w\" has no database \"d\"",
        ),
        (
            "[\"dev\"]",
            "[]",
            "w.toml:3:8: warehouse \"w\" has no database",
        ),
    ] {
        assert_eq!(refused(&GOOD.replace(from, to)), expected);
    }
}

#[test]
fn a_name_used_twice_is_refused() {
    let twice = format!(
        "{GOOD}\n[[views]]\nname = \"V\"\ndatabase = \"dev\"\nwarehouse = \"w\"\nstream = \"s\""
    );
    assert_eq!(
        refused(&twice),
        "w.toml:17:8: view \"public.v\" is there twice"
    );
    let twice = format!("{GOOD}\n[[streams]]\nname = \"s\"");
    assert_eq!(refused(&twice), "w.toml:17:8: stream \"s\" is there twice");
}

#[test]
fn numbers_out_of_range_are_refused_where_they_stand() {
    for (line, expected) in [
        (
            "retention = -1",
            "w.toml:9:13: -1 is not a number of seconds",
        ),
        ("shards = 0", "w.toml:9:10: 0 is not between 1 and 10000"),
    ] {
        let text = GOOD.replace("name = \"s\"\n", &format!("name = \"s\"\n{line}\n"));
        assert!(refused(&text).starts_with(expected), "{}", refused(&text));
    }
}

#[test]
fn a_producer_is_refused_without_the_keys_of_its_pattern_or_with_others() {
    for (keys, expected) in [
        ("pattern = \"steady\"", "`rate` is needed"),
        (
            "pattern = \"steady\"\nrate = 1\nevery = 1",
            "`every` does not belong",
        ),
        ("pattern = \"sparse\"", "`every` is needed, or `gap`"),
        (
            "pattern = \"sparse\"\nevery = 1\ngap = [1, 2]",
            "`every` and `gap` exclude each other",
        ),
        (
            "pattern = \"sparse\"\ngap = [2, 1]",
            "`gap` is the shortest and the longest gap",
        ),
        (
            "pattern = \"steady\"\nrate = 1\ngap = [1, 2]",
            "`gap` does not belong",
        ),
        ("pattern = \"bursts\"\nrate = 1\non = 1", "`off` is needed"),
        (
            "pattern = \"bursts\"\nrate = 1\non = 1\noff = 1\nphase = 0",
            "`phase` does not belong",
        ),
        (
            "pattern = \"diurnal\"\nrate = 1\nperiod = 0",
            "`period` is needed",
        ),
        (
            "pattern = \"steady\"\nrate = 1\nbytes = 2000000",
            "2000000 bytes is more",
        ),
        (
            "pattern = \"steady\"\nrate = 1\nfrom = 5\nuntil = 5",
            "`until` is not after `from`",
        ),
        ("pattern = \"weekly\"\nrate = 1", "unknown variant `weekly`"),
    ] {
        let text = format!("{GOOD}\n[[producers]]\nstream = \"s\"\n{keys}\n");
        assert!(
            refused(&text).contains(expected),
            "{keys:?}: {}",
            refused(&text)
        );
    }
}

#[test]
fn a_fault_is_refused_with_the_keys_of_another() {
    for (keys, expected) in [
        (
            "kind = \"throttle\"\nhow = \"close\"",
            "`how` belongs to lose_answer",
        ),
        (
            "kind = \"error_500\"\nwrapped = 1",
            "`wrapped` belongs to throttle",
        ),
        (
            "kind = \"throttle\"\nexecuted = true",
            "`executed` belongs to error_500",
        ),
        (
            "kind = \"lose_answer\"\noperations = [\"ListStatements\"]",
            "lose_answer strikes submits only",
        ),
        (
            "kind = \"throttle\"\nprobability = 1.5",
            "1.5 is not between 0 and 1",
        ),
        (
            "kind = \"throttle\"\noperations = [\"Reboot\"]",
            "unknown variant `Reboot`",
        ),
    ] {
        let text = format!("{GOOD}\n[[faults]]\n{keys}\n");
        assert!(
            refused(&text).contains(expected),
            "{keys:?}: {}",
            refused(&text)
        );
    }
    for (keys, expected) in [
        (
            "kind = \"fail\"",
            "`text` belongs to fail and status, and they need it",
        ),
        (
            "kind = \"status\"",
            "`text` belongs to fail and status, and they need it",
        ),
        (
            "kind = \"stuck\"\ntext = \"x\"",
            "`text` belongs to fail and status",
        ),
        ("kind = \"slow_cancel\"", "slow_cancel needs it"),
    ] {
        let text = format!("{GOOD}\n[[views.faults]]\n{keys}\n");
        assert!(
            refused(&text).contains(expected),
            "{keys:?}: {}",
            refused(&text)
        );
    }
}

#[test]
fn only_system_views_and_their_columns_can_be_hidden_or_denied() {
    for key in ["hidden", "denied"] {
        let with = |name: &str| GOOD.replace("kind = ", &format!("{key} = [\"{name}\"]\nkind = "));
        for name in [
            "sys_mv_refresh_history",
            "sys_stream_scan_states.lag_from_latest",
        ] {
            World::from_toml(&with(name), "w.toml").unwrap();
        }
        for name in ["sys_mv_history", "sys_stream_scan_states.lag"] {
            let expected = format!("there is no system view or column {name:?}");
            let refusal = refused(&with(name));
            assert!(refusal.contains(&expected), "{refusal}");
        }
    }
}

#[test]
fn view_faults_hold_for_their_first_attempts_and_inside_their_window() {
    let text =
        format!("{GOOD}\n[[views.faults]]\nkind = \"stuck\"\nfirst = 2\nfrom = 10\nuntil = 20");
    let world = World::from_toml(&text, "w.toml").unwrap();
    let holds = |attempt, second| {
        let view = world.views.first().unwrap();
        view.faults(attempt, Duration::from_secs(second)).count() == 1
    };
    assert!(holds(1, 10) && holds(2, 19));
    assert!(!holds(3, 10) && !holds(1, 9) && !holds(1, 20));
}

#[test]
fn the_example_of_the_documentation_is_a_world() {
    let page = include_str!("../../../../docs/lab.md");
    let (_, example) = page.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let rest = "[[warehouses]]\nname = \"lab\"\nkind = \"workgroup\"\ndatabases = [\"dev\"]\n\
                [[streams]]\nname = \"clicks\"\n";
    let world = World::from_toml(&format!("{example}\n{rest}"), "lab.md").unwrap();
    assert_eq!((world.faults.len(), world.views.len()), (1, 1));
}
