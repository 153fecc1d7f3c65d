//! The configuration in the words of those who act on it: the scheduler's plan, the clients'
//! settings, the metrics' catalogue.
//!
//! Deliberately absent: checks. What arrives here has been checked.

use std::collections::BTreeMap;

use tidekeeper_scheduler::{
    ApiScope, Billing, Mode, Outcomes, OverloadOrder, Phase, Plan, Priority, ScheduleId, Span,
    StatementTimeout, Timestamp, ViewId, ViewSpec, WarehouseId, WarehouseSpec, WhileClosed,
};

use crate::calendar;
use crate::clock::span;
use crate::config::{self, Config};
use crate::metrics::{Catalog, ViewInfo};
use crate::stream;
use crate::warehouse::{AssumeRole, Auth, Refresh, Session, Settings, Target};

/// `ExecuteStatement` calls per second that an account may make in a region (not adjustable;
/// Amazon Redshift quotas and limits, Data API).
const EXECUTE_QUOTA: f64 = 30.0;

/// What the scheduler is to do.
#[must_use]
pub fn plan(config: &Config, phases: &BTreeMap<ScheduleId, Phase>) -> Plan {
    let probed = streams(config).into_iter().flat_map(|stream| {
        let views = stream.views.into_iter();
        views.map(move |view| (view, stream.period))
    });
    let probed = probed.collect();
    Plan {
        warehouses: config.warehouses.iter().map(warehouse_spec).collect(),
        views: config
            .views
            .values()
            .filter_map(|view| view_spec(config, view, &probed))
            .collect(),
        schedules: phases.clone(),
    }
}

fn warehouse_spec((name, warehouse): (&String, &config::Warehouse)) -> WarehouseSpec {
    WarehouseSpec {
        id: WarehouseId::from(name.as_str()),
        location: location(warehouse).into(),
        api_scope: api_scope(warehouse),
        submits_per_second: EXECUTE_QUOTA * warehouse.quota_share,
        max_in_flight: warehouse.max_in_flight,
        billing: match warehouse.billing {
            config::Billing::Provisioned => Billing::Provisioned,
            config::Billing::Serverless => Billing::Serverless,
        },
        wake_minimum: span(warehouse.wake_minimum),
        outcomes: match warehouse.outcomes {
            config::Outcomes::Every => Outcomes::Every,
            config::Outcomes::Sampled => Outcomes::Sampled,
            config::Outcomes::Off => Outcomes::Off,
        },
        overload: match warehouse.overload {
            config::Overload::Fair => OverloadOrder::Fair,
            config::Overload::Priority => OverloadOrder::Priority,
            config::Overload::MaxSatisfied => OverloadOrder::MaxSatisfied,
        },
    }
}

/// Which cluster or workgroup is meant, wherever it stands.
fn location(warehouse: &config::Warehouse) -> String {
    let target = match &warehouse.target {
        config::Target::Cluster(name) => format!("cluster {name}"),
        config::Target::Workgroup(name) => format!("workgroup {name}"),
    };
    format!("{target} at {:?}", api_scope(warehouse))
}

/// Warehouses that share an account and a region share its quotas. The account is not known
/// before a call is made; who walks the same roles to the same place is taken to share it.
fn api_scope(warehouse: &config::Warehouse) -> ApiScope {
    let region = warehouse.region.as_deref().unwrap_or_default();
    let endpoint = warehouse.endpoint_url.as_deref().unwrap_or_default();
    let roles: Vec<&str> = warehouse
        .assume_role
        .iter()
        .map(|r| r.arn.as_str())
        .collect();
    ApiScope::from(format!("{region} {endpoint} {}", roles.join(" > ")))
}

fn view_spec(
    config: &Config,
    view: &config::View,
    probed: &BTreeMap<ViewId, Span>,
) -> Option<ViewSpec> {
    let warehouse = config.warehouses.get(&view.warehouse)?;
    let closed = view
        .schedule
        .as_ref()
        .and_then(|name| config.schedules.get(name))
        .map(|schedule| match schedule.closed() {
            config::Closed::Pause => WhileClosed::Pause,
            config::Closed::TargetLag(lag) => WhileClosed::TargetLag(span(lag)),
        });
    let schema = view.schema.as_deref().unwrap_or_default();
    let place = format!(
        "{} / {} / {schema} / {}",
        location(warehouse),
        view.database,
        view.name
    );
    Some(ViewSpec {
        id: ViewId::from(view.id.as_str()),
        warehouse: WarehouseId::from(view.warehouse.as_str()),
        location: place.into(),
        target_lag: span(view.target_lag),
        miss_rate: view.miss_rate,
        min_interval: span(view.min_interval),
        max_interval: view.max_interval.map(span),
        priority: match view.priority {
            config::Priority::High => Priority::High,
            config::Priority::Normal => Priority::Normal,
            config::Priority::Low => Priority::Low,
        },
        schedule: view.schedule.as_deref().map(ScheduleId::from),
        closed: closed.unwrap_or_default(),
        probe_every: probed.get(&ViewId::from(view.id.as_str())).copied(),
        retention: view
            .stream
            .as_ref()
            .and_then(|name| config.streams.get(name)?.keeps())
            .map(span),
        after: view
            .after
            .iter()
            .map(|id| ViewId::from(id.as_str()))
            .collect(),
        mode: match view.mode {
            config::Mode::Active => Mode::Active,
            config::Mode::Observe => Mode::Observe,
        },
        timeout: match view.statement_timeout {
            Some(limit) => StatementTimeout::Stated(span(limit)),
            None => StatementTimeout::Default(span(config::STATEMENT_TIMEOUT)),
        },
    })
}

/// The streams to be probed: those that the daemon may look at and that a view reads. A view
/// that is refreshed after others follows them, not the stream. Of sections that mean one
/// stream, the first gives its name and says how the stream is reached.
#[must_use]
pub fn streams(config: &Config) -> Vec<stream::Settings> {
    let mut readers: BTreeMap<&str, Vec<&config::View>> = BTreeMap::new();
    for view in config.views.values().filter(|view| view.after.is_empty()) {
        if let Some(stream) = &view.stream {
            readers.entry(stream).or_default().push(view);
        }
    }
    let settings = |(name, stream): (&String, &config::Stream)| {
        let config::StreamSource::Kinesis(arn) = &stream.source else {
            return None;
        };
        let views = readers.get(name.as_str())?;
        let warehouse = config.warehouses.get(&views.first()?.warehouse)?;
        let targets = views.iter().map(|view| span(view.target_lag));
        let mut roles = roles(warehouse);
        roles.push(AssumeRole {
            arn: stream.probe_role_arn.clone()?,
            external_id: None,
        });
        Some(stream::Settings {
            name: name.clone(),
            arn: arn.clone(),
            roles,
            endpoint_url: warehouse.endpoint_url.clone(),
            period: stream::period(targets, stream.probe_share)?,
            share: stream.probe_share,
            views: views
                .iter()
                .map(|view| ViewId::from(view.id.as_str()))
                .collect(),
        })
    };
    let mut streams: Vec<stream::Settings> = Vec::new();
    for settings in config.streams.iter().filter_map(settings) {
        let same = streams.iter_mut().find(|known| {
            (&known.arn, &known.endpoint_url) == (&settings.arn, &settings.endpoint_url)
        });
        match same {
            Some(known) => known.join(settings),
            None => streams.push(settings),
        }
    }
    streams
}

/// The roles through which a warehouse is reached.
#[must_use]
pub fn roles(warehouse: &config::Warehouse) -> Vec<AssumeRole> {
    let roles = warehouse.assume_role.iter();
    roles
        .map(|role| AssumeRole {
            arn: role.arn.clone(),
            external_id: role.external_id.clone(),
        })
        .collect()
}

/// One client per warehouse.
pub fn warehouses(config: &Config) -> impl Iterator<Item = Settings> {
    config.warehouses.iter().map(|(name, warehouse)| Settings {
        id: WarehouseId::from(name.as_str()),
        target: match &warehouse.target {
            config::Target::Cluster(name) => Target::Cluster(name.clone()),
            config::Target::Workgroup(name) => Target::Workgroup(name.clone()),
        },
        region: warehouse.region.clone(),
        endpoint_url: warehouse.endpoint_url.clone(),
        assume_role: roles(warehouse),
        quota_share: warehouse.quota_share,
    })
}

/// What a refresh of each view is.
#[must_use]
pub fn refreshes(config: &Config) -> Vec<(WarehouseId, Refresh)> {
    let refresh = |view: &config::View| Refresh {
        view: ViewId::from(view.id.as_str()),
        database: view.database.clone(),
        schema: view.schema.clone(),
        name: view.name.clone(),
        auth: auth(&view.auth),
        session: Session {
            query_group: view.session.query_group.clone(),
            case_sensitive: view.session.case_sensitive,
        },
    };
    let views = config.views.values();
    views
        .map(|view| (WarehouseId::from(view.warehouse.as_str()), refresh(view)))
        .collect()
}

/// As whom a view's statements run.
#[must_use]
pub fn auth(auth: &config::Auth) -> Auth {
    match auth {
        config::Auth::Iam => Auth::Iam,
        config::Auth::DbUser(user) => Auth::DbUser(user.clone()),
        config::Auth::SecretArn(arn) => Auth::Secret(arn.clone()),
    }
}

/// What metrics say of each view beside its state.
#[must_use]
pub fn catalog(config: &Config) -> Catalog {
    let info = |view: &config::View| ViewInfo {
        warehouse: WarehouseId::from(view.warehouse.as_str()),
        database: view.database.clone(),
        stream: view.stream.clone(),
        labels: view.labels.clone(),
    };
    Catalog {
        views: config
            .views
            .iter()
            .map(|(id, view)| (ViewId::from(id.as_str()), info(view)))
            .collect(),
        warehouses: config
            .warehouses
            .keys()
            .map(|name| WarehouseId::from(name.as_str()))
            .collect(),
        prices: config
            .warehouses
            .iter()
            .filter_map(|(name, at)| Some((WarehouseId::from(name.as_str()), at.price_per_hour?)))
            .collect(),
    }
}

/// A moment as calendars count it.
#[must_use]
pub fn moment(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_microsecond(at.as_micros()).unwrap_or(jiff::Timestamp::MAX)
}

/// A schedule's phase in the scheduler's words.
#[must_use]
pub fn phase(phase: calendar::Phase) -> Phase {
    Phase {
        open: phase.open,
        until: phase
            .until
            .map(|until| Timestamp::from_micros(until.as_microsecond())),
    }
}

/// The same instance draws the same jitter in every life.
#[must_use]
pub fn seed(instance: &str) -> u64 {
    instance.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROBED: &str = r#"
        [warehouses.rt]
        workgroup = "rt"
        database = "dev"
        endpoint_url = "http://127.0.0.1:1"

        [warehouses.far]
        workgroup = "far"
        database = "dev"
        endpoint_url = "http://127.0.0.1:1"
        assume_role = ["arn:aws:iam::222222222222:role/First", { arn = "arn:aws:iam::222222222222:role/Last", external_id = "me" }]

        [streams.clicks]
        kinesis = "arn:aws:kinesis:eu-west-1:111111111111:stream/clicks"
        probe_role_arn = "arn:aws:iam::111111111111:role/probe"

        [streams.again]
        kinesis = "arn:aws:kinesis:eu-west-1:111111111111:stream/clicks"
        probe_role_arn = "arn:aws:iam::111111111111:role/probe"
        probe_share = 0.1

        [streams.far]
        kinesis = "arn:aws:kinesis:eu-west-1:111111111111:stream/far"
        probe_role_arn = "arn:aws:iam::111111111111:role/probe"

        [streams.unread]
        kinesis = "arn:aws:kinesis:eu-west-1:111111111111:stream/unread"
        probe_role_arn = "arn:aws:iam::111111111111:role/probe"

        [streams.closed]
        kinesis = "arn:aws:kinesis:eu-west-1:111111111111:stream/closed"

        [streams.topic]
        kafka = "topic"
        probe_role_arn = "arn:aws:iam::111111111111:role/probe"

        [groups.g]
        warehouse = "rt"
        target_lag = "2m"
        views = [
            { name = "slow", stream = "clicks" },
            { name = "fast", stream = "clicks", target_lag = "30s" },
            { name = "child", stream = "clicks", target_lag = "10s", after = ["fast"] },
            { name = "shut", stream = "closed" },
            { name = "kafka", stream = "topic" },
            { name = "other", stream = "again" },
            { name = "remote", stream = "far", warehouse = "far" },
        ]
    "#;

    #[test]
    fn a_stream_with_a_probe_role_is_probed_for_the_views_that_follow_no_others() {
        let source = config::Source::Text {
            name: "t.toml".to_owned(),
            text: PROBED.to_owned(),
        };
        let loaded = config::load(&source, &config::Environment::new());
        assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
        let config = loaded.config.unwrap();
        let streams = streams(&config);
        // `again` is the same stream as `clicks`.
        let [clicks, far] = streams.as_slice() else {
            panic!("{streams:?}");
        };
        assert_eq!((clicks.name.as_str(), clicks.share), ("again", 0.1));
        let views = ["other", "fast", "slow"];
        assert_eq!(clicks.views, views.map(ViewId::from));
        assert_eq!(clicks.period, Span::from_secs(3));
        assert_eq!(clicks.endpoint_url.as_deref(), Some("http://127.0.0.1:1"));
        let walked = |stream: &stream::Settings| {
            let roles = stream.roles.iter();
            let roles = roles.map(|role| (role.arn.clone(), role.external_id.clone()));
            roles.collect::<Vec<_>>()
        };
        let role = |account: &str, name: &str, external_id: Option<&str>| {
            let arn = format!("arn:aws:iam::{account}:role/{name}");
            (arn, external_id.map(str::to_owned))
        };
        let probe = role("111111111111", "probe", None);
        assert_eq!(walked(clicks), std::slice::from_ref(&probe));
        let warehouse = |name, id| role("222222222222", name, id);
        let chain = [
            warehouse("First", None),
            warehouse("Last", Some("me")),
            probe,
        ];
        assert_eq!(walked(far), chain);
        let plan = plan(&config, &BTreeMap::new());
        let periods = plan
            .views
            .iter()
            .map(|view| (view.id.as_str(), view.probe_every));
        let mut probed: Vec<_> = periods
            .filter_map(|(id, every)| Some((id, every?)))
            .collect();
        probed.sort_unstable();
        let every = clicks.period;
        let all = [
            ("fast", every),
            ("other", every),
            ("remote", far.period),
            ("slow", every),
        ];
        assert_eq!(probed, all);
    }
}
