//! The seams to the machine: clocks, alarms, HTTP, mounts, file system by descriptor, processes, connections, the kernel's keys,
//! programs, systemd, terminals.

pub mod address;
pub mod alarm;
pub mod arp;
pub mod clock;
pub mod host;
pub mod http;
pub mod keyring;
pub mod kmsg;
pub mod mount;
pub mod mountinfo;
pub mod open;
pub mod process;
pub mod program;
pub mod random;
pub mod sockets;
pub mod systemd;
pub mod terminals;
