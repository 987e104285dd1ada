//! `dsvm-agent`, the node agent of a shared pool of Data Science VMs.
//!
//! The house, from the ground up; imports run downwards only:
//!
//! * [`problem`], [`sys`] and [`config`] are the ground: what is wrong, the seams to the machine, the settings;
//! * [`worker`] stands on them: the jobs, how a worker is started, confined and given up on, and the launcher;
//! * [`share`] and, on it, [`workspace`], and beside them [`idle`] are the capabilities; each has `model`, `observe`, `decide` and `act`;
//! * [`pool`] stands on the share: what the VMs of a pool tell each other there;
//! * [`status`] reads their models; [`daemon`] makes the passes; [`cli`] is what people type.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod idle;
pub mod pool;
pub mod problem;
pub mod scale_set;
pub mod share;
pub mod status;
pub mod sys;
pub mod worker;
pub mod workspace;
