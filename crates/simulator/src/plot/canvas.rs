//! SVG text: strokes, words, scales and ticks.
//!
//! Decides: the colours (Okabe and Ito's, which the colour-blind tell apart) in light and in
//! dark, and how numbers and names are written. Deliberately absent: what is drawn.

use std::fmt::Write as _;

/// Colours before they repeat.
pub(super) const COLOURS: usize = 6;
pub(super) const WIDTH: f64 = 1200.0;
const HEIGHT: f64 = 600.0;

const STYLE: &str = "\
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',sans-serif;\
fill:#1b1f24}
.bg{fill:#ffffff}
.title{font-size:19px;font-weight:600}
.small{font-size:13px;fill:#4b5560}
.tick{font-size:12px;fill:#4b5560}
.name{font-size:14px;font-weight:600;paint-order:stroke;stroke:#ffffff;stroke-width:4px}
.axis{stroke:#4b5560;stroke-width:1}
.grid{stroke:#e3e6ea;stroke-width:1}
.target,.bound{stroke:#1b1f24;stroke-width:1.4;stroke-dasharray:6 4}
.lead{stroke:#7a838d;stroke-width:1}
.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.dot{stroke:#ffffff;stroke-width:1.5}
.t{stroke:#4b5560}
.s0{stroke:#0072b2}.s1{stroke:#d55e00}.s2{stroke:#007a5a}
.s3{stroke:#b0528a}.s4{stroke:#8a6d00}.s5{stroke:#3b3f45}
.t0{fill:#0072b2}.t1{fill:#c25500}.t2{fill:#007a5a}
.t3{fill:#b0528a}.t4{fill:#8a6d00}.t5{fill:#3b3f45}
@media (prefers-color-scheme: dark){
text{fill:#e6e9ed}
.bg{fill:#14171a}
.small,.tick{fill:#a9b2bc}
.axis{stroke:#a9b2bc}
.grid{stroke:#2c3238}
.target,.bound{stroke:#e6e9ed}
.dot,.name{stroke:#14171a}
.t{stroke:#a9b2bc}
.s0{stroke:#56b4e9}.s1{stroke:#ff9a4d}.s2{stroke:#2fc79b}
.s3{stroke:#e39ac4}.s4{stroke:#f0e442}.s5{stroke:#c9ced4}
.t0{fill:#56b4e9}.t1{fill:#ff9a4d}.t2{fill:#2fc79b}
.t3{fill:#e39ac4}.t4{fill:#f0e442}.t5{fill:#c9ced4}
}
";

#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Anchor {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

type Point = (f64, f64);

#[derive(Debug)]
pub(super) struct Canvas {
    svg: String,
}

impl Canvas {
    pub(super) fn new(title: &str, desc: &str) -> Self {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-labelledby=\"title desc\">\n<title id=\"title\">{}</title>\n\
             <desc id=\"desc\">{}</desc>\n<style>\n{STYLE}</style>\n\
             <rect class=\"bg\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n",
            escaped(title),
            escaped(desc),
        );
        Self { svg }
    }

    pub(super) fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    /// Writing to a string does not fail.
    fn put(&mut self, element: std::fmt::Arguments<'_>) {
        self.svg.write_fmt(element).ok();
        self.svg.push('\n');
    }

    pub(super) fn text(&mut self, (x, y): Point, anchor: Anchor, class: &str, text: &str) {
        let (anchor, text) = (anchor.name(), escaped(text));
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    /// Text that reads upwards, around `(x, y)`.
    pub(super) fn upright(&mut self, (x, y): Point, class: &str, text: &str) {
        let text = escaped(text);
        self.put(format_args!(
            "<text class=\"{class}\" transform=\"translate({x:.1} {y:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{text}</text>"
        ));
    }

    pub(super) fn line(&mut self, class: &str, (x1, y1): Point, (x2, y2): Point) {
        self.put(format_args!(
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        ));
    }

    pub(super) fn polyline(&mut self, class: &str, points: impl Iterator<Item = Point>) {
        let points: Vec<_> = points.map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let points = points.join(" ");
        self.put(format_args!(
            "<polyline class=\"{class}\" points=\"{points}\"/>"
        ));
    }

    pub(super) fn dot(&mut self, class: &str, (x, y): Point, radius: f64) {
        self.put(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"/>"
        ));
    }
}

/// From values to places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) domain: (f64, f64),
    pub(super) range: (f64, f64),
    logarithmic: bool,
}

impl Scale {
    pub(super) fn linear(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self {
            domain,
            range,
            logarithmic: false,
        }
    }

    /// For a domain above zero.
    pub(super) fn logarithmic(domain: (f64, f64), range: (f64, f64)) -> Self {
        Self {
            domain,
            range,
            logarithmic: true,
        }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let of = |value: f64| if self.logarithmic { value.ln() } else { value };
        let (low, high) = (of(self.domain.0), of(self.domain.1));
        let width = high - low;
        let share = if width > 0.0 {
            (of(value) - low) / width
        } else {
            0.5
        };
        self.range.0 + share * (self.range.1 - self.range.0)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) x: Scale,
    pub(super) y: Scale,
}

/// Multiples of `step` from `low` to `high`; few, as the callers' steps are wide.
pub(super) fn multiples(low: f64, high: f64, step: f64) -> Vec<f64> {
    let first = (low / step - 1e-9).ceil();
    let ticks = (0..64_u8).map(|index| (first + f64::from(index)) * step);
    ticks
        .take_while(|tick| *tick <= high + step * 1e-9)
        .collect()
}

/// Round numbers from zero to `high`, at most about `count`.
pub(super) fn linear_ticks(high: f64, count: f64) -> Vec<f64> {
    if high <= 0.0 {
        return vec![0.0];
    }
    let power = 10_f64.powf((high / count).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    let step = steps.into_iter().find(|step| high / step <= count);
    multiples(0.0, high, step.unwrap_or(10.0 * power))
}

/// Moments on a clock between two, and their distance, in seconds.
pub(super) fn time_ticks(from: f64, until: f64) -> (Vec<f64>, f64) {
    let steps = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0,
        7_200.0, 10_800.0, 21_600.0, 43_200.0,
    ];
    let fits = |step: &f64| (until - from) / step <= 6.5;
    let days = ((until - from) / 6.5 / 86_400.0).ceil() * 86_400.0;
    let step = steps.into_iter().find(fits).unwrap_or(days);
    (multiples(from, until, step), step)
}

/// Round numbers for a logarithmic axis.
pub(super) fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = (high / low).log10();
    let digits: &[f64] = if decades < 0.5 {
        &[
            1.0, 1.1, 1.2, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0,
        ]
    } else if decades < 1.5 {
        &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0]
    } else if decades < 3.0 {
        &[1.0, 3.0]
    } else {
        &[1.0]
    };
    let first = low.log10().floor();
    (0..40_u8)
        .flat_map(|decade| {
            let power = 10_f64.powf(first + f64::from(decade));
            digits.iter().map(move |digit| digit * power)
        })
        .skip_while(|tick| *tick < low * (1.0 - 1e-9))
        .take_while(|tick| *tick <= high * (1.0 + 1e-9))
        .collect()
}

/// `h:mm`, with seconds where ticks are that close.
pub(super) fn clock(secs: f64, step: f64) -> String {
    let (hours, rest) = ((secs / 3600.0).floor(), secs.rem_euclid(3600.0));
    let (minutes, seconds) = ((rest / 60.0).floor(), rest % 60.0);
    if step < 60.0 {
        format!("{hours:.0}:{minutes:02.0}:{seconds:02.0}")
    } else {
        format!("{hours:.0}:{minutes:02.0}")
    }
}

/// At most three places after the point, and no idle zeros.
pub(super) fn decimal(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// At most `most` characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// As XML wants it; what it cannot hold is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            other if other.is_control() => out.push('\u{fffd}'),
            other => out.push(other),
        }
    }
    out
}
