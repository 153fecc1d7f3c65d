//! The rows of a warehouse's records → refreshes.
//!
//! Decides: which view a row tells of, what a refresh has read, and how a skipped record is
//! described so that a person finds it. Deliberately absent: SQL (`form`), status texts
//! (`outcome`), and whose a refresh was (`sweep`).

use std::collections::BTreeMap;
use std::sync::Arc;

use tidekeeper_scheduler::{Read, Record, RefreshedBy, Span, Timestamp, ViewId};

use super::question::{Rows, Value};
use super::{Refresh, outcome};

/// A reason for skipped records, with what finds one of them, has so many characters.
const REASON_MAX: usize = 300;

/// A view's database, schema and name as Redshift stores them.
type Place = (String, String, String);
/// A view's name and a transaction.
type Key = (String, i64);

/// What a refresh has read.
#[derive(Debug, Default)]
struct Scan {
    read: Option<Read>,
    /// Up to when the view holds every shard that was read.
    holds_to: Option<Timestamp>,
    /// Records that were skipped, as the errors count them.
    errors: u64,
    /// The most frequent reason, and how often.
    reason: Option<(u64, Arc<str>)>,
}

impl Scan {
    fn error(&mut self, number: u64, reason: impl FnOnce() -> String) {
        self.errors += number;
        let most = self.reason.as_ref().map_or(0, |(most, _)| *most);
        if number > most {
            self.reason = Some((number, reason().into()));
        }
    }

    /// The errors alone tell of skipped records where the scan's states cannot be read.
    fn read(&self) -> Option<Read> {
        let reason = self.reason.as_ref().map(|(_, reason)| Arc::clone(reason));
        let unseen = reason.is_some().then_some(Read {
            records: 0,
            skipped: self.errors,
            bytes: 0,
            newest: None,
            behind: None,
            reason: None,
        });
        let read = self.read.clone().or(unseen)?;
        Some(Read { reason, ..read })
    }
}

/// Refreshes of these views. `own_time` puts a moment of the server's on our clock.
pub(super) fn read(
    views: &[&Refresh],
    rows: &Rows,
    own_time: impl Fn(&str) -> Option<Timestamp>,
) -> Vec<(ViewId, RefreshedBy, Record)> {
    let mut places: BTreeMap<Place, &Refresh> = BTreeMap::new();
    for view in views {
        places.entry(place(view)).or_insert(view);
    }
    let mut scans: BTreeMap<Key, Scan> = BTreeMap::new();
    for row in &rows.rows {
        let text = |column: &str| rows.text(row, column);
        let key = (text("mv"), number(&text("tx")).unwrap_or_default());
        let count = |column: &str| number(&text(column)).and_then(|n| u64::try_from(n).ok());
        match text("part").as_str() {
            "s" => {
                let scan = scans.entry(key).or_default();
                // The oldest record of each shard's last batch had waited at most so long:
                // whatever arrived before it has been read.
                let waited = text("late").parse().ok().map(Span::from_secs_f64);
                let at_least = || Some(own_time(&text("logged"))? - waited?);
                scan.holds_to = own_time(&text("t0")).or_else(at_least);
                scan.read = Some(Read {
                    records: count("n").unwrap_or_default(),
                    skipped: count("skipped").unwrap_or_default(),
                    bytes: count("bytes").unwrap_or_default(),
                    newest: own_time(&text("t1")).or(scan.holds_to),
                    behind: count("behind"),
                    reason: None,
                });
            }
            "e" => {
                let often = count("n").unwrap_or_default();
                let reason = || reason(&text("said"), &text("kind"), &text("ident"), often);
                scans.entry(key).or_default().error(often, reason);
            }
            _ => {}
        }
    }
    let history = rows.rows.iter().filter(|row| rows.text(row, "part") == "h");
    history
        .filter_map(|row| record(&places, &scans, rows, row, &own_time))
        .collect()
}

fn record(
    places: &BTreeMap<Place, &Refresh>,
    scans: &BTreeMap<Key, Scan>,
    rows: &Rows,
    row: &[Value],
    own_time: impl Fn(&str) -> Option<Timestamp>,
) -> Option<(ViewId, RefreshedBy, Record)> {
    let text = |column: &str| rows.text(row, column);
    let place = (text("db"), text("sch"), text("mv"));
    let view = places.get(&place)?;
    let transaction = number(&text("tx"))?;
    let (_, _, name) = place;
    let scan = scans.get(&(name, transaction));
    let status = outcome::read(&text("said"), scan.and_then(|scan| scan.holds_to));
    let by = if text("kind").eq_ignore_ascii_case("auto") {
        RefreshedBy::Auto
    } else {
        RefreshedBy::Statement
    };
    let began_at = own_time(&text("t0"))?;
    let record = Record {
        transaction,
        identity: number(&text("ident")),
        user: Some(text("usr").as_str().into()).filter(|user: &Arc<str>| !user.is_empty()),
        began_at,
        ended_at: own_time(&text("t1"))?.max(began_at),
        result: status.result,
        unknown: status.unknown,
        stale_parent: status.stale_parent,
        read: scan.and_then(Scan::read),
    };
    Some((view.view.clone(), by, record))
}

/// `reason (code 8, shard shardId-000000000000, position 4957…, 3 records)`.
fn reason(said: &str, code: &str, example: &str, number: u64) -> String {
    let mut found = Vec::new();
    if !code.is_empty() {
        found.push(format!("code {code}"));
    }
    if let Some((shard, position)) = example.split_once(' ') {
        found.push(format!("shard {shard}"));
        found.push(format!("position {position}"));
    }
    let plural = if number == 1 { "" } else { "s" };
    found.push(format!("{number} record{plural}"));
    let found = format!(" ({})", found.join(", "));
    let room = REASON_MAX.saturating_sub(found.chars().count());
    let text = said.chars().take(room).chain(found.chars());
    text.take(REASON_MAX).collect()
}

/// Where a view is, as Redshift stores names.
fn place(view: &Refresh) -> Place {
    let (schema, name) = super::stored_name(view);
    (view.database.clone(), schema, name)
}

/// A view's name as Redshift stores it.
pub(super) fn view_name(view: &Refresh) -> String {
    folded(&view.name, view)
}

pub(super) fn folded(name: &str, view: &Refresh) -> String {
    if view.session.case_sensitive {
        name.to_owned()
    } else {
        name.to_lowercase()
    }
}

fn number(text: &str) -> Option<i64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use tidekeeper_scheduler::Outcome;

    use super::super::{Auth, Session};
    use super::*;

    const COLUMNS: [&str; 17] = [
        "part", "db", "sch", "mv", "tx", "ident", "usr", "kind", "said", "t0", "t1", "n",
        "skipped", "bytes", "behind", "late", "logged",
    ];
    const MORE: &str =
        "Refresh successfully updated MV incrementally. The stream may contain more data";

    fn view(id: &str, schema: &str, name: &str, case_sensitive: bool) -> Refresh {
        Refresh {
            view: ViewId::from(id),
            database: "dev".to_owned(),
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
            auth: Auth::Iam,
            session: Session {
                query_group: None,
                case_sensitive,
            },
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs(seconds)
    }

    /// The refreshes that rows tell of; moments are seconds.
    fn told(views: &[Refresh], table: &[&[(&str, &str)]]) -> Vec<(ViewId, RefreshedBy, Record)> {
        let row = |cells: &&[(&str, &str)]| {
            let cell = |column: &&str| cells.iter().find(|(name, _)| name == column);
            let value = |column| {
                cell(column).map_or(Value::Null, |(_, text)| Value::Text((*text).to_owned()))
            };
            COLUMNS.iter().map(value).collect()
        };
        let rows = Rows {
            columns: COLUMNS
                .map(|name| (name.to_owned(), "varchar".to_owned()))
                .to_vec(),
            rows: table.iter().map(row).collect(),
        };
        let views: Vec<&Refresh> = views.iter().collect();
        read(&views, &rows, |text| text.parse().ok().map(at))
    }

    fn history<'a>(schema: &'a str, name: &'a str, said: &'a str) -> [(&'a str, &'a str); 8] {
        [
            ("part", "h"),
            ("db", "dev"),
            ("sch", schema),
            ("mv", name),
            ("tx", "7"),
            ("said", said),
            ("t0", "100"),
            ("t1", "110"),
        ]
    }

    const SCAN: [(&str, &str); 4] = [("part", "s"), ("mv", "v"), ("tx", "7"), ("n", "5")];

    #[test]
    fn a_view_holds_its_stream_up_to_where_the_slowest_shard_was_read() {
        let views = [view("v", "public", "v", false)];
        let scan = [&SCAN[..], &[("t0", "40"), ("t1", "90"), ("behind", "12")]].concat();
        let records = told(&views, &[&history("public", "v", MORE), &scan]);
        let (_, _, record) = &records[0];
        let up_to = Some(at(40));
        assert_eq!(record.result, Ok(Outcome::MoreData { up_to }));
        let read = record.read.as_ref().unwrap();
        assert_eq!((read.newest, read.behind), (Some(at(90)), Some(12)));
    }

    #[test]
    fn where_no_arrival_is_told_latency_tells_how_far_a_view_holds_its_stream() {
        let views = [view("v", "public", "v", false)];
        let scan = [&SCAN[..], &[("logged", "105"), ("late", "30")]].concat();
        let records = told(&views, &[&history("public", "v", MORE), &scan]);
        let up_to = Some(at(75));
        assert_eq!(records[0].2.result, Ok(Outcome::MoreData { up_to }));
        let records = told(&views, &[&history("public", "v", MORE), &SCAN]);
        assert_eq!(records[0].2.result, Ok(Outcome::MoreData { up_to: None }));
    }

    #[test]
    fn a_skipped_record_can_be_found_by_what_is_told_of_it() {
        let views = [view("v", "public", "v", false)];
        let error = |said, n| {
            let found = [
                ("kind", "8"),
                ("ident", "shardId-0 4957"),
                ("said", said),
                ("n", n),
            ];
            [&[("part", "e"), ("mv", "v"), ("tx", "7")][..], &found].concat()
        };
        let (once, thrice) = (error("too large", "1"), error("cannot be read", "3"));
        let rows = [&history("public", "v", MORE)[..], &once, &thrice];
        let read = told(&views, &rows).remove(0).2.read.unwrap();
        assert_eq!(
            read.skipped, 4,
            "without the scan's states the errors count"
        );
        let said = "cannot be read (code 8, shard shardId-0, position 4957, 3 records)";
        assert_eq!(read.reason.as_deref(), Some(said));
        let scan = [&SCAN[..], &[("skipped", "9")]].concat();
        let rows = [&history("public", "v", MORE)[..], &scan, &once];
        let read = told(&views, &rows).remove(0).2.read.unwrap();
        assert_eq!(read.skipped, 9);
        let long = reason(&"é".repeat(400), "8", "shardId-0 4957", 1);
        assert_eq!(long.chars().count(), REASON_MAX);
        assert!(long.ends_with("position 4957, 1 record)"), "{long}");
    }

    #[test]
    fn a_record_belongs_to_the_view_that_is_stored_under_its_name() {
        let views = [
            view("one", "Sales", "Orders", false),
            view("two", "Sales", "Orders", true),
            view("three", "public", "orders", false),
        ];
        let whose = |schema, name| {
            let records = told(&views, &[&history(schema, name, MORE)]);
            records.first().map(|(view, ..)| view.to_string())
        };
        assert_eq!(whose("sales", "orders").as_deref(), Some("one"));
        assert_eq!(whose("Sales", "Orders").as_deref(), Some("two"));
        assert_eq!(whose("public", "orders").as_deref(), Some("three"));
        assert_eq!(whose("Sales", "orders"), None);
    }
}
