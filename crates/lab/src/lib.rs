//! stub

mod clock;
mod random;
mod sql;
mod statements;
mod streams;
mod world;
