//! What the image of Debian 11 has otherwise than the recipe says. It is a file of its own, so that a change of it makes
//! no other image anew.
//!
//! Debian 11 stands for Ubuntu 20.04, of which it has the C library (2.31), nearly the systemd (247, Ubuntu 245) and
//! the libseccomp (2.5.1). Azure's kernel for that is newer than Debian 11's own, which cannot do what the agent needs.

/// This file: a part of the hash by which an image is found again.
pub const TEXT: &str = include_str!("bullseye.rs");

/// What runs inside the new root file system when all else is done there.
pub const PROVISION: &str = include_str!("bullseye.sh");

/// The release whose kernel it gets.
pub const KERNEL_FROM: &str = "bookworm";

/// What is done before the first package is unpacked: one tree of programs, which later releases and all of Ubuntu's have
/// by themselves; and of the other release the kernel alone.
pub const SETUP: &str = r#"set -e
for dir in bin sbin lib lib32 lib64 libx32; do
    mkdir -p "$1/usr/$dir"; ln -s "usr/$dir" "$1/$dir"
done
printf 'Package: %s\nPin: release n=bookworm\nPin-Priority: %s\n\n' '*' -1 'linux-image-*' 990 \
    >"$1/etc/apt/preferences.d/kernel""#;

/// What it has besides: containers, where control groups are of an older version.
pub const PACKAGES: &[&str] = &["docker.io"];

/// The last ones that run on Python 3.9.
pub const PYPI: &[&str] = &["jupyterhub==5.2.1", "jupyter_server==2.14.2", "ipykernel==6.29.5"];

/// The last line of the hub's proxy that runs on Node.js 12.
pub const NPM: &[&str] = &["configurable-http-proxy@4.5.6"];
