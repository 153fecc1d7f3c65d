//! What is known of one shard, and where in it the next look begins.
//!
//! Decides: what an answer of Kinesis proves. One record is asked for at a time: none tells
//! that the shard was quiet; one with nothing behind it is an arrival; one with more behind it
//! means that records keep coming, so that the rest is skipped and counts as arriving all the
//! way to now.
//! Deliberately absent: calls, clocks, and who reads the shard.

use tidekeeper_scheduler::{Span, Timestamp};

use super::runs::Runs;

/// A record can be read at most so long after the moment it says that it arrived.
pub(crate) const READABLE_WITHIN: Span = Span::from_millis(500);
const TICK: Span = Span::from_micros(1);

/// From sending a request to having its answer, on the daemon's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trip {
    pub(super) sent: Timestamp,
    pub(super) received: Timestamp,
}

/// An answer to `GetRecords` with a limit of one record.
#[derive(Clone, Debug)]
pub(super) struct Page {
    /// When its record arrived, on the daemon's clock.
    pub(super) arrived: Option<Timestamp>,
    /// Whether there is more to read.
    pub(super) behind: bool,
    /// From where to read on; `None` at the end of a closed shard.
    pub(super) next: Option<String>,
    /// The shards that follow a closed one.
    pub(super) children: Vec<String>,
    pub(super) trip: Trip,
}

/// What an answer asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing: all is known up to the look.
    Period,
    /// Read on: the end has not been reached, and no record either.
    ReadOn,
    /// Go on at the end of the shard.
    SkipToEnd,
    /// Nothing ever: the shard is closed and read.
    Closed { children: Vec<String> },
}

/// One shard as it is followed.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    runs: Runs,
    /// What the looks since the last telling have found.
    news: Runs,
    /// Arrivals before this moment are not known.
    since: Timestamp,
    /// Everything that arrived up to this moment is known.
    verified: Option<Timestamp>,
    /// What is yet to be read was not there at this moment, whatever its own time says.
    floor: Option<Timestamp>,
    iterator: Option<String>,
    closed: bool,
}

impl Tail {
    /// A shard of which everything since a moment is to be known.
    pub(super) fn since(since: Timestamp) -> Self {
        Self {
            runs: Runs::default(),
            news: Runs::default(),
            since,
            verified: None,
            floor: None,
            iterator: None,
            closed: false,
        }
    }

    /// A shard of which everything is to be known: it is new.
    pub(super) fn whole() -> Self {
        Self::since(Timestamp::MIN)
    }

    pub(super) fn iterator(&self) -> Option<&str> {
        self.iterator.as_deref()
    }

    /// Where an iterator is to begin; `None` for the oldest record.
    pub(super) fn start(&self) -> Option<Timestamp> {
        let verified = self.verified.map(|verified| verified - READABLE_WITHIN);
        let start = verified.map_or(self.since, |verified| verified.max(self.since));
        (start > Timestamp::MIN).then_some(start)
    }

    /// An iterator at [`Self::start`].
    pub(super) fn begin(&mut self, iterator: String) {
        self.iterator = Some(iterator);
    }

    /// The iterator is no good any more.
    pub(super) fn lose_place(&mut self) {
        self.iterator = None;
        // The next one begins earlier, with records that were there.
        self.floor = None;
    }

    /// Somebody has read no further than `position`: what came after it is to be known.
    pub(super) fn reach_back(&mut self, position: Timestamp) {
        if !self.reaches(position) {
            *self = Self::since(position - READABLE_WITHIN);
        }
    }

    /// Whether everything is known that came after `position`, up to what is verified.
    pub(super) fn reaches(&self, position: Timestamp) -> bool {
        position - READABLE_WITHIN >= self.since
    }

    pub(super) fn take(&mut self, page: Page) -> Next {
        let Trip { sent, received } = page.trip;
        if let Some(arrived) = page.arrived {
            let floor = self.floor.map_or(Timestamp::MIN, |floor| floor + TICK);
            let arrived = arrived.max(floor).min(received);
            let (last, until) = if page.behind {
                (received, received)
            } else {
                (arrived, arrived + READABLE_WITHIN)
            };
            self.runs.add(arrived, until);
            self.news.add(arrived, last);
        }
        let Some(next) = page.next else {
            self.iterator = None;
            self.closed = true;
            return Next::Closed {
                children: page.children,
            };
        };
        if page.behind && page.arrived.is_none() {
            self.iterator = Some(next);
            return Next::ReadOn;
        }
        self.verified = Some(sent);
        if page.behind {
            // Should the end not be found, the next look begins where this one was.
            self.lose_place();
            return Next::SkipToEnd;
        }
        self.floor = Some(sent);
        self.iterator = Some(next);
        Next::Period
    }

    /// An iterator at the end of the shard, after [`Next::SkipToEnd`].
    pub(super) fn skip_to_end(&mut self, iterator: String, trip: Trip) {
        // What came while it was being made may lie on either side of it.
        self.runs.stretch(trip.received);
        self.news.add(trip.sent, trip.received);
        self.verified = Some(trip.sent);
        self.floor = Some(trip.sent);
        self.iterator = Some(iterator);
    }

    /// What was found since this was last asked.
    pub(super) fn take_news(&mut self) -> Runs {
        std::mem::take(&mut self.news)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Up to when all arrivals are known; for a closed shard that is no question.
    pub(super) fn verified(&self) -> Option<Timestamp> {
        self.verified
    }

    /// When the oldest record arrived that who has read up to `position`, which this reaches,
    /// has not read.
    pub(super) fn oldest_after(&self, position: Timestamp) -> Option<Timestamp> {
        self.runs.oldest_after(position)
    }

    /// Everybody has read up to `position`.
    pub(super) fn forget_before(&mut self, position: Timestamp) {
        let since = position - READABLE_WITHIN;
        if since > self.since {
            self.since = since;
            self.runs.forget_before(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(0) + Span::from_secs_f64(seconds)
    }

    /// Sent at this moment, answered a tenth of a second later.
    fn trip(sent: f64) -> Trip {
        Trip {
            sent: at(sent),
            received: at(sent + 0.1),
        }
    }

    fn page(sent: f64, arrived: Option<f64>, behind: bool) -> Page {
        Page {
            arrived: arrived.map(at),
            behind,
            next: Some(format!("after {sent}")),
            children: Vec::new(),
            trip: trip(sent),
        }
    }

    /// A shard that was quiet up to 10.
    fn quiet() -> Tail {
        let mut tail = Tail::since(at(0.0));
        tail.begin("i".to_owned());
        assert_eq!(tail.take(page(10.0, None, false)), Next::Period);
        tail
    }

    #[test]
    fn an_empty_answer_at_the_end_proves_quiet_up_to_when_it_was_asked_for() {
        let tail = quiet();
        assert_eq!(tail.verified(), Some(at(10.0)));
        assert_eq!(tail.oldest_after(at(0.0)), None);
        assert_eq!(tail.iterator(), Some("after 10"));
    }

    #[test]
    fn an_empty_answer_before_the_end_proves_nothing() {
        let mut tail = quiet();
        assert_eq!(tail.take(page(11.0, None, true)), Next::ReadOn);
        assert_eq!(tail.verified(), Some(at(10.0)));
        assert_eq!(tail.iterator(), Some("after 11"));
    }

    #[test]
    fn a_last_record_is_one_arrival() {
        let mut tail = quiet();
        assert_eq!(tail.take(page(12.0, Some(11.0), false)), Next::Period);
        assert_eq!(tail.verified(), Some(at(12.0)));
        assert_eq!(tail.oldest_after(at(10.0)), Some(at(11.0)));
        assert_eq!(tail.oldest_after(at(11.6)), None);
    }

    #[test]
    fn with_more_behind_it_records_count_as_arriving_until_the_end_was_found() {
        let mut tail = quiet();
        assert_eq!(tail.take(page(12.0, Some(11.0), true)), Next::SkipToEnd);
        tail.skip_to_end("end".to_owned(), trip(12.2));
        assert_eq!(tail.verified(), Some(at(12.2)));
        assert_eq!(tail.iterator(), Some("end"));
        assert_eq!(tail.oldest_after(at(10.0)), Some(at(11.0)));
        let within = at(12.0);
        assert_eq!(tail.oldest_after(within), Some(within + TICK));
        assert_eq!(tail.oldest_after(at(12.3)), None);
    }

    #[test]
    fn when_the_end_was_not_found_the_next_look_begins_where_this_one_was() {
        let mut tail = quiet();
        assert_eq!(tail.take(page(12.0, Some(11.0), true)), Next::SkipToEnd);
        assert_eq!(tail.iterator(), None);
        assert_eq!(tail.start(), Some(at(11.5)));
    }

    #[test]
    fn a_record_that_was_not_there_at_the_last_look_did_not_arrive_before_it() {
        let mut tail = quiet();
        // A clock of Kinesis's that is late, or a record that took its time to be readable.
        tail.take(page(12.0, Some(9.0), false));
        assert_eq!(tail.oldest_after(at(10.0)), Some(at(10.0) + TICK));
        // ... and one that is early: nothing arrives in the future.
        tail.take(page(14.0, Some(20.0), false));
        assert_eq!(tail.oldest_after(at(13.0)), Some(at(14.1)));
    }

    #[test]
    fn a_record_that_may_have_been_unreadable_when_it_was_stamped_counts_as_unread() {
        let mut tail = quiet();
        tail.take(page(12.0, Some(11.0), false));
        let position = at(11.4);
        assert_eq!(tail.oldest_after(position), Some(position + TICK));
    }

    #[test]
    fn a_lost_iterator_is_replaced_by_one_where_the_last_proof_ends() {
        let mut tail = quiet();
        tail.lose_place();
        assert_eq!(tail.start(), Some(at(9.5)));
        tail.begin("again".to_owned());
        // Read a second time: it is where it was.
        tail.take(page(400.0, Some(9.8), false));
        assert_eq!(tail.oldest_after(at(9.6)), Some(at(9.8)));
    }

    #[test]
    fn a_closed_shard_keeps_its_arrivals_and_names_its_children() {
        let mut tail = quiet();
        let last = Page {
            next: None,
            children: vec!["b".to_owned(), "c".to_owned()],
            ..page(12.0, Some(11.0), false)
        };
        let children = vec!["b".to_owned(), "c".to_owned()];
        assert_eq!(tail.take(last), Next::Closed { children });
        assert!(tail.is_closed());
        assert_eq!(tail.oldest_after(at(10.0)), Some(at(11.0)));
    }

    #[test]
    fn a_new_shard_is_read_from_its_first_record() {
        assert_eq!(Tail::whole().start(), None);
    }

    #[test]
    fn a_view_that_has_read_less_than_is_known_makes_the_shard_be_read_again_from_there() {
        let mut tail = quiet();
        tail.reach_back(at(1.0));
        assert_eq!(tail.verified(), Some(at(10.0)), "known already");
        tail.reach_back(at(-5.0));
        assert_eq!((tail.verified(), tail.iterator()), (None, None));
        assert_eq!(tail.start(), Some(at(-5.5)));
    }

    #[test]
    fn what_is_forgotten_is_not_known_any_more() {
        let mut tail = quiet();
        tail.take(page(12.0, Some(11.0), false));
        tail.forget_before(at(12.1));
        assert!(tail.reaches(at(12.1)) && !tail.reaches(at(12.0)));
        assert_eq!(tail.oldest_after(at(0.0)), None);
        tail.reach_back(at(12.1));
        assert!(tail.verified().is_some());
        tail.reach_back(at(11.0));
        assert_eq!(tail.verified(), None);
    }
}
