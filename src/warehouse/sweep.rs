//! Reading the warehouse's own records of refreshes: one statement for all views of a user.
//!
//! Decides: how far back is read, how long that may take, whose records are read first, what
//! becomes of a sweep in which some cannot be read, and whose refresh a record tells of.
//! Deliberately absent: the statement (`form`), what its rows say (`records`), when to look,
//! and what follows (the scheduler's).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidekeeper_scheduler::{
    Asked, Failure, FailureClass, Foreign, Record, RefreshedBy, Span, Sweep, Timestamp, ViewId,
};

use super::form::{Form, Reach};
use super::question::{Question, Rows};
use super::records::{self, view_name};
use super::{Auth, Client, Refresh, sql};
use crate::clock::duration;

/// Longer than any query of system views should take, and the others of a sweep are left some.
const LIMIT: Duration = Duration::from_secs(35);
/// All statements of a sweep, one after the other: the run loop gives a sweep up after a
/// minute, and the cancel of the last one may take ten seconds of it.
const WITHIN: Span = Span::from_secs(45);
/// Server times and ours, converted, may differ by so much.
const SLACK: Span = Span::from_secs(2);
/// Of each view so many of its latest refreshes are read; at a look back over a day so many.
const LATEST: u32 = 250;
const LATEST_OF_DAY: u32 = 50;
/// A sweep that reaches back further than this is a look back at a day.
const LOOK_BACK: Span = Span::from_secs(12 * 3_600);
/// The scan's records are many; the look back at the start reads so far.
const SCANS_SINCE: Span = Span::from_secs(900);
/// What a refresh has read is recorded while it runs; of longer ones only the end is told.
const SCANS_MAX: Span = Span::from_secs(6 * 3_600);
/// What a user lacked is asked for again after so long: it may have been granted since.
const FORM_LIFE: Span = Span::from_secs(3_600);

/// How many of a view's latest refreshes a look tells that reaches back so far.
#[must_use]
pub fn rows_of_a_view(back: Span) -> u32 {
    if back > LOOK_BACK {
        LATEST_OF_DAY
    } else {
        LATEST
    }
}

/// What one user's records can be asked for, and since when that is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    form: Form,
    since: Timestamp,
}

/// What a sweep is to find out, of the views of one user.
#[derive(Clone, Debug)]
struct Part<'a> {
    database: &'a str,
    auth: &'a Auth,
    views: Vec<&'a Refresh>,
}

impl Client {
    /// Reads what these attempts did, and who else has refreshed these views since.
    ///
    /// # Errors
    /// When no records can be read, of no user.
    pub async fn sweep(
        &self,
        views: &[Arc<Refresh>],
        since: Timestamp,
        asked: &[Asked],
    ) -> Result<Sweep, Failure> {
        let until = (self.life.now)() + WITHIN;
        let mut found = Sweep::default();
        let mut unread = Vec::new();
        let parts = self.parts(views);
        for part in &parts {
            let rows = match self.records(part, since, asked, until).await {
                Ok(rows) => rows,
                Err(failure) => {
                    unread.push((part.auth, failure));
                    continue;
                }
            };
            let read = records::read(&part.views, &rows, |text| self.own_time(text));
            let known = found.foreign.len();
            sort_out(&read, asked, &mut found);
            if let Some(foreign) = found.foreign.get_mut(known..) {
                self.name_users(part, foreign, until).await;
            }
        }
        match unread.first() {
            Some((_, failure)) if unread.len() == parts.len() => return Err(failure.clone()),
            Some(_) | None => self.tell_unread(&parts, unread),
        }
        found.verdicts.sort_by_key(|(_, _, record)| record.began_at);
        found
            .foreign
            .sort_by_key(|(_, foreign)| foreign.record.began_at);
        Ok(found)
    }

    /// The views by their users. Whose records could not be read goes last: that may take
    /// all the time there is, and the others' is not theirs to use up.
    fn parts<'a>(&self, views: &'a [Arc<Refresh>]) -> Vec<Part<'a>> {
        let mut parts: BTreeMap<&Auth, Part<'_>> = BTreeMap::new();
        for view in views {
            let part = parts.entry(&view.auth).or_insert_with(|| Part {
                database: &view.database,
                auth: &view.auth,
                views: Vec::new(),
            });
            part.views.push(view);
        }
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parts: Vec<Part<'_>> = parts.into_values().collect();
        parts.sort_by_key(|part| unread.contains_key(part.auth));
        parts
    }

    /// Says, of each user once, that their records cannot be read while others' can.
    fn tell_unread(&self, parts: &[Part<'_>], failures: Vec<(&Auth, Failure)>) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts {
            let failed = failures.iter().any(|(auth, _)| *auth == part.auth);
            if !failed && unread.remove(part.auth).is_some() {
                tracing::info!(
                    warehouse = %self.settings.id,
                    user = part.auth.who(),
                    "this user's records of refreshes can be read again"
                );
            }
        }
        for (auth, failure) in failures {
            let before = unread.insert(auth.clone(), failure.clone());
            if before.is_none_or(|before| !before.same_as(&failure)) {
                tracing::warn!(
                    warehouse = %self.settings.id,
                    user = auth.who(),
                    class = failure.class.label(),
                    error = &*failure.message,
                    mend = failure.mend.as_deref(),
                    "this user's records of refreshes cannot be read; their refreshes count as data meanwhile"
                );
            }
        }
    }

    /// The parts of the records that these views' users or this release lack.
    ///
    /// # Errors
    /// When those of a user cannot be read at all.
    pub async fn missing_records(
        &self,
        views: &[Arc<Refresh>],
    ) -> Result<Vec<&'static str>, Failure> {
        self.sweep(views, (self.life.now)(), &[]).await?;
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = views.iter().find_map(|view| unread.get(&view.auth)) {
            return Err(failure.clone());
        }
        let missing = views
            .iter()
            .flat_map(|view| self.form(&view.auth).missing());
        Ok(missing.collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Asks, with less where something is missing; what a user lacks is remembered for a while.
    async fn records(
        &self,
        part: &Part<'_>,
        since: Timestamp,
        asked: &[Asked],
        until: Timestamp,
    ) -> Result<Rows, Failure> {
        let names: BTreeSet<String> = part.views.iter().map(|view| view_name(view)).collect();
        let names: Vec<String> = names.iter().map(|name| sql::literal(name)).collect();
        let now = (self.life.now)();
        let latest = rows_of_a_view(now - since);
        let scans_since = self.server_text(scans_since(since, asked, now));
        let since = self.server_text(since);
        let reach = Reach {
            since: &since,
            latest,
            scans_since: &scans_since,
        };
        let known = self
            .known(part.auth)
            .filter(|known| now - known.since < FORM_LIFE);
        let mut form = known.map(|known| known.form).unwrap_or_default();
        loop {
            let text = form.sql(&names, reach);
            let failure = match self.ask_in_time(part, &text, until).await {
                Ok(rows) => {
                    let since = known.filter(|known| known.form == form);
                    let since = since.map_or(now, |known| known.since);
                    self.learn_form(part.auth, Known { form, since });
                    return Ok(rows);
                }
                Err(failure) => failure,
            };
            form = form.without(&failure).ok_or(failure)?;
        }
    }

    /// One statement of a sweep, in what is left of its time.
    async fn ask_in_time(
        &self,
        part: &Part<'_>,
        text: &str,
        until: Timestamp,
    ) -> Result<Rows, Failure> {
        let left = until - (self.life.now)();
        if left <= Span::ZERO {
            let text = "other users' records took all the time there was";
            return Err(Failure::new(FailureClass::TimedOut, text));
        }
        let asked = Question {
            sql: text,
            settings: &[],
            database: part.database,
            auth: part.auth,
            limit: LIMIT.min(duration(left)),
        };
        self.question(&asked).await
    }

    fn learn_form(&self, auth: &Auth, known: Known) {
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let before = forms.insert(auth.clone(), known);
        let missing = known.form.missing();
        if before.map(|before| before.form).unwrap_or_default() == known.form {
            return;
        }
        if missing.is_empty() {
            tracing::info!(warehouse = %self.settings.id, "the warehouse's records are read in full again");
        } else {
            tracing::info!(
                warehouse = %self.settings.id,
                missing = missing.join(", "),
                "the warehouse's records are read without what it does not have"
            );
        }
    }

    /// Ids become names; where nobody tells them they stay ids.
    async fn name_users(
        &self,
        part: &Part<'_>,
        foreign: &mut [(ViewId, Foreign)],
        until: Timestamp,
    ) {
        let ids = foreign.iter();
        let ids: BTreeSet<Arc<str>> = ids
            .filter_map(|(_, foreign)| foreign.record.user.clone())
            .collect();
        if self.users.lack(&ids) {
            let text = "SELECT usesysid::varchar AS id, usename::varchar AS name FROM pg_user";
            let answer = self.ask_in_time(part, text, until).await;
            // That there was no time says nothing about names.
            if !matches!(&answer, Err(failure) if failure.class == FailureClass::TimedOut) {
                let rows = answer.unwrap_or_default();
                let names = rows
                    .rows
                    .iter()
                    .map(|row| (rows.text(row, "id"), rows.text(row, "name")));
                self.users.learn(ids, names);
            }
        }
        for (_, foreign) in foreign {
            let id = foreign.record.user.take();
            foreign.record.user = id.map(|id| self.users.name(id));
        }
    }

    /// What this user's records can be asked for, as far as it is known.
    fn form(&self, auth: &Auth) -> Form {
        self.known(auth).map(|known| known.form).unwrap_or_default()
    }

    fn known(&self, auth: &Auth) -> Option<Known> {
        let forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        forms.get(auth).copied()
    }

    /// A moment of ours as the server's clock would write it.
    fn server_text(&self, at: Timestamp) -> String {
        let at = jiff::Timestamp::from_microsecond((at + self.offset_span()).as_micros());
        let at = at.unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        at.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
    }

    /// A server's timestamp without a zone (UTC), on our clock.
    fn own_time(&self, text: &str) -> Option<Timestamp> {
        let at: jiff::civil::DateTime = text.trim().replace(' ', "T").parse().ok()?;
        let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp::from_micros(at.as_microsecond()) - self.offset_span())
    }
}

/// Since when a sweep reads what refreshes have read: each of those asked for from its start.
fn scans_since(since: Timestamp, asked: &[Asked], now: Timestamp) -> Timestamp {
    let recently = since.max(now - SCANS_SINCE);
    let ended = asked.iter().filter(|asked| asked.finished_at.is_some());
    let begun = ended.map(|asked| asked.submitted_at - SLACK).min();
    recently.min(begun.unwrap_or(recently)).max(now - SCANS_MAX)
}

/// The names of database users. A user without one is not asked for again.
#[derive(Debug, Default)]
pub(super) struct Users(Mutex<BTreeMap<Arc<str>, Arc<str>>>);

impl Users {
    fn lack(&self, ids: &BTreeSet<Arc<str>>) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.iter().any(|id| !known.contains_key(id))
    }

    fn learn(&self, ids: BTreeSet<Arc<str>>, names: impl Iterator<Item = (String, String)>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for id in ids {
            let nameless = format!("user {id}").into();
            known.entry(id).or_insert(nameless);
        }
        known.extend(names.map(|(id, name)| (id.into(), name.trim().into())));
    }

    fn name(&self, id: Arc<str>) -> Arc<str> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).cloned().unwrap_or(id)
    }
}

/// Tells own refreshes from others. A view has one statement of ours at a time, and each of
/// them one record: the one within its time that fits it best. All others are foreign.
fn sort_out(records: &[(ViewId, RefreshedBy, Record)], asked: &[Asked], found: &mut Sweep) {
    let mut own: BTreeMap<(&ViewId, i64), &Asked> = BTreeMap::new();
    for asked in asked {
        let best = records
            .iter()
            .filter(|(view, by, record)| {
                asked.view == *view
                    && *by == RefreshedBy::Statement
                    && !own.contains_key(&(view, record.transaction))
            })
            .filter_map(|(view, _, record)| Some((distance(asked, record)?, view, record)))
            .min_by_key(|(distance, _, _)| *distance);
        if let Some((_, view, record)) = best {
            own.insert((view, record.transaction), asked);
        }
    }
    for (view, by, record) in records {
        match own.get(&(view, record.transaction)) {
            Some(asked) if asked.finished_at.is_some() => {
                let verdict = (asked.attempt, view.clone(), record.clone());
                found.verdicts.push(verdict);
            }
            Some(_) => {}
            None => {
                let (by, record) = (*by, record.clone());
                found.foreign.push((view.clone(), Foreign { by, record }));
            }
        }
    }
}

/// How far a record is from the times of an attempt; `None` where it cannot be its own.
fn distance(asked: &Asked, record: &Record) -> Option<Span> {
    let early = record.began_at - asked.submitted_at;
    let late = asked
        .finished_at
        .map_or(Span::ZERO, |finished_at| finished_at - record.ended_at);
    let within = early >= Span::ZERO - SLACK && late >= Span::ZERO - SLACK;
    within.then(|| early.max(Span::ZERO - early) + late.max(Span::ZERO - late))
}

#[cfg(test)]
mod tests {
    use tidekeeper_scheduler::FailureClass::Permanent;
    use tidekeeper_scheduler::Outcome;

    use super::super::Session;
    use super::super::lab_tests::{attempt, lab};
    use super::*;
    use crate::logging::tests::logged;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs(seconds)
    }

    fn view(name: &str, database: &str, auth: Auth) -> Arc<Refresh> {
        Arc::new(Refresh {
            view: ViewId::from(name),
            database: database.to_owned(),
            schema: None,
            name: name.to_owned(),
            auth,
            session: Session::default(),
        })
    }

    #[test]
    fn what_a_long_refresh_has_read_is_looked_for_from_its_start() {
        let asked = |submitted: i64, finished: Option<i64>| Asked {
            view: ViewId::from("v"),
            attempt: attempt(),
            submitted_at: at(submitted),
            finished_at: finished.map(at),
        };
        let now = 100_000;
        let since = |since: i64, asked: &[Asked]| scans_since(at(since), asked, at(now));
        assert_eq!(since(now - 61, &[]), at(now - 61));
        assert_eq!(since(now - 86_400, &[]), at(now - 900), "a look back");
        let short = asked(now - 20, Some(now - 10));
        let long = asked(now - 4_000, Some(now - 10));
        let runs = asked(now - 9_000, None);
        assert_eq!(since(now - 61, &[short.clone(), runs]), at(now - 61));
        assert_eq!(since(now - 61, &[short, long]), at(now - 4_002));
        let endless = asked(now - 90_000, Some(now - 10));
        assert_eq!(since(now - 61, &[endless]), at(now - 6 * 3_600));
    }

    #[tokio::test]
    async fn records_that_one_user_cannot_read_keep_nobody_from_reading_theirs() {
        let bench = lab("").await;
        let client = &bench.client;
        let mine = view("fast", "dev", Auth::Iam);
        let lost = view("lost", "gone", Auth::DbUser("a".to_owned()));
        let views = [Arc::clone(&lost), Arc::clone(&mine)];
        let refresh = client.submit(&mine, attempt(), Span::from_secs(20)).await;
        let long_ago = (client.life.now)() - Span::from_secs(60);
        let found = client.sweep(&views, long_ago, &[]).await.unwrap();
        assert_eq!(found.foreign.len(), 1, "{refresh:?}");
        let missing = client.missing_records(&views).await.unwrap_err();
        assert_eq!(missing.class, Permanent, "{missing:?}");
        let order: Vec<&Auth> = client.parts(&views).iter().map(|part| part.auth).collect();
        assert_eq!(order, [&mine.auth, &lost.auth], "who fails goes last");
        let all = client.sweep(&[lost], long_ago, &[]).await.unwrap_err();
        assert_eq!(all.class, Permanent);
    }

    #[tokio::test]
    async fn a_user_whose_records_cannot_be_read_is_named_once() {
        let bench = lab("").await;
        let client = &bench.client;
        let user = Auth::Secret("arn:secret".to_owned());
        let views = [view("v", "dev", user.clone())];
        let tell = |failed: &[&str]| {
            let failures = failed
                .iter()
                .map(|text| (&user, Failure::new(Permanent, text)));
            client.tell_unread(&client.parts(&views), failures.collect());
        };
        let lines = logged(None, || {
            tell(&["secret 1 was rotated"]);
            tell(&["secret 2 was rotated"]);
            tell(&["database is gone"]);
            tell(&[]);
            tell(&[]);
        });
        let told: Vec<_> = lines.iter().map(|line| line["level"].clone()).collect();
        assert_eq!(told, ["WARN", "WARN", "INFO"]);
        assert_eq!(lines[0]["user"], "arn:secret");
        assert_eq!(lines[0]["error"], "secret 1 was rotated");
    }

    #[tokio::test]
    async fn a_sweep_asks_nothing_once_its_time_is_over() {
        let bench = lab("").await;
        let client = &bench.client;
        let views = [view("fast", "dev", Auth::Iam)];
        let parts = client.parts(&views);
        let asked = client.ask_in_time(&parts[0], "SELECT 1", (client.life.now)());
        assert_eq!(asked.await.unwrap_err().class, FailureClass::TimedOut);
    }

    /// Two shards fill up faster than refreshes empty them, so that all are behind in both.
    #[tokio::test]
    async fn how_far_a_refresh_is_behind_is_summed_over_the_last_batches_of_its_shards() {
        let bench = lab("[[streams]]\nname = \"busy\"\nshards = 2\n\
             [[producers]]\nstream = \"busy\"\npattern = \"steady\"\nrate = 10000\nuntil = 2\n\
             [[views]]\nname = \"slow\"\ndatabase = \"dev\"\nwarehouse = \"realtime\"\n\
             stream = \"busy\"\nmax_records = 4000\nservice = { fixed = 0.5 }")
        .await;
        let client = &bench.client;
        let long_ago = (client.life.now)() - Span::from_secs(60);
        let views = [view("slow", "dev", Auth::Iam)];
        let parts = client.parts(&views);
        let mut refreshes: Vec<Record> = Vec::new();
        let number = |record: &Record| record.read.as_ref().unwrap().records;
        let is_cut = |record: &Record| matches!(record.result, Ok(Outcome::MoreData { .. }));
        // So many are not there before the producer's end.
        while refreshes.iter().map(number).sum::<u64>() < 16_000 || is_cut(&refreshes[0]) {
            let until = (client.life.now)() + Span::from_secs(30);
            let asked = client.ask_in_time(&parts[0], "REFRESH MATERIALIZED VIEW slow", until);
            asked.await.unwrap();
            let found = client.sweep(&views, long_ago, &[]).await.unwrap();
            let (_, foreign) = found.foreign.last().unwrap();
            refreshes.insert(0, foreign.record.clone());
        }
        let behind = |record: &Record| record.read.as_ref().unwrap().behind;
        assert_eq!(behind(&refreshes[0]), Some(0));
        assert_eq!(behind(&refreshes[1]), Some(number(&refreshes[0])));
        let Ok(Outcome::MoreData { up_to }) = refreshes[1].result else {
            panic!("{:?}", refreshes[1]);
        };
        let newest = refreshes[1].read.as_ref().unwrap().newest;
        assert!(up_to.is_some() && up_to < newest, "{up_to:?} {newest:?}");
    }

    #[tokio::test]
    async fn what_a_user_lacked_is_asked_for_again_after_an_hour() {
        let bench = lab("").await;
        let client = &bench.client;
        let views = [view("fast", "dev", Auth::Iam)];
        let lacked = Failure::new(
            Permanent,
            "permission denied for relation sys_stream_scan_errors",
        );
        let form = Form::default().without(&lacked).unwrap();
        let now = (client.life.now)();
        for (age, lacks) in [(3_000, 1), (4_000, 0)] {
            let since = now - Span::from_secs(age);
            client.learn_form(&Auth::Iam, Known { form, since });
            let missing = client.missing_records(&views).await.unwrap();
            assert_eq!(missing.len(), lacks, "{age} s");
        }
    }
}
