//! A guest before its first boot: what the cloud decides of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use crate::guest::Guest;
use crate::image::{Image, Suite};
use crate::network::Network;
use crate::qemu::{Start, seed};
use crate::scenario::Common;

/// MiB of a guest that says nothing else.
pub(crate) const MEMORY: u32 = 1024;

/// A guest that is about to boot from the stock image, as a new virtual machine of the cloud does.
#[derive(Debug)]
#[must_use = "nothing has booted yet"]
pub struct Boot {
    common: Arc<Common>,
    name: String,
    suite: Suite,
    memory: u32,
    user_data: String,
}

impl Boot {
    pub(crate) fn new(common: Arc<Common>, name: &str) -> Self {
        let user_data = "#cloud-config\n{}\n".to_owned();
        Self { common, name: name.to_owned(), suite: Suite::default(), memory: MEMORY, user_data }
    }

    /// What the cloud hands to cloud-init.
    pub fn user_data(mut self, text: impl Into<String>) -> Self {
        self.user_data = text.into();
        self
    }

    /// Another release.
    pub fn suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    /// Other than 1024 MiB.
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Boots it and waits until cloud-init and the services are through.
    ///
    /// # Panics
    /// If it does not boot.
    #[track_caller]
    pub fn boot(self) -> Guest {
        let guest = self.start();
        guest.settle();
        guest
    }

    /// Boots it and returns as soon as the control channel answers, when much of the boot is still to come.
    ///
    /// # Panics
    /// If it does not boot.
    #[track_caller]
    pub fn start(self) -> Guest {
        let image = Image::of(self.suite);
        let directory = directory(&self.common, &self.name);
        let seed = seed_for(&directory, &self.name, &self.user_data);
        let base = image.disk();
        let mut guest = Guest::new(self.common, &self.name, image, self.memory, seed, &base);
        guest.power_on_from(&Start::Boot);
        guest
    }
}

/// What cloud-init is told: each call is an instance of its own.
pub(crate) fn seed_for(directory: &Path, name: &str, user_data: &str) -> PathBuf {
    let address = Network::address(name);
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let meta = format!("instance-id: {name}-{nanos}\nlocal-hostname: {name}\n");
    let network = format!(
        "version: 2\nethernets:\n  eth1:\n    match: {{name: eth1}}\n    addresses: [{address}/24]\n    optional: true\n"
    );
    let files = [("user-data", user_data), ("meta-data", &meta), ("network-config", &network)];
    seed(directory, "cidata", &files).expect("a disk for cloud-init")
}

pub(crate) fn directory(common: &Common, name: &str) -> PathBuf {
    let directory = common.directory.path().join(name);
    assert!(!directory.exists(), "the scenario has a guest that is called {name} already");
    fs::create_dir(&directory).expect("a directory for the guest");
    directory
}
