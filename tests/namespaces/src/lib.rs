//! The namespaces ring: the real program as root, in mount, process and network namespaces of this machine, with users,
//! homes and a share of its own. Nothing of this machine is touched: `/etc`, `/run`, `/home`, `/srv`, `/tmp` and
//! `/var/lib` are others in there, and end with the test.
//!
//! ```no_run
//! use namespaces::Sandbox;
//!
//! let Some(vm) = Sandbox::new("vm1") else { return };
//! vm.user("ada");
//! vm.configure("");
//! let agent = vm.agent_start();
//! agent.wait_ready();
//! vm.as_user("ada", "echo '{}' >~/notebooks/remote/a.ipynb").ok();
//! ```

pub mod recordings;

mod agent;
mod directory_service;
mod program;
mod sandbox;
mod tree;
mod wait;

pub use agent::{Agent, SOON};
pub use directory_service::DirectoryService;
pub use program::{built, program};
pub use sandbox::{MOUNT_POINT, Output, Process, SHARE, Sandbox, Typist};
pub use tree::hash_tree;
pub use wait::wait_for;
