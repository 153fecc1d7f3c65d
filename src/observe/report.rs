//! The answer to "how fresh is it, by whom, and what would Tidekeeper do?"
//!
//! Decides: figures, units and wording; the JSON is an interface. Shares are of 1, rates per
//! hour; what is unknown is `null`.
//! Deliberately absent: HTML (`http::estate`).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidekeeper_scheduler::{Mode, Snapshot, Span, Timestamp, ViewId, WarehouseId};

use crate::clock::moment;

use super::ledger::{Freshness, Ledger, Who};
use super::recording::{self, RecordedView, RecordedWarehouse, Recording};
use super::{Arrivals, Estate, KEPT, Observer, View, Warehouse};

/// Users that a sentence names.
const NAMED: usize = 3;
const DAY: f64 = 86_400.0;
const HOUR: f64 = 3_600.0;

/// `GET /api/v1/report`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// When it was written.
    pub(crate) at: Option<String>,
    pub(crate) warehouses: Vec<WarehouseReport>,
    pub(crate) views: Vec<ViewReport>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct WarehouseReport {
    pub(crate) warehouse: String,
    /// Of what `seen` tells; a forecast tells of all the time since then.
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
    pub(crate) seen: Use,
    /// `null` unless all its views are only observed, and were seen to be refreshed.
    pub(crate) forecast: Option<Use>,
    pub(crate) explain: String,
}

/// What refreshes ask of a warehouse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) refreshes_per_hour: f64,
    pub(crate) busy_seconds_per_hour: f64,
    /// Share of the time for which refreshes kept it awake; `null` where that is not billed.
    pub(crate) awake_share: Option<f64>,
    /// Where an hour's price is configured.
    pub(crate) price_per_day: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ViewReport {
    pub(crate) view: String,
    pub(crate) warehouse: String,
    /// `active` or `observe`.
    pub(crate) mode: String,
    pub(crate) target_lag_seconds: f64,
    /// What is compared with the target: `unread_age` where arrivals are known, else
    /// `clock_lag`.
    pub(crate) measure: String,
    /// Up to when it is known who has refreshed it.
    pub(crate) until: Option<String>,
    pub(crate) seen: Service,
    /// What Tidekeeper would do; `null` where it does, and while no refresh was seen.
    pub(crate) forecast: Option<Service>,
    pub(crate) explain: String,
}

/// How a view is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Share of the known time within the target.
    pub(crate) in_target: Option<f64>,
    pub(crate) known_seconds: f64,
    pub(crate) refreshes: u64,
    pub(crate) failed: u64,
    /// Of the refreshes: by AUTO REFRESH, by other people's statements, by Tidekeeper.
    pub(crate) auto: u64,
    pub(crate) statement: u64,
    pub(crate) tidekeeper: u64,
    /// Of other people's statements, by database user.
    pub(crate) users: BTreeMap<String, u64>,
    pub(crate) refreshes_per_hour: f64,
    pub(crate) mean_refresh_seconds: Option<f64>,
}

impl Observer {
    /// Everything up to now.
    pub(crate) fn report(&self) -> Report {
        let now = self.clock.now();
        let rehearsed = std::sync::Arc::clone(&self.rehearsed.borrow());
        let mut estate = self.estate();
        estate.settled_at = None;
        estate.settle(now);
        Report {
            at: moment(now),
            warehouses: estate
                .warehouses
                .iter()
                .map(|(id, warehouse)| estate.warehouse(id, warehouse, &rehearsed, now))
                .collect(),
            views: estate
                .views
                .iter()
                .map(|(id, view)| estate.view(id, view, now))
                .collect(),
        }
    }

    /// What was seen in the last 24 h, or since the start.
    pub(crate) fn recording(&self) -> Recording {
        let now = self.clock.now();
        let estate = self.estate();
        let since = estate.warehouses.values().map(|warehouse| warehouse.since);
        let from = since.min().unwrap_or(now).max(now - KEPT);
        let views = estate.views.values();
        let unprobed = views.filter(|view| view.stream.is_none());
        let from = unprobed
            .filter_map(|view| view.volumes.since())
            .fold(from, Timestamp::max);
        let warehouses = estate
            .warehouses
            .iter()
            .map(|(id, warehouse)| RecordedWarehouse {
                warehouse: id.to_string(),
                slots: warehouse.slots,
                serverless: warehouse.wake_minimum.is_some(),
            });
        let views = estate.views.iter().filter(|(_, view)| !view.follows);
        let views = views.map(|(id, view)| {
            let runs = estate.arrivals(view).and_then(|known| known.known(now));
            let runs = runs.map(|(runs, _)| runs);
            let (refresh_seconds, refresh_sigma) = recording::durations(&view.seen);
            RecordedView {
                view: id.to_string(),
                warehouse: view.warehouse.to_string(),
                target_lag_seconds: view.target_lag.as_secs_f64(),
                probed: runs.is_some(),
                refresh_seconds,
                refresh_sigma,
                arrivals: recording::arrivals(runs, &view.volumes, from, now),
            }
        });
        Recording {
            seconds: (now - from).as_secs_f64(),
            warehouses: warehouses.collect(),
            views: views.collect(),
        }
    }
}

impl View {
    /// Only observed, and how long its refreshes take is known.
    fn is_rehearsed(&self) -> bool {
        let durations = self.seen.durations().len();
        self.mode == Mode::Observe && (durations > 0 || self.last_duration.is_some())
    }

    /// Up to when it is known who has refreshed it.
    pub(super) fn told_until(&self, warehouse: Option<&Warehouse>, now: Timestamp) -> Timestamp {
        let read = warehouse.and_then(|warehouse| warehouse.records_until);
        match self.mode {
            Mode::Active => now,
            Mode::Observe => read.unwrap_or(self.since).min(now).max(self.since),
        }
    }
}

impl Estate {
    fn arrivals(&self, view: &View) -> Option<&Arrivals> {
        self.streams.get(view.stream.as_ref()?)
    }

    pub(super) fn view(&self, id: &ViewId, view: &View, now: Timestamp) -> ViewReport {
        let known = self.arrivals(view).and_then(|known| known.known(now));
        let looked_at = known.map_or(now, |(_, at)| at.min(now));
        let arrivals = known.map(|(runs, _)| runs);
        let warehouse = self.warehouses.get(&view.warehouse);
        let until = view.told_until(warehouse, now);
        let seen = service(
            &view.seen,
            view.seen.freshness(until.min(looked_at), arrivals),
            until - view.since,
        );
        let forecast = view.is_rehearsed().then(|| {
            let freshness = view.rehearsed.freshness(looked_at, arrivals);
            service(&view.rehearsed, freshness, now - view.since)
        });
        ViewReport {
            view: id.to_string(),
            warehouse: view.warehouse.to_string(),
            mode: match view.mode {
                Mode::Active => "active",
                Mode::Observe => "observe",
            }
            .to_owned(),
            target_lag_seconds: view.target_lag.as_secs_f64(),
            measure: if arrivals.is_some() {
                "unread_age"
            } else {
                "clock_lag"
            }
            .to_owned(),
            explain: explain(
                view.target_lag,
                unread_records(view, warehouse).as_deref(),
                &seen,
                forecast.as_ref(),
            ),
            until: moment(until),
            seen,
            forecast,
        }
    }

    fn warehouse(
        &self,
        id: &WarehouseId,
        warehouse: &Warehouse,
        rehearsed: &Snapshot,
        now: Timestamp,
    ) -> WarehouseReport {
        let views = || self.views.values().filter(|view| view.warehouse == *id);
        let observed = views().all(|view| view.mode == Mode::Observe);
        let until = if observed {
            let read = warehouse.records_until.unwrap_or(warehouse.since);
            read.min(now).max(warehouse.since)
        } else {
            now
        };
        let length = (until - warehouse.since).as_secs_f64();
        let price = warehouse.price_per_hour;
        let kept = |view: &View, until: Timestamp| (until - view.since).as_secs_f64();
        let ledgers = views().map(|view| (&view.seen, kept(view, until)));
        let seen = Use::of(ledgers, length, price, || {
            warehouse.wake_minimum?;
            Some(warehouse.awake.total(until).as_secs_f64())
        });
        let rehearsed_all = views().all(View::is_rehearsed);
        let forecast = rehearsed_all.then(|| {
            let length = (now - warehouse.since).as_secs_f64();
            let ledgers = views().map(|view| (&view.rehearsed, kept(view, now)));
            Use::of(ledgers, length, price, || {
                let mut warehouses = rehearsed.warehouses.iter();
                let played = warehouses.find(|played| played.warehouse == *id)?;
                Some(played.awake?.total.as_secs_f64())
            })
        });
        let auto = views().map(|view| view.seen.busy_by(Who::Auto));
        let auto = auto.fold(Span::ZERO, |sum, busy| sum + busy);
        WarehouseReport {
            warehouse: id.to_string(),
            since: moment(warehouse.since),
            until: moment(until),
            explain: explain_use(length, &seen, forecast.as_ref(), auto),
            seen,
            forecast,
        }
    }
}

fn service(ledger: &Ledger, freshness: Freshness, length: Span) -> Service {
    let refreshes = ledger.refreshes();
    Service {
        in_target: freshness.share(),
        known_seconds: freshness.known.as_secs_f64(),
        refreshes,
        failed: ledger.failed(),
        auto: ledger.refreshes_by(Who::Auto),
        statement: ledger.refreshes_by(Who::Statement),
        tidekeeper: ledger.refreshes_by(Who::Tidekeeper),
        users: ledger
            .users()
            .iter()
            .map(|(user, number)| (user.to_string(), *number))
            .collect(),
        refreshes_per_hour: rate(float(refreshes), length.as_secs_f64()),
        mean_refresh_seconds: (refreshes > 0)
            .then(|| ledger.busy().as_secs_f64() / float(refreshes)),
    }
}

impl Use {
    fn of<'a>(
        ledgers: impl Iterator<Item = (&'a Ledger, f64)> + Clone,
        length: f64,
        price_per_hour: Option<f64>,
        awake: impl FnOnce() -> Option<f64>,
    ) -> Self {
        // A view that was added, or made active, has a ledger of its own age.
        let refreshes = ledgers
            .clone()
            .map(|(ledger, kept)| rate(float(ledger.refreshes()), kept));
        let busy = ledgers.map(|(ledger, kept)| rate(ledger.busy().as_secs_f64(), kept));
        let awake_share = awake().filter(|_| length > 0.0);
        let awake_share = awake_share.map(|awake| (awake / length).min(1.0));
        Self {
            refreshes_per_hour: refreshes.sum(),
            busy_seconds_per_hour: busy.sum(),
            awake_share,
            price_per_day: awake_share
                .zip(price_per_hour)
                .map(|(share, price)| share * 24.0 * price),
        }
    }
}

fn rate(number: f64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        number / seconds * HOUR
    } else {
        0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of refreshes")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Why no more is known of who refreshes a view.
fn unread_records(view: &View, warehouse: Option<&Warehouse>) -> Option<String> {
    let warehouse = warehouse.filter(|_| view.mode == Mode::Observe)?;
    if let Some(failure) = &warehouse.records_failure {
        return Some(format!("the warehouse's records cannot be read: {failure}"));
    }
    match warehouse.records_until {
        _ if warehouse.records_off => {
            Some("`outcomes = \"off\"` hides who refreshes it".to_owned())
        }
        Some(_) => None,
        None => Some("the warehouse's records have not been read yet".to_owned()),
    }
}

fn explain(target: Span, why: Option<&str>, seen: &Service, forecast: Option<&Service>) -> String {
    let why = why.map_or_else(String::new, |why| format!("; {why}"));
    if seen.refreshes == 0 && seen.in_target.is_none() {
        return format!("no refresh of it is known{why}");
    }
    let mut by = Vec::new();
    for (who, number) in [
        ("AUTO REFRESH".to_owned(), seen.auto),
        (others(seen), seen.statement),
        ("Tidekeeper".to_owned(), seen.tidekeeper),
    ] {
        if number > 0 {
            by.push(who);
        }
    }
    let by = if by.is_empty() {
        "nobody refreshed it".to_owned()
    } else {
        let often = seen.refreshes_per_hour;
        format!("refreshed {often:.1} times an hour by {}", by.join(" and "))
    };
    let mut text = match seen.in_target {
        Some(share) => format!("within {target} for {} of the time; {by}", percent(share)),
        None => format!("how fresh it was is not known; {by}"),
    };
    text += &why;
    if seen.failed > 0 {
        text += &format!(", {} of {} failed", seen.failed, seen.refreshes);
    }
    if let Some((forecast, share)) = forecast.and_then(|f| Some((f, f.in_target?))) {
        text += &format!(
            "; Tidekeeper: {} of the time, {:.1} times an hour",
            percent(share),
            forecast.refreshes_per_hour
        );
    }
    text
}

/// Whose statements refresh it: the most frequent first.
fn others(seen: &Service) -> String {
    let mut users: Vec<(&String, &u64)> = seen.users.iter().collect();
    users.sort_by_key(|(_, number)| Reverse(**number));
    let named: Vec<&str> = users
        .iter()
        .take(NAMED)
        .map(|(user, _)| user.as_str())
        .collect();
    match (named.len(), users.len()) {
        (0, _) => "others".to_owned(),
        (some, all) if some < all => format!("{} and {} more", named.join(", "), all - some),
        _ => named.join(", "),
    }
}

fn explain_use(length: f64, seen: &Use, forecast: Option<&Use>, auto: Span) -> String {
    let mut text = used(seen);
    if let Some(forecast) = forecast {
        text += &format!("; Tidekeeper: {}", used(forecast));
    }
    if auto > Span::ZERO && length > 0.0 {
        let a_day = auto.as_secs_f64() / length * DAY;
        text += &format!("; AUTO REFRESH alone: {a_day:.0} s of work a day");
    }
    text
}

fn used(of: &Use) -> String {
    let mut text = format!(
        "{:.1} refreshes and {:.0} s of work an hour",
        of.refreshes_per_hour, of.busy_seconds_per_hour
    );
    if let Some(share) = of.awake_share {
        text += &format!(", awake {} of the time", percent(share));
    }
    if let Some(price) = of.price_per_day {
        text += &format!(", {price:.2} a day");
    }
    text
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

impl Report {
    /// As a table for people.
    pub(crate) fn text(&self) -> String {
        let widest = self.views.iter().map(|view| view.view.chars().count());
        let name = widest.max().unwrap_or(4).clamp(4, 40);
        let mut text = format!(
            "{:name$}  {:>9}  {:>17}  {:>17}  {:>17}\n{:name$}  {:>9}  {:>8} {:>8}  {:>8} {:>8}  {:>8} {:>8}\n",
            "",
            "",
            "in target",
            "refreshes an hour",
            "seconds each",
            "view",
            "target",
            "seen",
            "forecast",
            "seen",
            "forecast",
            "seen",
            "forecast"
        );
        let share = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
        let number =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |n| format!("{n:.1}"));
        for view in &self.views {
            let forecast = view.forecast.as_ref();
            text += &format!(
                "{:name$}  {:>9}  {:>8} {:>8}  {:>8} {:>8}  {:>8} {:>8}\n",
                view.view,
                Span::from_secs_f64(view.target_lag_seconds).to_string(),
                share(view.seen.in_target),
                share(forecast.and_then(|forecast| forecast.in_target)),
                number(Some(view.seen.refreshes_per_hour)),
                number(forecast.map(|forecast| forecast.refreshes_per_hour)),
                number(view.seen.mean_refresh_seconds),
                number(forecast.and_then(|forecast| forecast.mean_refresh_seconds)),
            );
        }
        for warehouse in &self.warehouses {
            text += &format!("\n{}: {}\n", warehouse.warehouse, warehouse.explain);
        }
        for view in &self.views {
            text += &format!("{}: {}\n", view.view, view.explain);
        }
        text
    }
}
