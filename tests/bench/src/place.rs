//! The guest in which everything is measured.

use vm::server::{ACCOUNT, HOST, KEY, SHARE};
use vm::{Guest, USERS};

/// Where the scripts lie in the guest.
pub const SCRIPTS: &str = "/usr/local/lib/bench";

/// The rights and the behaviour of the agent's mounts, in the words of mount.cifs(8).
const OPTIONS: &str =
    "vers=3.1.1,seal,credentials=/etc/dsvm-agent/share.key,mfsymlinks,nobrl,actimeo=30,file_mode=0600,dir_mode=0700";

const FILES: [(&str, &str); 14] = [
    ("start", include_str!("guest/start.sh")),
    ("members", include_str!("guest/members.sh")),
    ("shared-mount", include_str!("guest/shared-mount.sh")),
    ("old-script", include_str!("guest/old-script.sh")),
    ("user-mounts", include_str!("guest/user-mounts.sh")),
    ("others", include_str!("guest/others.py")),
    ("sample", include_str!("guest/sample.sh")),
    ("ask", include_str!("guest/ask.sh")),
    ("notebook", include_str!("guest/notebook.py")),
    ("login", include_str!("guest/login.py")),
    ("people", include_str!("guest/people.py")),
    ("crowd", include_str!("guest/crowd.py")),
    ("samples", include_str!("guest/samples.py")),
    ("mount-time", include_str!("guest/mount-time.sh")),
];

/// When users' directories are mounted: the agent's setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mounts {
    /// When they are there. Nobody is, here.
    OnPresence,
    /// Always, for everybody.
    Always,
}

/// Puts the scripts and the key where they belong.
pub fn prepare(guest: &Guest) {
    for (name, text) in FILES {
        guest.put(text, &format!("{SCRIPTS}/{name}"), 0o755);
    }
    guest.put(format!("//{HOST}/{SHARE}"), &format!("{SCRIPTS}/share"), 0o644);
    guest.put(format!("{OPTIONS}\n"), &format!("{SCRIPTS}/options"), 0o644);
    guest.put(USERS.join("\n") + "\n", &format!("{SCRIPTS}/people"), 0o644);
    guest.put(format!("username={ACCOUNT}\npassword={KEY}\n"), "/etc/dsvm-agent/share.key", 0o600);
    for name in ["shared-mount", "old-script", "user-mounts"] {
        let unit = format!("[Service]\nType=oneshot\nExecStart={SCRIPTS}/{name}\n");
        guest.put(unit, &format!("/etc/systemd/system/{name}.service"), 0o644);
    }
    guest.sh("systemctl daemon-reload");
}

/// Writes the agent's configuration.
pub fn configure(guest: &Guest, mounts: Mounts) {
    let mount = if mounts == Mounts::Always { "always" } else { "on-presence" };
    let text = format!(
        "[share]\nsource = \"//{HOST}/{SHARE}\"\nmount_point = \"/datamnt/dsvmshare\"\n
[share.credentials]\nfile = \"/etc/dsvm-agent/share.key\"\n
[workspace]\nmount = \"{mount}\"\nexclude = [\"debian\"]\n"
    );
    guest.put(text, "/etc/dsvm-agent/agent.toml", 0o644);
}

/// The agent runs and is ready.
pub fn serve(guest: &Guest) {
    configure(guest, Mounts::OnPresence);
    guest.sh("systemctl start dsvm-agent; dsvm-agent wait --timeout 90s");
}

/// What the figures were measured on, in a line.
pub fn describe(guest: &Guest) -> String {
    let line = "printf 'Debian %s, Linux %s, systemd %s, %s processors (%s)' \"$(cat /etc/debian_version)\" \
                \"$(uname -r)\" \"$(systemctl --version | awk 'NR == 1 { print $2 }')\" \"$(nproc)\" \
                \"$(systemd-detect-virt)\"";
    format!("In a guest: {}.\n", guest.sh(line))
}
