//! What people type: one file for each command.

pub mod arguments;
pub mod config;
pub mod doctor;
pub mod going_down;
pub mod greeting;
pub mod hook;
pub mod identity;
pub mod idle;
pub mod import;
pub mod keep;
pub mod log;
pub mod machine;
pub mod pool;
pub mod seat;
pub mod status;
pub mod terminal;
pub mod wait;
