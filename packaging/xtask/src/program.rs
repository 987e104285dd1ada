//! The released program: one build that runs on every release the package is for.
//!
//! What a program needs of the C library is decided by the library it is linked against, so a build on Debian 12 would
//! not start on Ubuntu 20.04. zig carries the symbol tables of every glibc, and cargo-zigbuild has cargo link by it:
//! no older system has to be kept for building.

use crate::deb::{root, target};
use crate::host::{self, Error, at, run};
use crate::order;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use vm::cache::{self, Lock};

/// The oldest C library that the program must run on: that of Ubuntu 20.04.
pub const GLIBC: (u32, u32) = (2, 31);

/// What it may be linked with: the C library under the names that it had before 2.34.
const LIBRARIES: &[&str] = &["libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1"];

/// The linker, from PyPI, each file by its checksum.
const TOOLS: &str = "\
cargo-zigbuild==0.24.0 --hash=sha256:484412e39e4c6039474535ce97ee75a22bab22d58233056f8ec8a8f9034bb957
ziglang==0.17.1 --hash=sha256:ea6cc5d87b033cf0aedfbc8f9549a908cae6c50ac31f1698188fa48a74524b54
";

/// Rust's name for what the package is built for.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// Builds it, makes sure that it runs on [`GLIBC`], and returns its path. Neither it nor its messages say where it was
/// built.
///
/// # Errors
/// It cannot be built here, or needs a newer C library or another library.
pub fn build() -> Result<PathBuf, Error> {
    host::packages(&["binutils"])?;
    let program = path();
    run(Command::new("strip").arg("--strip-all").arg(with_names()?).arg("-o").arg(&program))?;
    let readelf = |asked: &[&str]| run(Command::new("readelf").arg("--wide").args(asked).arg(&program));
    if let Some(remark) = order::remark(&readelf(&["--sections"])?)? {
        println!("{remark}");
    }
    let said = readelf(&["--dynamic", "--version-info"])?;
    objection(&said).map_or(Ok(program), |why| Err(Error::Failed("the build of the program".to_owned(), why)))
}

/// Builds it and returns its path before the names of its functions are gone: where each lies is the same after that.
///
/// # Errors
/// It cannot be built here.
pub fn with_names() -> Result<PathBuf, Error> {
    Ok(release(&["--package=dsvm-agent"])?.join("dsvm-agent"))
}

/// Builds what cargo's `arguments` name as what is released is built, and returns the directory that it is in then. What
/// two of these have in common is built once.
///
/// # Errors
/// It cannot be built here.
pub fn release(arguments: &[&str]) -> Result<PathBuf, Error> {
    if std::env::consts::ARCH != "x86_64" {
        return Err(Error::Missing("the package is built on amd64 only".to_owned()));
    }
    let tools = tools()?;
    let cargo_home =
        std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let mut flags = vec![order::MANGLING.to_owned(), format!("--remap-path-prefix={}=.", root().display())];
    flags.extend(cargo_home.map(|home| format!("--remap-path-prefix={}=/cargo", home.display())));
    let (major, minor) = GLIBC;
    run(Command::new(tools.join("bin/cargo-zigbuild"))
        .args(["zigbuild", "--release", "--locked", "--config=profile.release.strip=false"])
        .args(arguments)
        .arg("--target")
        .arg(format!("{TRIPLE}.{major}.{minor}"))
        .arg("--target-dir")
        .arg(target())
        .env("CARGO", env!("CARGO"))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env(order::ENVIRONMENT, order::linker_script()?)
        .env("CARGO_ZIGBUILD_ZIG_PATH", tools.join("ziglang/zig"))
        .env("CARGO_ZIGBUILD_CACHE_DIR", target().join("zig"))
        .env("ZIG_GLOBAL_CACHE_DIR", target().join("zig/global"))
        .env("ZIG_LOCAL_CACHE_DIR", target().join("zig/local"))
        .current_dir(root()))?;
    Ok(released())
}

fn released() -> PathBuf {
    target().join(TRIPLE).join("release")
}

/// Where the built program is.
pub fn path() -> PathBuf {
    released().join("dsvm-agent.stripped")
}

/// The linker's files, kept from build to build beside the guests' images.
fn tools() -> Result<PathBuf, Error> {
    let parent = cache::directory();
    let directory = parent.join(format!("zig-{}", cache::Key::new().with(TOOLS).name()));
    at(&parent, fs::create_dir_all(&parent))?;
    let lock = parent.join("zig.lock");
    let _lock = at(&lock, Lock::exclusive(&lock))?;
    if directory.is_dir() {
        return Ok(directory);
    }
    if run(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        host::packages(&["python3", "python3-pip"])?;
    }
    host::timed("fetching the linker", || {
        let new = parent.join("zig.new");
        let _ = fs::remove_dir_all(&new);
        let list = parent.join("zig.txt");
        at(&list, fs::write(&list, TOOLS))?;
        run(Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"])
            .args(["--only-binary", ":all:", "--requirement"])
            .arg(&list)
            .arg("--target")
            .arg(&new))?;
        at(&directory, fs::rename(&new, &directory))
    })?;
    Ok(directory)
}

/// What keeps a program of which readelf(1) says `said` from running where it must.
fn objection(said: &str) -> Option<String> {
    let libraries = said.lines().filter(|line| line.contains("(NEEDED)"));
    let foreign = libraries
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .find(|name| !LIBRARIES.contains(name) && !name.starts_with("ld-linux"));
    if let Some(name) = foreign {
        return Some(format!("it needs {name}, which is not part of the C library"));
    }
    let versions = said.split("GLIBC_").skip(1).filter_map(version);
    match versions.max() {
        None => Some("readelf shows no version of the C library".to_owned()),
        Some(needed) if needed > GLIBC => {
            Some(format!("it needs glibc {}.{}, and may need {}.{} at most", needed.0, needed.1, GLIBC.0, GLIBC.1))
        }
        Some(_) => None,
    }
}

/// The number at the start of `text`.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = number.split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// The version of Rust that a file of settings asks for.
#[cfg(test)]
fn rust(settings: &str, before: &str) -> Option<(u32, u32)> {
    settings.split(before).nth(1).and_then(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(libraries: &[&str], versions: &[&str]) -> String {
        let needed = libraries.iter().map(|l| format!(" 0x0001 (NEEDED)  Shared library: [{l}]\n"));
        let versions = versions.iter().map(|v| format!("  0x0010:   Name: GLIBC_{v}  Flags: none  Version: 3\n"));
        needed.chain(versions).collect()
    }

    #[test]
    fn a_newer_c_library_or_a_foreign_one_is_refused() {
        let cases = [
            (needs(&["libc.so.6", "libpthread.so.0"], &["2.2.5", "2.30"]), None),
            (needs(&["libc.so.6"], &["2.31"]), None),
            // As numbers: 2.4 is older than 2.31.
            (needs(&["libc.so.6"], &["2.4"]), None),
            (needs(&["libc.so.6"], &["2.4", "2.34", "2.5"]), Some("it needs glibc 2.34, and may need 2.31 at most")),
            (needs(&["libc.so.6"], &["3.0"]), Some("it needs glibc 3.0, and may need 2.31 at most")),
            (
                needs(&["libc.so.6", "libgcc_s.so.1"], &["2.4"]),
                Some("it needs libgcc_s.so.1, which is not part of the C library"),
            ),
            (needs(&["libc.so.6"], &[]), Some("readelf shows no version of the C library")),
        ];
        for (said, why) in cases {
            assert_eq!(objection(&said).as_deref(), why, "{said}");
        }
    }

    /// The stated version is the one that all rings run with.
    #[test]
    fn the_stated_version_of_rust_is_the_one_that_ci_builds_with() {
        let read = |path: &str| fs::read_to_string(root().join(path)).expect("a file");
        let stated = rust(&read("Cargo.toml"), "rust-version = \"");
        assert!(stated.is_some());
        assert_eq!(rust(&read(".github/workflows/ci.yml"), "image: rust:"), stated);
    }
}
