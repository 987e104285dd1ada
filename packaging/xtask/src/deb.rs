//! `cargo xtask deb`: the Debian package.
//!
//! cargo builds the program, and debhelper packs it with everything else under `packaging/`, so that the maintainer
//! scripts are the distribution's own. Two builds of one commit give the same bytes, and a bill of what is in the
//! program lies beside them. A package that lintian warns
//! about, a unit that systemd would not start, or one that is more exposed than it was, fails the build.

use crate::host::{self, Error, run};
use crate::{licences, manual, program, sbom, unit};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the build runs, by Debian package.
const HOST_PACKAGES: &[&str] = &["debhelper", "dpkg-dev", "git", "lintian", "systemd"];

/// From the repository to debhelper's tree.
const STAGED: &[(&str, &str)] = &[
    ("packaging/systemd/dsvm-agent.catalog", "dsvm-agent.catalog"),
    ("packaging/systemd/dsvm-agent.service", "debian/dsvm-agent.service"),
    ("packaging/systemd/dsvm-agent-metadata-guard.service", "debian/dsvm-agent.dsvm-agent-metadata-guard.service"),
    ("packaging/systemd/dsvm-agent-going-down.service", "debian/dsvm-agent.dsvm-agent-going-down.service"),
    ("packaging/nftables/dsvm-agent-metadata-guard.nft", "metadata-guard/dsvm-agent-metadata-guard.nft"),
    ("packaging/nftables/README.md", "metadata-guard/README.md"),
    ("packaging/systemd/dsvm-agent.sysusers", "debian/dsvm-agent.sysusers"),
    ("packaging/systemd/dsvm-agent.tmpfiles", "debian/dsvm-agent.tmpfiles"),
    ("packaging/systemd/dsvm-agent.generator", "systemd/dsvm-agent-generator"),
    ("packaging/systemd/old-libseccomp.conf", "systemd/old-libseccomp.conf"),
    ("packaging/pam/dsvm-agent", "pam-configs/dsvm-agent"),
    ("packaging/profile/dsvm-agent.sh", "profile.d/dsvm-agent.sh"),
    ("packaging/jupyter/dsvm_agent_hub.py", "jupyter/dsvm_agent_hub.py"),
    ("packaging/jupyter/dsvm_agent_service.py", "jupyter/dsvm_agent_service.py"),
    ("packaging/jupyter/jupyterhub.toml", "jupyter/jupyterhub.toml"),
    ("packaging/jupyter/jupyterhub_config.py", "jupyter/jupyterhub_config.py"),
    ("packaging/deb/agent.toml", "agent.toml"),
    ("CHANGELOG.md", "NEWS.md"),
];

/// Directories whose files go there whole.
const STAGED_WHOLE: &[(&str, &str)] =
    &[("packaging/doc", "doc"), ("packaging/image", "examples/image"), ("cloud-init", "examples/cloud-init")];

/// Builds the package of the version that the workspace names, puts it into `out` and returns its path.
pub fn build(out: &Path) -> Result<PathBuf, Error> {
    build_as(out, env!("CARGO_PKG_VERSION"))
}

/// The same under another version, for trying upgrades and downgrades.
pub fn build_as(out: &Path, version: &str) -> Result<PathBuf, Error> {
    host::packages(HOST_PACKAGES)?;
    let program = program::build()?;
    unit::check(&target().join("deb-unit"), &program)?;
    let built = pack(&target().join("deb"), &program, version)?;
    run(Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(&built))?;
    fs::create_dir_all(out).map_err(|error| Error::File(out.to_owned(), error))?;
    let package = out.join(built.file_name().unwrap_or_default());
    let size = copy(&built, &package)?;
    write(&package.with_extension("cdx.json"), &bill(version)?)?;
    println!("{} ({} KiB)", package.display(), size.div_ceil(1024));
    Ok(package)
}

/// Packs the program that was built once more, elsewhere, and compares: who builds the same sources
/// gets the same package.
///
/// # Errors
/// The two differ.
pub fn pack_again(package: &Path) -> Result<(), Error> {
    let program = program::path();
    let again = pack(&target().join("elsewhere/deb"), &program, env!("CARGO_PKG_VERSION"))?;
    let read = |path: &Path| fs::read(path).map_err(|error| Error::File(path.to_owned(), error));
    if read(package)? == read(&again)? {
        return Ok(());
    }
    let said = format!("{} and {} differ", package.display(), again.display());
    Err(Error::Failed("packing twice".to_owned(), said))
}

/// Packs `program` with everything that belongs to it, in `work`, and returns the package's path.
///
/// # Errors
/// Files cannot be copied, or debhelper fails.
pub fn pack(work: &Path, program: &Path, version: &str) -> Result<PathBuf, Error> {
    fresh_directory(work)?;
    let tree = work.join("dsvm-agent");
    let epoch = source_date_epoch()?;
    stage(&tree, program, version, &epoch)?;
    run(Command::new("dpkg-buildpackage")
        .args(["--build=binary", "--no-sign", "--no-pre-clean"])
        .current_dir(&tree)
        .env("SOURCE_DATE_EPOCH", &epoch)
        // xz cuts its blocks by the number of threads: one on every machine gives the same bytes on every machine.
        .env("DPKG_DEB_THREADS_MAX", "1"))?;
    Ok(work.join(name(version)?))
}

/// Where [`build`] puts the package.
///
/// # Errors
/// dpkg does not say what machine this is.
pub fn built(out: &Path) -> Result<PathBuf, Error> {
    Ok(out.join(name(env!("CARGO_PKG_VERSION"))?))
}

fn name(version: &str) -> Result<String, Error> {
    let architecture = run(Command::new("dpkg").arg("--print-architecture"))?;
    Ok(format!("dsvm-agent_{version}_{}.deb", architecture.trim()))
}

/// What is in the program, as a text to lie beside the package.
///
/// # Errors
/// cargo does not say.
pub fn bill(version: &str) -> Result<String, Error> {
    let path = root().join("Cargo.lock");
    let lock = fs::read_to_string(&path).map_err(|error| Error::File(path, error))?;
    let time = format!("--date=@{}", source_date_epoch()?);
    let time = run(Command::new("date").args(["--utc", "+%Y-%m-%dT%H:%M:%SZ", &time]))?;
    let failed = |why: String| Error::Failed("the bill of materials".to_owned(), why);
    let bill = sbom::bill(&metadata()?, &lock, "dsvm-agent", version, time.trim()).map_err(failed)?;
    Ok(format!("{bill:#}\n"))
}

/// What cargo resolved for the machines that the package is for.
fn metadata() -> Result<serde_json::Value, Error> {
    let text = run(Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform=x86_64-unknown-linux-gnu"])
        .current_dir(root()))?;
    serde_json::from_str(&text).map_err(|error| Error::Failed("cargo metadata".to_owned(), error.to_string()))
}

/// The time of the last commit: what every file in the package is dated.
fn source_date_epoch() -> Result<String, Error> {
    if let Ok(epoch) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(epoch);
    }
    Ok(run(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root()))?.trim().to_owned())
}

/// Lays out the tree that debhelper packs. It is a copy, so that nothing is ever written beside the sources.
fn stage(tree: &Path, program: &Path, version: &str, epoch: &str) -> Result<(), Error> {
    let debian = root().join("packaging/deb/debian");
    for directory in ["debian/source", "jupyter", "metadata-guard", "pam-configs", "profile.d", "systemd"] {
        let path = tree.join(directory);
        fs::create_dir_all(&path).map_err(|error| Error::File(path.clone(), error))?;
    }
    for directory in ["", "source"] {
        for file in files(&debian.join(directory))? {
            let name = file.file_name().unwrap_or_default();
            copy(&file, &tree.join("debian").join(directory).join(name))?;
        }
    }
    for (from, to) in STAGED {
        copy(&root().join(from), &tree.join(to))?;
    }
    for (from, to) in STAGED_WHOLE {
        let to = tree.join(to);
        fs::create_dir_all(&to).map_err(|error| Error::File(to.clone(), error))?;
        for file in files(&root().join(from))? {
            copy(&file, &to.join(file.file_name().unwrap_or_default()))?;
        }
    }
    copy(program, &tree.join("dsvm-agent"))?;
    manual::write(&tree.join("manual"), root(), version, &manual::day(epoch)?)?;
    let metadata = metadata()?;
    let crates = sbom::shipped(&metadata, "dsvm-agent").map_err(|why| Error::Failed("licences".to_owned(), why))?;
    write(&tree.join("third-party.txt"), &licences::texts(&crates, &licences::files))?;
    let date = run(Command::new("date").args(["--utc", "--rfc-email", &format!("--date=@{epoch}")]))?;
    let maintainer = maintainer(&debian.join("control"))?;
    let changelog = format!(
        "dsvm-agent ({version}) unstable; urgency=medium\n\n  * What changed is told in NEWS.md beside this file.\n\n -- {maintainer}  {}\n",
        date.trim()
    );
    write(&tree.join("debian/changelog"), &changelog)
}

/// Who `debian/control` says maintains the package.
fn maintainer(control: &Path) -> Result<String, Error> {
    let text = fs::read_to_string(control).map_err(|error| Error::File(control.to_owned(), error))?;
    let name = text.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    name.map(str::to_owned).ok_or_else(|| Error::Failed("Maintainer".to_owned(), control.display().to_string()))
}

/// The files of a directory, without its directories.
pub fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error| Error::File(directory.to_owned(), error);
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_type().map_err(failed)?.is_dir() {
            files.push(entry.path());
        }
    }
    Ok(files)
}

/// Copies a file with the modes that a checkout under any umask should have had.
pub fn copy(from: &Path, to: &Path) -> Result<u64, Error> {
    let size = fs::copy(from, to).map_err(|error| Error::File(from.to_owned(), error))?;
    let executable = fs::metadata(from).is_ok_and(|metadata| metadata.permissions().mode() & 0o100 != 0);
    let mode = fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 });
    fs::set_permissions(to, mode).map_err(|error| Error::File(to.to_owned(), error))?;
    Ok(size)
}

/// Writes a small file.
fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|error| Error::File(path.to_owned(), error))
}

/// Makes a directory that has nothing of an earlier build in it.
pub fn fresh_directory(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::File(path.to_owned(), error)),
        _ => {}
    }
    fs::create_dir_all(path).map_err(|error| Error::File(path.to_owned(), error))
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new("."))
}

/// Where cargo builds.
pub fn target() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    std::path::absolute(&chosen).unwrap_or(chosen)
}
