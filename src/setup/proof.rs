//! One refresh as the proof that a view can be refreshed, and the record that it leaves.
//!
//! Decides: when a refresh is tried, and which record is its own.
//! Deliberately absent: what the record says of our assumptions (`asked`).

use std::sync::Arc;
use std::time::Duration;

use tidekeeper_scheduler::{Foreign, Record, RefreshedBy, Span, Timestamp, ViewId};

use super::asked::{Evidence, Proof, Seen};
use super::blame::blame;
use super::links::{Link, Report, State};
use super::verify::Way;
use crate::warehouse::Refresh;

/// So long a record is waited for; the daemon has given it up by then.
const RECORD_WITHIN: Span = Span::from_secs(30);
/// What was read comes with it, or soon after.
const SCAN_WITHIN: Span = Span::from_secs(5);
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// The server's times, converted, may differ from ours by so much (as in sweeps).
const SLACK: Span = Span::from_secs(2);

/// The latest success of a view.
pub(super) fn latest<'a>(recent: &'a [(ViewId, Foreign)], view: &ViewId) -> Option<&'a Record> {
    let own = recent.iter().filter(|(of, _)| of == view);
    let records = own.map(|(_, foreign)| &foreign.record);
    records
        .filter(|record| record.result.is_ok())
        .max_by_key(|record| record.ended_at)
}

impl Way<'_> {
    /// Somebody has refreshed it a short while ago.
    pub(super) fn seen(
        &self,
        refresh: &Refresh,
        record: &Record,
        seen: &mut Evidence,
        report: &mut Report,
    ) {
        let link = format!("refresh of {}", refresh.view);
        let said = record.result.as_ref().map_or("", |outcome| outcome.label());
        let ago = (self.clock.now() - record.ended_at).as_secs_f64();
        let text = format!("{said}, {ago:.0} s ago");
        report.links.push(Link::new(link, State::Ok, text));
        seen.seen.push(Seen {
            record: record.clone(),
            streams: self.streams(refresh),
            proof: None,
        });
    }

    fn streams(&self, refresh: &Refresh) -> bool {
        let view = self.config.views.get(refresh.view.as_str());
        view.is_some_and(|view| view.stream.is_some())
    }

    pub(super) async fn prove(
        &self,
        refresh: &Refresh,
        in_flight: bool,
        seen: &mut Evidence,
        report: &mut Report,
    ) {
        let link = format!("refresh of {}", refresh.view);
        if in_flight {
            let text = "one is running; look again when it has ended";
            report.links.push(Link::new(link, State::Skipped, text));
            return;
        }
        if self.observes(refresh) {
            let text = "not tried: it is only observed";
            report.links.push(Link::new(link, State::Skipped, text));
            return;
        }
        let sql = crate::warehouse::refresh_sql(refresh, "verify");
        let submitted_at = self.clock.now();
        match self.ask(refresh, &sql).await {
            Ok(_) => {
                report
                    .links
                    .push(Link::new(link, State::Ok, "it was refreshed now"));
                if self.reads_records() && !seen.missed {
                    match self.record_of(refresh, submitted_at).await {
                        Some(found) => seen.seen.push(found),
                        None => seen.missed = true,
                    }
                }
            }
            Err(failure) => {
                let view = self.config.views.get(refresh.view.as_str());
                let stream = view
                    .and_then(|view| view.stream.as_ref())
                    .and_then(|name| self.config.streams.get(name));
                report
                    .links
                    .push(blame(&link, &failure, stream, self.accounts));
            }
        }
    }

    /// The record of a refresh that has just ended, as soon as it is there with what was read.
    async fn record_of(&self, refresh: &Refresh, submitted_at: Timestamp) -> Option<Seen> {
        let finished_at = self.clock.now();
        let views = [Arc::new(refresh.clone())];
        let fits = |found: &(ViewId, Foreign)| {
            let (_, Foreign { by, record }) = found;
            *by == RefreshedBy::Statement
                && record.began_at >= submitted_at - SLACK
                && record.ended_at <= finished_at + SLACK
        };
        let mut seen: Option<Seen> = None;
        loop {
            let swept = self.client.sweep(&views, submitted_at - SLACK, &[]).await;
            let fitting: Vec<(ViewId, Foreign)> = swept
                .map(|swept| swept.foreign.into_iter().filter(fits).collect())
                .unwrap_or_default();
            let now = self.clock.now();
            if let Some((_, foreign)) = fitting.last() {
                let found_at = seen.as_ref().and_then(|seen| Some(seen.proof?.found_at));
                let proof = Proof {
                    submitted_at,
                    finished_at,
                    found_at: found_at.unwrap_or(now),
                    fit: fitting.len(),
                };
                seen = Some(Seen {
                    record: foreign.record.clone(),
                    streams: self.streams(refresh),
                    proof: Some(proof),
                });
            }
            let patience = match &seen {
                Some(seen) if seen.is_whole() => return Some(seen.clone()),
                Some(_) => SCAN_WITHIN,
                None => RECORD_WITHIN,
            };
            if now - finished_at > patience {
                return seen;
            }
            tokio::time::sleep(BETWEEN_LOOKS).await;
        }
    }
}
