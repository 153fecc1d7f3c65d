//! Decides which of the world's endpoint faults strike a request.

use super::error::ApiError;
use crate::clock::Moment;
use crate::random::Dice;
use crate::world::{Fault, FaultKind, Loss, Operation};

/// What goes wrong with one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Misfortune {
    /// Refused before anything was executed.
    pub(super) refused: Option<ApiError>,
    /// Refused after the submit was executed.
    pub(super) refused_after: Option<ApiError>,
    pub(super) lost: Option<Loss>,
    pub(super) ignore_wait: bool,
    pub(super) refuse_wait: bool,
}

#[derive(Debug)]
pub(super) struct Faults {
    faults: Vec<Fault>,
    dice: Dice,
}

impl Faults {
    pub(super) fn new(seed: u64, faults: Vec<Fault>) -> Self {
        Self {
            faults,
            dice: Dice::new(seed, "endpoint faults"),
        }
    }

    /// Throws the dice for every fault that covers the request, in the order of the file; the
    /// first refusal counts.
    pub(super) fn strike(
        &mut self,
        operation: Operation,
        now: Moment,
        request: &str,
    ) -> Misfortune {
        let mut misfortune = Misfortune::default();
        for fault in &self.faults {
            if !fault.covers(operation, now) || !self.dice.chance(fault.probability()) {
                continue;
            }
            match fault.kind {
                FaultKind::LoseAnswer(loss) => misfortune.lost = misfortune.lost.or(Some(loss)),
                FaultKind::IgnoreWait => misfortune.ignore_wait = true,
                FaultKind::RefuseWait => misfortune.refuse_wait = true,
                FaultKind::Throttle { wrapped } => {
                    let error = if self.dice.chance(wrapped) {
                        ApiError::throttled_inside(request)
                    } else {
                        ApiError::throttled()
                    };
                    misfortune.refused.get_or_insert(error);
                }
                FaultKind::Error500 { executed: false } => {
                    misfortune.refused.get_or_insert_with(ApiError::internal);
                }
                FaultKind::Error500 { executed: true } => {
                    misfortune
                        .refused_after
                        .get_or_insert_with(ApiError::internal);
                }
            }
        }
        misfortune
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::world::World;

    fn faults(text: &str) -> Faults {
        let world = format!("warehouses = []\nstreams = []\nviews = []\n{text}");
        Faults::new(3, World::from_toml(&world, "test").unwrap().faults)
    }

    fn strikes(faults: &mut Faults, operation: Operation, second: u64) -> Misfortune {
        faults.strike(operation, Duration::from_secs(second), "r")
    }

    #[test]
    fn a_fault_strikes_only_its_operations_and_inside_its_window() {
        let mut faults = faults(
            "[[faults]]\nkind = \"throttle\"\noperations = [\"ListStatements\"]\nfrom = 5\nuntil = 6",
        );
        let mut refused = |operation, second| strikes(&mut faults, operation, second).refused;
        assert_eq!(
            refused(Operation::ListStatements, 5),
            Some(ApiError::throttled())
        );
        assert_eq!(refused(Operation::ListStatements, 4), None);
        assert_eq!(refused(Operation::ListStatements, 6), None);
        assert_eq!(refused(Operation::DescribeStatement, 5), None);
    }

    #[test]
    fn probability_and_the_wrapped_share_are_kept() {
        let mut faults =
            faults("[[faults]]\nkind = \"throttle\"\nprobability = 0.5\nwrapped = 0.2");
        let refusals: Vec<ApiError> = (0..4_000)
            .filter_map(|_| strikes(&mut faults, Operation::ExecuteStatement, 0).refused)
            .collect();
        let wrapped = refusals
            .iter()
            .filter(|e| e.kind == "ValidationException")
            .count();
        assert!(
            (1_850..2_150).contains(&refusals.len()),
            "{}",
            refusals.len()
        );
        assert!((340..460).contains(&wrapped), "{wrapped}");
        assert!(refusals.iter().all(|e| e.http == 400));
    }

    #[test]
    fn only_submits_lose_their_answers() {
        let mut faults = faults("[[faults]]\nkind = \"lose_answer\"\nhow = \"hang\"");
        let lost = strikes(&mut faults, Operation::BatchExecuteStatement, 0).lost;
        assert_eq!(lost, Some(Loss::Hang));
        assert_eq!(
            strikes(&mut faults, Operation::DescribeStatement, 0),
            Misfortune::default()
        );
    }
}
