//! Scenario files: those that come along run, and mistakes are shown where they stand.

use std::path::Path;

use serde_json::Value;
use tidekeeper_scheduler::{Span, Timestamp};
use tidekeeper_simulator::{
    ArrivalModel, Attempt, Nobody, Observer, Policy, Report, Scenario, run,
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

fn mistake(text: &str) -> String {
    let path = Path::new("x.toml");
    Scenario::parse(text, path).unwrap_err().to_string()
}

#[test]
fn every_scenario_that_comes_along_runs_without_violations() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut seen = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let scenario = Scenario::load(&entry.unwrap().path()).unwrap();
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
            "x.toml:5:1: unknown field `slotz`, expected one of `name`, `slots`, `max_in_flight`, \
             `submit_delay`, `jitter`, `api_latency`, `submit_quota`, `quota_share`, `faults`",
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
            "x.toml:11:12: these arrivals need `bytes_per_s`",
        ),
        (
            format!("{HEAD}{VIEW}arrivals = {{ kind = \"stedy\" }}\n"),
            "x.toml:11:21: unknown variant `stedy`, expected one of `silent`, `steady`, \
             `poisson`, `csv`",
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
