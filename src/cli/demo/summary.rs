//! What the demo says at its end, recomputed from the lab's own history.
//!
//! Decides: what a cycle is to the judge: from one finished refresh's submit to the next
//! one's end. Counting starts after each view's second refresh.
//! Deliberately absent: what the daemon thinks of itself, but for the verdict `infeasible`
//! and the calls that it made for each view.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// `GET /__lab/history`, as far as it is needed here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct History {
    pub(super) statements: Vec<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Statement {
    pub(super) view: Option<String>,
    pub(super) status: String,
    pub(super) submitted_s: f64,
    pub(super) finished_s: Option<f64>,
    pub(super) records: Option<u64>,
}

/// `GET /api/v1/views`, as far as it is needed here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Views {
    pub(super) views: Vec<View>,
}

#[derive(Debug, Deserialize)]
pub(super) struct View {
    pub(super) view: String,
    pub(super) state: String,
    pub(super) infeasible: bool,
    pub(super) reachable_target_lag_seconds: Option<f64>,
    pub(super) clock_lag_seconds: Option<f64>,
    pub(super) target_lag_seconds: Option<f64>,
    pub(super) refreshes: u64,
    pub(super) api_calls: u64,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) duration_s: f64,
    /// Pairs of statements of one view that the lab saw at once.
    pub(super) overlaps: usize,
    pub(super) views: Vec<ViewSummary>,
}

#[derive(Debug, PartialEq, Serialize)]
pub(super) struct ViewSummary {
    pub(super) view: String,
    pub(super) target_lag_s: f64,
    pub(super) cycles: usize,
    pub(super) cycles_in_target: usize,
    pub(super) peak_lag_p50_s: Option<f64>,
    pub(super) peak_lag_p99_s: Option<f64>,
    pub(super) refreshes: usize,
    pub(super) no_data: usize,
    pub(super) api_calls: u64,
    pub(super) infeasible: bool,
    /// The target that an infeasible view could hold, as the daemon has observed.
    #[serde(skip)]
    pub(super) reachable_s: Option<f64>,
}

impl Summary {
    /// `targets` names the views of the demo with their targets in seconds.
    pub(super) fn new(
        duration_s: f64,
        targets: &[(String, f64)],
        history: &History,
        views: &Views,
    ) -> Self {
        let mut by_view: BTreeMap<&str, Vec<&Statement>> = BTreeMap::new();
        for statement in &history.statements {
            if let Some(view) = &statement.view {
                by_view.entry(view).or_default().push(statement);
            }
        }
        for statements in by_view.values_mut() {
            statements.sort_by(|a, b| a.submitted_s.total_cmp(&b.submitted_s));
        }
        let summaries = targets.iter().map(|(view, target)| {
            let statements = by_view.get(view.as_str()).map_or(&[][..], Vec::as_slice);
            let told = views.views.iter().find(|told| told.view == *view);
            ViewSummary::new(view, *target, statements, told)
        });
        Self {
            duration_s,
            overlaps: by_view.values().map(|view| overlaps(view)).sum(),
            views: summaries.collect(),
        }
    }
}

impl ViewSummary {
    fn new(view: &str, target: f64, statements: &[&Statement], told: Option<&View>) -> Self {
        let finished: Vec<(f64, f64)> = statements
            .iter()
            .filter(|statement| statement.status == "FINISHED")
            .filter_map(|statement| Some((statement.submitted_s, statement.finished_s?)))
            .collect();
        let mut peaks: Vec<f64> = finished
            .windows(2)
            .skip(1)
            .filter_map(|pair| Some(pair.last()?.1 - pair.first()?.0))
            .collect();
        peaks.sort_by(f64::total_cmp);
        Self {
            view: view.to_owned(),
            target_lag_s: target,
            cycles: peaks.len(),
            cycles_in_target: peaks.iter().filter(|peak| **peak <= target).count(),
            peak_lag_p50_s: quantile(&peaks, 50),
            peak_lag_p99_s: quantile(&peaks, 99),
            refreshes: finished.len(),
            no_data: statements
                .iter()
                .filter(|statement| statement.status == "FINISHED" && statement.records == Some(0))
                .count(),
            api_calls: told.map_or(0, |told| told.api_calls),
            infeasible: told.is_some_and(|told| told.infeasible),
            reachable_s: told.and_then(|told| told.reachable_target_lag_seconds),
        }
    }
}

/// How many statements began before an earlier one had ended.
fn overlaps(statements: &[&Statement]) -> usize {
    let mut busy_until = f64::NEG_INFINITY;
    let mut count = 0;
    for statement in statements {
        count += usize::from(statement.submitted_s < busy_until);
        busy_until = busy_until.max(statement.finished_s.unwrap_or(f64::INFINITY));
    }
    count
}

/// Nearest rank, `percent` of 100, over sorted values.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (percent * sorted.len()).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:>7} {:>11} {:>9} {:>9} {:>9} {:>7} {:>6}",
            "view", "target", "in target", "p50 lag", "p99 lag", "refreshes", "no data", "calls"
        )?;
        let seconds =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |s| format!("{s:.2}s"));
        for view in &self.views {
            writeln!(
                f,
                "{:<22} {:>7} {:>11} {:>9} {:>9} {:>9} {:>7} {:>6}",
                view.view,
                format!("{}s", view.target_lag_s),
                format!("{}/{}", view.cycles_in_target, view.cycles),
                seconds(view.peak_lag_p50_s),
                seconds(view.peak_lag_p99_s),
                view.refreshes,
                view.no_data,
                view.api_calls,
            )?;
            if view.infeasible {
                writeln!(
                    f,
                    "  infeasible: its refresh is too slow for this target; it could hold {}",
                    seconds(view.reachable_s)
                )?;
            }
        }
        let feasible = || self.views.iter().filter(|view| !view.infeasible);
        let cycles: usize = feasible().map(|view| view.cycles).sum();
        let held: usize = feasible().map(|view| view.cycles_in_target).sum();
        writeln!(
            f,
            "\n{held} of {cycles} cycles of feasible views in target; \
             {} times two refreshes of one view at once",
            self.overlaps
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(submitted_s: f64, finished_s: f64) -> Statement {
        Statement {
            view: Some("v".to_owned()),
            status: "FINISHED".to_owned(),
            submitted_s,
            finished_s: Some(finished_s),
            records: Some(0),
        }
    }

    fn summary(statements: Vec<Statement>) -> Summary {
        let targets = [("v".to_owned(), 5.0)];
        Summary::new(60.0, &targets, &History { statements }, &Views::default())
    }

    #[test]
    fn cycles_count_from_the_second_refresh_on() {
        let history = (0..4).map(|i| statement(f64::from(i) * 4.0, f64::from(i) * 4.0 + 0.5));
        let summary = summary(history.collect());
        let view = &summary.views[0];
        assert_eq!(
            (view.refreshes, view.cycles, view.cycles_in_target),
            (4, 2, 2)
        );
        assert_eq!(view.peak_lag_p99_s, Some(4.5));
        assert_eq!(summary.overlaps, 0);
    }

    #[test]
    fn a_late_refresh_is_a_missed_cycle() {
        let summary = summary(vec![
            statement(0.0, 0.5),
            statement(3.0, 3.5),
            statement(7.0, 8.5),
        ]);
        assert_eq!(
            (summary.views[0].cycles, summary.views[0].cycles_in_target),
            (1, 0)
        );
    }

    #[test]
    fn two_statements_at_once_are_an_overlap() {
        let summary = summary(vec![statement(0.0, 5.0), statement(4.0, 6.0)]);
        assert_eq!(summary.overlaps, 1);
    }

    #[test]
    fn a_view_that_never_ran_is_reported_with_nothing() {
        let summary = summary(Vec::new());
        assert_eq!(summary.views[0].refreshes, 0);
        assert_eq!(summary.views[0].peak_lag_p50_s, None);
    }
}
