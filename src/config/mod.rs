//! File and environment → checked types, every mistake at once.
//!
//! Decides: where a configuration comes from, in which order it is read (file, includes,
//! environment), and what still runs when a part of it is wrong.
//! Deliberately absent: what the settings mean.

mod create_keys;
mod decode;
mod environment;
mod file;
mod problem;
mod resolve;
mod schema;
mod stream_keys;
#[cfg(test)]
mod tests;
mod types;
mod values;
mod view_keys;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use toml::de::DeTable;

pub use crate::calendar::Closed;
pub use environment::Environment;
pub use problem::Problem;
pub use schema::schema;
pub use types::{
    Auth, Billing, Brokers, Config, Create, Daemon, Definition, DistStyle, KafkaAuth, Mode,
    Outcomes, Overload, Priority, Role, Session, Source, Stream, StreamSource, Target, View,
    Warehouse,
};
pub use values::{Arn, parse_duration};

use crate::logging::Secret;
use file::File;
use problem::{At, Problems};

/// How long a statement may run unless somebody says otherwise.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(3600);
/// Where the daemon listens unless told otherwise.
pub const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464);
/// ECS kills a container 30 s after the signal unless told otherwise.
const DRAIN: Duration = Duration::from_secs(25);

/// What came of reading a configuration.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What can run; `None` when nothing can.
    pub config: Option<Config>,
    /// Every mistake, in the order of the text.
    pub problems: Vec<Problem>,
    /// Views that are in the files and do not run, because of a mistake.
    pub invalid_views: Vec<String>,
    /// Changes when what was read changes.
    pub fingerprint: Fingerprint,
}

/// A digest of the texts that a configuration was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    files: Vec<PathBuf>,
    digest: [u8; 32],
}

impl Source {
    /// The named file, `-` for standard input, or the text in the environment.
    ///
    /// # Errors
    /// When nothing is named, or standard input cannot be read.
    pub fn choose(path: Option<&Path>, environment: &Environment) -> anyhow::Result<Self> {
        if let Some(path) = path {
            if path.as_os_str() == "-" {
                let text = std::io::read_to_string(std::io::stdin())?;
                let name = "stdin".to_owned();
                return Ok(Self::Text { name, text });
            }
            return Ok(Self::File(path.to_owned()));
        }
        let name = "TIDEKEEPER_CONFIG_CONTENT";
        match environment.get(name) {
            Some(text) => Ok(Self::Text {
                name: name.to_owned(),
                text: text.clone(),
            }),
            None => anyhow::bail!(
                "no configuration: give --config FILE, or set TIDEKEEPER_CONFIG or {name}"
            ),
        }
    }
}

/// Reads a configuration, and finds every mistake in it.
#[must_use]
pub fn load(source: &Source, environment: &Environment) -> Loaded {
    let mut problems = Problems::default();
    let mut texts = Vec::new();
    let mut file = File::default();
    let main = match source {
        Source::File(path) => read_text(path, &mut texts, &mut problems),
        Source::Text { name, text } => Some((name.clone(), text.clone())),
    };
    let parsed = main.is_some_and(|(name, text)| {
        let parsed = parse(name, &text, true, &mut file, &mut problems);
        texts.push((PathBuf::new(), text));
        parsed
    });
    if parsed {
        include(source, &mut file, &mut texts, &mut problems);
    }
    let fingerprint = digest(&texts);
    let daemon = daemon(&mut file, environment, &mut problems);
    let Some(daemon) = daemon.filter(|_| parsed) else {
        return Loaded {
            config: None,
            problems: problems.into_sorted(),
            invalid_views: Vec::new(),
            fingerprint,
        };
    };
    if file.views.is_empty()
        && file
            .groups
            .values()
            .all(|group| group.value.views.is_empty())
    {
        let place = problem::Place { file: 0, offset: 0 };
        problems.add(
            place,
            "there are no views; list them in [[views]] or in a group",
        );
    }
    let resolved = resolve::resolve(&file, daemon, &mut problems);
    Loaded {
        config: Some(resolved.config).filter(|config| !config.views.is_empty()),
        problems: problems.into_sorted(),
        invalid_views: resolved.quarantined,
        fingerprint,
    }
}

/// Whether the texts behind a configuration still say the same, without reading meaning
/// into them.
#[must_use]
pub fn changed(source: &Source, seen: &Fingerprint) -> bool {
    let Source::File(path) = source else {
        return false;
    };
    let texts = seen.files.iter().map(|file| {
        let real = if file.as_os_str().is_empty() {
            path
        } else {
            file
        };
        (
            file.clone(),
            std::fs::read_to_string(real).unwrap_or_default(),
        )
    });
    digest(&texts.collect::<Vec<_>>()) != *seen
}

fn digest(texts: &[(PathBuf, String)]) -> Fingerprint {
    let mut hash = Sha256::new();
    for (path, text) in texts {
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    Fingerprint {
        files: texts.iter().map(|(path, _)| path.clone()).collect(),
        digest: hash.finalize().into(),
    }
}

fn read_text(
    path: &Path,
    texts: &mut Vec<(PathBuf, String)>,
    problems: &mut Problems,
) -> Option<(String, String)> {
    let name = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Some((name, text)),
        Err(error) => {
            let place = problems.elsewhere(&name);
            problems.add(place, format!("cannot be read: {error}"));
            texts.push((PathBuf::new(), String::new()));
            None
        }
    }
}

/// Reads one text into the sections; whether it was TOML.
fn parse(name: String, text: &str, main: bool, file: &mut File, problems: &mut Problems) -> bool {
    let number = problems.file(name, text.to_owned());
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let offset = error.span().map_or(0, |span| span.start);
        let place = problem::Place {
            file: number,
            offset,
        };
        problems.add(
            place,
            format!("not TOML: {}", error.message().replace('\n', "; ")),
        );
    }
    if errors.is_empty() {
        file::read(file, &table, number, main, problems);
    }
    errors.is_empty()
}

/// Reads what `include` names, relative to the file that names it.
fn include(
    source: &Source,
    file: &mut File,
    texts: &mut Vec<(PathBuf, String)>,
    problems: &mut Problems,
) {
    let base = match source {
        Source::File(path) => path.parent().unwrap_or_else(|| Path::new("")).to_owned(),
        Source::Text { .. } => PathBuf::new(),
    };
    for pattern in std::mem::take(&mut file.include) {
        for path in matches(&base, &pattern, problems) {
            let Some((name, text)) = read_text(&path, texts, problems) else {
                continue;
            };
            parse(name, &text, false, file, problems);
            texts.push((path, text));
        }
    }
}

/// The files that a pattern like `views.d/*.toml` names; `*` stands in the last part only.
fn matches(base: &Path, pattern: &At<String>, problems: &mut Problems) -> Vec<PathBuf> {
    let path = base.join(&pattern.value);
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let Some((head, tail)) = name.split_once('*') else {
        return vec![path];
    };
    let dir = path.parent().unwrap_or_else(|| Path::new("."));
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
        })
        .collect();
    found.sort();
    if found.is_empty() {
        problems.add(
            pattern.place,
            format!("`include` matches no file: {}", pattern.value),
        );
    }
    found
}

/// `[daemon]` with its defaults; `None` when a mistake in it stops everything.
fn daemon(file: &mut File, environment: &Environment, problems: &mut Problems) -> Option<Daemon> {
    let before = problems.count();
    let mut defaults = file.defaults.take().unwrap_or_else(|| file::Part {
        place: problem::Place { file: 0, offset: 0 },
        sound: true,
        value: view_keys::ViewKeys::default(),
    });
    environment::apply(environment, &mut file.daemon, &mut defaults.value, problems);
    file.defaults = Some(defaults);
    let keys = &file.daemon;
    let admin_token = match (
        &keys.admin_token_file,
        environment.get("TIDEKEEPER_ADMIN_TOKEN"),
    ) {
        (_, Some(token)) if !token.is_empty() => Some(Secret::new(token.clone())),
        (Some(path), _) => {
            let read = |path: &str| {
                let text = std::fs::read_to_string(path);
                text.map_err(|error| format!("`{path}` cannot be read: {error}"))
            };
            let token = path.parse("admin_token_file", read, problems);
            token.map(|token| Secret::new(token.value.trim().to_owned()))
        }
        (None, _) => None,
    };
    if problems.count() > before || !(file.daemon_sound || keys_absent(file)) {
        return None;
    }
    Some(Daemon {
        instance: keys
            .instance
            .as_ref()
            .map_or_else(|| "tidekeeper".to_owned(), |at| at.value.clone()),
        listen: keys.listen.as_ref().map_or(LISTEN, |at| at.value),
        drain: keys.drain.as_ref().map_or(DRAIN, |at| at.value),
        watch: keys.watch.as_ref().is_none_or(|at| at.value),
        admin_token,
        role_arn: keys.role_arn.as_ref().map(|at| at.value.clone()),
    })
}

/// A file that could not be read has no sound `[daemon]`, but no mistake in it either.
fn keys_absent(file: &File) -> bool {
    file.warehouses.is_empty() && file.views.is_empty() && file.groups.is_empty()
}

/// Settings that a reload cannot change, and that differ between two configurations.
#[must_use]
pub fn restart_only_changes(old: &Config, new: &Config) -> Vec<&'static str> {
    let (old, new) = (&old.daemon, &new.daemon);
    let mut changed = Vec::new();
    if old.instance != new.instance {
        changed.push("daemon.instance");
    }
    if old.listen != new.listen {
        changed.push("daemon.listen");
    }
    if old.admin_token != new.admin_token {
        changed.push("the admin token");
    }
    changed
}

/// What every warehouse and view ends up with, as TOML.
///
/// # Errors
/// Never for a configuration that was loaded; the writer's own otherwise.
pub fn effective(config: &Config) -> Result<String, toml::ser::Error> {
    #[derive(serde::Serialize)]
    struct Effective<'a> {
        warehouses: &'a BTreeMap<String, Warehouse>,
        views: Vec<&'a View>,
    }
    toml::to_string(&Effective {
        warehouses: &config.warehouses,
        views: config.views.values().collect(),
    })
}
