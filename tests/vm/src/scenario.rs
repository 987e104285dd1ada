//! One scenario: its guests, their segment, and what is kept of a failure.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::agent::{self, Service};
use crate::boot::Boot;
use crate::guest::Guest;
use crate::image::{Image, Suite};
use crate::network::Network;
use crate::server::FileServer;
use crate::state::{Clock, State};

/// What all guests of a scenario have in common. It lasts until the last of them is gone.
#[derive(Debug)]
pub(crate) struct Common {
    pub name: String,
    pub directory: TempDir,
    pub network: Network,
}

/// A scenario: guests on one private segment that end with it.
#[derive(Debug)]
pub struct Scenario(pub(crate) Arc<Common>);

impl Scenario {
    /// A scenario without guests. Its name is the directory under `target/vm-failures` that says what went wrong.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    pub fn new(name: &str) -> Self {
        // Short, since paths of sockets must be.
        let directory = tempfile::Builder::new().prefix("dsvm-vm-").tempdir().expect("a temporary directory");
        let _ = fs::remove_dir_all(failures(name));
        Self(Arc::new(Common { name: name.to_owned(), directory, network: Network::default() }))
    }

    /// A guest that boots from the stock image. Its name decides its address ([`Network::address`]).
    pub fn guest(&self, name: &str) -> Boot {
        Boot::new(Arc::clone(&self.0), name)
    }

    /// A guest that goes on from a saved state as another machine: with its own name, addresses and clock.
    pub fn resume(&self, name: &str, state: &State) -> Guest {
        state.resume(&self.0, name, Clock::Now)
    }

    /// The file server, with the share on SMB.
    pub fn file_server(&self) -> FileServer {
        FileServer::start(self)
    }

    /// A guest with the agent's package (`DSVM_AGENT_DEB`) installed, unconfigured, and the users alice, bob and carol.
    pub fn agent_vm(&self, name: &str, service: Service) -> Guest {
        self.agent_vm_of(Suite::default(), name, service)
    }

    /// The same with this package, whichever is under test.
    pub fn vm_with(&self, package: &Path, name: &str, service: Service) -> Guest {
        self.resume(name, &agent::state(Image::of(Suite::default()), service, package))
    }

    /// The same, where JupyterHub and what it starts are read from the disk in seconds: their modules were compiled before.
    pub fn hub_vm(&self, name: &str) -> Guest {
        self.resume(name, &agent::state_for_hub(Image::of(Suite::default())))
    }

    /// The same as [`Scenario::agent_vm`] on another release.
    pub fn agent_vm_of(&self, suite: Suite, name: &str, service: Service) -> Guest {
        self.resume(name, &agent::state(Image::of(suite), service, &agent::package()))
    }
}

/// Where the remains of a failed scenario go.
pub(crate) fn failures(scenario: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| {
        Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("/")).join("target")
    });
    target.join("vm-failures").join(scenario.replace(['/', ':'], "-"))
}
