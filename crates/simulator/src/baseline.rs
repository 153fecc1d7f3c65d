//! What people use today, and what could be had at best: policies that refresh by a rule.
//!
//! Decides: when each baseline submits next. A tick that finds the view's last statement still
//! running is skipped; nobody but `window-p95` and `ladder` learns from what a refresh took.
//! Deliberately absent: reading answers, overlap, suspension. `auto-refresh` is a model of
//! Redshift's AUTO REFRESH, whose real rule is not published: an assumption.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use tidekeeper_scheduler::{Span, Timestamp};

use crate::dice::Dice;
use crate::runner::{Policy, Stage};
use crate::scenario::{Scenario, ViewModel};
use crate::trace::Attempt;
use crate::world::{Statement, World};

/// A refused or failed attempt is tried again after this.
const AGAIN: Span = Span::from_secs(1);
const MINUTE: Span = Span::from_secs(60);
/// Durations that `window-p95` remembers, and how many it wants to see first.
const WINDOW: usize = 128;
const FEW: usize = 5;

/// One view under a rule.
struct Ruled {
    target: Span,
    dice: Dice,
    /// Submit to finish, the latest last.
    durations: VecDeque<Span>,
    /// U of the last success.
    data: Option<Timestamp>,
    tick: u64,
}

pub(crate) struct Baseline {
    policy: Policy,
    /// Of the target, for fixed intervals.
    share: f64,
    views: Vec<Ruled>,
    ticks: BinaryHeap<Reverse<(Timestamp, usize)>>,
    token: u64,
}

impl Baseline {
    /// `share` of the target is the interval, where the policy has a fixed one.
    pub(crate) fn new(scenario: &Scenario, seed: u64, policy: Policy, share: f64) -> Self {
        let ruled = |view: &ViewModel| Ruled {
            target: view.target_lag,
            dice: Dice::new(seed, &format!("{}/{}", policy.name(), view.name)),
            durations: VecDeque::new(),
            data: None,
            tick: 0,
        };
        let start = (0..scenario.views.len()).map(|view| Reverse((Timestamp::default(), view)));
        Self {
            policy,
            share,
            views: scenario.views.iter().map(ruled).collect(),
            ticks: start.collect(),
            token: 0,
        }
    }

    pub(crate) fn live(&mut self, stage: &mut Stage<'_>) {
        loop {
            let tick = self.ticks.peek().map(|Reverse((at, _))| *at);
            let Some(now) = [stage.world.next_at(), tick].into_iter().flatten().min() else {
                break;
            };
            if now > stage.horizon {
                break;
            }
            if stage.world.next_at() == Some(now) {
                stage.world.step();
            } else if let Some(Reverse((at, view))) = self.ticks.pop() {
                stage.world.now = stage.world.now.max(at);
                self.tick(&mut stage.world, view);
            }
            for index in 0..stage.world.ended.len() {
                if let Some(attempt) = stage.world.ended.get(index).copied() {
                    self.ended(&mut stage.world, &attempt);
                }
            }
            stage.take_ended();
        }
    }

    fn plan(&mut self, at: Timestamp, view: usize) {
        self.ticks.push(Reverse((at, view)));
    }

    /// Whether the rule looks at the end of a refresh before it plans the next.
    fn waits_for_the_end(&self) -> bool {
        match self.policy {
            Policy::ZeroWait | Policy::WindowP95 | Policy::AutoRefresh | Policy::Clairvoyant => {
                true
            }
            Policy::Adaptive
            | Policy::Cron
            | Policy::EventBridge
            | Policy::Half
            | Policy::Ladder
            | Policy::BestFixed => false,
        }
    }

    fn tick(&mut self, world: &mut World, view: usize) {
        let now = world.now;
        if let Some(later) = self.not_yet(world, view) {
            return self.plan(later, view);
        }
        let busy = world
            .views
            .get(view)
            .is_some_and(|view| view.statements.iter().any(Statement::active));
        let mut refused = false;
        if !busy {
            self.token += 1;
            refused = !world.submit_and_forget(view, self.token);
        }
        if !self.waits_for_the_end() {
            let next = self.next_tick(now, view);
            self.plan(next, view);
        } else if refused {
            self.plan(now + AGAIN, view);
        }
    }

    /// Where the rule holds a due view back, until when.
    fn not_yet(&mut self, world: &mut World, view: usize) -> Option<Timestamp> {
        let now = world.now;
        match self.policy {
            Policy::AutoRefresh => {
                let warehouse = world.views.get(view)?.warehouse;
                let warehouse = world.warehouses.get(warehouse)?;
                let loaded = f64::from(warehouse.active) >= 0.8 * f64::from(warehouse.slots);
                loaded.then(|| now + Span::from_secs(5))
            }
            Policy::Clairvoyant => {
                let latest = latest_start(world, view, self.views.get(view)?.target)?;
                let least = now + Span::from_millis(1);
                (latest > least).then_some(latest)
            }
            Policy::Adaptive
            | Policy::Cron
            | Policy::EventBridge
            | Policy::Half
            | Policy::Ladder
            | Policy::ZeroWait
            | Policy::WindowP95
            | Policy::BestFixed => None,
        }
    }

    fn next_tick(&mut self, now: Timestamp, view: usize) -> Timestamp {
        let (policy, share) = (self.policy, self.share);
        let Some(view) = self.views.get_mut(view) else {
            return now + MINUTE;
        };
        view.tick += 1;
        let ticks = i64::try_from(view.tick).unwrap_or(i64::MAX);
        match policy {
            Policy::EventBridge => {
                Timestamp::default() + MINUTE * ticks + MINUTE.scale(view.dice.unit())
            }
            Policy::Ladder => {
                let period = view.rung();
                let passed = (now - Timestamp::default()).as_micros() / period.as_micros().max(1);
                Timestamp::default() + period * (passed + 1)
            }
            Policy::Adaptive
            | Policy::Cron
            | Policy::Half
            | Policy::ZeroWait
            | Policy::WindowP95
            | Policy::BestFixed
            | Policy::AutoRefresh
            | Policy::Clairvoyant => Timestamp::default() + view.target.scale(share) * ticks,
        }
    }

    fn ended(&mut self, world: &mut World, attempt: &Attempt) {
        let waits = self.waits_for_the_end();
        let policy = self.policy;
        let Some(view) = self.views.get_mut(attempt.view) else {
            return;
        };
        let succeeded = attempt.outcome.succeeded();
        if succeeded {
            view.data = Some(attempt.submit);
            if view.durations.len() == WINDOW {
                view.durations.pop_front();
            }
            view.durations.push_back(attempt.finish - attempt.submit);
        }
        if !waits || attempt.finish < world.now {
            return;
        }
        let now = world.now;
        let next = match policy {
            _ if !succeeded => now + AGAIN,
            Policy::WindowP95 => view.data.unwrap_or(now) + (view.target - view.p95()),
            Policy::AutoRefresh => {
                let gap = 45.0 * (0.8 * view.dice.standard_normal()).exp();
                now + Span::from_secs_f64(gap)
            }
            Policy::Adaptive
            | Policy::Cron
            | Policy::EventBridge
            | Policy::Half
            | Policy::Ladder
            | Policy::ZeroWait
            | Policy::BestFixed
            | Policy::Clairvoyant => now,
        };
        // A refused submit has planned its next try itself.
        if attempt.ran || succeeded {
            self.plan(next.max(now), attempt.view);
        }
    }
}

impl Ruled {
    /// 48·2ⁿ s, the longest that leaves room for the last duration.
    fn rung(&self) -> Span {
        let last = self.durations.back().copied().unwrap_or(self.target / 20);
        let room = (self.target - last).as_secs_f64().max(0.1);
        let n = (room / 48.0).log2().floor();
        Span::from_secs_f64(48.0 * n.exp2())
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index into at most 128 values"
    )]
    fn p95(&self) -> Span {
        let mut sorted: Vec<Span> = self.durations.iter().copied().collect();
        sorted.sort_unstable();
        let rank = if sorted.len() < FEW {
            sorted.len()
        } else {
            (0.95 * sorted.len() as f64).ceil() as usize
        };
        let found = sorted.get(rank.saturating_sub(1)).copied();
        found.unwrap_or(self.target / 4)
    }
}

/// The latest submit at which the next refresh still holds the target, found by
/// bisection in what will arrive; far off where nothing ever will.
fn latest_start(world: &mut World, index: usize, target: Span) -> Option<Timestamp> {
    let now = world.now;
    let view = world.views.get_mut(index)?;
    let warehouse = world.warehouses.get(view.warehouse)?;
    let delay = warehouse.submit_delay + warehouse.jitter;
    // Whoever knows the future knows what chance has in store for the next refresh.
    let noise = view.service.noise(&mut view.dice.clone());
    let mut seen_to = now;
    let far = now + Span::from_secs(30 * 86_400);
    let oldest = loop {
        if let Some(oldest) = view.arrivals.unread(seen_to).oldest {
            break oldest;
        }
        if seen_to >= far {
            return Some(far);
        }
        seen_to += target.max(Span::from_secs(60));
    };
    let deadline = oldest + target;
    let (mut low, mut high) = (now.max(oldest), deadline.max(now));
    for _ in 0..40 {
        let middle = low + (high - low) / 2;
        let start = middle + delay;
        let bytes = view.arrivals.unread(start).bytes;
        if start + view.service.noise_free(start, bytes).scale(noise) <= deadline {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(low)
}
