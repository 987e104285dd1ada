//! The pool, seen from any of its VMs: each writes a row of its own to the share, and whoever asks reads them all. No server,
//! no lock, no shared file.
//!
//! ```text
//! .dsvm-agent/                     root's alone, 0700
//!   nodes/dsvmpool_7.json          the row of that VM, written beside it and renamed over it
//!   pool/3f2a…                     the pool's salt, which is the directory's name
//! ```
//!
//! No user's name is in a row: who has something running on a VM stands there as a number that only those can tell who
//! know the name and the pool's salt ([`model::mark`]).

pub mod act;
pub mod decide;
pub mod model;
