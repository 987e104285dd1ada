//! Room: cli.

pub mod seat;
pub mod status;
pub mod terminal;
pub mod wait;
