//! What has to stand around the daemon before it can refresh anything: roles, external
//! schemas, views.
//!
//! Decides: nothing itself. `iam` and `sql` say what a configuration asks for, as pure
//! functions; whoever applies or checks it asks them.
//! Deliberately absent: guesses about what a configuration does not say.

pub mod cloudformation;
pub mod iam;
mod identifier;
mod names;
pub mod policy;
pub mod sql;
#[cfg(test)]
mod tests;
