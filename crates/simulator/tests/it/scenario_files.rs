//! Scenario files: those that come along run, and mistakes are shown where they stand.

use std::path::Path;

use serde_json::Value;
use tidekeeper_scheduler::{Billing, OverloadOrder, Priority, Span, Timestamp};
use tidekeeper_simulator::{
    ArrivalModel, Attempt, Nobody, Observer, Policy, ProbeModel, Report, Scenario, run,
};

const HEAD: &str = r#"name = "x"
duration = "1h"
[[warehouses]]
name = "wh"
slots = 2
"#;

const VIEW: &str = r#"[[views]]
name = "v"
warehouse = "wh"
target_lag = "60s"
service = { fixed = "3s" }
"#;

fn scenario(text: &str) -> Scenario {
    Scenario::parse(text, Path::new("x.toml")).unwrap()
}

fn arrivals(table: &str) -> ArrivalModel {
    let mut scenario = scenario(&format!("{HEAD}{VIEW}arrivals = {{ {table} }}\n"));
    scenario.views.remove(0).arrivals
}

fn mistake(text: &str) -> String {
    let path = Path::new("x.toml");
    Scenario::parse(text, path).unwrap_err().to_string()
}

#[test]
fn every_scenario_that_comes_along_runs_without_violations() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let mut scenario = Scenario::load(&entry.unwrap().path()).unwrap();
        // An hour of each: the whole of them is what `make policy-report` runs.
        scenario.duration = scenario.duration.min(Span::from_secs(3_600));
        for policy in Policy::ALL {
            let run = run(&scenario, scenario.seed, policy, &mut Nobody);
            assert_eq!(run.violations, [""; 0], "{}", scenario.name);
        }
        seen += 1;
    }
    assert!(seen >= 5);
}

#[test]
fn mistakes_are_shown_with_line_and_column() {
    let cases = [
        (
            format!("{HEAD}{VIEW}").replace("slots", "slotz"),
            "x.toml:5:1: unknown field `slotz`, expected one of `name`, `count`, `slots`, \
             `max_in_flight`, `submit_delay`, `jitter`, `api_latency`, `submit_quota`, \
             `quota_share`, `billing`, `overload`, `interference`, `faults`",
        ),
        (
            format!("{HEAD}{VIEW}").replace("\"60s\"", "\"60 sec\""),
            "x.toml:9:14: `60 sec` is no duration: write 200ms, 5s, 1m, 24h or 30d",
        ),
        (
            format!("{HEAD}{VIEW}").replace("\"60s\"", "\"0s\""),
            "x.toml:9:14: target_lag must be longer than nothing",
        ),
        (
            format!("{HEAD}{VIEW}").replace("warehouse = \"wh\"", "warehouse = \"hw\""),
            "x.toml:8:13: there is no warehouse `hw`",
        ),
        (
            format!("{HEAD}{VIEW}{VIEW}"),
            "x.toml:12:8: `v` stands here twice",
        ),
        (
            format!("{HEAD}{VIEW}miss_rate = 1.5\n"),
            "x.toml:11:13: a share lies between 0 and 1",
        ),
        (
            format!("{HEAD}{VIEW}arrivals = {{ kind = \"steady\" }}\n"),
            "x.toml:11:12: these arrivals need `bytes_per_s` or `mb_per_s`",
        ),
        (
            format!("{HEAD}{VIEW}arrivals = {{ kind = \"stedy\" }}\n"),
            "x.toml:11:21: unknown variant `stedy`, expected one of `silent`, `steady`, `outage`, \
             `diurnal`, `on_off`, `poisson`, `pareto`, `csv`",
        ),
        (
            format!("{HEAD}{VIEW}").replace("slots = 2", "slots = 0"),
            "x.toml:5:9: a warehouse has at least 1 slot",
        ),
    ];
    for (text, wanted) in cases {
        assert_eq!(mistake(&text), wanted);
    }
}

#[test]
fn a_count_makes_numbered_views() {
    let text = format!("{HEAD}{VIEW}count = 3\n");
    let scenario = Scenario::parse(&text, Path::new("x.toml")).unwrap();
    let names: Vec<_> = scenario.views.iter().map(|view| &view.name).collect();
    assert_eq!(names, ["v-0", "v-1", "v-2"]);
}

#[test]
fn every_kind_of_arrivals_is_read() {
    let secs = Span::from_secs;
    assert_eq!(arrivals("kind = \"silent\""), ArrivalModel::Silent);
    assert_eq!(
        arrivals("kind = \"silent\", every = \"4h\", bytes = 700"),
        ArrivalModel::Periodic {
            every: secs(4 * 3_600),
            bytes: 700.0
        }
    );
    for rate in ["bytes_per_s = 5e5", "mb_per_s = 0.5"] {
        assert_eq!(
            arrivals(&format!("kind = \"steady\", {rate}")),
            ArrivalModel::Steady { bytes_per_s: 5e5 }
        );
    }
    assert_eq!(
        arrivals("kind = \"diurnal\", low_mb_per_s = 1, high_bytes_per_s = 2e6"),
        ArrivalModel::Diurnal {
            low: 1e6,
            high: 2e6
        }
    );
    assert_eq!(
        arrivals(
            "kind = \"on_off\", on_mean = \"5m\", off_mean = \"1h\", on_mb_per_s = 3, \
             off_mb_per_s = 0"
        ),
        ArrivalModel::OnOff {
            on: (secs(300), 3e6),
            off: (secs(3_600), 0.0)
        }
    );
    for (size, exponential) in [("bytes", false), ("mean_bytes", true)] {
        assert_eq!(
            arrivals(&format!(
                "kind = \"poisson\", mean_gap = \"20s\", {size} = 1000"
            )),
            ArrivalModel::Poisson {
                mean_gap: secs(20),
                bytes: 1_000.0,
                exponential
            }
        );
    }
    assert_eq!(
        arrivals("kind = \"pareto\", mean_gap = \"20m\""),
        ArrivalModel::Pareto {
            mean_gap: secs(1_200),
            shape: 1.2,
            least: 5e7,
            most: 4e8,
            bytes_per_s: 0.0
        }
    );
    assert_eq!(
        arrivals(
            "kind = \"pareto\", mean_gap = \"20m\", shape = 2, min_mb = 1, max_mb = 2, \
             base_mb_per_s = 0.2"
        ),
        ArrivalModel::Pareto {
            mean_gap: secs(1_200),
            shape: 2.0,
            least: 1e6,
            most: 2e6,
            bytes_per_s: 2e5
        }
    );
}

#[test]
fn mistaken_arrivals_say_what_to_write() {
    let cases = [
        (
            "kind = \"steady\", mb_per_s = -1",
            "42: mb_per_s is a number from 0 to 1e9",
        ),
        (
            "kind = \"steady\", bytes_per_s = nan",
            "45: bytes_per_s is a number from 0 to 1e15",
        ),
        (
            "kind = \"steady\", bytes_per_s = 1, mb_per_s = 1",
            "59: write `bytes_per_s` or `mb_per_s`, not both",
        ),
        (
            "kind = \"steady\", bytes_per_s = 1, shape = 1",
            "56: `shape` is no key of `steady`, which takes `bytes_per_s`, `mb_per_s`",
        ),
        (
            "kind = \"silent\", every = \"1h\"",
            "12: these arrivals need `bytes`",
        ),
        (
            "kind = \"diurnal\", low_mb_per_s = 1",
            "12: these arrivals need `high_bytes_per_s` or `high_mb_per_s`",
        ),
        (
            "kind = \"diurnal\", low_mb_per_s = 2, high_mb_per_s = 1",
            "12: the low rate is above the high one: swap them",
        ),
        (
            "kind = \"on_off\", on_mean = \"1m\"",
            "12: these arrivals need `off_mean`",
        ),
        (
            "kind = \"poisson\", mean_gap = \"0s\", bytes = 1",
            "43: mean_gap is at least 1ms",
        ),
        (
            "kind = \"poisson\", mean_gap = \"1s\"",
            "12: these arrivals need `bytes` or `mean_bytes`",
        ),
        (
            "kind = \"pareto\", mean_gap = \"1s\", shape = 0",
            "56: shape must be more than 0",
        ),
        (
            "kind = \"pareto\", mean_gap = \"1s\", min_mb = 500",
            "12: min_mb (500) is above max_mb (400): write a smaller one",
        ),
        ("kind = \"csv\"", "12: these arrivals need `file`"),
    ];
    for (table, wanted) in cases {
        let found = mistake(&format!("{HEAD}{VIEW}arrivals = {{ {table} }}\n"));
        assert_eq!(found, format!("x.toml:11:{wanted}"), "{table}");
    }
}

#[test]
fn warehouses_and_views_have_all_their_keys() {
    let head = HEAD.replace(
        "slots = 2",
        "slots = 2\nbilling = \"serverless\"\noverload = \"max_satisfied\"\ninterference = 0.05",
    );
    let view = VIEW.replace("fixed = \"3s\"", "fixed = \"3s\", max_mb_per_refresh = 100");
    let more =
        "priority = \"high\"\nprobe = { every = \"5s\", delay = \"200ms\", bytes = false }\n";
    let found = scenario(&format!("{head}{view}{more}"));
    let warehouse = &found.warehouses[0];
    assert_eq!(warehouse.billing, Billing::Serverless);
    assert_eq!(warehouse.overload, OverloadOrder::MaxSatisfied);
    assert!((warehouse.interference - 0.05).abs() < 1e-12);
    assert_eq!(found.views[0].priority, Priority::High);
    assert_eq!(found.views[0].service.most_bytes, Some(1e8));
    let probe = ProbeModel {
        every: Span::from_secs(5),
        delay: Span::from_millis(200),
        bytes: false,
    };
    assert_eq!(found.views[0].probe, Some(probe));
    let plain = scenario(&format!("{HEAD}{VIEW}probe = {{ every = \"5s\" }}\n"));
    let probe = ProbeModel {
        delay: Span::ZERO,
        bytes: true,
        ..probe
    };
    assert_eq!(plain.views[0].probe, Some(probe));
    for (target_lag, every) in [("60s", 6_000), ("5s", 1_000)] {
        let view = VIEW.replace(
            "target_lag = \"60s\"",
            &format!("target_lag = \"{target_lag}\""),
        );
        let found = scenario(&format!("{HEAD}{view}probe = {{}}\n"));
        let every = Span::from_millis(every);
        assert_eq!(found.views[0].probe, Some(ProbeModel { every, ..probe }));
    }
    assert_eq!(plain.views[0].priority, Priority::Normal);
    assert_eq!(plain.warehouses[0].billing, Billing::Provisioned);
    assert_eq!(plain.warehouses[0].overload, OverloadOrder::Fair);
}

#[test]
fn views_are_spread_over_a_group_of_warehouses() {
    let head = HEAD.replace("slots", "count = 3\nslots");
    let one = VIEW
        .replace("\"v\"", "\"one\"")
        .replace("\"wh\"", "\"wh-1\"");
    let found = scenario(&format!("{head}{VIEW}count = 5\n{one}"));
    let names: Vec<_> = found.warehouses.iter().map(|w| &w.name).collect();
    assert_eq!(names, ["wh-0", "wh-1", "wh-2"]);
    let warehouses: Vec<_> = found.views.iter().map(|view| view.warehouse).collect();
    assert_eq!(warehouses, [0, 1, 2, 0, 1, 1]);
}

/// The targets and fixed service times of 400 views, in seconds.
fn drawn(seed: u64, target: &str, fixed: &str) -> Vec<(f64, f64)> {
    let view = VIEW
        .replace("\"3s\"", &format!("{fixed}, per_mb = {fixed}"))
        .replace("\"60s\"", target);
    let found = scenario(&format!("seed = {seed}\n{HEAD}{view}count = 400\n"));
    let pair = |(target, fixed): (Span, Span)| (target.as_secs_f64(), fixed.as_secs_f64());
    let views = found.views.iter();
    views
        .map(|view| pair((view.target_lag, view.service.fixed)))
        .collect()
}

#[test]
fn every_view_draws_its_own_and_always_the_same() {
    let lognormal = "{ lognormal = { median = \"1.5s\", sigma = 0.5 } }";
    let choice = "{ choice = [\"60s\", \"120s\", \"300s\"] }";
    let views = drawn(1, choice, lognormal);
    assert_eq!(views, drawn(1, choice, lognormal));
    assert_ne!(views, drawn(2, choice, lognormal));
    for target in [60.0_f64, 120.0, 300.0] {
        let share = views.iter().filter(|v| (v.0 - target).abs() < 1e-9).count();
        assert!((90..180).contains(&share), "{share} of 400 have {target} s");
    }
    let below = views.iter().filter(|view| view.1 < 1.5).count();
    assert!(
        (160..240).contains(&below),
        "{below} of 400 below the median"
    );
    let uniform = drawn(1, "{ uniform = [\"1s\", \"3s\"] }", "\"3s\"");
    assert!(uniform.iter().all(|view| (1.0..=3.0).contains(&view.0)));
    let below = uniform.iter().filter(|view| view.0 < 2.0).count();
    assert!(
        (160..240).contains(&below),
        "{below} of 400 below the middle"
    );
    let cycle = drawn(1, "{ cycle = [\"60s\", \"2m\"] }", "\"3s\"");
    assert_eq!(cycle[..3], [(60.0, 3.0), (120.0, 3.0), (60.0, 3.0)]);
}

#[test]
fn a_view_without_count_may_draw_too() {
    let view = VIEW.replace("\"60s\"", "{ uniform = [\"60s\", \"61s\"] }");
    let target = scenario(&format!("{HEAD}{view}")).views[0].target_lag;
    assert!(target > Span::from_secs(60) && target < Span::from_secs(61));
}

#[test]
fn mistaken_draws_and_counts_say_what_to_write() {
    let cases = [
        (
            "\"60\"",
            "`60` is no duration: write 200ms, 5s, 1m, 24h or 30d",
        ),
        (
            "60",
            "invalid type: integer `60`, expected a duration as \"5s\" or { choice = [\"5s\", \"1m\"] }",
        ),
        (
            "{ choice = [] }",
            "write at least one duration to draw from",
        ),
        (
            "{}",
            "write one of `lognormal`, `uniform`, `choice`, `cycle`",
        ),
        (
            "{ uniform = [\"3s\", \"1s\"] }",
            "write the shorter duration first",
        ),
        (
            "{ uniform = [\"0s\", \"1s\"] }",
            "target_lag must be longer than nothing",
        ),
        (
            "{ lognormal = { median = \"1s\", sigma = -1 } }",
            "sigma is a number from 0 to 10",
        ),
        (
            "{ lognormal = { median = \"0s\", sigma = 1 } }",
            "the median must be longer than nothing",
        ),
    ];
    for (target, wanted) in cases {
        let found = mistake(&format!("{HEAD}{VIEW}").replace("\"60s\"", target));
        assert_eq!(found, format!("x.toml:9:14: {wanted}"), "{target}");
    }
    for count in ["0", "1000001", "9223372036854775807"] {
        assert_eq!(
            mistake(&format!("{HEAD}{VIEW}count = {count}\n")),
            "x.toml:11:9: count lies between 1 and 1000000"
        );
    }
    let second = VIEW.replace("\"v\"", "\"w\"");
    assert_eq!(
        mistake(&format!(
            "{HEAD}{VIEW}count = 600000\n{second}count = 600000\n"
        )),
        "x.toml:17:9: with these there are more than 1000000"
    );
    let second = VIEW.replace("\"v\"", "\"v-1\"");
    assert_eq!(
        mistake(&format!("{HEAD}{VIEW}count = 2\n{second}")),
        "x.toml:13:8: `v-1` stands here twice"
    );
    assert_eq!(
        mistake(&format!("{HEAD}{VIEW}").replace("fixed = \"3s\"", "")),
        "x.toml:10:11: a service needs `fixed` or `replay`"
    );
}

#[test]
fn durations_are_replayed_from_beside_the_scenario() {
    let directory = std::env::temp_dir().join("tidekeeper-simulator-replayed-durations");
    std::fs::create_dir_all(&directory).unwrap();
    let view = VIEW.replace("fixed = \"3s\"", "replay = \"durations.csv\"");
    let path = directory.join("x.toml");
    std::fs::write(&path, format!("{HEAD}{view}")).unwrap();
    let durations = directory.join("durations.csv");
    std::fs::write(&durations, "t_s,duration_s\n60,2\n90,4.5\n").unwrap();
    let service = Scenario::load(&path).unwrap().views[0].service.clone();
    let at = |seconds| Timestamp::default() + Span::from_secs(seconds);
    for (seconds, wanted) in [(0, 2.0), (60, 2.0), (89, 2.0), (90, 4.5), (900, 4.5)] {
        let found = service.noise_free(at(seconds), 1e9);
        assert_eq!(found, Span::from_secs_f64(wanted), "at {seconds} s");
    }
    for (text, wanted) in [
        (
            "",
            "durations.csv:1:1: there is no line `t_s,duration_s`: write at least one",
        ),
        (
            "1,-2\n",
            "durations.csv:1:1: a line is `t_s,duration_s`, both not negative",
        ),
        (
            "1,nan\n",
            "durations.csv:1:1: a line is `t_s,duration_s`, both not negative",
        ),
        (
            "2,1\n1,1\n",
            "durations.csv:2:1: the records are not in order of time",
        ),
    ] {
        std::fs::write(&durations, text).unwrap();
        let found = Scenario::load(&path).unwrap_err().to_string();
        assert!(found.ends_with(wanted), "{found}");
    }
}

#[test]
fn recorded_arrivals_stand_beside_the_scenario() {
    let directory = std::env::temp_dir().join("tidekeeper-simulator-recorded-arrivals");
    std::fs::create_dir_all(&directory).unwrap();
    let arrivals = "arrivals = { kind = \"csv\", file = \"trace.csv\" }\n";
    let path = directory.join("x.toml");
    std::fs::write(&path, format!("{HEAD}{VIEW}{arrivals}")).unwrap();
    std::fs::write(directory.join("trace.csv"), "t_s,bytes\n1.5,100\n30,200\n").unwrap();
    let scenario = Scenario::load(&path).unwrap();
    let ArrivalModel::Listed { records, .. } = &scenario.views[0].arrivals else {
        panic!("{:?}", scenario.views[0].arrivals);
    };
    let at = |seconds| Timestamp::default() + Span::from_secs_f64(seconds);
    assert_eq!(**records, [(at(1.5), 100), (at(30.0), 200)]);
    std::fs::write(directory.join("trace.csv"), "t_s,bytes\n5,100\n3,200\n").unwrap();
    let wrong = Scenario::load(&path).unwrap_err().to_string();
    assert!(
        wrong.ends_with("trace.csv:3:1: the records are not in order of time"),
        "{wrong}"
    );
}

/// Lines of the trace, as a reader would find them.
#[derive(Default)]
struct Lines(Vec<Value>);

impl Observer for Lines {
    fn attempt(&mut self, attempt: &Attempt) {
        let mut line = Vec::new();
        attempt.write_line(&mut line, "adaptive", "v").unwrap();
        self.0.push(serde_json::from_slice(&line).unwrap());
    }
}

#[test]
fn the_figures_can_be_recomputed_from_the_trace() {
    let noise = "arrivals = { kind = \"steady\", bytes_per_s = 1e5 }\n";
    let service = "service = { fixed = \"3s\", per_mb = \"50ms\", sigma = 0.4 }\n";
    let text = format!("{HEAD}{VIEW}{noise}").replace("service = { fixed = \"3s\" }\n", service);
    let scenario = Scenario::parse(&text, Path::new("x.toml")).unwrap();
    let mut lines = Lines::default();
    let run = run(&scenario, 1, Policy::Adaptive, &mut lines);
    let report = serde_json::to_value(Report::new(&scenario, 1, &[run])).unwrap();
    let view = &report["policies"][0]["views"][0];
    let number = |line: &Value, key: &str| line[key].as_f64().unwrap();
    let within: Vec<_> = lines
        .0
        .iter()
        .filter(|l| number(l, "finish_s") <= 3_600.0)
        .collect();
    assert_eq!(view["refreshes"].as_u64(), Some(within.len() as u64));
    let peaks: Vec<f64> = within
        .windows(2)
        .map(|pair| number(pair[1], "finish_s") - number(pair[0], "data_s"))
        .collect();
    let open = 3_600.0 - number(within[within.len() - 1], "data_s") > 60.0;
    assert_eq!(
        view["cycles"].as_u64(),
        Some(peaks.len() as u64 + u64::from(open))
    );
    let held = peaks.iter().filter(|peak| **peak <= 60.0).count();
    assert_eq!(view["cycles_in_target"].as_u64(), Some(held as u64));
    let worst = peaks.into_iter().fold(0.0, f64::max);
    assert!((view["clock_lag_s"]["max"].as_f64().unwrap() - worst).abs() < 1e-6);
    // The last attempt ends beyond the horizon, or none was under way: never a null.
    assert!(
        lines
            .0
            .iter()
            .all(|l| l["finish_s"].is_f64() && l["data_s"].is_f64())
    );
}
