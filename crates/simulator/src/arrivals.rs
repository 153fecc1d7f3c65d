//! What arrives on a view's stream.
//!
//! Decides: a stream as pieces, each a record (of no length) or a stretch of even flow, drawn in
//! order of time; what lies unread between what the view holds and now.
//! Memory holds the unread pieces only.

use std::collections::VecDeque;

use tidekeeper_scheduler::{Span, Timestamp};

use crate::dice::Dice;
use crate::scenario::ArrivalModel;

/// A stretch of an even flow is drawn in pieces of this length.
const STRETCH: f64 = 3_600.0;
/// A varying flow is followed in steps of this length.
const STEP: f64 = 60.0;
const DAY: f64 = 86_400.0;

/// Bytes that arrive evenly from `from` to `to`, at once where the two are equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Piece {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    pub(crate) bytes: f64,
}

impl Piece {
    /// What of it has arrived by `at`.
    fn until(&self, at: Timestamp) -> f64 {
        if at >= self.to {
            self.bytes
        } else if at <= self.from {
            0.0
        } else {
            self.bytes * (at - self.from).as_secs_f64() / (self.to - self.from).as_secs_f64()
        }
    }

    /// What arrives after `at`.
    pub(crate) fn after(self, at: Timestamp) -> Self {
        let bytes = self.bytes - self.until(at);
        let from = self.from.max(at);
        Self {
            from,
            bytes,
            ..self
        }
    }
}

/// The pieces of one view's stream, without end or until the listed ones are over.
#[derive(Debug)]
pub(crate) struct Source {
    model: ArrivalModel,
    dice: Dice,
    /// Seconds up to which pieces have been drawn.
    drawn: f64,
    index: usize,
    /// A piece that was drawn together with the last one.
    next: Option<Piece>,
}

impl Source {
    pub(crate) fn new(model: &ArrivalModel, seed: u64, view: &str) -> Self {
        Self {
            model: model.clone(),
            dice: Dice::new(seed, &format!("arrivals/{view}")),
            drawn: 0.0,
            index: 0,
            next: None,
        }
    }

    fn flow(&mut self, seconds: f64, bytes_per_s: f64) -> Piece {
        let from = moment(self.drawn);
        self.drawn += seconds;
        Piece {
            from,
            to: moment(self.drawn),
            bytes: bytes_per_s * seconds,
        }
    }

    fn periodic(&mut self, every: f64, bytes: f64) -> Piece {
        if self.index == 0 {
            // Where in the first period it begins is a matter of chance.
            self.drawn = every * (self.dice.unit() - 1.0);
        }
        self.index += 1;
        self.drawn += every;
        record(self.drawn, bytes)
    }

    fn outage(&mut self, bytes_per_s: f64, [from, until, flush]: [f64; 3]) -> Piece {
        self.index += 1;
        match self.index {
            1 => self.flow(from, bytes_per_s),
            2 => self.flow(until - from, 0.0),
            3 => self.flow(flush, bytes_per_s * (1.0 + (until - from) / flush)),
            _ => self.flow(STRETCH, bytes_per_s),
        }
    }

    /// The next piece in order of time; `None` when nothing will come any more.
    pub(crate) fn draw(&mut self) -> Option<Piece> {
        if let Some(piece) = self.next.take() {
            return Some(piece);
        }
        match self.model.clone() {
            ArrivalModel::Silent => None,
            ArrivalModel::Periodic { every, bytes } => {
                Some(self.periodic(every.as_secs_f64(), bytes))
            }
            ArrivalModel::Steady { bytes_per_s } => Some(self.flow(STRETCH, bytes_per_s)),
            ArrivalModel::Outage {
                bytes_per_s,
                from,
                until,
                flush,
            } => {
                let times = [from, until, flush].map(Span::as_secs_f64);
                Some(self.outage(bytes_per_s, times))
            }
            ArrivalModel::Diurnal { low, high } => {
                let phase = (self.drawn + STEP / 2.0) / DAY * std::f64::consts::TAU;
                let rate = low + (high - low) * 0.5 * (1.0 - phase.cos());
                Some(self.flow(STEP, rate))
            }
            ArrivalModel::OnOff { on, off } => {
                let (mean, rate) = if self.index.is_multiple_of(2) {
                    off
                } else {
                    on
                };
                self.index += 1;
                let seconds = self.dice.exponential(mean.as_secs_f64()).max(0.001);
                Some(self.flow(seconds, rate))
            }
            ArrivalModel::Poisson {
                mean_gap,
                bytes,
                exponential,
            } => {
                self.drawn += self.dice.exponential(mean_gap.as_secs_f64());
                let bytes = if exponential {
                    self.dice.exponential(bytes)
                } else {
                    bytes
                };
                Some(record(self.drawn, bytes.max(1.0)))
            }
            ArrivalModel::Pareto {
                mean_gap,
                shape,
                least,
                most,
                bytes_per_s,
            } => {
                let spike = least / (1.0 - self.dice.unit()).powf(1.0 / shape);
                let gap = self.dice.exponential(mean_gap.as_secs_f64()).max(0.001);
                let base = self.flow(gap, bytes_per_s);
                self.next = Some(record(self.drawn, spike.min(most)));
                Some(base)
            }
            ArrivalModel::Listed { records, .. } => {
                let record = records.get(self.index)?;
                self.index += 1;
                Some(listed(*record))
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "exact below 2^53 bytes")]
fn listed((at, bytes): (Timestamp, u64)) -> Piece {
    Piece {
        from: at,
        to: at,
        bytes: bytes as f64,
    }
}

fn moment(seconds: f64) -> Timestamp {
    Timestamp::default() + Span::from_secs_f64(seconds)
}

fn record(seconds: f64, bytes: f64) -> Piece {
    let at = moment(seconds);
    Piece {
        from: at,
        to: at,
        bytes: bytes.round(),
    }
}

/// A stream and how far the view holds it.
#[derive(Debug)]
pub(crate) struct Arrivals {
    source: Source,
    over: bool,
    /// Drawn, and not wholly held; the last may begin after now.
    pieces: VecDeque<Piece>,
}

/// What lies between what the view holds and a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Unread {
    pub(crate) bytes: f64,
    /// When the first of it arrived.
    pub(crate) oldest: Option<Timestamp>,
}

impl Arrivals {
    pub(crate) fn new(model: &ArrivalModel, seed: u64, view: &str) -> Self {
        Self {
            source: Source::new(model, seed, view),
            over: false,
            pieces: VecDeque::new(),
        }
    }

    fn draw_until(&mut self, at: Timestamp) {
        while !self.over && self.pieces.back().is_none_or(|last| last.to <= at) {
            match self.source.draw() {
                Some(piece) if piece.bytes > 0.0 => self.pieces.push_back(piece),
                Some(_) => {}
                None => self.over = true,
            }
        }
    }

    /// What has arrived up to and including `at` and is not held.
    pub(crate) fn unread(&mut self, at: Timestamp) -> Unread {
        self.draw_until(at);
        let here = self.pieces.iter().take_while(|piece| piece.from <= at);
        let mut unread = Unread::default();
        for piece in here {
            unread.bytes += piece.until(at);
            unread.oldest = unread.oldest.or(Some(piece.from));
        }
        if unread.bytes <= 0.0 {
            return Unread::default();
        }
        unread
    }

    /// The view holds everything up to and including `at`. Returns the first that it does
    /// not hold, where it has been drawn.
    pub(crate) fn hold(&mut self, at: Timestamp) {
        self.draw_until(at);
        while self.pieces.front().is_some_and(|piece| piece.to <= at) {
            self.pieces.pop_front();
        }
        if let Some(first) = self.pieces.front_mut() {
            *first = first.after(at);
        }
    }

    /// When a reader that takes at most `most` bytes has had its fill; `at` where all is less.
    pub(crate) fn filled_at(&mut self, at: Timestamp, most: f64) -> Timestamp {
        self.draw_until(at);
        let mut left = most;
        for piece in self.pieces.iter().take_while(|piece| piece.from <= at) {
            if piece.bytes > left {
                let share = left / piece.bytes;
                return (piece.from + (piece.to - piece.from).scale(share)).min(at);
            }
            left -= piece.bytes;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::default() + Span::from_secs(secs)
    }

    fn day(model: &ArrivalModel) -> f64 {
        Arrivals::new(model, 5, "v").unread(at(86_400)).bytes
    }

    #[test]
    fn listed_records_are_read_once_each() {
        let model = ArrivalModel::Listed {
            file: "x.csv".into(),
            records: [(at(1), 10), (at(5), 20)].into(),
        };
        let mut arrivals = Arrivals::new(&model, 1, "v");
        assert_eq!(arrivals.unread(at(0)), Unread::default());
        assert_eq!(arrivals.unread(at(4)).oldest, Some(at(1)));
        arrivals.hold(at(4));
        let rest = arrivals.unread(at(9));
        assert_eq!((rest.oldest, rest.bytes), (Some(at(5)), 20.0));
    }

    #[test]
    fn a_flow_is_read_in_part() {
        let model = ArrivalModel::Steady { bytes_per_s: 10.0 };
        let mut arrivals = Arrivals::new(&model, 1, "v");
        arrivals.hold(at(100));
        let unread = arrivals.unread(at(160));
        assert!((unread.bytes - 600.0).abs() < 1e-6, "{unread:?}");
        assert_eq!(unread.oldest, Some(at(100)));
        assert_eq!(arrivals.filled_at(at(160), 300.0), at(130));
    }

    #[test]
    fn streams_carry_what_their_parameters_say() {
        let poisson = ArrivalModel::Poisson {
            mean_gap: Span::from_secs(20),
            bytes: 100.0,
            exponential: true,
        };
        let records = day(&poisson) / 100.0;
        assert!((4_000.0..4_700.0).contains(&records), "{records}");
        let diurnal = ArrivalModel::Diurnal {
            low: 0.0,
            high: 2.0,
        };
        assert!((day(&diurnal) - 86_400.0).abs() < 100.0);
        let periodic = ArrivalModel::Periodic {
            every: Span::from_secs(1_800),
            bytes: 1.0,
        };
        assert!((day(&periodic) - 48.0).abs() < 1.5);
    }
}
