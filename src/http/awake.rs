//! What keeping a workgroup awake costs: fields for programs, a sentence for people.
//!
//! Decides: wording and units. Money is in the operator's currency, and only told where its
//! price is configured.
//! Deliberately absent: the estimate itself (`cost`).

use serde::Serialize;
use tidekeeper_scheduler::{Awake, Span, Timestamp, ViewId, WarehouseSnapshot};

use super::explain::span;
use crate::clock::moment;
use crate::cost::{Cheaper, Estimate};

/// So many minimums must have passed before a measured share says anything.
const MEASURED_AFTER: i64 = 10;
/// This and more of a day is all of it.
const ALL_DAY: Span = Span::from_secs(86_400 - 60);
/// Names of views in a sentence; more are counted.
const NAMED: usize = 3;

/// Of a warehouse that is billed while it is awake.
#[derive(Clone, Debug, Serialize)]
pub(super) struct AwakeReport {
    /// Up to when the latest statement keeps it awake; `null` while it sleeps.
    until: Option<String>,
    total_seconds: f64,
    /// Of the last `day_seconds`: 24 h, or since the start.
    awake_in_day_seconds: f64,
    day_seconds: f64,
    /// `null` until it has run long enough to tell.
    share: Option<f64>,
    wake_minimum_seconds: f64,
    price_per_hour: Option<f64>,
    estimate: Option<EstimateReport>,
    pub(super) explain: String,
}

#[derive(Clone, Debug, Serialize)]
struct EstimateReport {
    awake_seconds_per_day: f64,
    price_per_day: Option<f64>,
    kept_awake_by: Vec<String>,
    longer_target_lag: Option<CheaperReport>,
    /// What it saves while the streams are silent.
    probe: Option<CheaperReport>,
}

#[derive(Clone, Debug, Serialize)]
struct CheaperReport {
    views: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_lag_seconds: Option<f64>,
    saves_seconds_per_day: f64,
    saves_price_per_day: Option<f64>,
}

impl AwakeReport {
    pub(super) fn new(
        warehouse: &WarehouseSnapshot,
        estimate: Option<&Estimate>,
        price_per_hour: Option<f64>,
        now: Timestamp,
    ) -> Option<Self> {
        let awake = warehouse.awake?;
        Some(Self {
            until: awake.until.and_then(moment),
            total_seconds: awake.total.as_secs_f64(),
            awake_in_day_seconds: awake.in_day.as_secs_f64(),
            day_seconds: awake.day.as_secs_f64(),
            share: share(&awake),
            wake_minimum_seconds: awake.minimum.as_secs_f64(),
            price_per_hour,
            estimate: estimate.map(|estimate| EstimateReport {
                awake_seconds_per_day: estimate.awake.as_secs_f64(),
                price_per_day: price(estimate.awake, price_per_hour),
                kept_awake_by: names(&estimate.kept_by),
                longer_target_lag: cheaper(estimate.longer_target.as_ref(), price_per_hour),
                probe: cheaper(estimate.probe.as_ref(), price_per_hour),
            }),
            explain: explain(&awake, estimate, price_per_hour, now),
        })
    }
}

fn share(awake: &Awake) -> Option<f64> {
    let long_enough = awake.day >= awake.minimum * MEASURED_AFTER;
    long_enough.then(|| awake.in_day.as_secs_f64() / awake.day.as_secs_f64())
}

fn price(time: Span, per_hour: Option<f64>) -> Option<f64> {
    per_hour.map(|price| price * time.as_secs_f64() / 3_600.0)
}

fn names(views: &[ViewId]) -> Vec<String> {
    views.iter().map(ToString::to_string).collect()
}

fn cheaper(change: Option<&Cheaper>, per_hour: Option<f64>) -> Option<CheaperReport> {
    change.map(|change| CheaperReport {
        views: names(&change.views),
        target_lag_seconds: change.target_lag.map(Span::as_secs_f64),
        saves_seconds_per_day: change.saves.as_secs_f64(),
        saves_price_per_day: price(change.saves, per_hour),
    })
}

fn explain(
    awake: &Awake,
    estimate: Option<&Estimate>,
    per_hour: Option<f64>,
    now: Timestamp,
) -> String {
    let mut sentence = match awake.until {
        // What others run there is not known here.
        None => "Tidekeeper lets it sleep".to_owned(),
        Some(until) if until <= now => "awake".to_owned(),
        Some(until) => format!("awake for another {} at least", span(until - now)),
    };
    if let Some(share) = share(awake) {
        let percent = 100.0 * share;
        sentence += &format!(
            "; kept awake {percent:.0} % of the last {}",
            span(awake.day)
        );
    }
    let Some(estimate) = estimate else {
        return sentence;
    };
    let time = if estimate.awake >= ALL_DAY {
        "all day".to_owned()
    } else {
        format!("about {} a day", span(estimate.awake))
    };
    sentence += &format!(
        "; its targets keep it awake {time}{}",
        money(estimate.awake, per_hour)
    );
    if !estimate.kept_by.is_empty() {
        sentence += &format!(", because of {}", listed(&estimate.kept_by));
    }
    sentence += &advice(estimate, per_hour, None);
    sentence
}

/// For the view that is concerned: what it costs, and what would be cheaper.
pub(super) fn of_view(
    view: &ViewId,
    warehouse: &str,
    estimate: &Estimate,
    per_hour: Option<f64>,
) -> Option<String> {
    let concerns = |change: Option<&Cheaper>| change.is_some_and(|it| it.views.contains(view));
    let advised = concerns(estimate.longer_target.as_ref()) || concerns(estimate.probe.as_ref());
    if !advised || !estimate.kept_by.contains(view) {
        return None;
    }
    let time = if estimate.awake >= ALL_DAY {
        "all day".to_owned()
    } else {
        format!("about {} a day", span(estimate.awake))
    };
    Some(format!(
        "; it keeps warehouse {warehouse} awake, {time}{}{}",
        money(estimate.awake, per_hour),
        advice(estimate, per_hour, Some(view))
    ))
}

/// What would be cheaper; `view` is who is told so.
fn advice(estimate: &Estimate, per_hour: Option<f64>, view: Option<&ViewId>) -> String {
    let saves =
        |change: &Cheaper| format!("{}{}", span(change.saves), money(change.saves, per_hour));
    let whose = |change: &Cheaper| match view {
        Some(view) if change.views == [view.clone()] => String::new(),
        Some(_) | None => format!(" for {}", listed(&change.views)),
    };
    let longer = estimate.longer_target.as_ref().map(|change| {
        let target_lag = change.target_lag.unwrap_or(Span::ZERO);
        let (lag, whose) = (span(target_lag), whose(change));
        format!(
            "a target lag of {lag}{whose} would save {} a day",
            saves(change)
        )
    });
    let probe = estimate.probe.as_ref().map(|change| {
        let whose = whose(change);
        format!("an arrival probe{whose} up to {} a day", saves(change))
    });
    let changes: Vec<String> = longer.into_iter().chain(probe).collect();
    if changes.is_empty() {
        return String::new();
    }
    format!(": {}", changes.join(", "))
}

fn money(time: Span, per_hour: Option<f64>) -> String {
    price(time, per_hour).map_or_else(String::new, |price| format!(" ({price:.2})"))
}

fn listed(views: &[ViewId]) -> String {
    let named: Vec<&str> = views.iter().take(NAMED).map(ViewId::as_str).collect();
    match views.len().saturating_sub(NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
