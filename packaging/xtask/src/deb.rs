//! `cargo xtask deb`: the Debian package.
//!
//! cargo builds the program, and debhelper packs it with everything else under `packaging/`, so that the maintainer
//! scripts are the distribution's own. Two builds of one commit give the same bytes. A package that lintian warns
//! about, a unit that systemd would not start, or one that is more exposed than it was, fails the build.

use crate::host::{self, Error, run};
use crate::manual;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the build runs, by Debian package.
const HOST_PACKAGES: &[&str] = &["debhelper", "dpkg-dev", "git", "lintian", "systemd"];

/// Tenths of systemd's exposure level. The smallest that mounting for the whole machine leaves, by systemd 252's rules.
const MAX_EXPOSURE: &str = "53";

/// From the repository to debhelper's tree.
const STAGED: &[(&str, &str)] = &[
    ("packaging/systemd/dsvm-agent.service", "debian/dsvm-agent.service"),
    ("packaging/systemd/dsvm-agent.sysusers", "debian/dsvm-agent.sysusers"),
    ("packaging/systemd/dsvm-agent.tmpfiles", "debian/dsvm-agent.tmpfiles"),
    ("packaging/pam/dsvm-agent", "pam-configs/dsvm-agent"),
    ("packaging/deb/agent.toml", "agent.toml"),
    ("CHANGELOG.md", "NEWS.md"),
];

/// Builds the package of the version that the workspace names, puts it into `out` and returns its path.
pub fn build(out: &Path) -> Result<PathBuf, Error> {
    build_as(out, env!("CARGO_PKG_VERSION"))
}

/// The same under another version, for trying upgrades and downgrades.
pub fn build_as(out: &Path, version: &str) -> Result<PathBuf, Error> {
    host::packages(HOST_PACKAGES)?;
    let program = build_program()?;
    let work = target().join("deb");
    fresh_directory(&work)?;
    let tree = work.join("dsvm-agent");
    let epoch = source_date_epoch()?;
    stage(&tree, &program, version, &epoch)?;
    check_unit(&work.join("root"), &program)?;
    run(Command::new("dpkg-buildpackage")
        .args(["--build=binary", "--no-sign", "--no-pre-clean"])
        .current_dir(&tree)
        .env("SOURCE_DATE_EPOCH", &epoch)
        // xz cuts its blocks by the number of threads: one on every machine gives the same bytes on every machine.
        .env("DPKG_DEB_THREADS_MAX", "1"))?;
    let architecture = run(Command::new("dpkg").arg("--print-architecture"))?;
    let name = format!("dsvm-agent_{version}_{}.deb", architecture.trim());
    let built = work.join(&name);
    run(Command::new("lintian").args(["--allow-root", "--fail-on", "error,warning"]).arg(&built))?;
    fs::create_dir_all(out).map_err(|error| Error::File(out.to_owned(), error))?;
    let package = out.join(&name);
    let size = copy(&built, &package)?;
    println!("{} ({} KiB)", package.display(), size.div_ceil(1024));
    Ok(package)
}

/// The files of cloud-init's package, kept from build to build. It is only unpacked: installing it would enable it.
fn cloud_init() -> Result<PathBuf, Error> {
    let tree = target().join("cloud-init");
    if tree.exists() {
        return Ok(tree);
    }
    let work = target().join("cloud-init.new");
    fresh_directory(&work)?;
    let download = || run(Command::new("apt-get").args(["download", "--quiet", "cloud-init"]).current_dir(&work));
    if download().is_err() {
        run(host::as_root("apt-get").args(["--quiet", "update"]))?;
        download()?;
    }
    for file in files(&work)? {
        run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&work))?;
    }
    fs::rename(&work, &tree).map_err(|error| Error::File(work, error))?;
    Ok(tree)
}

/// Builds the released program. Neither it nor its messages say where it was built.
fn build_program() -> Result<PathBuf, Error> {
    let cargo_home =
        std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut flags = vec![format!("--remap-path-prefix={}=.", root().display())];
    flags.extend(cargo_home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    run(Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package=dsvm-agent", "--target-dir"])
        .arg(target())
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .current_dir(root()))?;
    Ok(target().join("release/dsvm-agent"))
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
    for directory in ["debian/source", "pam-configs"] {
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
    copy(program, &tree.join("dsvm-agent"))?;
    manual::write(&tree.join("manual"), root(), version, &manual::day(epoch)?)?;
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

/// Asks systemd about the unit among the host's own units and cloud-init's, in a tree that nothing runs from.
///
/// An ordering cycle is why cloud-init is there: systemd breaks one by silently not starting some unit.
fn check_unit(tree: &Path, program: &Path) -> Result<(), Error> {
    let units = tree.join("usr/lib/systemd/system");
    let wants = tree.join("etc/systemd/system/multi-user.target.wants");
    for path in [&units, &wants, &tree.join("usr/bin"), &tree.join("bin")] {
        fs::create_dir_all(path).map_err(|error| Error::File(path.clone(), error))?;
    }
    let cloud_init = cloud_init()?;
    for directory in [cloud_init.join("lib"), cloud_init.join("usr/lib"), PathBuf::from("/usr/lib")] {
        for unit in files(&directory.join("systemd/system")).unwrap_or_default() {
            let name = unit.file_name().unwrap_or_default();
            // A masked unit is a link to nowhere that a file can be copied from.
            if unit.is_file() && unit.extension().is_some_and(|kind| kind == "service" || kind == "target") {
                copy(&unit, &units.join(name))?;
            }
        }
    }
    copy(&root().join("packaging/systemd/dsvm-agent.service"), &units.join("dsvm-agent.service"))?;
    copy(program, &tree.join("usr/bin/dsvm-agent"))?;
    copy(Path::new("/bin/kill"), &tree.join("bin/kill"))?;
    // Started together, as on a VM: a cycle shows only among units that all have a reason to start.
    for unit in files(&units)? {
        let name = unit.file_name().unwrap_or_default();
        let cloud = name.to_string_lossy().starts_with("cloud-") && !name.to_string_lossy().contains("hotplug");
        if cloud || name == "dsvm-agent.service" || name == "systemd-user-sessions.service" {
            let link = wants.join(name);
            symlink(Path::new("/usr/lib/systemd/system").join(name), &link)
                .map_err(|error| Error::File(link, error))?;
        }
    }
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.arg("--root").arg(tree).args(["--man=no", "--no-pager"]).args(arguments);
        command
    };
    // What it says decides, not how it ends: the programs of other units are not in this tree, and it minds.
    let (_, said) = output(&mut analyze(&["verify", "dsvm-agent.service", "multi-user.target"]))?;
    // The directory of the repository may have the unit's name.
    let said = said.replace(&*tree.to_string_lossy(), "");
    if said.contains("dsvm-agent") || said.contains("cycle") {
        return Err(Error::Failed("systemd-analyze verify".to_owned(), said));
    }
    let threshold = format!("--threshold={MAX_EXPOSURE}");
    run(&mut analyze(&["security", "--offline=true", &threshold, "dsvm-agent.service"]))?;
    Ok(())
}

/// Runs a command to its end. Nothing of it is shown: a build that goes well says one line.
fn output(command: &mut Command) -> Result<(bool, String), Error> {
    let output = command.output().map_err(|error| Error::Start(format!("{command:?}"), error))?;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok((output.status.success(), said))
}

/// The files of a directory, without its directories.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
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
fn copy(from: &Path, to: &Path) -> Result<u64, Error> {
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
fn fresh_directory(path: &Path) -> Result<(), Error> {
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
