//! What refers to what, and what inherits from what: sections into a configuration.
//!
//! Decides: precedence (`[defaults]` < warehouse < `extends` < group < view), references, and
//! what a mistake takes out of service: a view, a group's views, a warehouse's views.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::create_keys::{CreateKeys, finished_create, one_schema};
use super::file::{File, Part, ViewEntry, WarehouseKeys, check_auth};
use super::problem::{At, Place, Problems, hint};
use super::types::{
    Auth, Billing, Config, Create, Daemon, KINESIS_RETENTION, Mode, Outcomes, Priority, Stream,
    View, Warehouse,
};
use super::values::write_duration;
use super::view_keys::ViewKeys;
use crate::calendar::{Closed, Schedule};

const MISS_RATE: f64 = 0.05;
const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// AWS bills a minute at least (Management Guide, "Billing for Amazon Redshift Serverless").
const WAKE_MINIMUM: Duration = Duration::from_secs(60);
const TARGET_LAG_LEAST: Duration = Duration::from_secs(1);

/// What came of the sections.
pub(super) struct Resolved {
    pub(super) config: Config,
    /// Views that are in the files and do not run.
    pub(super) quarantined: Vec<String>,
}

/// Puts a configuration together from what is sound.
pub(super) fn resolve(file: &File, daemon: Daemon, problems: &mut Problems) -> Resolved {
    let warehouses = file
        .warehouses
        .iter()
        .filter(|(_, part)| part.sound)
        .filter_map(|(name, part)| Some((name.clone(), warehouse(&part.value)?)))
        .collect();
    let mut resolver = Resolver {
        file,
        warehouses: &warehouses,
        reported: BTreeSet::new(),
        schemas: BTreeMap::new(),
        problems,
    };
    let (mut views, mut quarantined) = resolver.views();
    quarantined.extend(resolver.check_parents(&mut views));
    let config = Config {
        daemon,
        views: views
            .into_iter()
            .map(|(id, found)| (id, found.view))
            .collect(),
        streams: sound(&file.streams),
        schedules: sound(&file.schedules),
        warehouses,
    };
    Resolved {
        config,
        quarantined,
    }
}

fn sound<T: Clone>(parts: &BTreeMap<String, Part<Option<T>>>) -> BTreeMap<String, T> {
    parts
        .iter()
        .filter(|(_, part)| part.sound)
        .filter_map(|(name, part)| Some((name.clone(), part.value.clone()?)))
        .collect()
}

fn warehouse(keys: &WarehouseKeys) -> Option<Warehouse> {
    let target = keys.target.clone()?;
    let billing = keys.billing()?;
    Some(Warehouse {
        target,
        region: keys.region.clone(),
        endpoint_url: keys.endpoint_url.clone(),
        assume_role: keys.assume_role.clone(),
        max_in_flight: keys.max_in_flight.unwrap_or(4),
        quota_share: keys.quota_share.unwrap_or(0.5),
        billing,
        wake_minimum: keys.wake_minimum.unwrap_or(WAKE_MINIMUM),
        price_per_hour: keys.price_per_hour,
        overload: keys.overload.unwrap_or_default(),
        outcomes: keys.outcomes.unwrap_or(match billing {
            Billing::Provisioned => Outcomes::Every,
            Billing::Serverless => Outcomes::Sampled,
        }),
    })
}

struct Resolver<'a> {
    file: &'a File,
    warehouses: &'a BTreeMap<String, Warehouse>,
    /// Inherited mistakes are reported once, where they stand.
    reported: BTreeSet<Place>,
    /// External schemas by warehouse, database and name, and a stream each is made for.
    schemas: BTreeMap<(String, String, String), &'a Stream>,
    problems: &'a mut Problems,
}

/// A view and where it and its parents stand.
struct FoundView {
    view: View,
    after: Vec<At<String>>,
}

impl<'a> Resolver<'a> {
    fn views(&mut self) -> (BTreeMap<String, FoundView>, Vec<String>) {
        let mut views = BTreeMap::new();
        let mut places: BTreeMap<String, Place> = BTreeMap::new();
        let mut standing: BTreeMap<_, String> = BTreeMap::new();
        let mut quarantined = Vec::new();
        let defaults_sound = self.file.defaults.as_ref().is_none_or(|part| part.sound);
        let groups = self.file.groups.values();
        let grouped = groups.flat_map(|group| {
            let members = group.value.views.iter();
            members.map(move |view| (Some(group), view))
        });
        let alone = self.file.views.iter().map(|view| (None, view));
        for (group, entry) in grouped.chain(alone) {
            let mut keys = entry.value.keys.clone();
            let mut ok = entry.sound && defaults_sound;
            if let Some(group) = group {
                ok &= group.value.keys_sound;
                keys.inherit(&group.value.keys);
            }
            let bases = [
                entry.value.extends.as_ref(),
                group.and_then(|group| group.value.extends.as_ref()),
            ];
            for base in bases.into_iter().flatten() {
                ok &= self.extend(&mut keys, base);
            }
            let found = if ok { self.view(entry, keys) } else { None };
            let Some(found) = found else {
                let name = entry.value.id.as_ref().or(entry.value.name.as_ref());
                quarantined
                    .push(name.map_or_else(|| "(unnamed)".to_owned(), |at| at.value.clone()));
                continue;
            };
            let id = found.view.id.clone();
            let view = &found.view;
            let stands = (
                view.warehouse.clone(),
                view.database.clone(),
                view.schema.clone(),
                view.name.clone(),
            );
            // Two ids for one view would be two statements on it at once.
            if let Some(other) = standing.get(&stands).filter(|other| **other != id) {
                let wrong =
                    format!("view `{id}` is the same materialized view as `{other}`; keep one");
                self.problems.add(entry.place, wrong);
                quarantined.push(id);
                continue;
            }
            standing.insert(stands, id.clone());
            if places.insert(id.clone(), entry.place).is_some() {
                let wrong = format!("view `{id}` is defined twice; rename one, or give it an `id`");
                self.problems.add(entry.place, wrong);
                quarantined.push(id);
            } else {
                views.insert(id, found);
            }
        }
        (views, quarantined)
    }

    /// Inherits from a group and from what that group extends.
    fn extend(&mut self, keys: &mut ViewKeys, base: &At<String>) -> bool {
        let mut next = Some(base);
        let mut seen = BTreeSet::new();
        while let Some(name) = next {
            let Some(group) = self.file.groups.get(&name.value) else {
                let known = self.file.groups.keys().map(String::as_str);
                let hint = hint(&name.value, known);
                self.once(
                    name.place,
                    format!("there is no group `{}` to extend{hint}", name.value),
                );
                return false;
            };
            if !seen.insert(&name.value) {
                let wrong = format!(
                    "`extends` goes in a circle: group `{}` extends itself",
                    name.value
                );
                self.once(name.place, wrong);
                return false;
            }
            if !group.value.keys_sound {
                return false;
            }
            keys.inherit(&group.value.keys);
            next = group.value.extends.as_ref();
        }
        true
    }

    fn view(&mut self, entry: &Part<ViewEntry>, mut keys: ViewKeys) -> Option<FoundView> {
        let written = entry.value.name.clone()?;
        let what = format!("view `{}`", written.value);
        if let Some(defaults) = &self.file.defaults
            && keys.warehouse.is_none()
        {
            keys.warehouse.clone_from(&defaults.value.warehouse);
        }
        let missing = "set it for the view, its group or in [defaults]";
        let Some(warehouse_name) = keys.warehouse.clone() else {
            self.problems
                .add(entry.place, format!("{what} has no `warehouse`; {missing}"));
            return None;
        };
        let before = self.problems.count();
        let warehouse = self.warehouse(&warehouse_name)?;
        if let Some(part) = self.file.warehouses.get(&warehouse_name.value) {
            keys.inherit(&part.value.views);
        }
        if let Some(defaults) = &self.file.defaults {
            keys.inherit(&defaults.value);
        }
        if keys.database.is_none() {
            self.problems.add(
                entry.place,
                format!("{what} has no `database`; {missing} or for its warehouse"),
            );
        }
        if keys.target_lag.is_none() {
            self.problems.add(
                entry.place,
                format!("{what} has no `target_lag`; {missing}, like \"30s\""),
            );
        }
        self.check_times(&keys);
        let mut ok = keys
            .auth
            .as_ref()
            .is_none_or(|auth| check_auth(auth, Some(&warehouse.target), self.problems));
        ok &= self.check_references(&keys);
        let create = if ok { self.create(&keys) } else { None };
        let (schema, name) = self.split_name(entry, &written, &keys);
        if !ok || self.problems.count() > before {
            return None;
        }
        let id = entry.value.id.as_ref().unwrap_or(&written);
        let after = keys.after.clone().unwrap_or_default();
        let view = finished(id.value.clone(), schema, name, warehouse_name.value, keys)?;
        Some(FoundView {
            view: View { create, ..view },
            after,
        })
    }

    /// How the view is created. Two streams can share an external schema only if it is the
    /// same for both.
    fn create(&mut self, keys: &ViewKeys) -> Option<Create> {
        let create: &At<CreateKeys> = keys.create.as_ref()?;
        let Some(name) = &keys.stream else {
            let wrong = "`create` is for views over a stream; name it in `stream`";
            self.once(create.place, wrong.to_owned());
            return None;
        };
        let file = self.file;
        let stream = file.streams.get(&name.value)?.value.as_ref()?;
        let finished = match finished_create(&create.value, &name.value, stream) {
            Ok(finished) => finished,
            Err(wrong) => {
                self.once(create.place, wrong);
                return None;
            }
        };
        let text = |at: &Option<At<String>>| at.as_ref().map(|at| at.value.clone());
        let schema = (
            text(&keys.warehouse)?,
            text(&keys.database)?,
            finished.external_schema.clone(),
        );
        let other = *self.schemas.entry(schema).or_insert(stream);
        if !one_schema(other, stream) {
            let wrong = format!(
                "external schema `{}` would lead to two sources; give this view's stream another `external_schema`",
                finished.external_schema
            );
            self.once(create.place, wrong);
            return None;
        }
        Some(finished)
    }

    fn warehouse(&mut self, name: &At<String>) -> Option<Warehouse> {
        if let Some(warehouse) = self.warehouses.get(&name.value) {
            return Some(warehouse.clone());
        }
        // One that is there but not sound has been reported where it stands.
        if !self.file.warehouses.contains_key(&name.value) {
            let known = self.file.warehouses.keys().map(String::as_str);
            let hint = hint(&name.value, known);
            self.once(
                name.place,
                format!("there is no warehouse `{}`{hint}", name.value),
            );
        }
        None
    }

    fn check_times(&mut self, keys: &ViewKeys) {
        if let Some(lag) = &keys.target_lag
            && lag.value < TARGET_LAG_LEAST
        {
            let wrong = format!(
                "`target_lag` is {}; write \"1s\" or more",
                write_duration(lag.value)
            );
            self.once(lag.place, wrong);
        }
        if let (Some(least), Some(most)) = (&keys.min_interval, &keys.max_interval)
            && least.value > most.value
        {
            let wrong = format!(
                "`min_interval` ({}) is longer than `max_interval` ({}); swap them or drop one",
                write_duration(least.value),
                write_duration(most.value)
            );
            self.once(least.place, wrong);
        }
        if let (Some(least), Some(lag)) = (&keys.min_interval, &keys.target_lag)
            && least.value > lag.value
        {
            let wrong = format!(
                "`min_interval` ({}) is longer than `target_lag` ({}), which could then never be held; lower it",
                write_duration(least.value),
                write_duration(lag.value)
            );
            self.once(least.place, wrong);
        }
        if let Some(limit) = &keys.statement_timeout
            && limit.value < Duration::from_secs(1)
        {
            self.once(
                limit.place,
                "`statement_timeout` is below one second; write \"1s\" or more".to_owned(),
            );
        }
    }

    /// Streams and schedules that are named must be there, and agree.
    fn check_references(&mut self, keys: &ViewKeys) -> bool {
        let file = self.file;
        let stream = self.named(keys.stream.as_ref(), &file.streams, "stream");
        let schedule = self.named(keys.schedule.as_ref(), &file.schedules, "schedule");
        let (Ok(stream), Ok(schedule)) = (stream, schedule) else {
            return false;
        };
        match (stream, schedule, &keys.schedule) {
            (Some(stream), Some(schedule), Some(place)) => {
                self.check_retention(stream, schedule, place)
            }
            (Some(_) | None, Some(_) | None, Some(_) | None) => true,
        }
    }

    fn named<'b, T>(
        &mut self,
        name: Option<&At<String>>,
        parts: &'b BTreeMap<String, Part<Option<T>>>,
        kind: &str,
    ) -> Result<Option<&'b T>, ()> {
        let Some(name) = name else {
            return Ok(None);
        };
        match parts.get(&name.value) {
            Some(part) if part.sound => Ok(part.value.as_ref()),
            // Reported where it stands.
            Some(_) => Err(()),
            None => {
                let hint = hint(&name.value, parts.keys().map(String::as_str));
                self.once(
                    name.place,
                    format!("there is no {kind} `{}`{hint}", name.value),
                );
                Err(())
            }
        }
    }

    /// What a closed schedule leaves unread must not come near the stream's retention.
    fn check_retention(
        &mut self,
        stream: &Stream,
        schedule: &Schedule,
        place: &At<String>,
    ) -> bool {
        let retention = stream.keeps().unwrap_or(KINESIS_RETENTION);
        let (unread, how) = match schedule.closed() {
            Closed::Pause => (schedule.longest_closed(), "closes for"),
            Closed::TargetLag(lag) => (lag, "allows a lag of"),
        };
        if unread <= retention / 2 {
            return true;
        }
        let stated = if stream.retention.is_some() {
            "its stream's retention"
        } else {
            "its stream's retention (24h unless `retention` is stated)"
        };
        let wrong = format!(
            "schedule `{}` {how} {}, more than half of {stated}, {}: records could be lost; \
             write closed = {{ target_lag = \"{}\" }} or less",
            place.value,
            write_duration(unread),
            write_duration(retention),
            write_duration(retention / 2)
        );
        self.once(place.place, wrong);
        false
    }

    /// `schema.name` in one, unless the view has a schema of its own.
    fn split_name(
        &mut self,
        entry: &Part<ViewEntry>,
        written: &At<String>,
        keys: &ViewKeys,
    ) -> (Option<String>, String) {
        let inherited = keys.schema.as_ref().map(|schema| schema.value.clone());
        let Some((schema, name)) = written.value.split_once('.') else {
            return (inherited, written.value.clone());
        };
        if let Some(own) = &entry.value.keys.schema {
            let wrong = format!(
                "view `{}` names its schema twice; drop `schema`",
                written.value
            );
            self.problems.add(own.place, wrong);
        }
        if schema.is_empty() || name.is_empty() || name.contains('.') {
            let wrong = format!(
                "`{}` is no view; write a name, or schema.name",
                written.value
            );
            self.problems.add(written.place, wrong);
        }
        (Some(schema.to_owned()), name.to_owned())
    }

    /// Parents must be there, on the same warehouse, and not in a circle. Takes out, and gives,
    /// the views for which that does not hold.
    fn check_parents(&mut self, views: &mut BTreeMap<String, FoundView>) -> BTreeSet<String> {
        let mut bad = BTreeSet::new();
        for (id, found) in &*views {
            for parent in &found.after {
                let wrong = match views.get(&parent.value) {
                    None => {
                        let hint = hint(&parent.value, views.keys().map(String::as_str));
                        format!("there is no view `{}` to come after{hint}", parent.value)
                    }
                    Some(other) if other.view.warehouse != found.view.warehouse => format!(
                        "view `{id}` comes after `{}`, which is on another warehouse",
                        parent.value
                    ),
                    Some(_) if descends(views, &parent.value, id) => {
                        format!("`after` goes in a circle: `{id}` comes after itself")
                    }
                    Some(_) => continue,
                };
                self.once(parent.place, wrong);
                bad.insert(id.clone());
            }
        }
        // Whoever comes after a view that does not run does not run either.
        loop {
            let orphans: Vec<String> = views
                .iter()
                .filter(|(id, _)| !bad.contains(*id))
                .filter(|(_, found)| found.after.iter().any(|parent| bad.contains(&parent.value)))
                .map(|(id, _)| id.clone())
                .collect();
            if orphans.is_empty() {
                break;
            }
            bad.extend(orphans);
        }
        views.retain(|id, _| !bad.contains(id));
        bad
    }

    fn once(&mut self, place: Place, message: String) {
        if self.reported.insert(place) {
            self.problems.add(place, message);
        } else {
            // Counted for this view too, said only once.
            self.problems.repeat();
        }
    }
}

/// Whether `id` is reached from `from` by going from child to parent.
fn descends(views: &BTreeMap<String, FoundView>, from: &str, id: &str) -> bool {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(next) = open.pop() {
        if next == id {
            return true;
        }
        if seen.insert(next)
            && let Some(found) = views.get(next)
        {
            open.extend(found.after.iter().map(|parent| parent.value.as_str()));
        }
    }
    false
}

fn finished(
    id: String,
    schema: Option<String>,
    name: String,
    warehouse: String,
    keys: ViewKeys,
) -> Option<View> {
    let value = |at: Option<At<Duration>>| at.map(|at| at.value);
    Some(View {
        id,
        warehouse,
        database: keys.database?.value,
        schema,
        name,
        stream: keys.stream.map(|stream| stream.value),
        target_lag: keys.target_lag.as_ref()?.value,
        miss_rate: keys.miss_rate.map_or(MISS_RATE, |rate| rate.value),
        // A target below the default must stay reachable.
        min_interval: value(keys.min_interval).unwrap_or_else(|| {
            MIN_INTERVAL.min(keys.target_lag.map_or(MIN_INTERVAL, |lag| lag.value / 2))
        }),
        max_interval: value(keys.max_interval),
        priority: keys.priority.map_or(Priority::Normal, |at| at.value),
        schedule: keys.schedule.map(|schedule| schedule.value),
        labels: keys.labels,
        after: keys
            .after
            .unwrap_or_default()
            .into_iter()
            .map(|parent| parent.value)
            .collect(),
        refresh_at: keys.refresh_at.unwrap_or_default(),
        mode: keys.mode.map_or(Mode::Active, |at| at.value),
        auth: keys.auth.map_or(Auth::Iam, |at| at.value),
        session: keys.session.unwrap_or_default(),
        statement_timeout: value(keys.statement_timeout),
        create: None,
    })
}
