//! The answer to "how fresh is it, by whom, and what would Tidekeeper do?"
//!
//! Decides: figures and units; the JSON is an interface. Shares are of 1, rates per hour; what
//! is unknown is `null`.
//! Deliberately absent: wording (`words`), HTML (`http::estate`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidekeeper_scheduler::{Mode, Span, Timestamp, ViewId, WarehouseId};

use crate::clock::moment;

use super::estate::{Estate, View, Warehouse, arrivals};
use super::ledger::{AwakeLedger, Freshness, Ledger, Who};
use super::recording::{self, RecordedView, RecordedWarehouse, Recording};
use super::{KEPT, Observer, words};

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
    /// What it would be with Tidekeeper for all its views, but those that were never seen to
    /// be refreshed; `null` where none is only observed.
    pub(crate) forecast: Option<Use>,
    pub(crate) saves: Saves,
    pub(crate) explain: String,
}

/// What refreshes ask of a warehouse.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Use {
    pub(crate) refreshes_per_hour: Option<f64>,
    pub(crate) busy_seconds_per_hour: Option<f64>,
    /// Share of the time for which refreshes kept it awake, and in a forecast the looks at the
    /// records that Tidekeeper would make; `null` where that is not billed.
    pub(crate) awake_share: Option<f64>,
    /// Where an hour's price is configured.
    pub(crate) price_per_day: Option<f64>,
}

/// What was seen less the forecast: less than nothing where Tidekeeper would do more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Saves {
    pub(crate) refreshes_per_hour: Option<f64>,
    pub(crate) busy_seconds_per_hour: Option<f64>,
    pub(crate) awake_seconds_per_day: Option<f64>,
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
    /// What was seen less the forecast.
    pub(crate) saves_refreshes_per_hour: Option<f64>,
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
    pub(crate) refreshes_per_hour: Option<f64>,
    pub(crate) mean_refresh_seconds: Option<f64>,
}

impl Observer {
    /// Everything up to now.
    pub(crate) fn report(&self) -> Report {
        let now = self.clock.now();
        let mut estate = self.estate();
        estate.settled_at = None;
        estate.settle(now);
        Report {
            at: moment(now),
            warehouses: estate
                .warehouses
                .iter()
                .map(|(id, warehouse)| estate.warehouse(id, warehouse, now))
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
        let unprobed = views.filter(|view| view.streams.is_empty());
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
        let views = estate
            .views
            .iter()
            .filter(|(_, view)| view.after.is_empty());
        let views = views.map(|(id, view)| {
            let known = arrivals(&estate.streams, view, now);
            let runs = known.and_then(|(runs, _)| runs.first().copied());
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
    /// How long its refreshes take is known.
    pub(super) fn lasts_as_seen(&self) -> bool {
        self.seen.durations().len() > 0 || self.last_duration.is_some()
    }

    /// Up to when it is known who has refreshed it.
    pub(super) fn told_until(&self, warehouse: Option<&Warehouse>, now: Timestamp) -> Timestamp {
        let read = warehouse.and_then(|warehouse| warehouse.records_until);
        match self.mode {
            Mode::Active => now,
            Mode::Observe => read.unwrap_or(self.since).min(now).max(self.since),
        }
    }

    /// For how long it is known who has refreshed it.
    fn told(&self, warehouse: Option<&Warehouse>, now: Timestamp) -> Span {
        self.told_until(warehouse, now) - self.since - self.seen.untold()
    }

    /// For how long Tidekeeper's own refreshes of it have been rehearsed.
    fn rehearsed_for(&self, warehouse: Option<&Warehouse>, now: Timestamp) -> Span {
        let since = warehouse.and_then(|warehouse| warehouse.rehearsed_since);
        since.map_or(Span::ZERO, |since| now - since.max(self.since))
    }
}

impl Estate {
    pub(super) fn view(&self, id: &ViewId, view: &View, now: Timestamp) -> ViewReport {
        let known = arrivals(&self.streams, view, now);
        let looked_at = known.as_ref().map_or(now, |(_, at)| (*at).min(now));
        let arrivals = known.as_ref().map(|(runs, _)| runs.as_slice());
        let warehouse = self.warehouses.get(&view.warehouse);
        let until = view.told_until(warehouse, now);
        let seen = service(
            &view.seen,
            view.seen.freshness(until.min(looked_at), arrivals),
            view.told(warehouse, now),
        );
        let rehearsed = view.mode == Mode::Observe && view.lasts_as_seen();
        let forecast = rehearsed.then(|| {
            let freshness = view.rehearsed.freshness(looked_at, arrivals);
            let length = view.rehearsed_for(warehouse, now);
            service(&view.rehearsed, freshness, length)
        });
        let often = forecast.as_ref().and_then(|of| of.refreshes_per_hour);
        let saves = less(seen.refreshes_per_hour, often);
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
            explain: words::of_view(
                view.target_lag,
                unread_records(view, warehouse).as_deref(),
                &seen,
                forecast.as_ref(),
                saves,
            ),
            until: moment(until),
            seen,
            forecast,
            saves_refreshes_per_hour: saves,
        }
    }

    pub(super) fn warehouse(
        &self,
        id: &WarehouseId,
        warehouse: &Warehouse,
        now: Timestamp,
    ) -> WarehouseReport {
        let views = || self.views.iter().filter(|(_, view)| view.warehouse == *id);
        // What is known of all of them.
        let until = views().map(|(_, view)| view.told_until(Some(warehouse), now));
        let until = until.min().unwrap_or(now).max(warehouse.since);
        let price = warehouse.price_per_hour;
        let billed = |awake: &AwakeLedger, until: Timestamp, length: Span| {
            warehouse.wake_minimum?;
            share(awake.total(until), length)
        };
        let length = until - warehouse.since;
        let seen = Use::of(
            views().map(|(_, view)| (&view.seen, view.told(Some(warehouse), now))),
            billed(&warehouse.awake, until, length),
            price,
        );
        let known = || views().filter(|(_, view)| view.lasts_as_seen());
        let since = warehouse.rehearsed_since;
        let forecast = since.filter(|_| known().next().is_some()).map(|since| {
            let ledgers = known()
                .map(|(_, view)| (&view.rehearsed, view.rehearsed_for(Some(warehouse), now)));
            let awake = billed(&warehouse.rehearsed_awake, now, now - since);
            Use::of(ledgers, awake, price)
        });
        let saves = forecast.map_or_else(Saves::default, |forecast| Saves::of(&seen, &forecast));
        let left_out = views().filter(|(_, view)| forecast.is_some() && !view.lasts_as_seen());
        let left_out: Vec<&str> = left_out.map(|(id, _)| id.as_str()).collect();
        let auto = views().map(|(_, view)| view.seen.busy_by(Who::Auto));
        let auto = auto.fold(Span::ZERO, |sum, busy| sum + busy);
        WarehouseReport {
            warehouse: id.to_string(),
            since: moment(warehouse.since),
            until: moment(until),
            explain: words::of_warehouse(
                &seen,
                forecast.as_ref(),
                &saves,
                &left_out,
                rate(auto.as_secs_f64(), length).map(|busy| busy * 24.0),
            ),
            seen,
            forecast,
            saves,
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
        refreshes_per_hour: rate(float(refreshes), length),
        mean_refresh_seconds: ledger.mean().map(Span::as_secs_f64),
    }
}

impl Use {
    fn of<'a>(
        ledgers: impl Iterator<Item = (&'a Ledger, Span)> + Clone,
        awake_share: Option<f64>,
        price_per_hour: Option<f64>,
    ) -> Self {
        // A view that was added, or made active, has a ledger of its own age.
        let refreshes = ledgers
            .clone()
            .filter_map(|(ledger, told)| rate(float(ledger.refreshes()), told));
        let busy = ledgers.filter_map(|(ledger, told)| rate(ledger.busy().as_secs_f64(), told));
        Self {
            refreshes_per_hour: sum(refreshes),
            busy_seconds_per_hour: sum(busy),
            awake_share,
            price_per_day: awake_share
                .zip(price_per_hour)
                .map(|(share, price)| share * 24.0 * price),
        }
    }
}

impl Saves {
    fn of(seen: &Use, forecast: &Use) -> Self {
        let awake = less(seen.awake_share, forecast.awake_share);
        Self {
            refreshes_per_hour: less(seen.refreshes_per_hour, forecast.refreshes_per_hour),
            busy_seconds_per_hour: less(seen.busy_seconds_per_hour, forecast.busy_seconds_per_hour),
            awake_seconds_per_day: awake.map(|share| share * DAY),
            price_per_day: less(seen.price_per_day, forecast.price_per_day),
        }
    }
}

fn less(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? - other?)
}

/// `None` where nothing is known.
fn sum(known: impl Iterator<Item = f64>) -> Option<f64> {
    known.fold(None, |sum, one| Some(sum.unwrap_or(0.0) + one))
}

fn share(of: Span, length: Span) -> Option<f64> {
    let share = of.as_secs_f64() / length.as_secs_f64();
    (length > Span::ZERO).then_some(share.min(1.0))
}

fn rate(number: f64, length: Span) -> Option<f64> {
    (length > Span::ZERO).then(|| number / length.as_secs_f64() * HOUR)
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
