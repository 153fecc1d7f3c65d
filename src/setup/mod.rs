//! What has to stand around the daemon before it can refresh anything: roles, external
//! schemas, views.
//!
//! Decides: nothing itself. `iam` and `sql` say what a configuration asks for, as pure
//! functions; whoever applies or checks it asks them.
//! Deliberately absent: guesses about what a configuration does not say.

pub mod apply;
mod asked;
pub mod aws;
mod blame;
pub mod cloudformation;
pub mod evaluate;
pub mod existing;
pub mod iam;
pub(crate) mod identifier;
pub mod links;
mod names;
pub mod policy;
mod probe;
mod proof;
pub mod roles;
#[cfg(test)]
mod roles_tests;
pub mod sql;
#[cfg(test)]
mod tests;
pub mod verify;
