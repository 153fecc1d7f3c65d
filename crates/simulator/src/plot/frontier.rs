//! The right panel: what each policy costs and what it attains.
//!
//! Decides: the axes (cost in lower bounds where every view has one, else in refreshes per
//! hour) and where labels go so that none covers another. Deliberately absent: sums that the
//! report does not hold.

use super::canvas::{
    Anchor, COLOURS, Canvas, Frame, Scale, WIDTH, decimal, log_ticks, multiples, shortened,
};
use crate::report::{PolicyReport, Report};
use tidekeeper_scheduler::Span;

const LEFT: f64 = 730.0;
const TOP: f64 = 112.0;
const BOTTOM: f64 = 520.0;
const RIGHT: f64 = WIDTH - 30.0;
const RADIUS: f64 = 7.0;
/// Of a label's line, and of one of its characters, about.
const LINE: f64 = 18.0;
const CHARACTER: f64 = 7.6;

/// A policy's place.
struct Dot<'a> {
    policy: &'a str,
    colour: usize,
    cost: f64,
    percent: f64,
}

#[derive(Clone, Copy)]
struct Area {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Area {
    fn around((x, y): (f64, f64), margin: f64) -> Self {
        Self {
            left: x - margin,
            right: x + margin,
            top: y - margin,
            bottom: y + margin,
        }
    }

    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn is_inside(&self) -> bool {
        self.left >= LEFT
            && self.right <= WIDTH - 6.0
            && self.top >= TOP - 22.0
            && self.bottom <= BOTTOM
    }
}

/// What the picture says of a policy to those who do not see it.
pub(super) fn sentence(policy: &PolicyReport) -> String {
    let refreshes: u64 = policy.views.iter().map(|view| view.refreshes).sum();
    let percent = attained(policy).map_or_else(
        || "no cycles".to_owned(),
        |percent| format!("{percent:.2} % of cycles in target"),
    );
    format!(" {}: {percent}, {refreshes} refreshes.", policy.policy)
}

pub(super) fn draw(canvas: &mut Canvas, report: &Report, duration: Span) {
    let bounded = report.policies.iter().all(|policy| bound(policy).is_some());
    let hours = duration.as_secs_f64() / 3600.0;
    let dots: Vec<_> = (report.policies.iter().enumerate())
        .filter_map(|(colour, policy)| {
            let refreshes = number(policy.views.iter().map(|view| view.refreshes).sum());
            let unit = if bounded { bound(policy)? } else { hours };
            Some(Dot {
                policy: policy.policy,
                colour: colour % COLOURS,
                cost: Some(refreshes / unit).filter(|cost| cost.is_finite() && *cost > 0.0)?,
                percent: attained(policy)?,
            })
        })
        .collect();
    let frame = frame(&dots, bounded);
    axes(canvas, &frame, bounded);
    if bounded {
        let at = frame.x.at(1.0);
        canvas.line("bound", (at, TOP), (at, BOTTOM));
        canvas.line("bound", (LEFT, 82.0), (LEFT + 24.0, 82.0));
        let legend = "lower bound (clairvoyant, noise-free)";
        canvas.text((LEFT + 30.0, 86.0), Anchor::Start, "small", legend);
    }
    if dots.is_empty() {
        let middle = (f64::midpoint(LEFT, RIGHT), f64::midpoint(TOP, BOTTOM));
        canvas.text(middle, Anchor::Middle, "small", "no cycles");
    }
    labelled(canvas, &frame, &dots, bounded);
}

fn attained(policy: &PolicyReport) -> Option<f64> {
    let cycles: u64 = policy.views.iter().map(|view| view.cycles).sum();
    let held: u64 = policy.views.iter().map(|view| view.cycles_in_target).sum();
    (cycles > 0).then(|| 100.0 * number(held) / number(cycles))
}

/// The sum of the lower bounds, where every view has one.
fn bound(policy: &PolicyReport) -> Option<f64> {
    let bounds = policy.views.iter().map(|view| view.lower_bound);
    let bound = bounds.sum::<Option<u64>>()?;
    (bound > 0).then(|| number(bound))
}

#[expect(clippy::cast_precision_loss, reason = "counts of refreshes")]
fn number(count: u64) -> f64 {
    count as f64
}

fn frame(dots: &[Dot<'_>], bounded: bool) -> Frame {
    let least = if bounded { 1.0 } else { f64::INFINITY };
    let most = if bounded { 1.0 } else { 0.0 };
    let costs = || dots.iter().map(|dot| dot.cost);
    let (least, most) = (costs().fold(least, f64::min), costs().fold(most, f64::max));
    let (least, most) = if most > 0.0 {
        (least, most)
    } else {
        (1.0, 1.0)
    };
    // Air for labels, and an axis where all cost the same.
    let air = (most / least).powf(0.12).max(1.1);
    let worst = dots.iter().map(|dot| dot.percent).fold(100.0, f64::min);
    let low = (((worst - 2.0) / 10.0).floor() * 10.0).max(0.0);
    let step = if low >= 90.0 {
        0.5
    } else {
        (100.0 - low) / 20.0
    };
    Frame {
        x: Scale::logarithmic((least / air, most * air), (LEFT, RIGHT)),
        y: Scale::linear((low - step, 100.0 + step), (BOTTOM, TOP)),
    }
}

fn axes(canvas: &mut Canvas, frame: &Frame, bounded: bool) {
    let (low, high) = frame.y.domain;
    let steps = [1.0, 2.0, 5.0, 10.0, 20.0];
    let step = steps.into_iter().find(|step| (high - low) / step <= 12.0);
    for tick in multiples(low.max(0.0), 100.0, step.unwrap_or(20.0)) {
        let at = frame.y.at(tick);
        canvas.line("grid", (LEFT, at), (RIGHT, at));
        canvas.text((LEFT - 8.0, at + 4.0), Anchor::End, "tick", &decimal(tick));
    }
    for tick in log_ticks(frame.x.domain.0, frame.x.domain.1) {
        let at = frame.x.at(tick);
        canvas.line("grid", (at, TOP), (at, BOTTOM));
        canvas.line("axis", (at, BOTTOM), (at, BOTTOM + 5.0));
        let label = decimal(tick) + if bounded { "×" } else { "" };
        canvas.text((at, BOTTOM + 20.0), Anchor::Middle, "tick", &label);
    }
    canvas.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
    canvas.line("axis", (LEFT, TOP), (LEFT, BOTTOM));
    let below = (f64::midpoint(LEFT, RIGHT), BOTTOM + 44.0);
    let cost = if bounded {
        "refreshes ÷ lower bound (all views, log scale)"
    } else {
        "refreshes per hour (all views, log scale)"
    };
    canvas.text(below, Anchor::Middle, "small", cost);
    let beside = (LEFT - 48.0, f64::midpoint(TOP, BOTTOM));
    canvas.upright(beside, "small", "cycles in target (%)");
    let title = "cost and attainment: cheaper to the left, fresher to the top";
    canvas.text((LEFT - 40.0, 58.0), Anchor::Start, "small", title);
}

fn labelled(canvas: &mut Canvas, frame: &Frame, dots: &[Dot<'_>], bounded: bool) {
    let place = |dot: &Dot<'_>| (frame.x.at(dot.cost), frame.y.at(dot.percent));
    let mut taken: Vec<_> = dots
        .iter()
        .map(|dot| Area::around(place(dot), RADIUS))
        .collect();
    for dot in dots {
        let (x, y) = place(dot);
        let name = shortened(dot.policy, 20);
        let cost = if bounded {
            format!("{:.2}×", dot.cost)
        } else {
            format!("{}/h", decimal((dot.cost * 10.0).round() / 10.0))
        };
        let label = format!("{name}  {:.1} %, {cost}", dot.percent);
        let width = label.chars().fold(0.0, |width, _| width + CHARACTER);
        let area = free(&taken, (x, y), width);
        let middle = f64::midpoint(area.top, area.bottom);
        if (middle - y).abs() > LINE / 2.0 {
            let end = if area.left > x { area.left } else { area.right };
            canvas.line("lead", (x, y), (end, middle));
        }
        let (at, anchor) = if area.left > x {
            (area.left + 3.0, Anchor::Start)
        } else {
            (area.right - 3.0, Anchor::End)
        };
        let class = format!("name t{}", dot.colour);
        canvas.text((at, middle + 5.0), anchor, &class, &label);
        taken.push(area);
    }
    // Where dots meet, the first is on top.
    for dot in dots.iter().rev() {
        canvas.dot(&format!("dot t{}", dot.colour), place(dot), RADIUS);
    }
}

/// Room for a label beside `(x, y)`: near before far, right before left.
fn free(taken: &[Area], (x, y): (f64, f64), width: f64) -> Area {
    let beside = |right: bool, middle: f64| {
        let near = if right {
            x + RADIUS + 2.0
        } else {
            x - RADIUS - 2.0 - width
        };
        Area {
            left: near,
            right: near + width,
            top: middle - LINE / 2.0,
            bottom: middle + LINE / 2.0,
        }
    };
    let shifts = (0..48_u8).flat_map(|step| {
        let shift = f64::from(step) * LINE / 2.0;
        [shift, -shift]
    });
    shifts
        .flat_map(|shift| [true, false].map(|right| beside(right, y + shift)))
        .find(|area| area.is_inside() && !taken.iter().any(|other| area.meets(other)))
        .unwrap_or_else(|| beside(true, y))
}
