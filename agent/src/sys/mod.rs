//! The seams to the machine: clocks, HTTP, mounts, file system by descriptor, processes.

pub mod clock;
pub mod http;
pub mod kmsg;
pub mod mount;
pub mod mountinfo;
pub mod open;
pub mod process;
pub mod random;
