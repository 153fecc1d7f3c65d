//! Golden mistakes, precedence, quarantine, overrides.

use std::path::{Path, PathBuf};

use super::*;

fn text(text: &str) -> Source {
    Source::Text {
        name: "t.toml".to_owned(),
        text: text.to_owned(),
    }
}

fn loaded(source: &str) -> Loaded {
    load(&text(source), &Environment::new())
}

fn with_environment(source: &str, variables: &[(&str, &str)]) -> Loaded {
    let pairs = variables.iter();
    let environment = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&text(source), &environment.collect())
}

fn problems(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(ToString::to_string).collect()
}

const SOUND: &str = r#"
[warehouses.rt]
workgroup = "rt"
database = "dev"
[groups.g]
warehouse = "rt"
target_lag = "1m"
labels = { team = "a", tier = "1" }
views = ["a", { name = "b", target_lag = "30s", labels = { tier = "2" } }]
"#;

/// Files of `folder` that end in `.toml`.
fn files(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(root).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "toml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_golden_mistake_is_reported_word_for_word() {
    let mistakes = files("tests/golden/config");
    assert!(
        mistakes.len() >= 25,
        "only {} golden mistakes",
        mistakes.len()
    );
    let mut wrong = Vec::new();
    for path in mistakes {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = Source::Text {
            name: name.clone(),
            text: std::fs::read_to_string(&path).unwrap(),
        };
        let said = problems(&load(&source, &Environment::new())).join("\n") + "\n";
        let golden = path.with_extension("txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&golden, &said).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap_or_default();
        if said != wanted || said.trim().is_empty() {
            wrong.push(format!("{name}\n said:\n{said} wanted:\n{wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_shipped_files_are_without_mistakes() {
    let shipped = [files("config"), files("config/examples")].concat();
    assert!(shipped.len() >= 4, "{shipped:?}");
    for path in shipped {
        let loaded = load(&Source::File(path.clone()), &Environment::new());
        assert_eq!(problems(&loaded), [""; 0], "{}", path.display());
    }
}

#[test]
fn the_nearest_setting_wins_and_labels_are_merged() {
    let config = loaded(SOUND).config.unwrap();
    let (a, b) = (&config.views["a"], &config.views["b"]);
    assert_eq!((a.target_lag.as_secs(), b.target_lag.as_secs()), (60, 30));
    assert_eq!(a.database, "dev", "from the warehouse");
    assert_eq!(
        (b.labels["team"].as_str(), b.labels["tier"].as_str()),
        ("a", "2")
    );
}

#[test]
fn a_mistake_in_one_view_leaves_the_others_running() {
    let broken = SOUND.replace("\"30s\"", "\"soon\"");
    let loaded = loaded(&broken);
    assert_eq!(loaded.invalid_views, ["b"]);
    let views: Vec<_> = loaded.config.unwrap().views.into_keys().collect();
    assert_eq!(views, ["a"]);
}

#[test]
fn a_mistake_in_a_group_takes_its_views_out() {
    let broken = SOUND.replace("\"1m\"", "60")
        + "[[views]]\nname = \"c\"\nwarehouse = \"rt\"\ntarget_lag = \"9s\"\n";
    let loaded = loaded(&broken);
    assert_eq!(loaded.invalid_views, ["a", "b"], "{:?}", problems(&loaded));
    assert!(loaded.config.unwrap().views.contains_key("c"));
}

#[test]
fn a_mistake_in_the_daemon_stops_everything() {
    let loaded = loaded(&format!("[daemon]\nlisten = \"nowhere\"\n{SOUND}"));
    assert!(loaded.config.is_none());
}

#[test]
fn a_view_that_comes_after_a_broken_one_does_not_run_either() {
    let broken = SOUND.replace("\"30s\"", "\"soon\"")
        + "[[views]]\nname = \"c\"\nwarehouse = \"rt\"\ntarget_lag = \"9s\"\nafter = [\"b\"]\n";
    let loaded = loaded(&broken);
    assert!(!loaded.config.unwrap().views.contains_key("c"));
    assert_eq!(loaded.invalid_views, ["b", "c"]);
}

#[test]
fn the_environment_overrides_a_closed_list() {
    let variables = [
        ("TIDEKEEPER_DAEMON__LISTEN", "0.0.0.0:9464"),
        ("TIDEKEEPER_DEFAULTS__MISS_RATE", "0.02"),
        ("TIDEKEEPER_LOG", "debug"),
        ("TIDEKEEPER_DEFAULTS__TARGET_LAG", ""),
        ("PATH", "/bin"),
    ];
    let loaded = with_environment(SOUND, &variables);
    assert_eq!(problems(&loaded), [""; 0]);
    let config = loaded.config.unwrap();
    assert_eq!(config.daemon.listen.to_string(), "0.0.0.0:9464");
    assert!((config.views["a"].miss_rate - 0.02).abs() < 1e-12);
}

#[test]
fn a_mistake_in_the_environment_names_its_variable() {
    let variables = [
        ("TIDEKEEPER_DAEMON__LISTEM", "x"),
        ("TIDEKEEPER_DEFAULTS__TARGET_LAG", "60"),
    ];
    let said = problems(&with_environment(SOUND, &variables)).join("\n");
    assert!(said.contains("TIDEKEEPER_DAEMON__LISTEM: no setting of that name; did you mean `TIDEKEEPER_DAEMON__LISTEN`?"), "{said}");
    assert!(
        said.contains("TIDEKEEPER_DEFAULTS__TARGET_LAG: `target_lag`: `60` has no unit"),
        "{said}"
    );
}

#[test]
fn included_files_are_read_with_their_own_places() {
    let dir = tempfile::tempdir().unwrap();
    let main = dir.path().join("main.toml");
    std::fs::write(&main, format!("include = [\"views.d/*.toml\"]\n{SOUND}")).unwrap();
    std::fs::create_dir(dir.path().join("views.d")).unwrap();
    let more = dir.path().join("views.d/more.toml");
    std::fs::write(
        &more,
        "[[views]]\nname = \"c\"\nwarehouse = \"rtt\"\ntarget_lag = \"9s\"\n",
    )
    .unwrap();
    let source = Source::File(main);
    let first = load(&source, &Environment::new());
    let said = problems(&first).join("\n");
    assert!(
        said.ends_with("more.toml:3:13: there is no warehouse `rtt`; did you mean `rt`?"),
        "{said}"
    );
    assert!(!changed(&source, &first.fingerprint));
    std::fs::write(
        &more,
        "[[views]]\nname = \"c\"\nwarehouse = \"rt\"\ntarget_lag = \"9s\"\n",
    )
    .unwrap();
    assert!(changed(&source, &first.fingerprint));
    assert!(load(&source, &Environment::new()).problems.is_empty());
}

#[test]
fn the_effective_configuration_shows_what_a_view_ends_up_with() {
    let config = loaded(SOUND).config.unwrap();
    let shown = effective(&config).unwrap();
    assert!(shown.contains("target_lag = \"30s\""), "{shown}");
    assert!(shown.contains("miss_rate = 0.05"), "{shown}");
}

#[test]
fn a_changed_instance_needs_a_restart() {
    let old = loaded(SOUND).config.unwrap();
    let new = loaded(&format!("[daemon]\ninstance = \"other\"\n{SOUND}"))
        .config
        .unwrap();
    assert_eq!(restart_only_changes(&old, &new), ["daemon.instance"]);
}
