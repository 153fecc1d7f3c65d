//! An observer that remembers, and checks invariants after every step.

use tidekeeper_scheduler::{Notice, Timestamp};
use tidekeeper_simulator::{Attempt, Observer};

#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) attempts: Vec<Attempt>,
    pub(crate) notices: Vec<(Timestamp, Notice)>,
}

impl Observer for Watch {
    fn attempt(&mut self, attempt: &Attempt) {
        self.attempts.push(*attempt);
    }

    fn notice(&mut self, at: Timestamp, notice: &Notice) {
        self.notices.push((at, notice.clone()));
    }

    fn checks_every_step(&self) -> bool {
        true
    }
}

impl Watch {
    pub(crate) fn count(&self, is_wanted: fn(&Notice) -> bool) -> usize {
        let notices = self.notices.iter();
        notices.filter(|(_, notice)| is_wanted(notice)).count()
    }

    pub(crate) fn saw(&self, is_wanted: fn(&Notice) -> bool) -> bool {
        self.count(is_wanted) > 0
    }

    /// Gaps in seconds between the submits of one view's statements.
    pub(crate) fn submit_gaps(&self, view: usize) -> Vec<f64> {
        let of_view = self.attempts.iter().filter(|a| a.view == view && a.ran);
        let submits: Vec<Timestamp> = of_view.map(|attempt| attempt.submit).collect();
        submits
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).as_secs_f64())
            .collect()
    }
}
