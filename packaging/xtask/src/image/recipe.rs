//! What goes into an image. A change of anything here makes a new one.

/// This file: a part of the hash by which an image is found again.
pub const TEXT: &str = include_str!("recipe.rs");

/// What runs inside the new root file system.
pub const PROVISION: &str = include_str!("provision.sh");

/// What building takes, by Debian package.
pub const HOST_PACKAGES: &[&str] =
    &["coreutils", "debian-archive-keyring", "e2fsprogs", "mmdebstrap", "openssh-client", "qemu-utils"];

/// How much room a guest has. Only what is written takes any.
pub const DISK: &str = "12G";

/// What guests have, by Debian package.
pub const GUEST_PACKAGES: &[&str] = &[
    // A virtual machine of the cloud.
    "cloud-init",
    "cron",
    "dbus",
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "iputils-ping",
    "kmod",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "netbase",
    "openssh-server",
    "procps",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
    "zstd",
    // What the agent needs, and what the script that it replaces needed.
    "cifs-utils",
    "keyutils",
    "nfs-common",
    // The file server.
    "nfs-kernel-server",
    "samba",
    "smbclient",
    // What people use on such a machine.
    "git",
    "nodejs",
    "python3",
    "python3-venv",
    "rsync",
    "sqlite3",
    "tmux",
    "zsh",
    // A directory service, whose accounts nothing can enumerate: its server, and the machine's way to ask it.
    "libnss-ldapd",
    "nslcd",
    "slapd",
    // What scenarios use.
    "acl",
    "attr",
    "curl",
    "less",
    "lsof",
    "nftables",
    "psmisc",
    "strace",
];

/// Nobody reads these in a guest, and unpacking them takes time.
pub const LEFT_OUT: &[&str] = &["/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/man/*"];

/// JupyterHub, the server that it starts for people, and one kind of kernel.
pub const PYPI: &[&str] = &["jupyterhub==6.1.1", "jupyter_server==2.21.1", "ipykernel==7.4.0"];

/// The last line of the hub's proxy that runs on the oldest guest's Node.js.
pub const NPM: &[&str] = &["configurable-http-proxy@4.6.3"];
