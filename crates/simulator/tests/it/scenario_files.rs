//! Scenario files: those that come along run, and mistakes are shown where they stand.

use std::path::Path;

use tidekeeper_simulator::{Nobody, Policy, Report, Scenario, run};

#[test]
fn every_scenario_that_comes_along_runs_without_violations() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    for entry in std::fs::read_dir(directory).unwrap() {
        let scenario = Scenario::load(&entry.unwrap().path()).unwrap();
        let runs: Vec<_> = Policy::ALL
            .into_iter()
            .map(|policy| run(&scenario, scenario.seed, policy, &mut Nobody))
            .collect();
        println!("{}", Report::new(&scenario, scenario.seed, &runs));
        for run in runs {
            assert_eq!(run.violations, [""; 0], "{}", scenario.name);
        }
    }
}
