//! What is in force after every file was read: plain data, valid by construction of the loader.

use crate::sys::http::Url;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// All settings in force. `share` is absent on a machine that is not configured: a state, not a mistake.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// The team's share, if one is configured.
    pub share: Option<Share>,
    /// Users, their directories and their links.
    pub workspace: Workspace,
    /// Directories of the share that several people work in.
    pub shared: Vec<Shared>,
    /// When the VM counts as not used.
    pub idle: Idle,
    /// The scale set that this VM belongs to.
    pub scale_set: ScaleSet,
    /// What is told of the VM, and where.
    pub status: Status,
}

/// Where the share is and where users see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What is mounted.
    pub source: Source,
    /// Where users see it: absolute, without `.` and `..`, never under `/mnt`, which is Azure's ephemeral disk.
    pub mount_point: PathBuf,
    /// TCP port of the server; the kind's own (445, 2049) when absent.
    pub port: Option<u16>,
    /// `[share.smb]`.
    pub smb: Smb,
    /// `[share.nfs]`.
    pub nfs: Nfs,
    /// `[share.directory]`.
    pub directory: Directory,
    /// `[share.credentials]`; always there when the source is SMB.
    pub credentials: Option<Credentials>,
}

/// A share's source, as the portal shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `//host/share` or `//host/share/path`.
    Smb {
        /// Name or address of the file server; an IPv6 address without brackets.
        host: String,
        /// The share and, behind further slashes, a directory on it.
        share: String,
    },
    /// `host:/export`.
    Nfs {
        /// Name or address of the file server; an IPv6 address without brackets.
        host: String,
        /// The exported path, absolute.
        export: String,
    },
    /// A local directory that stands for the share.
    Directory(PathBuf),
}

/// Who sees what on an SMB share, which knows no owners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Every user has a mount of their own directory, theirs alone.
    #[default]
    PerUser,
    /// Everybody sees the whole share, and may change everything on it.
    Open,
}

/// `[share.smb]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Smb {
    /// Who sees what.
    pub isolation: Isolation,
    /// Mount options that are appended to the agent's own, and win. In the kernel's words, checked.
    pub options: Vec<String>,
}

/// `[share.nfs]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nfs {
    /// Mount options that are appended to the agent's own, and win.
    pub options: Vec<String>,
}

/// `[share.directory]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Directory {
    /// The directory is meant to be on this machine's own disk. Otherwise it must be a mount point, so that
    /// nobody's work lands on a disk that goes away with the VM when the real file system is missing.
    pub local: bool,
}

/// Where the account's key is. The key itself is never part of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A file of root's, mode 0600: `username=`, `password=`, `password2=`.
    File(PathBuf),
    /// A credential of the service's (systemd.exec(5), `LoadCredential=`), with the same lines.
    Systemd(String),
    /// Secrets of Key Vault, read with the VM's identity.
    KeyVault(KeyVault),
}

/// Secrets of Key Vault. The account is the first label of the server's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyVault {
    /// The vault's name, or its address where it is in another cloud.
    pub vault: String,
    /// The name of the secret that holds the key.
    pub secret: String,
    /// The name of the one that holds the second key.
    pub secret2: Option<String>,
    /// Which of the VM's identities is used; its own when absent.
    pub client_id: Option<String>,
}

impl KeyVault {
    /// The vault's address.
    pub fn url(&self) -> String {
        if self.vault.contains("://") {
            return self.vault.clone();
        }
        format!("https://{}.vault.azure.net", self.vault)
    }

    /// What the token must be for: the vault's address without its first label, in each of the vendor's clouds.
    pub fn audience(&self) -> String {
        let host = self.vault.strip_prefix("https://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
        match host.and_then(|h| h.split_once('.')) {
            Some((_, rest)) if rest.starts_with("vault.") => format!("https://{rest}"),
            _ => "https://vault.azure.net".to_owned(),
        }
    }
}

/// When a user's directory is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountWhen {
    /// While the user is logged in or has a process.
    #[default]
    OnPresence,
    /// Always, for every user.
    Always,
}

/// `[workspace]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workspace {
    /// A user's directory on the share, relative, with `{user}` as one whole component and the last.
    pub directory: String,
    /// The link in the home, relative.
    pub link: String,
    /// Names or `@group`s to serve; empty: everyone.
    pub include: Vec<String>,
    /// Names or `@group`s that are left out.
    pub exclude: Vec<String>,
    /// When a user's directory is mounted.
    pub mount: MountWhen,
    /// How long it stays mounted after they are gone.
    pub linger: Duration,
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            directory: "notebooks/{user}".to_owned(),
            link: "notebooks/remote".to_owned(),
            include: Vec::new(),
            exclude: Vec::new(),
            mount: MountWhen::default(),
            linger: Duration::from_secs(10 * 60),
        }
    }
}

/// One of `[[shared]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The directory on the share, relative. It overlaps neither with users' own nor with another one of these.
    pub directory: String,
    /// The link in every member's home, relative.
    pub link: String,
    /// Whose: members of this group; everybody's when absent.
    pub group: Option<String>,
    /// Nobody can write to it here.
    pub read_only: bool,
}

impl Shared {
    /// Where each member has it below the mount point, in the form of [`Workspace::directory`].
    pub fn template(&self) -> String {
        format!("{}/{{user}}", self.directory)
    }
}

/// `[idle]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idle {
    /// How long nobody and nothing may have used the VM.
    pub after: Duration,
    /// How long before anything acts on that it is announced.
    pub announce: Duration,
    /// How long after boot nothing is said.
    pub boot_grace: Duration,
    /// The longest that a user may keep the VM.
    pub keep_max: Duration,
    /// The hub, if there is one.
    pub jupyterhub: Option<Hub>,
    /// `[idle.tuning]`.
    pub tuning: Tuning,
}

/// `idle.jupyterhub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// Its API on this VM.
    pub url: String,
    /// The file with the service's token, root's alone.
    pub token_file: PathBuf,
}

/// `[idle.tuning]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// How often a look is taken.
    pub sample: Duration,
    /// What is averaged is averaged over this.
    pub window: Duration,
    /// From so much CPU on a user's programs count as work.
    pub cpu_cores: f64,
    /// `idle.tuning.memory`.
    pub memory: Stretch,
}

// Read from text, never computed: not a number cannot be written.
impl Eq for Tuning {}

/// `idle.tuning.memory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// From so many bytes on.
    pub above: u64,
    /// So long must its owner be quiet.
    pub after: Duration,
}

impl Default for Idle {
    fn default() -> Self {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Self {
            after: minutes(60),
            announce: minutes(15),
            boot_grace: minutes(30),
            keep_max: minutes(72 * 60),
            jupyterhub: None,
            tuning: Tuning::default(),
        }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            sample: Duration::from_secs(30),
            window: Duration::from_secs(5 * 60),
            cpu_cores: 0.05,
            memory: Stretch { above: 2 << 30, after: Duration::from_secs(3 * 3600) },
        }
    }
}

/// Whether the agent deals with the scale set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enabled {
    /// When instance metadata answers.
    #[default]
    Auto,
    /// Yes: that it does not answer is a problem.
    On,
    /// No: nothing is asked.
    Off,
}

/// What the VM is protected from while it is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protect {
    /// From scale-in, and from the scale set's own actions: upgrade, reimage, deallocate.
    #[default]
    InUse,
    /// From scale-in alone.
    ScaleIn,
    /// From nothing.
    Off,
}

/// `[scale_set]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScaleSet {
    /// Whether the agent deals with it.
    pub enabled: Enabled,
    /// What the VM is protected from.
    pub protect: Protect,
    /// Whether metrics go to Azure Monitor.
    pub metrics: bool,
    /// Client id of the user-assigned identity to use; empty: the VM's only one.
    pub client_id: String,
    /// Where `/ready` and `/metrics` are answered; nowhere when absent.
    pub listen: Option<SocketAddr>,
    /// Instance metadata.
    pub metadata: Url,
    /// Resource Manager; the cloud's own when absent.
    pub resource_manager: Option<Url>,
    /// Monitor's ingestion of metrics; the region's own when absent.
    pub monitor: Option<Url>,
}

impl Default for ScaleSet {
    fn default() -> Self {
        Self {
            enabled: Enabled::default(),
            protect: Protect::default(),
            metrics: true,
            client_id: String::new(),
            listen: None,
            metadata: Url::metadata(),
            resource_manager: None,
            monitor: None,
        }
    }
}

/// `[status]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The file that metrics are written to; nowhere when absent. Absolute, and its name ends with `.prom`.
    pub textfile: Option<PathBuf>,
}

/// The kind of a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// SMB 3.1.1.
    Smb,
    /// NFS 4.1.
    Nfs,
    /// A local directory.
    Directory,
}

impl Share {
    /// The kind of the share, from its source.
    pub fn kind(&self) -> Kind {
        match self.source {
            Source::Smb { .. } => Kind::Smb,
            Source::Nfs { .. } => Kind::Nfs,
            Source::Directory(_) => Kind::Directory,
        }
    }

    /// Whether the whole share is shown to everybody.
    pub fn is_open(&self) -> bool {
        self.kind() == Kind::Smb && self.smb.isolation == Isolation::Open
    }

    /// The server's name and TCP port; nothing for a local directory.
    pub fn server(&self) -> Option<(&str, u16)> {
        match &self.source {
            Source::Smb { host, .. } => Some((host, self.port.unwrap_or(445))),
            Source::Nfs { host, .. } => Some((host, self.port.unwrap_or(2049))),
            Source::Directory(_) => None,
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // An IPv6 address is told from a port and a path by its brackets.
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Source::Smb { host, share } => write!(f, "//{}/{share}", bracketed(host)),
            Source::Nfs { host, export } => write!(f, "{}:{export}", bracketed(host)),
            Source::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
impl Share {
    /// An SMB share for tests, with nothing but what must be there.
    pub(crate) fn smb_for_tests() -> Self {
        Share {
            source: Source::Smb { host: "h".into(), share: "s".into() },
            mount_point: "/data".into(),
            port: None,
            smb: Smb::default(),
            nfs: Nfs::default(),
            directory: Directory::default(),
            credentials: None,
        }
    }
}
