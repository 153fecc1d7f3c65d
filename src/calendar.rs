//! Hours and days: schedules in time zones, and pinned times.
//!
//! Decides: whether a schedule is open at a moment, when that changes, and how long it may
//! stay closed at most. Pinned times (`refresh_at`) and housekeeping tick on
//! `tokio-cron-scheduler`, within what was measured of it: UTC cron patterns only, handlers
//! that do one `try_send`, shut down first. Schedules do not: their phase is computed from the
//! host's clock at every look, so that a missed tick or a change of summer time does no harm.
//! Deliberately absent: what being closed means for a view.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_A_DAY: u32 = 24 * 60;
const MINUTES_A_WEEK: u32 = 7 * MINUTES_A_DAY;

/// When views follow their targets, and what holds when they do not.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    zone: TimeZone,
    /// Open stretches of a local week that begins on Monday, sorted, not touching, in minutes.
    open: Vec<(u32, u32)>,
    closed: Closed,
}

/// What a closed schedule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    Pause,
    TargetLag(Duration),
}

/// Hours on some days of the week: `mon-fri 07:00-19:00`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// First minute of the week and length, once for each day.
    stretches: Vec<(u32, u32)>,
}

/// Open or closed, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    pub open: bool,
    /// `None`: for good.
    pub until: Option<Timestamp>,
}

impl Window {
    /// Days (`mon`, `mon-fri`, `sat,sun`, `daily`) and hours (`07:00-19:00`; an end before the
    /// start is on the next day).
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{text}` is no window; write days and hours, like \"mon-fri 07:00-19:00\"");
        let (days, hours) = text
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(wrong)?;
        let (from, until) = hours.trim().split_once('-').ok_or_else(wrong)?;
        let (from, until) = (
            minute(from).ok_or_else(wrong)?,
            minute(until).ok_or_else(wrong)?,
        );
        if from == until {
            return Err(format!(
                "`{text}` opens and closes at once; write 00:00-24:00 for the whole day"
            ));
        }
        let length = (until + MINUTES_A_DAY - from) % MINUTES_A_DAY;
        let length = if length == 0 { MINUTES_A_DAY } else { length };
        let days = parse_days(days).ok_or_else(|| {
            format!("`{days}` in `{text}` names no days; write mon, mon-fri, sat,sun or daily")
        })?;
        let stretch = |day: u32| (day * MINUTES_A_DAY + from, length);
        Ok(Self {
            stretches: days.into_iter().map(stretch).collect(),
        })
    }
}

/// Minutes since midnight; 24:00 is the end of the day.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two = |digits: &str| (digits.len() == 2).then(|| digits.parse::<u32>().ok())?;
    let (hour, minute) = (two(hour)?, two(minute)?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_A_DAY).then_some(total)
}

fn parse_days(text: &str) -> Option<BTreeSet<u32>> {
    if text == "daily" {
        return Some((0..7).collect());
    }
    let day = |name: &str| {
        let at = DAYS.iter().position(|day| *day == name)?;
        u32::try_from(at).ok()
    };
    let mut days = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7;
        days.extend((0..=count).map(|i| (first + i) % 7));
    }
    Some(days)
}

impl Schedule {
    #[must_use]
    pub fn new(zone: TimeZone, windows: Vec<Window>, closed: Closed) -> Self {
        let mut pieces: Vec<(u32, u32)> = Vec::new();
        for (start, length) in windows.into_iter().flat_map(|window| window.stretches) {
            let end = start + length;
            pieces.push((start, end.min(MINUTES_A_WEEK)));
            if end > MINUTES_A_WEEK {
                pieces.push((0, end - MINUTES_A_WEEK));
            }
        }
        pieces.sort_unstable();
        let mut open: Vec<(u32, u32)> = Vec::new();
        for (start, end) in pieces {
            match open.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                Some(_) | None => open.push((start, end)),
            }
        }
        Self { zone, open, closed }
    }

    /// An IANA time zone.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn parse_zone(name: &str) -> Result<TimeZone, String> {
        TimeZone::get(name).map_err(|_| {
            format!("`{name}` is no time zone; write an IANA name like \"Europe/Paris\" or \"UTC\"")
        })
    }

    #[must_use]
    pub fn closed(&self) -> Closed {
        self.closed
    }

    /// The longest it stays closed, in an ordinary week.
    #[must_use]
    pub fn longest_closed(&self) -> Duration {
        let Some(first) = self.open.first() else {
            return Duration::MAX;
        };
        let next_starts = self.open.iter().skip(1).map(|(start, _)| *start);
        let next_starts = next_starts.chain([first.0 + MINUTES_A_WEEK]);
        let gaps = self.open.iter().zip(next_starts);
        let longest = gaps.map(|((_, end), next)| next - end).max().unwrap_or(0);
        Duration::from_secs(u64::from(longest) * 60)
    }

    fn is_open(&self, at: Timestamp) -> bool {
        let local = at.to_zoned(self.zone.clone());
        let number = |part: i8| u32::try_from(part).unwrap_or(0);
        let day = number(local.weekday().to_monday_zero_offset());
        let minute = day * MINUTES_A_DAY + number(local.hour()) * 60 + number(local.minute());
        self.open
            .iter()
            .any(|(start, end)| (*start..*end).contains(&minute))
    }

    /// The moments at which something could change on this local day.
    fn edges(&self, date: Date) -> impl Iterator<Item = Timestamp> {
        let offset = date.weekday().to_monday_zero_offset();
        let day = u32::try_from(offset).unwrap_or(0) * MINUTES_A_DAY;
        let minutes = self
            .open
            .iter()
            .flat_map(|(start, end)| [*start, *end % MINUTES_A_WEEK]);
        minutes
            .filter(move |minute| (day..day + MINUTES_A_DAY).contains(minute))
            .filter_map(move |minute| {
                let of_day = minute - day;
                let part = |number: u32| i8::try_from(number).ok();
                let time = date.at(part(of_day / 60)?, part(of_day % 60)?, 0, 0);
                Some(time.to_zoned(self.zone.clone()).ok()?.timestamp())
            })
    }
}

/// Whether a schedule is open at a moment, and until when.
#[must_use]
pub fn phase(schedule: &Schedule, now: Timestamp) -> Phase {
    let open = schedule.is_open(now);
    let today = now.to_zoned(schedule.zone.clone()).date();
    // Eight days on from yesterday hold every edge of a week, whatever the clocks do.
    let mut edges: Vec<Timestamp> = (-1..9)
        .filter_map(|days| today.checked_add(i64::from(days).days()).ok())
        .flat_map(|date| schedule.edges(date))
        .filter(|edge| *edge > now && schedule.is_open(*edge) != open)
        .collect();
    edges.sort_unstable();
    Phase {
        open,
        until: edges.first().copied(),
    }
}

/// What a calendar says to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CalendarTick {
    /// The pinned time of every view with this pattern has come.
    RefreshAt { cron: String },
    /// An hour has passed.
    Housekeeping,
}

/// Pinned times as ticks on a channel.
pub struct CronEdges {
    scheduler: JobScheduler,
    jobs: Vec<uuid::Uuid>,
    patterns: BTreeSet<String>,
    ticks: mpsc::Sender<CalendarTick>,
}

impl std::fmt::Debug for CronEdges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CronEdges")
            .field("patterns", &self.patterns)
            .finish_non_exhaustive()
    }
}

impl CronEdges {
    /// Starts ticking: so far only the hours.
    ///
    /// # Errors
    /// When the job scheduler does not start.
    pub async fn start(ticks: mpsc::Sender<CalendarTick>) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let edges = Self {
            scheduler,
            jobs: Vec::new(),
            patterns: BTreeSet::new(),
            ticks,
        };
        edges
            .add("0 0 * * * *", &CalendarTick::Housekeeping)
            .await?;
        edges.scheduler.start().await?;
        Ok(edges)
    }

    /// Ticks at these patterns from now on, and at no others.
    ///
    /// # Errors
    /// When a pattern is refused; configuration has checked them with the same grammar.
    pub async fn replace(
        &mut self,
        patterns: impl IntoIterator<Item = String>,
    ) -> Result<(), JobSchedulerError> {
        let patterns: BTreeSet<String> = patterns.into_iter().collect();
        if patterns == self.patterns {
            return Ok(());
        }
        for job in std::mem::take(&mut self.jobs) {
            self.scheduler.remove(&job).await?;
        }
        for cron in &patterns {
            let tick = CalendarTick::RefreshAt { cron: cron.clone() };
            let job = self.add(&format!("0 {cron}"), &tick).await?;
            self.jobs.push(job);
        }
        self.patterns = patterns;
        Ok(())
    }

    async fn add(&self, cron: &str, tick: &CalendarTick) -> Result<uuid::Uuid, JobSchedulerError> {
        let (ticks, tick) = (self.ticks.clone(), tick.clone());
        let job = Job::new(cron, move |_, _| {
            // A full channel means that nobody has listened for a thousand ticks.
            if ticks.try_send(tick.clone()).is_err() {
                tracing::warn!(?tick, "a calendar tick was lost");
            }
        })?;
        self.scheduler.add(job).await
    }

    /// Ends the ticking.
    pub async fn shutdown(&mut self) {
        if let Err(error) = self.scheduler.shutdown().await {
            tracing::warn!(%error, "the calendar did not end cleanly");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(zone: &str, windows: &[&str]) -> Schedule {
        let windows = windows.iter().map(|text| Window::parse(text).unwrap());
        let zone = Schedule::parse_zone(zone).unwrap();
        Schedule::new(zone, windows.collect(), Closed::Pause)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Phase at a moment, as `open|closed until`.
    fn at_phase(schedule: &Schedule, now: &str) -> String {
        let phase = phase(schedule, at(now));
        let word = if phase.open { "open" } else { "closed" };
        let until = phase
            .until
            .map_or_else(|| "for good".to_owned(), |until| until.to_string());
        format!("{word} {until}")
    }

    #[test]
    fn office_hours_follow_the_zone_through_summer_time() {
        let office = schedule("Europe/Paris", &["mon-fri 07:00-19:00"]);
        // Friday 27 March 2026 is winter, Monday 30 March summer.
        assert_eq!(
            at_phase(&office, "2026-03-27T12:00:00Z"),
            "open 2026-03-27T18:00:00Z"
        );
        assert_eq!(
            at_phase(&office, "2026-03-27T18:00:00Z"),
            "closed 2026-03-30T05:00:00Z"
        );
        // Friday 23 October is summer, Monday 26 October winter.
        assert_eq!(
            at_phase(&office, "2026-10-23T17:00:00Z"),
            "closed 2026-10-26T06:00:00Z"
        );
        let new_york = schedule("America/New_York", &["daily 01:00-04:00"]);
        // 02:30 does not exist on 8 March 2026: the window is an hour shorter.
        assert_eq!(
            at_phase(&new_york, "2026-03-08T06:00:00Z"),
            "open 2026-03-08T08:00:00Z"
        );
    }

    #[test]
    fn a_night_belongs_to_the_day_it_begins_on() {
        let night = schedule("UTC", &["fri 22:00-02:00", "sun 23:00-01:00"]);
        assert_eq!(
            at_phase(&night, "2026-11-27T23:00:00Z"),
            "open 2026-11-28T02:00:00Z"
        );
        assert_eq!(
            at_phase(&night, "2026-11-29T23:30:00Z"),
            "open 2026-11-30T01:00:00Z"
        );
        assert_eq!(
            at_phase(&night, "2026-11-26T23:30:00Z"),
            "closed 2026-11-27T22:00:00Z"
        );
    }

    #[test]
    fn the_whole_week_never_closes_and_an_empty_one_never_opens() {
        let always = schedule("UTC", &["mon-sun 00:00-24:00"]);
        assert_eq!(at_phase(&always, "2026-11-23T00:00:00Z"), "open for good");
        assert_eq!(always.longest_closed(), Duration::ZERO);
        assert_eq!(
            at_phase(&schedule("UTC", &[]), "2026-11-23T00:00:00Z"),
            "closed for good"
        );
    }

    #[test]
    fn the_longest_closure_is_the_weekend() {
        let office = schedule("UTC", &["mon-fri 07:00-19:00"]);
        assert_eq!(office.longest_closed(), Duration::from_secs(60 * 3600));
        let weekend = schedule("UTC", &["sat-mon 10:00-12:00"]);
        assert_eq!(
            weekend.longest_closed(),
            Duration::from_secs((4 * 24 + 22) * 3600)
        );
    }

    #[test]
    fn windows_that_make_no_sense_are_refused() {
        for text in [
            "",
            "mon",
            "mon 7-19",
            "mon 07:00-25:00",
            "mond 07:00-19:00",
            "mon 07:00-07:00",
        ] {
            assert!(Window::parse(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn pinned_times_are_replaced_whole() {
        let (sender, mut ticks) = mpsc::channel(4);
        let mut edges = CronEdges::start(sender).await.unwrap();
        edges
            .replace(["0 2 * * *".to_owned(), "30 4 * * 1".to_owned()])
            .await
            .unwrap();
        assert_eq!(edges.jobs.len(), 2);
        edges.replace(["0 3 * * *".to_owned()]).await.unwrap();
        assert_eq!(edges.jobs.len(), 1);
        edges.shutdown().await;
        assert!(ticks.try_recv().is_err(), "nothing was due");
    }
}
