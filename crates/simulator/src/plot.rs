//! A picture of a simulation: one self-contained SVG with two panels.
//!
//! Decides: what is kept while policies run (the first view's sawtooth of clock lag in a window
//! in the middle, in memory that does not grow with time), and which policies the left panel
//! shows. Deliberately absent: figures (see `report`), strokes and scales (see `plot::canvas`),
//! the right panel (see `plot::frontier`).

mod canvas;
mod frontier;

use tidekeeper_scheduler::{Span, Timestamp};

use crate::report::Report;
use crate::runner::{Observer, Policy};
use crate::scenario::Scenario;
use crate::trace::Attempt;
use canvas::{Anchor, Canvas, Frame, Scale, clock, decimal, linear_ticks, shortened, time_ticks};

/// Half of the window, and how many targets it holds at least.
const HALF_WINDOW: Span = Span::from_millis(450_000);
const HALF_WINDOW_TARGETS: i64 = 8;
/// Teeth per policy above which neighbours are merged, to half as many.
const MAX_TEETH: usize = 800;
/// Policies that the left panel has room for.
const LANES: usize = 3;

/// Gathers what the picture needs; [`Plot::begin`] says whose attempts follow.
#[derive(Clone, Debug)]
pub struct Plot {
    view: String,
    /// Its arrivals are seen: what counts is the unread age, not the clock lag.
    probed: bool,
    target_lag: Span,
    duration: Span,
    from: Timestamp,
    until: Timestamp,
    /// The one that runs is the last.
    lines: Vec<Line>,
}

/// The clock lag of the first view under one policy.
#[derive(Clone, Debug)]
struct Line {
    policy: &'static str,
    /// Up to when the view held its stream as the window began, and after the last tooth.
    before: Option<Timestamp>,
    latest: Option<Timestamp>,
    teeth: Vec<Tooth>,
}

/// A success: the lag falls.
#[derive(Clone, Copy, Debug)]
struct Tooth {
    at: Timestamp,
    /// Where the climb to the peak began and how high, where that is not the last trough.
    foot: Option<(Timestamp, Span)>,
    /// Absent before the first success of all.
    peak: Option<Span>,
    trough: Span,
}

impl Plot {
    #[must_use]
    pub fn new(scenario: &Scenario) -> Self {
        let view = scenario.views.first();
        let target_lag = view.map_or(Span::ZERO, |view| view.target_lag);
        let middle = Timestamp::default() + scenario.duration / 2;
        let half = HALF_WINDOW
            .max(target_lag * HALF_WINDOW_TARGETS)
            .min(scenario.duration / 2);
        Self {
            view: view.map_or_else(String::new, |view| view.name.clone()),
            probed: view.is_some_and(|view| view.probe.is_some()),
            target_lag,
            duration: scenario.duration,
            from: middle - half,
            until: middle + half,
            lines: Vec::new(),
        }
    }

    /// What is observed from now on happens under `policy`.
    pub fn begin(&mut self, policy: Policy) {
        self.lines.retain(|line| line.policy != policy.name());
        self.lines.push(Line {
            policy: policy.name(),
            before: None,
            latest: None,
            teeth: Vec::new(),
        });
    }

    /// The picture; `report` is of the runs that were observed.
    #[must_use]
    pub fn svg(&self, report: &Report) -> String {
        let name = shortened(&report.scenario, 60);
        let title = format!("{name}, seed {}", report.seed);
        let mut desc = format!(
            "Left: {} of view {} against its target of {}. Right: share of cycles in \
             target against cost.",
            self.lag_name(),
            shortened(&self.view, 60),
            seconds(self.target_lag),
        );
        for policy in &report.policies {
            desc.push_str(&frontier::sentence(policy));
        }
        let mut canvas = Canvas::new(&title, &desc);
        canvas.text((24.0, 34.0), Anchor::Start, "title", &title);
        let subtitle = format!(
            "{} of view {}: {} in the middle of {}",
            self.lag_name(),
            shortened(&self.view, 32),
            length(self.until - self.from),
            length(self.duration),
        );
        canvas.text((24.0, 58.0), Anchor::Start, "small", &subtitle);
        self.lanes(&mut canvas, report);
        frontier::draw(&mut canvas, report, self.duration);
        canvas.finish()
    }

    /// The adaptive policy and at most two others, with their colours.
    fn shown(&self, report: &Report) -> Vec<(usize, &Line)> {
        let mut shown: Vec<_> = (report.policies.iter().enumerate())
            .filter_map(|(colour, policy)| {
                let line = self.lines.iter().find(|line| line.policy == policy.policy);
                Some((colour, line?))
            })
            .collect();
        shown.sort_by_key(|(colour, line)| (line.policy != Policy::Adaptive.name(), *colour));
        shown.dedup_by_key(|(_, line)| line.policy);
        shown.truncate(LANES);
        shown
    }

    /// One strip per policy, with common axes.
    fn lanes(&self, canvas: &mut Canvas, report: &Report) {
        let shown = self.shown(report);
        let target = self.target_lag.as_secs_f64();
        let peaks = shown.iter().flat_map(|(_, line)| self.outline(line));
        let highest = peaks.map(|(_, lag)| lag).fold(target, f64::max);
        let (top, bottom, gap) = (112.0, 520.0, 26.0);
        let count = shown.iter().fold(0.0, |count, _| count + 1.0_f64).max(1.0);
        let height = (bottom - top - gap * (count - 1.0)) / count;
        let span = (self.from.as_secs_f64(), self.until.as_secs_f64());
        let x = Scale::linear(span, (84.0, 620.0));
        legend(canvas, self.lag_name(), target);
        let mut above = top;
        for (colour, line) in &shown {
            let frame = Frame {
                x,
                y: Scale::linear((0.0, highest * 1.08), (above + height, above)),
            };
            self.lane(canvas, &frame, *colour, line);
            above += height + gap;
        }
        let (ticks, step) = time_ticks(span.0, span.1);
        for tick in ticks {
            let at = x.at(tick);
            canvas.line("axis", (at, bottom), (at, bottom + 5.0));
            canvas.text(
                (at, bottom + 20.0),
                Anchor::Middle,
                "tick",
                &clock(tick, step),
            );
        }
        let label = if step < 60.0 {
            "time since the start (h:mm:ss)"
        } else {
            "time since the start (h:mm)"
        };
        canvas.text((352.0, bottom + 44.0), Anchor::Middle, "small", label);
        canvas.upright(
            (26.0, (top + bottom) / 2.0),
            "small",
            &format!("{} (s)", self.lag_name()),
        );
    }

    fn lane(&self, canvas: &mut Canvas, frame: &Frame, colour: usize, line: &Line) {
        let (left, right) = frame.x.range;
        let (bottom, _) = frame.y.range;
        for tick in linear_ticks(frame.y.domain.1, 4.0) {
            let at = frame.y.at(tick);
            canvas.line("grid", (left, at), (right, at));
            canvas.text((left - 8.0, at + 4.0), Anchor::End, "tick", &decimal(tick));
        }
        canvas.line("axis", (left, bottom), (right, bottom));
        let target = frame.y.at(self.target_lag.as_secs_f64());
        let points = self.outline(line);
        let points = points.map(|(at, lag)| (frame.x.at(at), frame.y.at(lag)));
        canvas.polyline(&format!("line s{}", colour % canvas::COLOURS), points);
        canvas.line("target", (left, target), (right, target));
        let top = frame.y.range.1;
        let class = format!("name t{}", colour % canvas::COLOURS);
        canvas.text((left, top - 6.0), Anchor::Start, &class, line.policy);
        if line.teeth.is_empty() && line.before.is_none() {
            let middle = ((left + right) / 2.0, f64::midpoint(top, bottom));
            canvas.text(middle, Anchor::Middle, "small", "no success up to here");
        }
    }

    fn lag_name(&self) -> &'static str {
        if self.probed {
            "unread age"
        } else {
            "clock lag"
        }
    }

    /// Moments and lags, in seconds, of the corners of a sawtooth within the window.
    fn outline<'a>(&self, line: &'a Line) -> impl Iterator<Item = (f64, f64)> + use<'a> {
        let edge = |at: Timestamp, data: Option<Timestamp>| {
            data.map(|data| (at.as_secs_f64(), (at - data).as_secs_f64()))
        };
        let teeth = line.teeth.iter().flat_map(|tooth| {
            let at = tooth.at;
            let foot = tooth.foot;
            let peak = tooth.peak.map(|peak| (at, peak));
            [foot, peak, Some((at, tooth.trough))]
                .into_iter()
                .flatten()
                .map(|(at, lag)| (at.as_secs_f64(), lag.as_secs_f64()))
        });
        let clock = |data: Option<Timestamp>| data.filter(|_| !self.probed);
        let begin = edge(self.from, clock(line.before));
        let end = edge(self.until, clock(line.latest.or(line.before)));
        begin.into_iter().chain(teeth).chain(end)
    }
}

impl Observer for Plot {
    fn attempt(&mut self, attempt: &Attempt) {
        let counts = attempt.view == 0 && attempt.outcome.succeeded();
        let Some(line) = self.lines.last_mut().filter(|_| counts) else {
            return;
        };
        if attempt.finish > self.until {
            return;
        }
        if attempt.finish < self.from {
            line.before = Some(attempt.data);
            return;
        }
        let held = line.latest.or(line.before);
        line.latest = Some(attempt.data);
        let tooth = if self.probed {
            let before = line.teeth.last().map_or(self.from, |tooth| tooth.at);
            let foot = attempt.oldest.map(|oldest| (oldest.max(before), oldest));
            Tooth {
                at: attempt.finish,
                foot: foot.map(|(foot, oldest)| (foot, foot - oldest)),
                peak: attempt.oldest.map(|oldest| attempt.finish - oldest),
                trough: Span::ZERO,
            }
        } else {
            Tooth {
                at: attempt.finish,
                foot: None,
                peak: held.map(|data| attempt.finish - data),
                trough: attempt.finish - attempt.data,
            }
        };
        line.teeth.push(tooth);
        if line.teeth.len() > MAX_TEETH {
            line.teeth = merged(&line.teeth);
        }
    }
}

/// Half as many teeth, between the same extremes.
fn merged(teeth: &[Tooth]) -> Vec<Tooth> {
    let merge = |pair: &[Tooth]| {
        pair.iter().copied().reduce(|first, second| Tooth {
            at: first.at,
            foot: first.foot,
            peak: first.peak.max(second.peak),
            trough: first.trough.min(second.trough),
        })
    };
    teeth.chunks(2).filter_map(merge).collect()
}

fn legend(canvas: &mut Canvas, lag: &str, target: f64) {
    canvas.line("line t", (470.0, 82.0), (494.0, 82.0));
    canvas.text((500.0, 86.0), Anchor::Start, "small", lag);
    canvas.line("target", (330.0, 82.0), (354.0, 82.0));
    let label = format!("target {} s", decimal(target));
    canvas.text((360.0, 86.0), Anchor::Start, "small", &label);
}

fn seconds(span: Span) -> String {
    format!("{} s", decimal(span.as_secs_f64()))
}

/// A length of time in the largest unit that leaves few digits.
fn length(span: Span) -> String {
    let secs = span.as_secs_f64();
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "min")];
    let unit = units.into_iter().find(|(unit, _)| secs >= 2.0 * unit);
    let (unit, name) = unit.unwrap_or((1.0, "s"));
    format!("{} {name}", decimal((secs / unit * 10.0).round() / 10.0))
}
