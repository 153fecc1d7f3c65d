//! What a look at the warehouse says of the rows of docs/assumptions.md.
//!
//! Decides: which line of the report speaks of which row, the questions that system views
//! answer, and what the record of one refresh shows. What one look cannot answer is not asked:
//! its row says so.
//! Deliberately absent: refreshing (`verify`), and streams (`probe`).

use std::collections::BTreeSet;

use tidekeeper_scheduler::{Failure, Outcome, Record, Timestamp};

use super::existing::{Existing, LOOK};
use super::identifier::literal;
use super::links::{Link, State};
use crate::warehouse::question::{Question, Rows};
use crate::warehouse::{Auth, Client};

/// What is asked, and the rows that the answer speaks of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    what: &'static str,
    rows: &'static [&'static str],
}

const fn asked(what: &'static str, rows: &'static [&'static str]) -> Asked {
    Asked { what, rows }
}

const PARENTS: Asked = asked("parents of views", &["A57"]);
const WORDS: Asked = asked("words for what is missing", &["A58"]);
const OTHERS: Asked = asked("refreshes of others", &["A69"]);
const REACH: Asked = asked("how far records reach back", &["A67"]);
const USAGE: Asked = asked("what is billed", &["A39", "A55"]);
const RECORD: Asked = asked("record of a refresh", &["A48", "A49", "A73"]);
const TIMES: Asked = asked("times of a refresh", &["A51", "A56", "A70"]);
const IDENTITY: Asked = asked("identity of a view", &["A52"]);
const STATUS: Asked = asked("status of a refresh", &["A53", "A72"]);
const SCAN: Asked = asked("what a refresh read", &["A50", "A65"]);
const USER: Asked = asked("user of a refresh", &["A66"]);
pub(super) const SHARDS: Asked = asked("shards", &["A63"]);
pub(super) const LATEST: Asked = asked("a look at the end", &["A59"]);
pub(super) const CLOCK: Asked = asked("clock", &["A64"]);

/// All of them, for the test that compares them with the document.
#[cfg(test)]
const ALL: [Asked; 14] = [
    PARENTS, WORDS, OTHERS, REACH, USAGE, RECORD, TIMES, IDENTITY, STATUS, SCAN, USER, SHARDS,
    LATEST, CLOCK,
];

impl Asked {
    pub(super) fn link(self, subject: &str, state: State, detail: impl Into<String>) -> Link {
        let mut link = Link::new(format!("{subject}: {}", self.what), state, detail);
        link.assumed = self.rows;
        link
    }
}

/// Whose view of the warehouse is asked for.
#[derive(Debug)]
pub(super) struct Asker<'a> {
    pub(super) client: &'a Client,
    pub(super) subject: &'a str,
    pub(super) database: &'a str,
    pub(super) auth: &'a Auth,
    pub(super) serverless: bool,
    /// Some of the user's views are only observed: of them nothing else is known.
    pub(super) observes: bool,
}

impl Asker<'_> {
    /// Everything that the records of refreshes need beside a refresh.
    pub(super) async fn system(&self, me: &str) -> Vec<Link> {
        let mut links = vec![
            self.words().await,
            self.others(me).await,
            self.reach().await,
        ];
        if self.serverless {
            links.push(self.usage().await);
        }
        links
    }

    async fn ask(&self, sql: &str) -> Result<Rows, Failure> {
        let question = Question {
            sql,
            settings: &[],
            database: self.database,
            auth: self.auth,
            limit: LOOK,
        };
        self.client.question(&question).await
    }

    /// A sweep leaves out what an error names.
    async fn words(&self) -> Link {
        const ABSENT: &str = "no_such_column";
        let sql = format!("SELECT {ABSENT} FROM sys_mv_refresh_history LIMIT 1");
        let said = match self.ask(&sql).await {
            Ok(_) => "nothing was said".to_owned(),
            Err(failure) => failure.message.to_string(),
        };
        let lower = said.to_lowercase();
        if lower.contains(ABSENT) && lower.contains("does not exist") {
            return WORDS.link(self.subject, State::Ok, "an error names it");
        }
        WORDS.link(self.subject, State::Unverifiable, said)
    }

    async fn others(&self, me: &str) -> Link {
        let sql = format!(
            "SELECT superuser, syslog_access FROM svv_user_info WHERE user_name = {}",
            literal(me)
        );
        let rows = self.ask(&sql).await;
        let mend = format!("-- as a superuser:\nALTER USER \"{me}\" SYSLOG ACCESS UNRESTRICTED;");
        let unknown = |text: String| {
            OTHERS
                .link(self.subject, State::Unverifiable, text)
                .mend(mend.as_str())
        };
        let rows = match rows {
            Ok(rows) => rows,
            Err(failure) => {
                return unknown(format!("whether they are shown: {}", failure.message));
            }
        };
        let says = |column: &str| {
            let row = rows.rows.first();
            row.map(|row| rows.text(row, column)).unwrap_or_default()
        };
        if matches!(says("superuser").as_str(), "t" | "true") {
            return OTHERS.link(self.subject, State::Ok, "a superuser sees them");
        }
        if says("syslog_access").eq_ignore_ascii_case("unrestricted") {
            let text = "shown: SYSLOG ACCESS UNRESTRICTED";
            return OTHERS.link(self.subject, State::Ok, text);
        }
        let text = "this user sees rows of its own: refreshes by other users are not known of, perhaps not those of AUTO REFRESH";
        if !self.observes {
            return OTHERS.link(self.subject, State::Skipped, text);
        }
        unknown(text.to_owned())
    }

    async fn reach(&self) -> Link {
        let sql = "SELECT DATEDIFF(hour, MIN(start_time), GETDATE()) AS hours \
                   FROM sys_mv_refresh_history";
        let rows = match self.ask(sql).await {
            Ok(rows) => rows,
            Err(failure) => {
                let text = failure.message.to_string();
                return REACH.link(self.subject, State::Unverifiable, text);
            }
        };
        let hours = rows.rows.first().map(|row| rows.text(row, "hours"));
        let hours: Option<i64> = hours.and_then(|hours| hours.parse().ok());
        let (state, text) = match hours {
            Some(hours) if hours >= 24 => (State::Ok, format!("{hours} h")),
            Some(hours) => (State::Skipped, format!("{hours} h, none is older")),
            None => (State::Skipped, "there are none".to_owned()),
        };
        REACH.link(self.subject, state, text)
    }

    async fn usage(&self) -> Link {
        let sql = "SELECT COUNT(*) AS minutes, SUM(compute_seconds)::varchar AS computed, \
                   SUM(charged_seconds)::varchar AS charged FROM sys_serverless_usage \
                   WHERE start_time > GETDATE() - INTERVAL '60 minutes'";
        let rows = match self.ask(sql).await {
            Ok(rows) => rows,
            Err(failure) => {
                let text = failure.message.to_string();
                return USAGE.link(self.subject, State::Unverifiable, text);
            }
        };
        let Some(row) = rows
            .rows
            .first()
            .filter(|row| rows.text(row, "minutes") != "0")
        else {
            return USAGE.link(self.subject, State::Skipped, "nothing in the last hour");
        };
        let text = format!(
            "{} RPU-seconds charged for {} computed in the last hour",
            rows.text(row, "charged"),
            rows.text(row, "computed")
        );
        USAGE.link(self.subject, State::Ok, text)
    }
}

/// Whether the catalog tells which view stands on which.
pub(super) fn parents(subject: &str, existing: &Existing, serverless: bool) -> Link {
    if serverless {
        let text = "a workgroup does not tell: views on views need `after`";
        return PARENTS.link(subject, State::Skipped, text);
    }
    match &existing.untold {
        None => {
            let standing = existing.views.values();
            let standing = standing.filter(|view| !view.parents.is_empty()).count();
            let text = format!("told; {standing} views stand on others");
            PARENTS.link(subject, State::Ok, text)
        }
        Some(why) => PARENTS
            .link(subject, State::Unverifiable, why.as_str())
            .mend("give views on views their `after`"),
    }
}

/// A refresh whose record was found.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) record: Record,
    /// Its view reads a stream, not other views.
    pub(super) streams: bool,
    /// Where it was made to be looked at.
    pub(super) proof: Option<Proof>,
}

impl Seen {
    /// Whether it lacks nothing that a refresh of its kind leaves behind.
    pub(super) fn is_whole(&self) -> bool {
        let has_read = self.record.result.as_ref();
        let has_read = has_read.is_ok_and(|found| *found != Outcome::NoData);
        !(self.streams && has_read) || self.record.read.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Proof {
    pub(super) submitted_at: Timestamp,
    pub(super) finished_at: Timestamp,
    pub(super) found_at: Timestamp,
    /// Refreshes of the view that fit these times.
    pub(super) fit: usize,
}

/// What was seen of one user's refreshes.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    pub(super) subject: String,
    pub(super) me: String,
    pub(super) seen: Vec<Seen>,
    /// A refresh was made, and left no record in time.
    pub(super) missed: bool,
}

impl Evidence {
    pub(super) fn links(&self) -> Vec<Link> {
        let mut links = vec![self.record()];
        if !self.seen.is_empty() {
            links.extend(self.times());
            links.extend([self.identity(), self.status(), self.scan(), self.user()]);
        }
        links
    }

    fn proofs(&self) -> impl Iterator<Item = (&Seen, Proof)> {
        let seen = self.seen.iter();
        seen.filter_map(|seen| Some((seen, seen.proof?)))
    }

    fn record(&self) -> Link {
        let say = |state, text: String| RECORD.link(&self.subject, state, text);
        if self.missed {
            let text = "none came within 30 s of a refresh: such refreshes count as data";
            return say(State::Unverifiable, text.to_owned()).mend(
                "let the user see its own rows of SYS_MV_REFRESH_HISTORY, or set outcomes = \"off\"",
            );
        }
        let late = self
            .proofs()
            .map(|(_, proof)| proof.found_at - proof.finished_at)
            .max();
        match late {
            Some(late) => {
                let late = late.as_secs_f64();
                say(State::Ok, format!("there {late:.1} s after the end"))
            }
            None if self.seen.is_empty() => {
                say(State::Skipped, "no refresh was made or found".to_owned())
            }
            None => say(State::Ok, "found; how late it came is not known".to_owned()),
        }
    }

    fn times(&self) -> Option<Link> {
        let (seen, proof) = self.proofs().max_by_key(|(_, proof)| proof.fit)?;
        if proof.fit > 1 {
            let text = format!("{} fit those of the one that was made", proof.fit);
            return Some(TIMES.link(&self.subject, State::Unverifiable, text));
        }
        let text = format!(
            "began {:.1} s after the submit, ended {:.1} s before that was told",
            (seen.record.began_at - proof.submitted_at).as_secs_f64(),
            (proof.finished_at - seen.record.ended_at).as_secs_f64()
        );
        Some(TIMES.link(&self.subject, State::Ok, text))
    }

    fn identity(&self) -> Link {
        let mut all = self.seen.iter();
        if all.all(|seen| seen.record.identity.is_some()) {
            return IDENTITY.link(&self.subject, State::Ok, "mv_id is told");
        }
        let text = "no mv_id: a view that was created anew passes for the old one";
        IDENTITY.link(&self.subject, State::Unverifiable, text)
    }

    fn status(&self) -> Link {
        let mut records = self.seen.iter().map(|seen| &seen.record);
        if let Some(text) = records.clone().find_map(|record| record.unknown.as_ref()) {
            let text = format!("no rule knows: {text}");
            return STATUS
                .link(&self.subject, State::Unverifiable, text)
                .mend("report this text; it counts as data");
        }
        let failed = |record: &Record| {
            record
                .result
                .as_ref()
                .map_or("failed", |found| found.label())
        };
        let said: BTreeSet<&str> = records.by_ref().map(failed).collect();
        let said: Vec<&str> = said.into_iter().collect();
        STATUS.link(&self.subject, State::Ok, said.join(", "))
    }

    fn scan(&self) -> Link {
        let reads = self.seen.iter();
        let reads = reads.filter_map(|seen| seen.record.read.as_ref());
        if let Some(read) = reads.max_by_key(|read| read.records) {
            let behind = match read.behind {
                Some(behind) => format!("{behind} left behind it"),
                None => "how many were left is not told".to_owned(),
            };
            let text = format!("{} records under its transaction, {behind}", read.records);
            return SCAN.link(&self.subject, State::Ok, text);
        }
        if self.seen.iter().any(|seen| !seen.is_whole()) {
            let text = "a refresh with data has no scan under its transaction: what refreshes read is not known";
            return SCAN.link(&self.subject, State::Unverifiable, text);
        }
        SCAN.link(&self.subject, State::Skipped, "nothing was there to read")
    }

    fn user(&self) -> Link {
        let say = |state, text: String| USER.link(&self.subject, state, text);
        let own = self.proofs().map(|(seen, _)| seen).next();
        let Some(seen) = own.or_else(|| self.seen.first()) else {
            return say(State::Skipped, String::new());
        };
        match seen.record.user.as_deref() {
            None => say(State::Skipped, "not told".to_owned()),
            Some(user) if own.is_some() && user != self.me => {
                let text = format!("the one that {} made is told as {user}'s", self.me);
                say(State::Unverifiable, text)
            }
            Some(user) => say(State::Ok, user.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_micros(secs * 1_000_000)
    }

    fn proven(outcome: Outcome) -> Seen {
        Seen {
            record: Record {
                transaction: 1,
                identity: Some(7),
                user: Some("me".into()),
                began_at: at(11),
                ended_at: at(14),
                result: Ok(outcome),
                unknown: None,
                stale_parent: false,
                read: None,
            },
            streams: true,
            proof: Some(Proof {
                submitted_at: at(10),
                finished_at: at(15),
                found_at: at(16),
                fit: 1,
            }),
        }
    }

    fn said(seen: Vec<Seen>, missed: bool) -> Vec<String> {
        let evidence = Evidence {
            subject: "w".to_owned(),
            me: "me".to_owned(),
            seen,
            missed,
        };
        let line = |link: Link| {
            let (name, rows) = (link.name, link.assumed.join(" "));
            format!("{} {name}: {} ({rows})", link.state.sign(), link.detail)
        };
        evidence.links().into_iter().map(line).collect()
    }

    #[test]
    fn a_refresh_that_was_made_speaks_of_every_row_that_its_record_concerns() {
        assert_eq!(
            said(vec![proven(Outcome::NoData)], false),
            [
                "✓ w: record of a refresh: there 1.0 s after the end (A48 A49 A73)",
                "✓ w: times of a refresh: began 1.0 s after the submit, ended 1.0 s before that was told (A51 A56 A70)",
                "✓ w: identity of a view: mv_id is told (A52)",
                "✓ w: status of a refresh: no_data (A53 A72)",
                "– w: what a refresh read: nothing was there to read (A50 A65)",
                "✓ w: user of a refresh: me (A66)",
            ]
        );
    }

    #[test]
    fn what_a_record_lacks_is_said_of_its_row() {
        let changed = |change: fn(&mut Seen)| {
            let mut seen = proven(Outcome::Data);
            change(&mut seen);
            let lines = said(vec![seen], false);
            let open = lines.into_iter().filter(|line| line.starts_with('?'));
            let rows = open.map(|line| line.rsplit('(').next().unwrap_or_default().to_owned());
            rows.collect::<Vec<_>>()
        };
        let scan = "A50 A65)";
        assert_eq!(changed(|_| {}), [scan], "data without a scan");
        assert_eq!(changed(|seen| seen.streams = false), [""; 0]);
        assert_eq!(changed(|seen| seen.record.identity = None), ["A52)", scan]);
        let strange = changed(|seen| seen.record.unknown = Some("Moon was full".into()));
        assert_eq!(strange, ["A53 A72)", scan]);
        let other = changed(|seen| seen.record.user = Some("you".into()));
        assert_eq!(other, [scan, "A66)"]);
        let two = changed(|seen| seen.proof = seen.proof.map(|proof| Proof { fit: 2, ..proof }));
        assert_eq!(two, ["A51 A56 A70)", scan]);
    }

    #[test]
    fn a_refresh_without_a_record_is_not_called_good() {
        let lines = said(Vec::new(), true);
        assert!(
            lines.concat().starts_with("? w: record of a refresh"),
            "{lines:?}"
        );
        let none = said(Vec::new(), false);
        assert_eq!(
            none,
            ["– w: record of a refresh: no refresh was made or found (A48 A49 A73)"]
        );
    }

    #[test]
    fn every_row_on_records_and_arrivals_is_asked_or_says_why_not() {
        let document = include_str!("../../docs/assumptions.md");
        let mut wrong = Vec::new();
        let mut named = BTreeSet::new();
        for row in document.lines().filter(|line| line.starts_with("| A")) {
            let row = row.replace("\\|", "/");
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let [_, id, _, _, _, noticed, _] = cells[..] else {
                wrong.push(format!("not five cells: {row}"));
                continue;
            };
            let number: u32 = id[1..].parse().unwrap();
            let concerned = (24..=27).contains(&number) || number == 39 || number >= 48;
            let asked = ALL.iter().find(|asked| asked.rows.contains(&id));
            let says = match asked {
                Some(asked) => {
                    noticed.contains(&format!("asked by `check --online`: *{}*", asked.what))
                }
                None => noticed.contains("cannot be asked") != noticed.contains("asked by `check"),
            };
            if (concerned || asked.is_some()) && !says {
                wrong.push(format!("{id}: {noticed}"));
            }
            named.insert(id.to_owned());
        }
        let asked = ALL.iter().flat_map(|asked| asked.rows);
        wrong.extend(
            asked
                .filter(|id| !named.contains(**id))
                .map(|id| format!("no row {id}")),
        );
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
