//! Guests with the agent's package.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::guest::Guest;
use crate::image::Image;
use crate::server::{ACCOUNT, HOST, KEY, SHARE};
use crate::state::{Recipe, State};
use crate::wait::wait_for;

/// People of every guest with the agent. The password of each is their name.
pub const USERS: [&str; 3] = ["alice", "bob", "carol"];

const PEOPLE: &str = "set -e
for user in alice bob carol; do
    useradd --create-home --shell /bin/bash $user
    echo $user:$user | chpasswd
done";

/// Whoever's program reads a module of Python first compiles it, but only root's keeps what comes of it. An emulated guest takes
/// minutes for all that JupyterHub, its proxy, a server and a kernel consist of.
const COMPILE: &str = "set -e
cd /opt/jupyterhub/bin
./python -c 'import jupyterhub.app, jupyterhub.singleuser.extension, jupyter_server.serverapp'
./python -c 'import ipykernel.kernelapp, IPython'
./configurable-http-proxy --version";

const INSTALL: &str = "set -e
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
pub(crate) fn state(image: Image, service: Service, package: &Path) -> State {
    installed(people(image.clone()), service.name(), image, service, package)
}

/// The state from which [`crate::Scenario::hub_vm`] starts.
pub(crate) fn state_for_hub(image: Image) -> State {
    let compiled = Recipe::new("modules", image.clone()).on(people(image.clone())).input(COMPILE);
    let compiled = compiled.state(|guest| drop(guest.ssh_within(COMPILE, Duration::from_secs(1800)).ok()));
    installed(compiled, "agent-hub", image, Service::Running, &package())
}

fn people(image: Image) -> State {
    Recipe::new("people", image.clone()).on(Recipe::booted(image)).input(PEOPLE).state(|guest| drop(guest.sh(PEOPLE)))
}

fn installed(on: State, name: &str, image: Image, service: Service, package: &Path) -> State {
    let bytes = fs::read(package).unwrap_or_else(|error| panic!("{}: {error}", package.display()));
    let recipe = Recipe::new(name, image).on(on).input(INSTALL).input(&bytes);
    recipe.state(|guest| {
        guest.put(&bytes, "/root/agent.deb", 0o644);
        guest.sh(INSTALL);
        if service == Service::Off {
            guest.sh("systemctl disable --now dsvm-agent.service");
        }
    })
}

impl Guest {
    /// Writes the configuration for the SMB share and the file with the key, as an administrator would.
    #[track_caller]
    pub fn configure_smb(&self) {
        self.put(format!("username={ACCOUNT}\npassword={KEY}\n"), "/etc/dsvm-agent/share.key", 0o600);
        let config = format!(
            "[share]\nsource = \"//{HOST}/{SHARE}\"\nmount_point = \"/datamnt/dsvmshare\"\n\n\
             [share.credentials]\nfile = \"/etc/dsvm-agent/share.key\"\n"
        );
        self.put(config, "/etc/dsvm-agent/agent.toml", 0o644);
    }

    /// Writes the configuration for the NFS share, or for another export of its server.
    #[track_caller]
    pub fn configure_nfs(&self, export: &str) {
        let config =
            format!("[share]\nsource = \"{HOST}:/{ACCOUNT}/{export}\"\nmount_point = \"/datamnt/dsvmshare\"\n");
        self.put(config, "/etc/dsvm-agent/agent.toml", 0o644);
    }

    /// Waits until the agent says that all is ready.
    #[track_caller]
    pub fn wait_ready(&self) {
        let waited = self.ssh_within("dsvm-agent wait --timeout 90s", Duration::from_secs(120));
        assert!(waited.success(), "{}{}\n{}", waited.stdout, waited.stderr, self.ssh("dsvm-agent status").stdout);
    }

    /// Waits until the agent's status contains `text`.
    #[track_caller]
    pub fn wait_status(&self, text: &str) {
        wait_for(&format!("the status of {} says {text}", self.name()), Duration::from_secs(120), || {
            self.ssh("dsvm-agent status").stdout.contains(text)
        });
    }

    /// Waits until the agent's status says that the server is away: which word it has for that depends on whether a
    /// fresh connection was tried already.
    #[track_caller]
    pub fn wait_away(&self) {
        wait_for(
            &format!("the status of {} says that the server is away", self.name()),
            Duration::from_secs(120),
            || {
                let status = self.ssh("dsvm-agent status").stdout;
                ["not answering", "unreachable"].iter().any(|word| status.contains(word))
            },
        );
    }

    /// Nothing of anybody's lies under the mounts: looked at in a mount namespace of its own.
    ///
    /// # Panics
    /// If something does.
    #[track_caller]
    pub fn nothing_lies_under_the_mounts(&self) {
        let under = self.sh(
            "unshare -m sh -c 'for at in $(cut -d\" \" -f5 /proc/self/mountinfo | grep ^/datamnt/dsvmshare/); do umount -l $at; done
             find /datamnt/dsvmshare -type f'",
        );
        println!("under the mounts: {under}");
        assert!(under.lines().all(|l| l.ends_with("-not-mounted") || l.ends_with("/SHARE-NOT-MOUNTED.txt")), "{under}");
    }
}
