//! The picture: well-formed, complete, and safe from what names hold.

use std::path::Path;

use tidekeeper_simulator::{Plot, Policy, Report, Scenario, run};

const EVIL: &str = r#"<script>&"'v"#;

fn scenario(name: &str, duration: &str) -> Scenario {
    let text = format!(
        r#"name = '''{name}'''
duration = "{duration}"
[[warehouses]]
name = "wh"
slots = 2
[[views]]
name = "v"
warehouse = "wh"
target_lag = "60s"
arrivals = {{ kind = "steady", bytes_per_s = 200000.0 }}
service = {{ fixed = "3s", noise = "lognormal", sigma = 0.2 }}
"#
    );
    Scenario::parse(&text, Path::new("x.toml")).unwrap()
}

fn picture(scenario: &Scenario, change: impl Fn(&mut Report)) -> String {
    let mut plot = Plot::new(scenario);
    let mut runs = Vec::new();
    for policy in Policy::ALL {
        plot.begin(policy);
        runs.push(run(scenario, scenario.seed, policy, &mut plot));
    }
    let mut report = Report::new(scenario, scenario.seed, &runs);
    change(&mut report);
    plot.svg(&report)
}

/// Every tag is closed in order, attributes are quoted, and `&` begins an entity.
fn assert_well_formed(svg: &str) {
    let mut open = Vec::new();
    let mut rest = svg;
    while let Some((text, after)) = rest.split_once('<') {
        assert!(!text.contains('>'), "{text}");
        let (tag, behind) = after.split_once('>').unwrap();
        rest = behind;
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(tag.split(' ').next().unwrap());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert_eq!(rest.trim(), "");
    for entity in svg.split('&').skip(1) {
        let (entity, _) = entity.split_once(';').unwrap();
        assert!(
            ["lt", "gt", "amp", "quot", "#39"].contains(&entity),
            "{entity}"
        );
    }
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
}

fn bounded(report: &mut Report) {
    for view in report
        .policies
        .iter_mut()
        .flat_map(|policy| &mut policy.views)
    {
        view.lower_bound = Some(100);
    }
}

#[test]
fn the_picture_is_well_formed_and_names_every_policy() {
    let svg = picture(&scenario("plain", "2h"), |_| {});
    assert_well_formed(&svg);
    for policy in Policy::ALL {
        // Beside its dot.
        assert!(svg.contains(&format!(">{}  ", policy.name())));
    }
    for part in [
        ">adaptive</text>",
        "viewBox=\"0 0 1200 600\"",
        "role=\"img\"",
        "<title id=\"title\">plain, seed 0</title>",
        "<desc id=\"desc\">",
        "@media (prefers-color-scheme: dark)",
        ">target 60 s<",
        ">clock lag (s)<",
        ">cycles in target (%)<",
    ] {
        assert!(svg.contains(part), "{part}");
    }
    assert!(
        !svg.contains("http") || svg.matches("http").count() == 1,
        "self-contained"
    );
}

#[test]
fn names_cannot_break_out_of_the_picture() {
    let mut scenario = scenario(EVIL, "1h");
    scenario.name.push('\u{1}');
    scenario.views[0].name = EVIL.to_owned();
    let svg = picture(&scenario, |_| {});
    assert_well_formed(&svg);
    assert!(!svg.contains("<script"));
    assert!(!svg.contains('\u{1}'));
    assert!(svg.contains("&lt;script&gt;&amp;&quot;&#39;v"));
}

#[test]
fn cost_is_told_in_lower_bounds_where_every_view_has_one() {
    let with = picture(&scenario("x", "2h"), bounded);
    assert_well_formed(&with);
    assert!(with.contains("refreshes ÷ lower bound"));
    let without = picture(&scenario("x", "2h"), |report| {
        bounded(report);
        report.policies[1].views[0].lower_bound = None;
    });
    assert!(without.contains("refreshes per hour"));
    assert!(!without.contains("÷"));
}

#[test]
fn labels_of_equal_policies_do_not_cover_each_other() {
    let svg = picture(&scenario("x", "2h"), |report| {
        bounded(report);
        let first = report.policies[0].views.clone();
        for policy in &mut report.policies {
            policy.views.clone_from(&first);
        }
    });
    assert_well_formed(&svg);
    let mut rows: Vec<f64> = svg
        .lines()
        .filter(|line| line.starts_with("<text class=\"name t") && line.contains(" %, "))
        .map(|line| {
            line.split("y=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap()
        })
        .map(|y| y.parse().unwrap())
        .collect();
    rows.sort_by(f64::total_cmp);
    assert_eq!(rows.len(), Policy::ALL.len());
    assert!(
        rows.windows(2).all(|pair| pair[1] - pair[0] >= 17.0),
        "{rows:?}"
    );
}

#[test]
fn a_run_without_cycles_or_of_a_month_still_has_a_picture() {
    let empty = picture(&scenario("x", "1s"), |_| {});
    assert_well_formed(&empty);
    assert!(empty.contains("no cycles"));
    let mut long = scenario("x", "30d");
    // The window is as wide as sixteen targets, and its sawtooth is thinned.
    long.views[0].target_lag = tidekeeper_scheduler::Span::from_secs(86_400);
    let svg = picture(&long, |_| {});
    assert_well_formed(&svg);
    assert!(svg.len() < 100_000, "{}", svg.len());
}
