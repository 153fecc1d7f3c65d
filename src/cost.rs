//! What keeping the targets costs on a warehouse that is billed while it is awake.
//!
//! Decides: an estimate of the time awake a day, who causes it, and what the next cheaper
//! setting would save: the smallest longer target lag that saves anything, or an arrival
//! probe. The law of aligned wake-ups (control law §9) is played with constant durations.
//! Deliberately absent: wording (`http::explain`), and what others run on the warehouse.
//!
//! A view that sees arrivals is taken to be read as often as it has been so far; one that
//! stands on other views is read in their wake-ups and left out.

use tidekeeper_scheduler::{
    Snapshot, Span, StateName, Timestamp, ViewId, ViewSnapshot, WarehouseSnapshot,
};

/// Targets that are proposed, in seconds.
const LADDER: [f64; 11] = [
    30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0, 86_400.0,
];
const DAY: f64 = 86_400.0;
/// Less than this share of a day is not worth a change.
const WORTH: f64 = 0.01;
/// A probed view that is refreshed at intervals of up to so many P always has something to read.
const DENSE: f64 = 1.5;
/// Starts that are played.
const STARTS: usize = 2_000;
/// So many of the tightest views are played; the others go in their wake-ups.
const PLAYED: usize = 200;

/// What a warehouse's targets cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// Of each day, at 24 h it never sleeps.
    pub awake: Span,
    /// The views that wake it, most often first.
    pub kept_by: Vec<ViewId>,
    /// A longer target lag.
    pub longer_target: Option<Cheaper>,
    /// An arrival probe on their streams: saves the most, and all of it while they are silent.
    pub probe: Option<Cheaper>,
}

/// A change, and what it saves.
#[derive(Clone, Debug, PartialEq)]
pub struct Cheaper {
    pub views: Vec<ViewId>,
    /// For each of the views; `None` where the change is another.
    pub target_lag: Option<Span>,
    /// Of each day.
    pub saves: Span,
}

/// One view as it is played.
#[derive(Clone, Debug)]
struct Rhythm {
    view: ViewId,
    target_lag: f64,
    /// P.
    interval: f64,
    lasts: f64,
    /// As foreseen: with its margin.
    lasts_at_most: f64,
    /// Where arrivals are seen, how far apart they are.
    arrivals: Option<f64>,
}

/// What was played.
struct Played {
    /// Awake, of all time.
    share: f64,
    /// How often each view woke the warehouse.
    wakes: Vec<u32>,
}

/// What the targets of a warehouse cost by the present law; `None` where being awake is not
/// billed, or nothing is refreshed.
#[must_use]
pub fn estimate(snapshot: &Snapshot, warehouse: &WarehouseSnapshot) -> Option<Estimate> {
    let awake = warehouse.awake?;
    let views = snapshot.views.iter();
    let mut rhythms: Vec<Rhythm> = views
        .filter(|view| view.warehouse == warehouse.warehouse)
        .filter_map(|view| rhythm(view, snapshot.at))
        .collect();
    rhythms.sort_by(|one, other| one.interval.total_cmp(&other.interval));
    rhythms.truncate(PLAYED);
    of(&rhythms, awake.minimum.as_secs_f64())
}

fn rhythm(view: &ViewSnapshot, now: Timestamp) -> Option<Rhythm> {
    let resting = matches!(
        view.state,
        StateName::Paused | StateName::Closed | StateName::Suspended
    );
    if view.follows || view.observed || resting {
        return None;
    }
    let target_lag = view.target_lag?.as_secs_f64();
    let interval = view.interval?.as_secs_f64();
    let lasts = view
        .expected_duration
        .map_or((target_lag - interval) / view.margin, Span::as_secs_f64)
        .max(0.0);
    let apart = (now - view.active_since).as_secs_f64() / float(view.refreshes.max(1));
    let dense = apart <= DENSE * interval;
    let arrivals = view.unread.map(|_| if dense { 0.0 } else { apart });
    Some(Rhythm {
        view: view.view.clone(),
        target_lag,
        interval,
        lasts,
        lasts_at_most: lasts * view.margin,
        arrivals,
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of refreshes are small")]
fn float(count: u64) -> f64 {
    count as f64
}

fn of(rhythms: &[Rhythm], minimum: f64) -> Option<Estimate> {
    if rhythms.is_empty() {
        return None;
    }
    let now = played(rhythms, minimum);
    let saves = |changed: &[Rhythm]| {
        let share = if changed.is_empty() {
            0.0
        } else {
            played(changed, minimum).share
        };
        now.share - share
    };
    let longer_target = longer_target(rhythms, minimum, &saves);
    let tightest = blind(rhythms)
        .map(|at| at.target_lag)
        .min_by(f64::total_cmp);
    // Whoever would be given a longer target could be given a probe instead.
    let below = longer_target.as_ref().and_then(|change| change.target_lag);
    let below = below.map_or(tightest, |lag| Some(lag.as_secs_f64() - 1e-3));
    let probe = below.and_then(|below| {
        let (probed, rest): (Vec<_>, Vec<_>) = (rhythms.iter().cloned())
            .partition(|at| at.arrivals.is_none() && at.target_lag <= below);
        worth(&probed, None, saves(&rest))
    });
    Some(Estimate {
        awake: Span::from_secs_f64(now.share * DAY),
        kept_by: kept_by(rhythms, &now, minimum),
        longer_target,
        probe,
    })
}

fn blind(rhythms: &[Rhythm]) -> impl Iterator<Item = &Rhythm> {
    rhythms.iter().filter(|at| at.arrivals.is_none())
}

/// The smallest longer target that saves something. Where a probe finds something in every
/// minute that is paid for, the view is refreshed as if it were blind.
fn longer_target(
    rhythms: &[Rhythm],
    minimum: f64,
    saves: &impl Fn(&[Rhythm]) -> f64,
) -> Option<Cheaper> {
    let dense = |at: &Rhythm| at.arrivals.is_none_or(|gap| gap <= minimum);
    let tightest = rhythms.iter().filter(|at| dense(at));
    let tightest = tightest.map(|at| at.target_lag).min_by(f64::total_cmp)?;
    LADDER
        .into_iter()
        .filter(|step| *step > tightest)
        .find_map(|step| {
            let changes = |at: &Rhythm| dense(at) && at.target_lag < step;
            let changed: Vec<Rhythm> = (rhythms.iter())
                .map(|at| {
                    if changes(at) {
                        at.with_target(step)
                    } else {
                        at.clone()
                    }
                })
                .collect();
            let views: Vec<Rhythm> = rhythms.iter().filter(|at| changes(at)).cloned().collect();
            worth(&views, Some(step), saves(&changed))
        })
}

fn worth(views: &[Rhythm], target_lag: Option<f64>, saves: f64) -> Option<Cheaper> {
    (saves >= WORTH).then(|| Cheaper {
        views: views.iter().map(|at| at.view.clone()).collect(),
        target_lag: target_lag.map(Span::from_secs_f64),
        saves: Span::from_secs_f64(saves * DAY),
    })
}

/// Those that alone would keep it awake, or else those that wake it.
fn kept_by(rhythms: &[Rhythm], played: &Played, minimum: f64) -> Vec<ViewId> {
    let alone: Vec<ViewId> = rhythms
        .iter()
        .filter(|at| at.keeps_awake(minimum))
        .map(|at| at.view.clone())
        .collect();
    if !alone.is_empty() {
        return alone;
    }
    let mut waking: Vec<(u32, &Rhythm)> = played.wakes.iter().copied().zip(rhythms).collect();
    waking.sort_by_key(|(wakes, _)| std::cmp::Reverse(*wakes));
    let all: u32 = played.wakes.iter().sum();
    let most = waking.first().map_or(0, |(wakes, _)| *wakes);
    waking
        .into_iter()
        .filter(|(wakes, _)| *wakes > 0 && (*wakes == most || *wakes >= all / 4))
        .map(|(_, at)| at.view.clone())
        .collect()
}

impl Rhythm {
    /// Whether there is always a minute that it has begun.
    fn keeps_awake(&self, minimum: f64) -> bool {
        self.interval <= minimum.max(self.lasts) && self.arrivals.is_none_or(|gap| gap <= 0.0)
    }

    /// `P ∝ T − A` (control law §4, without W).
    fn with_target(&self, target_lag: f64) -> Self {
        let room = |target_lag: f64| (target_lag - self.lasts_at_most).max(1.0);
        Self {
            target_lag,
            interval: self.interval * room(target_lag) / room(self.target_lag),
            ..self.clone()
        }
    }

    /// When something comes that is unread after a start at `read`; streams are out of step
    /// by their `phase`.
    fn arrives(&self, read: f64, phase: f64) -> f64 {
        match self.arrivals {
            Some(gap) if gap > 0.0 => ((read / gap - phase).floor() + 1.0 + phase) * gap,
            Some(_) | None => read,
        }
    }
}

/// The wake-ups of a workgroup, as the core plans them (`wake.rs`) and as they are counted
/// (`awake.rs`).
struct Play {
    now: f64,
    minimum: f64,
    /// Surely paid, and running.
    paid_until: f64,
    runs_until: f64,
    sleeps: f64,
    /// Counted up to here, and how much.
    awake_until: f64,
    awake: f64,
}

fn played(rhythms: &[Rhythm], minimum: f64) -> Played {
    let mut wakes = vec![0; rhythms.len()];
    if rhythms.iter().any(|at| at.keeps_awake(minimum)) {
        return Played { share: 1.0, wakes };
    }
    // All at once, as a daemon that has just started.
    let mut read = vec![0.0; rhythms.len()];
    let phase = |index: usize| (float(index as u64) * 0.618).fract();
    let mut play = Play {
        now: 0.0,
        minimum,
        paid_until: f64::MIN,
        runs_until: f64::MIN,
        sleeps: 0.0,
        awake_until: 0.0,
        awake: 0.0,
    };
    // The first fifth only settles.
    let mut settled = (0.0, 0.0);
    for count in 0..STARTS {
        let next = (rhythms.iter().zip(&read).enumerate())
            .map(|(index, (at, read))| (play.starts(at, *read, phase(index)), index))
            .min_by(|one, other| one.0.total_cmp(&other.0));
        let Some((start, index)) = next else {
            break;
        };
        if let (Some(at), Some(read), Some(wakes)) = (
            rhythms.get(index),
            read.get_mut(index),
            wakes.get_mut(index),
        ) {
            *wakes += u32::from(play.start(at, start));
            *read = play.now;
        }
        if count == STARTS / 5 {
            settled = (
                play.now,
                play.awake - (play.awake_until - play.now).max(0.0),
            );
        }
    }
    let awake = play.awake - (play.awake_until - play.now).max(0.0);
    let share = (awake - settled.1) / (play.now - settled.0);
    Played {
        share: share.clamp(0.0, 1.0),
        wakes,
    }
}

impl Play {
    /// When a view goes that was last read at `read`.
    fn starts(&self, at: &Rhythm, read: f64, phase: f64) -> f64 {
        let arrives = at.arrives(read, phase);
        let latest = arrives + at.interval;
        let last_chance = self.paid_until - at.lasts_at_most;
        // A view on the edge is drawn: timers are late rather than early.
        let draws = if at.arrivals.is_some() {
            arrives <= last_chance
        } else {
            latest <= self.paid_until + self.sleeps + 0.01
        };
        if self.now <= last_chance && read < last_chance && draws {
            latest.min(last_chance).max(arrives)
        } else {
            latest.max(self.now)
        }
    }

    /// Returns whether the start wakes the warehouse.
    fn start(&mut self, at: &Rhythm, start: f64) -> bool {
        self.now = start.max(self.now);
        let slept_from = self.paid_until.max(self.runs_until);
        let wakes = self.now > slept_from;
        if wakes {
            if slept_from > f64::MIN {
                let slept = self.now - slept_from;
                self.sleeps = if self.sleeps > 0.0 {
                    0.7 * self.sleeps + 0.3 * slept
                } else {
                    slept
                };
            }
            self.paid_until = self.now + self.minimum;
        }
        self.runs_until = self.runs_until.max(self.now + at.lasts);
        let until = self.now + self.minimum.max(at.lasts);
        self.awake += (until - self.awake_until.max(self.now)).max(0.0);
        self.awake_until = self.awake_until.max(until);
        wakes
    }
}

#[cfg(test)]
mod tests;
