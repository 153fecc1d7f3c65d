//! What is written is a configuration, whatever a warehouse holds.

use proptest::prelude::*;

use super::*;
use crate::config::{self, Environment, Source};

const HEAD: &str = "[warehouses.found]\ncluster = \"dwh\"\nregion = \"eu-west-1\"\n";
const CHAIN: &str = "arn:aws:iam::222222222222:role/RedshiftStreamRole,arn:aws:iam::111111111111:role/KinesisStreamRole";

fn place(configured: Option<&Config>) -> Place<'_> {
    Place {
        warehouse: "found",
        database: "dev",
        region: Some("eu-west-1"),
        configured,
    }
}

fn kinesis(role: &str) -> Schema {
    Schema {
        options: json!({"SOURCE": "KINESIS", "IAM_ROLE": role}).to_string(),
    }
}

fn view() -> View {
    View {
        owner: "me".to_owned(),
        auto_refresh: false,
        state: 1,
        parents: Vec::new(),
    }
}

fn holding(views: &[(&str, View)], schemas: &[(&str, Schema)]) -> Existing {
    let views = views.iter().cloned();
    let schemas = schemas.iter().cloned();
    Existing {
        user: "me".to_owned(),
        views: views.map(|(name, view)| (name.to_owned(), view)).collect(),
        schemas: schemas
            .map(|(name, schema)| (name.to_owned(), schema))
            .collect(),
        ..Existing::default()
    }
}

fn scan(view: &str, external_schema: &str, stream: &str) -> Scan {
    Scan {
        view: view.to_owned(),
        external_schema: external_schema.to_owned(),
        stream: stream.to_owned(),
    }
}

fn loaded(text: &str) -> (Option<Config>, Vec<String>) {
    let source = Source::Text {
        name: "found".to_owned(),
        text: text.to_owned(),
    };
    let loaded = config::load(&source, &Environment::default());
    let problems = loaded.problems.iter().map(ToString::to_string);
    (loaded.config, problems.collect())
}

/// The configuration that is written, which has no mistakes, and its text.
fn written(existing: &Existing, scans: &[Scan]) -> (Config, String) {
    let found = found(place(None), existing, scans);
    let text = format!("{HEAD}{}", toml(place(None), &found, "30s"));
    let (config, problems) = loaded(&text);
    assert_eq!(problems, Vec::<String>::new(), "{text}");
    (config.unwrap(), text)
}

fn stream_of(config: &Config, id: &str) -> StreamSource {
    let view = config.views.get(id).unwrap();
    let stream = view.stream.as_ref().unwrap();
    config.streams.get(stream).unwrap().source.clone()
}

#[test]
fn a_view_is_tied_to_its_stream_and_the_chain_tells_the_account() {
    let existing = holding(&[("public.clicks_vw", view())], &[("k", kinesis(CHAIN))]);
    let (config, _) = written(&existing, &[scan("clicks_vw", "k", "clicks")]);
    let arn = "arn:aws:kinesis:eu-west-1:111111111111:stream/clicks".to_owned();
    assert_eq!(stream_of(&config, "clicks_vw"), StreamSource::Kinesis(arn));
    let stream = config.streams.get("clicks").unwrap();
    assert_eq!(stream.role_chain.join(","), CHAIN);
}

#[test]
fn of_several_scans_the_latest_tells() {
    let existing = holding(&[("public.v", view())], &[("k", kinesis(CHAIN))]);
    let (config, _) = written(
        &existing,
        &[scan("v", "k", "zulu"), scan("v", "k", "alpha")],
    );
    assert!(config.streams.contains_key("alpha"), "{:?}", config.streams);
}

#[test]
fn scans_through_schemas_of_another_database_tell_nothing() {
    let existing = holding(&[("public.v", view())], &[("k", kinesis(CHAIN))]);
    let (config, text) = written(&existing, &[scan("v", "elsewhere", "clicks")]);
    assert!(config.streams.is_empty(), "{text}");
}

#[test]
fn the_partition_is_that_of_the_roles() {
    let role = "arn:aws-cn:iam::333333333333:role/X";
    let existing = holding(&[("public.v", view())], &[("k", kinesis(role))]);
    let (config, _) = written(&existing, &[scan("v", "k", "clicks")]);
    let arn = "arn:aws-cn:kinesis:eu-west-1:333333333333:stream/clicks".to_owned();
    assert_eq!(stream_of(&config, "v"), StreamSource::Kinesis(arn));
}

#[test]
fn one_stream_name_in_two_accounts_is_two_streams() {
    let schemas = [
        ("one", kinesis("arn:aws:iam::111111111111:role/A")),
        ("two", kinesis("arn:aws:iam::222222222222:role/B")),
    ];
    let existing = holding(&[("public.a", view()), ("public.b", view())], &schemas);
    let scans = [scan("a", "one", "clicks"), scan("b", "two", "clicks")];
    let (config, _) = written(&existing, &scans);
    assert_ne!(stream_of(&config, "a"), stream_of(&config, "b"));
}

#[test]
fn one_name_in_two_schemas_is_two_views_and_neither_is_given_the_others_stream() {
    let existing = holding(
        &[("a.v", view()), ("b.v", view())],
        &[("k", kinesis(CHAIN))],
    );
    let (config, text) = written(&existing, &[scan("v", "k", "clicks")]);
    let ids: Vec<&str> = config.views.keys().map(String::as_str).collect();
    assert_eq!(ids, ["b.v", "v"]);
    assert!(
        config.views.values().all(|view| view.stream.is_none()),
        "{text}"
    );
    assert!(text.contains("have its name"), "{text}");
}

#[test]
fn a_topic_is_no_kinesis_stream() {
    let schema = Schema {
        options: json!({"SOURCE": "MSK", "URI": "b:9098", "IAM_ROLE": CHAIN}).to_string(),
    };
    let existing = holding(&[("public.v", view())], &[("k", schema)]);
    let (config, text) = written(&existing, &[scan("v", "k", "payments")]);
    assert_eq!(
        stream_of(&config, "v"),
        StreamSource::Kafka("payments".to_owned())
    );
    assert!(text.contains("kafka_uri = \"b:9098\""), "{text}");
}

#[test]
fn a_stream_of_which_too_little_is_known_is_a_comment() {
    for schema in [
        kinesis("default"),
        kinesis("arn:aws:iam::1:role/A"),
        Schema::default(),
    ] {
        let existing = holding(&[("public.v", view())], &[("k", schema)]);
        let (config, text) = written(&existing, &[scan("v", "k", "clicks")]);
        assert!(config.streams.is_empty(), "{text}");
        assert!(text.contains("\n# [streams.clicks]"), "{text}");
        assert!(text.contains("# reads clicks"), "{text}");
    }
}

#[test]
fn what_stands_in_the_way_of_a_refresh_is_said() {
    let mut foreign = view();
    foreign.owner = "some\"body".to_owned();
    let mut automatic = view();
    automatic.auto_refresh = true;
    let mut dead = view();
    dead.state = 103;
    let views = [
        ("public.foreign", foreign),
        ("public.Automatic", automatic),
        ("public.dead", dead),
    ];
    let (config, text) = written(&holding(&views, &[]), &[]);
    let ids: Vec<&str> = config.views.keys().map(String::as_str).collect();
    assert_eq!(ids, ["Automatic", "foreign"]);
    for words in [
        "its owner is some\"body",
        "ALTER MATERIALIZED VIEW public.\"Automatic\" AUTO REFRESH NO;",
        "# \"dead\",   state 103",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[test]
fn only_what_is_not_configured_is_written_and_its_names_are_new() {
    let (known, problems) = loaded(
        "[warehouses.found]\nworkgroup = \"w\"\ndatabase = \"dev\"\n[streams.orders]\n\
         kinesis = \"arn:aws:kinesis:eu-west-1:111111111111:stream/clicks\"\n[[views]]\n\
         name = \"a\"\nid = \"b\"\nwarehouse = \"found\"\ntarget_lag = \"30s\"\n",
    );
    assert_eq!(problems, Vec::<String>::new());
    let known = known.unwrap();
    let views = [
        ("public.a", view()),
        ("public.b", view()),
        ("public.c", view()),
    ];
    let existing = holding(&views, &[("k", kinesis(CHAIN))]);
    let scans = [scan("b", "k", "clicks"), scan("c", "k", "orders")];
    let place = place(Some(&known));
    let found = found(place, &existing, &scans);
    let text = toml(place, &found, "30s");
    assert!(
        text.contains("# \"a\" is configured already: in schema \"public\", as b"),
        "{text}"
    );
    assert!(
        text.contains("{ id = \"public.b\", name = \"b\", stream = \"orders\" }"),
        "the id is taken, the stream is known: {text}"
    );
    assert!(
        text.contains("[streams.k_orders]") && text.contains("stream = \"k_orders\""),
        "another stream has the name: {text}"
    );
    assert!(!text.contains("stream/clicks"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_things_are_called_what_is_written_passes_check(
        names in prop::collection::vec(("[ab.\\-\"\\\\\n]{1,3}", "\\PC{1,6}|[a\n#\"'.\\]]{1,4}"), 1..6),
        schemas in prop::collection::vec(("[a\n\"]{0,2}", "\\PC{0,12}|arn:aws:iam::111111111111:role/[A\n\"]{0,2}"), 0..3),
        streams in prop::collection::vec("[a.\\-_\n\"]{0,3}", 0..4),
    ) {
        let mut existing = Existing::default();
        for (schema, name) in &names {
            existing.views.insert(format!("{schema}.{name}"), view());
        }
        for (name, role) in &schemas {
            existing.schemas.insert(name.clone(), kinesis(role));
        }
        let scans: Vec<Scan> = names
            .iter()
            .zip(schemas.iter().cycle())
            .zip(streams.iter().cycle())
            .map(|(((_, view), (schema, _)), stream)| scan(view, schema, stream))
            .collect();
        let found = found(place(None), &existing, &scans);
        // A view that is surely sound, so that there is one at all.
        let lone = "[[views]]\nid = \"\u{1}lone\"\nname = \"\u{1}schema.lone\"\nwarehouse = \"found\"\ndatabase = \"x\"\ntarget_lag = \"9s\"\n";
        let lone = lone.replace('\u{1}', "zz-");
        let text = format!("{HEAD}{}{lone}", toml(place(None), &found, "30s"));
        let (_, problems) = loaded(&text);
        prop_assert_eq!(problems, Vec::<String>::new(), "{}", text);
    }
}

#[test]
fn a_view_on_views_is_refreshed_after_them() {
    let on = |parents: &[&str]| View {
        parents: parents.iter().map(|name| (*name).to_owned()).collect(),
        ..view()
    };
    let existing = holding(
        &[
            ("sales.orders", view()),
            ("sales.items", view()),
            ("marts.daily", on(&["sales.items", "sales.orders"])),
            ("marts.far", on(&["elsewhere.gone"])),
        ],
        &[("kds", kinesis(CHAIN))],
    );
    let scans = [scan("orders", "kds", "o"), scan("items", "kds", "i")];
    let (config, text) = written(&existing, &scans);
    let after = |id: &str| config.views.get(id).unwrap().after.clone();
    assert_eq!(after("daily"), ["items", "orders"]);
    assert!(
        after("far").is_empty() && text.contains("it stands on elsewhere.gone"),
        "{text}"
    );
    let json = as_json(&found(place(None), &existing, &scans));
    let daily = json["views"]
        .as_array()
        .unwrap()
        .iter()
        .find(|view| view["name"] == "marts.daily");
    assert_eq!(
        daily.unwrap()["after"],
        json!(["sales.items", "sales.orders"])
    );
}
