//! The vm ring: guests that boot through cloud-init, with a real systemd, a real kernel and a real file server.
//!
//! A scenario is a test of a few lines. It starts guests from saved states, which takes seconds; it runs, breaks and
//! waits; and whatever it started is gone when it ends. If it fails, serial logs, journals and the agent's status are
//! under `target/vm-failures`.
//!
//! ```no_run
//! use std::time::Duration;
//! use vm::{Scenario, Service, wait_for};
//!
//! let scenario = Scenario::new("the share comes back");
//! let server = scenario.file_server();
//! let vm = scenario.agent_vm("vm1", Service::Running);
//! server.drop_silently();
//! assert!(vm.as_user_within("alice", "ls notebooks/remote", Duration::from_secs(5)).timed_out());
//! server.undrop();
//! wait_for("the notebooks are back", Duration::from_secs(60), || {
//!     vm.as_user_within("alice", "ls notebooks/remote", Duration::from_secs(5)).success()
//! });
//! ```
//!
//! Images come from `cargo xtask image`, the package under test from `DSVM_AGENT_DEB`; `cargo xtask test vm` sees to
//! both. `DSVM_VM_ACCEL` (`kvm` or `tcg`) overrules the choice of how guests run.
//!
//! Guests that come from one state have one machine-id, as machines of a carelessly made image do; their names,
//! addresses and clocks are their own.

pub mod azure;
pub mod cache;
pub mod image;
pub mod server;
pub mod writer;

mod agent;
mod boot;
mod control;
mod down;
mod guest;
mod network;
mod qemu;
mod scenario;
mod state;
mod wait;

pub use agent::{Service, USERS, package};
pub use boot::Boot;
pub use control::{Output, quoted};
pub use guest::Guest;
pub use image::{Image, Suite};
pub use network::Network;
pub use scenario::Scenario;
pub use server::FileServer;
pub use state::{Clock, Recipe, State};
pub use wait::{together, wait_for};
