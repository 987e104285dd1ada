//! Guests with the agent's package.

use std::fs;
use std::path::PathBuf;

use crate::image::Image;
use crate::state::{Recipe, State};

/// People of every guest with the agent. The password of each is their name.
pub const USERS: [&str; 3] = ["alice", "bob", "carol"];

const PREPARE: &str = "set -e
for user in alice bob carol; do
    useradd --create-home --shell /bin/bash $user
    echo $user:$user | chpasswd
done
apt-get install --yes --no-install-recommends --allow-downgrades /root/agent.deb
rm /root/agent.deb";

/// Whether the agent's service is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// As the package leaves it: enabled and running, unconfigured.
    Running,
    /// Disabled and stopped.
    Off,
}

impl Service {
    fn name(self) -> &'static str {
        match self {
            Self::Running => "agent",
            Self::Off => "agent-off",
        }
    }
}

/// The package under test.
///
/// # Panics
/// If `DSVM_AGENT_DEB` names none.
pub fn package() -> PathBuf {
    let path = std::env::var_os("DSVM_AGENT_DEB").map(PathBuf::from);
    let path = path.expect("DSVM_AGENT_DEB does not name the package under test: run `cargo xtask test vm`");
    assert!(path.is_file(), "DSVM_AGENT_DEB: there is no {}: run `cargo xtask deb`", path.display());
    path
}

/// The state from which [`crate::Scenario::agent_vm`] starts.
pub(crate) fn state(image: Image, service: Service) -> State {
    let package = package();
    let bytes = fs::read(&package).unwrap_or_else(|error| panic!("{}: {error}", package.display()));
    let recipe = Recipe::new(service.name(), image).input(PREPARE).input(&bytes);
    recipe.state(|guest| {
        guest.put(&bytes, "/root/agent.deb", 0o644);
        guest.sh(PREPARE);
        if service == Service::Off {
            guest.sh("systemctl disable --now dsvm-agent.service");
        }
    })
}
