//! `cargo xtask image`: the disk, kernel and initrd that test guests start from.
//!
//! A root file system by mmdebstrap, provisioned in place, then a disk by `mkfs.ext4 -d`: nothing is mounted on this
//! machine, and nothing boots until a test does. What is built lies in the cache under a hash of the recipe.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use vm::cache::{self, Key, Lock};
use vm::{Suite, image};

use crate::host::{self, Error, at};

mod bullseye;
mod recipe;

/// How long an image stays in the cache after its last use.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// Reads a suite's name as it stands on the command line.
pub fn suite(name: &str) -> Result<Suite, String> {
    [Suite::Trixie, Suite::Bookworm, Suite::Bullseye]
        .into_iter()
        .find(|suite| suite.name() == name)
        .ok_or_else(|| "there are recipes for trixie, bookworm and bullseye".to_owned())
}

/// Builds the image of a suite unless the cache has it, and returns its directory.
pub fn build(suite: Suite, force: bool) -> Result<PathBuf, Error> {
    host::guests()?;
    let parent = image::directory();
    at(&parent, fs::create_dir_all(&parent))?;
    let lock = parent.join(format!("{suite}.lock"));
    let _lock = at(&lock, Lock::exclusive(&lock))?;

    let name = format!("{suite}-{}", key(suite).name());
    let directory = parent.join(&name);
    if force && directory.exists() {
        at(&directory, fs::remove_dir_all(&directory))?;
    }
    if directory.exists() {
        eprintln!("image of {suite}: {} is up to date", directory.display());
    } else {
        host::timed(&format!("building the image of {suite}"), || assemble(suite, &directory))?;
    }
    at(&directory, cache::touch(&directory))?;
    point(&parent.join(suite.name()), &name)?;
    at(&parent, cache::prune(&parent, KEPT))?;
    Ok(directory)
}

fn key(suite: Suite) -> Key {
    let key = Key::new().with(suite.name()).with(recipe::TEXT).with(recipe::PROVISION);
    if suite == Suite::Bullseye { key.with(bullseye::TEXT).with(bullseye::PROVISION) } else { key }
}

/// Makes `link` point to `name`, without a moment in which there is no link.
fn point(link: &Path, name: &str) -> Result<(), Error> {
    let new = link.with_extension("new");
    let _ = fs::remove_file(&new);
    at(&new, symlink(name, &new))?;
    at(link, fs::rename(&new, link))
}

fn assemble(suite: Suite, directory: &Path) -> Result<(), Error> {
    host::packages(recipe::HOST_PACKAGES)?;
    if !host::has("npm") {
        host::packages(&["npm"])?;
    }
    let archive = host::debian_archive()?;
    let mut sources = vec![format!("deb {archive} {suite} main")];
    if suite == Suite::Bullseye {
        sources.push(format!("deb {archive} {} main", bullseye::KERNEL_FROM));
    }
    let work = directory.with_extension("new");
    clear(&work)?;
    at(&work, fs::create_dir(&work))?;

    let secret = work.join("control_key");
    host::run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "control", "-f"]).arg(&secret))?;
    thread::scope(|scope| {
        let proxy = scope.spawn(|| host::timed("  npm packages", || proxy(suite, &work)));
        let system = host::timed("  root file system", || system(suite, &sources, &work));
        let proxy = proxy.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        system.and(proxy)
    })?;
    host::timed("  disk", || disk(&work))?;
    for scratch in ["root", "npm"] {
        clear(&work.join(scratch))?;
    }
    at(directory, fs::rename(&work, directory))
}

/// The hub's proxy. It is plain JavaScript, so it can be fetched from outside while the system is being made.
fn proxy(suite: Suite, work: &Path) -> Result<(), Error> {
    let prefix = work.join("npm");
    at(&prefix, fs::create_dir(&prefix))?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(&prefix);
    let packages = if suite == Suite::Bullseye { bullseye::NPM } else { recipe::NPM };
    host::run(npm.args(packages)).map(drop)
}

fn system(suite: Suite, sources: &[String], work: &Path) -> Result<(), Error> {
    let old = suite == Suite::Bullseye;
    let provision = work.join("provision.sh");
    let (script, pypi) = if old {
        // Both in one shell: where something fails in either, that is the end.
        (format!("{}\n{}", recipe::PROVISION, bullseye::PROVISION), bullseye::PYPI)
    } else {
        (recipe::PROVISION.to_owned(), recipe::PYPI)
    };
    at(&provision, fs::write(&provision, script))?;
    let authorities = authorities()?;
    // Each hook is a line of shell that finds the new root in "$1".
    let files = format!(
        r#"set -e; install -m 600 {key} "$1"/etc/ssh/control_keys; install {script} "$1"/provision.sh
        install -m 644 {authorities} "$1"/authorities.pem; cp /etc/resolv.conf "$1"/etc/resolv.conf"#,
        key = quoted(&work.join("control_key.pub")),
        script = quoted(&provision),
        authorities = quoted(&authorities),
    );
    let inside = format!(
        r#"chroot "$1" env -u SSL_CERT_DIR -u PIP_FIND_LINKS PIP_CERT=/authorities.pem SSL_CERT_FILE=/authorities.pem \
        REQUESTS_CA_BUNDLE=/authorities.pem PYPI="{}" sh /provision.sh"#,
        pypi.join(" ")
    );
    let clean = r#"rm "$1"/provision.sh "$1"/authorities.pem"#.to_owned();

    let mut make = host::as_root("mmdebstrap");
    make.args(["--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io"]);
    make.arg(format!("--include={}", recipe::GUEST_PACKAGES.join(",")));
    if old {
        make.arg(format!("--include={}", bullseye::PACKAGES.join(",")));
        make.arg(format!("--setup-hook={}", bullseye::SETUP));
    }
    make.args(recipe::LEFT_OUT.iter().map(|path| format!("--dpkgopt=path-exclude={path}")));
    make.args([files, inside, clean].map(|hook| format!("--customize-hook={hook}")));
    host::run(make.arg(suite.name()).arg(work.join("root")).args(sources)).map(drop)
}

fn disk(work: &Path) -> Result<(), Error> {
    let (root, raw) = (work.join("root"), work.join("disk.raw"));
    let modules = work.join("npm/node_modules");
    host::run(host::as_root("cp").arg("-r").arg(&modules).arg(root.join("opt/jupyterhub")))?;
    host::run(host::as_root("chown").args(["-R", "root:root"]).arg(root.join("opt/jupyterhub/node_modules")))?;
    for (pattern, name) in [("vmlinuz-", "kernel"), ("initrd.img-", "initrd")] {
        let from = newest(&root.join("boot"), pattern)?;
        host::run(host::as_root("cp").arg(from).arg(work.join(name)))?;
    }
    host::run(Command::new("truncate").args(["--size", recipe::DISK]).arg(&raw))?;
    let mut format = host::as_root("mkfs.ext4");
    format.args(["-q", "-F", "-L", "root", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-d"]);
    host::run(format.arg(&root).arg(&raw))?;
    // What root made belongs to whoever runs the task, as the rest does.
    let owned = ["kernel", "initrd", "disk.raw"].map(|name| work.join(name));
    host::run(host::as_root("chown").arg(host::owner()).args(owned))?;
    host::run(Command::new("qemu-img").args(["convert", "-O", "qcow2"]).arg(&raw).arg(work.join("disk.qcow2")))?;
    at(&raw, fs::remove_file(&raw))
}

fn newest(directory: &Path, prefix: &str) -> Result<PathBuf, Error> {
    let mut found = Vec::new();
    for entry in at(directory, fs::read_dir(directory))? {
        let path = at(directory, entry)?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            found.push(path);
        }
    }
    found.sort();
    found.pop().ok_or_else(|| Error::Missing(format!("the new system has no {prefix}* in {}", directory.display())))
}

/// Who this machine trusts: package indexes may be reached through a proxy of its own.
fn authorities() -> Result<PathBuf, Error> {
    let bundle = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from).filter(|path| path.is_file());
    if let Some(bundle) = bundle {
        return Ok(bundle);
    }
    host::packages(&["ca-certificates"])?;
    Ok(PathBuf::from("/etc/ssl/certs/ca-certificates.crt"))
}

fn clear(path: &Path) -> Result<(), Error> {
    if !path.exists() {
        return Ok(());
    }
    host::run(host::as_root("rm").args(["-rf", "--one-file-system"]).arg(path)).map(drop)
}

fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
