//! The seams to the machine: clocks, mounts, file system by descriptor, processes.

pub mod clock;
pub mod mount;
pub mod mountinfo;
pub mod open;
pub mod process;
pub mod random;
