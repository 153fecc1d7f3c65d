//! The sections of a file, and the keys of each.
//!
//! Decides: which keys there are, and that a mistake inside one part leaves the others alone:
//! a part that is not sound says so, and does not run.
//! Deliberately absent: what refers to what, and what inherits from what (`resolve.rs`).

use std::collections::BTreeMap;
use std::time::Duration;

use toml::de::DeTable;

use super::decode::{Table, Value};
use super::problem::{At, Place, Problems};
use super::stream_keys::stream;
use super::types::{Auth, Billing, Outcomes, Overload, Role, Stream, Target};
use super::values::{check_cluster, check_workgroup, parse_address, parse_endpoint, parse_role};
use super::view_keys::{ViewKeys, view_keys};
use crate::calendar::{Closed, Schedule, Window};

/// A minute, as far as is known; less for estates that are run fast against a lab.
const WAKE_MINIMUM_LEAST: Duration = Duration::from_secs(1);
const WAKE_MINIMUM_MOST: Duration = Duration::from_secs(3600);

/// A named part of a file, and whether it can be used.
#[derive(Clone, Debug)]
pub(super) struct Part<T> {
    pub(super) place: Place,
    pub(super) sound: bool,
    pub(super) value: T,
}

#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) include: Vec<At<String>>,
    pub(super) daemon: DaemonKeys,
    /// A mistake in `[daemon]` stops everything.
    pub(super) daemon_sound: bool,
    pub(super) defaults: Option<Part<ViewKeys>>,
    pub(super) warehouses: BTreeMap<String, Part<WarehouseKeys>>,
    pub(super) streams: BTreeMap<String, Part<Option<Stream>>>,
    pub(super) schedules: BTreeMap<String, Part<Option<Schedule>>>,
    pub(super) groups: BTreeMap<String, Part<Group>>,
    pub(super) views: Vec<Part<ViewEntry>>,
}

#[derive(Debug, Default)]
pub(super) struct DaemonKeys {
    pub(super) instance: Option<At<String>>,
    pub(super) listen: Option<At<std::net::SocketAddr>>,
    pub(super) drain: Option<At<Duration>>,
    pub(super) watch: Option<At<bool>>,
    pub(super) admin_token_file: Option<At<String>>,
    pub(super) role_arn: Option<At<String>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct WarehouseKeys {
    pub(super) target: Option<Target>,
    pub(super) region: Option<String>,
    pub(super) endpoint_url: Option<String>,
    pub(super) assume_role: Vec<Role>,
    pub(super) max_in_flight: Option<u32>,
    pub(super) quota_share: Option<f64>,
    pub(super) billing: Option<Billing>,
    pub(super) wake_minimum: Option<Duration>,
    pub(super) price_per_hour: Option<f64>,
    pub(super) overload: Option<Overload>,
    pub(super) outcomes: Option<Outcomes>,
    /// What its views inherit.
    pub(super) views: ViewKeys,
}

impl WarehouseKeys {
    /// As stated, or as the kind of warehouse has it; `None` while that is not known either.
    pub(super) fn billing(&self) -> Option<Billing> {
        let usual = self.target.as_ref().map(|target| match target {
            Target::Cluster(_) => Billing::Provisioned,
            Target::Workgroup(_) => Billing::Serverless,
        });
        self.billing.or(usual)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) extends: Option<At<String>>,
    pub(super) keys: ViewKeys,
    /// A mistake in one view is that view's alone.
    pub(super) keys_sound: bool,
    pub(super) views: Vec<Part<ViewEntry>>,
}

#[derive(Clone, Debug)]
pub(super) struct ViewEntry {
    pub(super) id: Option<At<String>>,
    pub(super) name: Option<At<String>>,
    pub(super) extends: Option<At<String>>,
    pub(super) keys: ViewKeys,
}

/// Reads one file into the sections read so far. Only the main file has `[daemon]` and
/// `[defaults]`.
pub(super) fn read(
    into: &mut File,
    table: &serde_spanned::Spanned<DeTable<'_>>,
    number: usize,
    main: bool,
    problems: &mut Problems,
) {
    let mut top = Table::top(table, number);
    if main {
        let before = problems.count();
        if let Some(daemon) = top.table("daemon", problems) {
            into.daemon = daemon_keys(daemon, problems);
        }
        into.daemon_sound = problems.count() == before;
        into.defaults = top.take("defaults").map(|value| {
            part(value.place, problems, |problems| {
                let Some(mut table) = value.table("defaults", problems) else {
                    return ViewKeys::default();
                };
                let keys = view_keys(&mut table, problems);
                table.finish("[defaults]", problems);
                keys
            })
        });
        let include = top.texts("include", problems);
        into.include = include.map_or_else(Vec::new, |include| include.value);
    }
    read_named(
        &mut top,
        "warehouses",
        &mut into.warehouses,
        warehouse,
        problems,
    );
    read_named(&mut top, "streams", &mut into.streams, stream, problems);
    read_named(
        &mut top,
        "schedules",
        &mut into.schedules,
        schedule,
        problems,
    );
    read_named(&mut top, "groups", &mut into.groups, group, problems);
    if let Some(views) = top
        .take("views")
        .and_then(|views| views.list("views", problems))
    {
        let entries = views.iter().map(|view| entry(*view, problems));
        into.views.extend(entries.collect::<Vec<_>>());
    }
    let what = if main { "the file" } else { "an included file" };
    top.finish(what, problems);
}

fn part<T>(
    place: Place,
    problems: &mut Problems,
    read: impl FnOnce(&mut Problems) -> T,
) -> Part<T> {
    let before = problems.count();
    let value = read(problems);
    Part {
        place,
        sound: problems.count() == before,
        value,
    }
}

/// `[section.name]` tables; a name may be used once over all files.
fn read_named<'a, T>(
    top: &mut Table<'a>,
    section: &'static str,
    into: &mut BTreeMap<String, Part<T>>,
    read: impl Fn(Table<'a>, &str, &mut Problems) -> T,
    problems: &mut Problems,
) {
    let Some(tables) = top.table(section, problems) else {
        return;
    };
    for (name, value) in tables.into_entries() {
        let label = format!("{section}.{}", name.value);
        let Some(table) = value.table(&label, problems) else {
            continue;
        };
        let read = part(name.place, problems, |problems| {
            read(table, &label, problems)
        });
        if let std::collections::btree_map::Entry::Vacant(e) = into.entry(name.value) {
            e.insert(read);
        } else {
            problems.add(name.place, format!("[{label}] is defined twice; keep one"));
        }
    }
}

fn daemon_keys(mut table: Table<'_>, problems: &mut Problems) -> DaemonKeys {
    let listen = table.text("listen", problems);
    let role = table.text("role_arn", problems);
    let keys = DaemonKeys {
        instance: table.text("instance", problems),
        listen: listen.and_then(|text| text.parse("listen", parse_address, problems)),
        drain: table.duration("drain", problems),
        watch: table.boolean("watch", problems),
        admin_token_file: table.text("admin_token_file", problems),
        role_arn: role.and_then(|role| role.parse("role_arn", parse_role, problems)),
    };
    table.finish("[daemon]", problems);
    keys
}

fn warehouse(mut table: Table<'_>, label: &str, problems: &mut Problems) -> WarehouseKeys {
    let place = table.place;
    let cluster = table.text("cluster", problems);
    let workgroup = table.text("workgroup", problems);
    let target = target(cluster, workgroup, place, label, problems);
    let endpoint = table.text("endpoint_url", problems);
    let region = table.text("region", problems);
    let mut keys = WarehouseKeys {
        target,
        region: region.map(|region| region.value),
        endpoint_url: endpoint
            .and_then(|url| url.parse("endpoint_url", parse_endpoint, problems))
            .map(|url| url.value),
        assume_role: roles(&mut table, problems),
        max_in_flight: whole(&mut table, "max_in_flight", 1, 500, problems),
        quota_share: table.share("quota_share", problems),
        billing: table
            .choice(
                "billing",
                &[
                    ("provisioned", Billing::Provisioned),
                    ("serverless", Billing::Serverless),
                ],
                problems,
            )
            .map(|billing| billing.value),
        wake_minimum: None,
        price_per_hour: None,
        overload: table
            .choice(
                "overload",
                &[
                    ("fair", Overload::Fair),
                    ("priority", Overload::Priority),
                    ("max_satisfied", Overload::MaxSatisfied),
                ],
                problems,
            )
            .map(|overload| overload.value),
        outcomes: table
            .choice(
                "outcomes",
                &[
                    ("every", Outcomes::Every),
                    ("sampled", Outcomes::Sampled),
                    ("off", Outcomes::Off),
                ],
                problems,
            )
            .map(|outcomes| outcomes.value),
        views: view_keys(&mut table, problems),
    };
    read_price(&mut keys, &mut table, problems);
    if let Some(auth) = &keys.views.auth {
        check_auth(auth, keys.target.as_ref(), problems);
    }
    table.finish(&format!("[{label}]"), problems);
    keys
}

/// What being awake costs, where that is what is billed.
fn read_price(keys: &mut WarehouseKeys, table: &mut Table<'_>, problems: &mut Problems) {
    let minimum = table.duration("wake_minimum", problems);
    let price = table.number("price_per_hour", problems);
    let places = minimum.as_ref().map(|at| ("wake_minimum", at.place));
    let places = places
        .into_iter()
        .chain(price.as_ref().map(|at| ("price_per_hour", at.place)));
    if keys.billing() == Some(Billing::Provisioned) {
        for (key, place) in places {
            let wrong =
                format!("`{key}` is for warehouses that are billed while awake (Serverless)");
            problems.add(place, wrong);
        }
        return;
    }
    if let Some(minimum) = minimum {
        if (WAKE_MINIMUM_LEAST..=WAKE_MINIMUM_MOST).contains(&minimum.value) {
            keys.wake_minimum = Some(minimum.value);
        } else {
            let wrong = "`wake_minimum` must be at least 1s and at most 1h";
            problems.add(minimum.place, wrong);
        }
    }
    if let Some(price) = price {
        if price.value > 0.0 && price.value.is_finite() {
            keys.price_per_hour = Some(price.value);
        } else {
            let wrong = format!(
                "`price_per_hour` is {}; write a number above 0",
                price.value
            );
            problems.add(price.place, wrong);
        }
    }
}

/// Serverless knows no `DbUser`: the Data API maps the role instead.
pub(super) fn check_auth(
    auth: &At<Auth>,
    target: Option<&Target>,
    problems: &mut Problems,
) -> bool {
    let refused = matches!(
        (&auth.value, target),
        (Auth::DbUser(_), Some(Target::Workgroup(_)))
    );
    if refused {
        problems.add(
            auth.place,
            "`db_user` cannot be used with a workgroup; use `secret_arn`, or let the role own the views",
        );
    }
    !refused
}

fn target(
    cluster: Option<At<String>>,
    workgroup: Option<At<String>>,
    place: Place,
    label: &str,
    problems: &mut Problems,
) -> Option<Target> {
    let check =
        |text: At<String>, key: &str, check: fn(&str) -> Result<(), String>, p: &mut Problems| {
            text.parse(key, |name| check(name).map(|()| name.to_owned()), p)
        };
    match (cluster, workgroup) {
        (Some(cluster), None) => {
            let name = check(cluster, "cluster", check_cluster, problems)?;
            Some(Target::Cluster(name.value))
        }
        (None, Some(workgroup)) => {
            let name = check(workgroup, "workgroup", check_workgroup, problems)?;
            Some(Target::Workgroup(name.value))
        }
        (Some(_), Some(workgroup)) => {
            let wrong = format!("[{label}] has both `cluster` and `workgroup`; keep the one it is");
            problems.add(workgroup.place, wrong);
            None
        }
        (None, None) => {
            let wrong = format!("[{label}] has neither `cluster` nor `workgroup`; name one");
            problems.add(place, wrong);
            None
        }
    }
}

fn roles(table: &mut Table<'_>, problems: &mut Problems) -> Vec<Role> {
    let Some(value) = table.take("assume_role") else {
        return Vec::new();
    };
    let Some(items) = value.list("assume_role", problems) else {
        return Vec::new();
    };
    let role = |item: &Value<'_>, problems: &mut Problems| {
        if item.is_text() {
            let arn = item.text("assume_role", problems)?;
            let arn = arn.parse("assume_role", parse_role, problems)?.value;
            return Some(Role {
                arn,
                external_id: None,
            });
        }
        let mut table = item.table("assume_role", problems)?;
        let arn = table.text("arn", problems);
        let external_id = table.text("external_id", problems).map(|id| id.value);
        table.finish("a role of `assume_role`", problems);
        let Some(arn) = arn else {
            problems.add(item.place, "a role of `assume_role` has no `arn`");
            return None;
        };
        let arn = arn.parse("arn", parse_role, problems)?.value;
        Some(Role { arn, external_id })
    };
    items
        .iter()
        .filter_map(|item| role(item, problems))
        .collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number between two u32s"
)]
fn whole(
    table: &mut Table<'_>,
    key: &'static str,
    least: u32,
    most: u32,
    problems: &mut Problems,
) -> Option<u32> {
    let number = table.number(key, problems)?;
    let fits = (f64::from(least)..=f64::from(most)).contains(&number.value);
    if fits && number.value.fract().abs() < f64::EPSILON {
        return Some(number.value as u32);
    }
    let found = number.value;
    problems.add(
        number.place,
        format!("`{key}` is {found}; write a whole number from {least} to {most}"),
    );
    None
}

fn schedule(mut table: Table<'_>, label: &str, problems: &mut Problems) -> Option<Schedule> {
    let place = table.place;
    let zone = table.text("timezone", problems);
    let open = table.texts("open", problems);
    let closed = table.take("closed").map(|value| closed(value, problems));
    table.finish(&format!("[{label}]"), problems);
    let missing = |what: &str| format!("[{label}] has no {what}");
    if zone.is_none() {
        problems.add(place, missing("`timezone`; name one like \"Europe/Paris\""));
    }
    if open.is_none() {
        problems.add(
            place,
            missing("`open`; list windows like \"mon-fri 07:00-19:00\""),
        );
    }
    let zone = zone?.parse("timezone", Schedule::parse_zone, problems);
    let open = open?.value;
    let windows: Vec<Window> = open
        .iter()
        .filter_map(|window| window.parse("open", Window::parse, problems))
        .map(|window| window.value)
        .collect();
    let closed = closed.unwrap_or(Some(Closed::Pause));
    Some(Schedule::new(zone?.value, windows, closed?))
}

fn closed(value: Value<'_>, problems: &mut Problems) -> Option<Closed> {
    if value.is_text() {
        let text = value.text("closed", problems)?;
        if text.value == "pause" {
            return Some(Closed::Pause);
        }
        problems.add(
            text.place,
            format!(
                "`closed` cannot be `{}`; write \"pause\" or {{ target_lag = \"6h\" }}",
                text.value
            ),
        );
        return None;
    }
    let mut table = value.table("closed", problems)?;
    let lag = table.duration("target_lag", problems);
    table.finish("`closed`", problems);
    Some(Closed::TargetLag(lag?.value))
}

fn group(mut table: Table<'_>, label: &str, problems: &mut Problems) -> Group {
    let before = problems.count();
    let views = table.take("views");
    let extends = table.text("extends", problems);
    let keys = view_keys(&mut table, problems);
    table.finish(&format!("[{label}]"), problems);
    Group {
        extends,
        keys,
        keys_sound: problems.count() == before,
        views: views
            .and_then(|views| views.list("views", problems))
            .map_or_else(Vec::new, |views| {
                views.iter().map(|view| entry(*view, problems)).collect()
            }),
    }
}

fn entry(value: Value<'_>, problems: &mut Problems) -> Part<ViewEntry> {
    part(value.place, problems, |problems| {
        let nothing = || ViewEntry {
            id: None,
            name: None,
            extends: None,
            keys: ViewKeys::default(),
        };
        if value.is_text() {
            let name = value.text("views", problems);
            return ViewEntry { name, ..nothing() };
        }
        let Some(mut table) = value.table_or("views", "a name in quotes, or a table", problems)
        else {
            return nothing();
        };
        let entry = ViewEntry {
            id: table.text("id", problems),
            name: table.text("name", problems),
            extends: table.text("extends", problems),
            keys: view_keys(&mut table, problems),
        };
        let what = entry.name.as_ref().map_or_else(
            || "a view".to_owned(),
            |name| format!("view `{}`", name.value),
        );
        table.finish(&what, problems);
        if entry.name.is_none() {
            problems.add(value.place, "a view has no `name`");
        }
        entry
    })
}
