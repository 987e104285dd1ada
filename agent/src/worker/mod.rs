//! Workers: short-lived processes of this same program that do one job of a fixed list each, with a deadline and only
//! the privileges that the job needs. The launcher starts them, the brain asks for them.
//!
//! ```text
//! brain --(job, descriptor for the answer)--> launcher --(job on fd 0, answer on fd 1)--> worker
//! brain <--(ended)--------------------------- launcher <--(pidfd)------------------------ worker
//! brain <--(answer)---------------------------------------------------------------------- worker
//! ```
//!
//! The launcher never reads an answer: what a worker saw, hostile or not, is parsed by the brain alone.

pub mod child;
pub mod client;
pub mod job;
pub mod jupyter;
pub mod launcher;
pub mod privilege;
mod route;
pub mod spawn;
mod started;
mod vouch;
pub mod wire;
