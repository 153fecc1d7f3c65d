//! Environment variables that override the file: a closed list.
//!
//! Decides: which settings a deployment may override (scalars of `[daemon]` and `[defaults]`),
//! and that a variable with our prefix and an unknown name is a mistake, not a silence.
//! The layering is the `config` crate's; values are read by the same rules as the file's.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::file::DaemonKeys;
use super::problem::{At, Place, Problems, hint};
use super::types::{Mode, Priority};
use super::values::{parse_address, parse_duration};
use super::view_keys::ViewKeys;

/// The process's environment.
pub type Environment = BTreeMap<String, String>;

const PREFIX: &str = "TIDEKEEPER_";

/// Ours, but not settings of the file.
const RESERVED: [&str; 6] = [
    "TIDEKEEPER_CONFIG",
    "TIDEKEEPER_CONFIG_CONTENT",
    "TIDEKEEPER_ADMIN_TOKEN",
    "TIDEKEEPER_LOG",
    "TIDEKEEPER_LOG_FORMAT",
    "TIDEKEEPER_BIN",
];

const OVERRIDES: [&str; 13] = [
    "TIDEKEEPER_DAEMON__INSTANCE",
    "TIDEKEEPER_DAEMON__LISTEN",
    "TIDEKEEPER_DAEMON__DRAIN",
    "TIDEKEEPER_DAEMON__WATCH",
    "TIDEKEEPER_DEFAULTS__TARGET_LAG",
    "TIDEKEEPER_DEFAULTS__MISS_RATE",
    "TIDEKEEPER_DEFAULTS__MIN_INTERVAL",
    "TIDEKEEPER_DEFAULTS__MAX_INTERVAL",
    "TIDEKEEPER_DEFAULTS__WAREHOUSE",
    "TIDEKEEPER_DEFAULTS__DATABASE",
    "TIDEKEEPER_DEFAULTS__SCHEMA",
    "TIDEKEEPER_DEFAULTS__PRIORITY",
    "TIDEKEEPER_DEFAULTS__MODE",
];

#[derive(Debug, Default, Deserialize)]
struct Overrides {
    #[serde(default)]
    daemon: BTreeMap<String, String>,
    #[serde(default)]
    defaults: BTreeMap<String, String>,
}

/// Puts the environment's values over the file's.
pub(super) fn apply(
    environment: &Environment,
    daemon: &mut DaemonKeys,
    defaults: &mut ViewKeys,
    problems: &mut Problems,
) {
    for name in environment.keys().filter(|name| name.starts_with(PREFIX)) {
        if !RESERVED.contains(&name.as_str()) && !OVERRIDES.contains(&name.as_str()) {
            let place = problems.elsewhere(name);
            let hint = hint(name, OVERRIDES);
            problems.add(place, format!("no setting of that name{hint}; unset it"));
        }
    }
    let ours = environment
        .iter()
        .filter(|(name, _)| OVERRIDES.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let layer = config::Environment::with_prefix("TIDEKEEPER")
        .prefix_separator("_")
        .separator("__")
        .ignore_empty(true)
        .source(Some(ours));
    let read = config::Config::builder()
        .add_source(layer)
        .build()
        .and_then(config::Config::try_deserialize::<Overrides>);
    match read {
        Ok(overrides) => {
            let mut reader = Reader { problems };
            reader.daemon(&overrides.daemon, daemon);
            reader.defaults(&overrides.defaults, defaults);
        }
        Err(error) => {
            let place = problems.elsewhere("environment");
            problems.add(place, error.to_string());
        }
    }
}

struct Reader<'a> {
    problems: &'a mut Problems,
}

impl Reader<'_> {
    fn daemon(&mut self, values: &BTreeMap<String, String>, keys: &mut DaemonKeys) {
        for (key, text) in values {
            let at = self.at("DAEMON", key, text);
            match key.as_str() {
                "instance" => keys.instance = Some(at),
                "listen" => keys.listen = at.parse(key, parse_address, self.problems),
                "drain" => keys.drain = at.parse(key, parse_duration, self.problems),
                _ => keys.watch = at.parse(key, parse_bool, self.problems),
            }
        }
    }

    fn defaults(&mut self, values: &BTreeMap<String, String>, keys: &mut ViewKeys) {
        for (key, text) in values {
            let at = self.at("DEFAULTS", key, text);
            match key.as_str() {
                "target_lag" => keys.target_lag = at.parse(key, parse_duration, self.problems),
                "min_interval" => keys.min_interval = at.parse(key, parse_duration, self.problems),
                "max_interval" => keys.max_interval = at.parse(key, parse_duration, self.problems),
                "miss_rate" => keys.miss_rate = at.parse(key, parse_rate, self.problems),
                "warehouse" => keys.warehouse = Some(at),
                "database" => keys.database = Some(at),
                "schema" => keys.schema = Some(at),
                "priority" => keys.priority = at.parse(key, parse_priority, self.problems),
                _ => keys.mode = at.parse(key, parse_mode, self.problems),
            }
        }
    }

    fn at(&mut self, section: &str, key: &str, text: &str) -> At<String> {
        let name = format!("{PREFIX}{section}__{}", key.to_uppercase());
        let place: Place = self.problems.elsewhere(&name);
        let value = text.to_owned();
        At { value, place }
    }
}

fn parse_bool(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is neither true nor false"))
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok();
    rate.filter(|rate| *rate > 0.0 && *rate <= 0.5)
        .ok_or_else(|| format!("`{text}` is no share above 0, at most 0.5"))
}

fn parse_priority(text: &str) -> Result<Priority, String> {
    match text {
        "low" => Ok(Priority::Low),
        "normal" => Ok(Priority::Normal),
        "high" => Ok(Priority::High),
        _ => Err(format!("`{text}` is none of low, normal, high")),
    }
}

fn parse_mode(text: &str) -> Result<Mode, String> {
    match text {
        "active" => Ok(Mode::Active),
        "observe" => Ok(Mode::Observe),
        _ => Err(format!("`{text}` is neither active nor observe")),
    }
}
