//! What was seen, as a scenario for the simulator: what would another target cost?
//!
//! Decides: how arrivals and durations become the files of a scenario.
//! Deliberately absent: writing them, and the simulator.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use tidekeeper_scheduler::{Read, Span, Timestamp};

use super::ledger::Ledger;
use crate::stream::Runs;

/// Refreshes whose reads are remembered.
const READS: usize = 4_096;
/// Rows that one uninterrupted run of arrivals becomes at most: one a second, over a day.
const ROWS: f64 = 86_400.0;
/// Of records whose size nobody has told.
const BYTES: f64 = 1_000.0;

/// What refreshes have read, as the warehouse tells it.
#[derive(Clone, Debug, Default)]
pub(super) struct Volumes(VecDeque<(Timestamp, f64)>);

impl Volumes {
    pub(super) fn read(&mut self, began_at: Timestamp, read: &Read) {
        if self.0.len() == READS {
            self.0.pop_front();
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of one refresh")]
        let bytes = read.bytes as f64;
        if read.records > 0 {
            let arrived = read.newest.unwrap_or(began_at).min(began_at);
            self.0.push_back((arrived, bytes));
        }
    }

    /// Since when none has been forgotten, where some have.
    pub(super) fn since(&self) -> Option<Timestamp> {
        let oldest = self.0.front().filter(|_| self.0.len() == READS);
        oldest.map(|(at, _)| *at)
    }
}

/// `GET /api/v1/report/recording`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Recording {
    pub(crate) seconds: f64,
    pub(crate) warehouses: Vec<RecordedWarehouse>,
    pub(crate) views: Vec<RecordedView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordedWarehouse {
    pub(crate) warehouse: String,
    pub(crate) slots: u32,
    pub(crate) serverless: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecordedView {
    pub(crate) view: String,
    pub(crate) warehouse: String,
    pub(crate) target_lag_seconds: f64,
    pub(crate) probed: bool,
    /// Median of the refreshes, and sigma of their logarithms.
    pub(crate) refresh_seconds: f64,
    pub(crate) refresh_sigma: f64,
    /// Seconds since the recording's start, and bytes.
    pub(crate) arrivals: Vec<(f64, f64)>,
}

/// When what arrived between two moments: from a probe's runs, else from what was read.
pub(super) fn arrivals(
    runs: Option<&Runs>,
    volumes: &Volumes,
    from: Timestamp,
    to: Timestamp,
) -> Vec<(f64, f64)> {
    let within = |at: Timestamp| at >= from && at <= to;
    let second = |at: Timestamp| (at - from).as_secs_f64();
    let reads = volumes.0.iter().filter(|(at, _)| within(*at));
    let Some(runs) = runs else {
        let mut rows: Vec<_> = reads.map(|(at, bytes)| (second(*at), *bytes)).collect();
        rows.sort_by(|one, other| one.0.total_cmp(&other.0));
        return rows;
    };
    let mut moments = Vec::new();
    for (first, last) in runs.spans() {
        let (mut at, last) = (second(first.max(from)), second(last.min(to)));
        let step = ((last - at) / ROWS).max(1.0);
        while at <= last {
            moments.push(at);
            at += step;
        }
    }
    let bytes: f64 = reads.map(|(_, bytes)| *bytes).sum();
    #[expect(clippy::cast_precision_loss, reason = "a number of rows")]
    let rows = moments.len() as f64;
    let each = if bytes > 0.0 { bytes / rows } else { BYTES };
    moments.into_iter().map(|at| (at, each.round())).collect()
}

/// Median and sigma of the logarithms of what refreshes took.
pub(super) fn durations(ledger: &Ledger) -> (f64, f64) {
    let mut seconds: Vec<f64> = ledger.durations().map(Span::as_secs_f64).collect();
    seconds.retain(|seconds| *seconds > 0.0);
    seconds.sort_by(f64::total_cmp);
    let Some(median) = seconds.get(seconds.len() / 2).copied() else {
        return (1.0, 0.0);
    };
    #[expect(clippy::cast_precision_loss, reason = "a number of refreshes")]
    let number = seconds.len() as f64;
    let squares = seconds.iter().map(|each| (each / median).ln().powi(2));
    (median, (squares.sum::<f64>() / number).sqrt())
}

impl Recording {
    /// The files of the scenario, by name; `scenario.toml` is the one to simulate.
    pub(crate) fn files(&self) -> Vec<(String, String)> {
        let mut files = Vec::new();
        let mut scenario = format!(
            "# What was seen, to be edited: what would another target cost?\n\
             # `tidekeeper simulate scenario.toml`\n\
             name = \"recorded\"\nduration = \"{:.0}s\"\nseed = 1\n",
            self.seconds.max(1.0)
        );
        for warehouse in &self.warehouses {
            let name = quoted(&warehouse.warehouse);
            let slots = warehouse.slots;
            scenario += &format!("\n[[warehouses]]\nname = {name}\nslots = {slots}\n");
            if warehouse.serverless {
                scenario += "billing = \"serverless\"\n";
            }
        }
        for (number, view) in self.views.iter().enumerate() {
            let name = quoted(&view.view);
            let warehouse = quoted(&view.warehouse);
            scenario += &format!(
                "\n[[views]]\nname = {name}\nwarehouse = {warehouse}\ntarget_lag = \"{}s\"\n",
                view.target_lag_seconds
            );
            let noise = if view.refresh_sigma > 0.0 {
                let sigma = view.refresh_sigma;
                format!(", noise = \"lognormal\", sigma = {sigma:.3}")
            } else {
                String::new()
            };
            let fixed = view.refresh_seconds;
            scenario += &format!("service = {{ fixed = \"{fixed:.3}s\"{noise} }}\n");
            if view.probed {
                // How often it looks follows from the target lag, also from another one.
                scenario += "probe = { delay = \"200ms\", bytes = false }\n";
            }
            if view.arrivals.is_empty() {
                scenario += "arrivals = { kind = \"silent\" }\n";
                continue;
            }
            let file = format!("arrivals-{}.csv", number + 1);
            scenario += &format!("arrivals = {{ kind = \"csv\", file = \"{file}\" }}\n");
            let mut rows = "t_s,bytes\n".to_owned();
            for (at, bytes) in &view.arrivals {
                // Writing to a string cannot fail.
                let _ = writeln!(rows, "{at:.3},{bytes:.0}");
            }
            files.push((file, rows));
        }
        files.push(("scenario.toml".to_owned(), scenario));
        files
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs(seconds)
    }

    fn read(records: u64, bytes: u64, newest: i64) -> Read {
        Read {
            records,
            skipped: 0,
            bytes,
            newest: Some(at(newest)),
            behind: None,
            reason: None,
        }
    }

    #[test]
    fn bytes_that_were_read_are_spread_over_what_arrived() {
        let mut runs = Runs::default();
        runs.add(at(5), at(5));
        runs.add(at(20), at(22));
        let mut volumes = Volumes::default();
        volumes.read(at(10), &read(1, 100, 5));
        volumes.read(at(30), &read(9, 700, 22));
        volumes.read(at(40), &read(0, 0, 22));
        let rows = [(5.0, 200.0), (20.0, 200.0), (21.0, 200.0), (22.0, 200.0)];
        assert_eq!(arrivals(Some(&runs), &volumes, at(0), at(60)), rows);
        let rows = [(5.0, 100.0), (22.0, 700.0)];
        assert_eq!(arrivals(None, &volumes, at(0), at(60)), rows);
        assert_eq!(arrivals(None, &volumes, at(10), at(60)), [(12.0, 700.0)]);
    }

    #[test]
    fn a_recording_is_a_scenario() {
        let view = |name: &str, arrivals| RecordedView {
            view: name.to_owned(),
            warehouse: "rt \"x\"".to_owned(),
            target_lag_seconds: 30.0,
            probed: true,
            refresh_seconds: 2.5,
            refresh_sigma: 0.2,
            arrivals,
        };
        let recording = Recording {
            seconds: 600.0,
            warehouses: vec![RecordedWarehouse {
                warehouse: "rt \"x\"".to_owned(),
                slots: 4,
                serverless: true,
            }],
            views: vec![
                view(
                    "busy",
                    (0..60).map(|n| (f64::from(n) * 10.0, 500.0)).collect(),
                ),
                view("silent", Vec::new()),
            ],
        };
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in recording.files() {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let path = directory.path().join("scenario.toml");
        let scenario = tidekeeper_simulator::Scenario::load(&path).unwrap();
        assert_eq!(scenario.views.len(), 2);
        let probe = scenario.views[0].probe.unwrap();
        assert_eq!((probe.every, probe.bytes), (Span::from_secs(3), false));
        // What the page tells to do.
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("target_lag = \"30s\"", "target_lag = \"10s\"");
        let scenario = tidekeeper_simulator::Scenario::parse(&text, &path).unwrap();
        assert_eq!(scenario.views[0].probe.unwrap().every, Span::from_secs(1));
    }

    #[test]
    fn a_stream_that_never_pauses_is_recorded_by_the_second() {
        let mut runs = Runs::default();
        runs.add(at(0), at(86_400));
        let rows = arrivals(Some(&runs), &Volumes::default(), at(0), at(86_400));
        assert!((86_400..=86_401).contains(&rows.len()), "{}", rows.len());
    }
}
