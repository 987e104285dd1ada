//! Debian's packages for a guest, which reaches nothing outside: what it lacks is fetched for it, by its own list of what is
//! installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use vm::Guest;

/// Installs packages in the guest, with what they need. `archive`: where Debian's packages are.
///
/// # Errors
/// In words, when they cannot be fetched.
pub fn install(guest: &Guest, archive: Option<&str>, names: &[&str]) -> Result<(), String> {
    let archive = archive.ok_or("nobody said where Debian's packages are")?;
    let place = std::env::temp_dir().join(format!("bench-packages-{}", std::process::id()));
    let fetched = fetch(&place, guest, archive, names);
    for path in fetched.iter().flatten() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        guest.put(std::fs::read(path).expect("a package"), &format!("/root/packages/{name}"), 0o644);
    }
    std::fs::remove_dir_all(&place).expect("it is ours");
    if !fetched?.is_empty() {
        let line = "DEBIAN_FRONTEND=noninteractive dpkg --force-confold --install /root/packages/*.deb && rm -r /root/packages";
        guest.ssh_within(line, Duration::from_secs(900)).ok();
    }
    Ok(())
}

/// What is to be installed, in files.
fn fetch(place: &Path, guest: &Guest, archive: &str, names: &[&str]) -> Result<Vec<PathBuf>, String> {
    let suite = guest.sh("sed -n 's/^VERSION_CODENAME=//p' /etc/os-release");
    for directory in ["lists/partial", "archives/partial"] {
        std::fs::create_dir_all(place.join(directory)).expect("a directory");
    }
    std::fs::write(place.join("status"), guest.get("/var/lib/dpkg/status")).expect("it can be written");
    let trusted = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
    std::fs::write(place.join("sources.list"), format!("deb [{trusted}] {archive} {suite} main\n")).expect("the same");
    apt(place, &["update"])?;
    apt(place, &[&["install", "--yes", "--no-install-recommends", "--download-only"], names].concat())?;
    let files = std::fs::read_dir(place.join("archives")).expect("it is there");
    let files = files.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(files.filter(|path| path.extension().is_some_and(|e| e == "deb")).collect())
}

/// apt with everything of its own in one directory.
fn apt(place: &Path, arguments: &[&str]) -> Result<(), String> {
    let set = |key: &str, name: &str| format!("{key}={}", place.join(name).display());
    let mut apt = Command::new("apt-get");
    for option in [
        set("Dir::State::status", "status"),
        set("Dir::State::lists", "lists"),
        set("Dir::Cache::archives", "archives"),
        set("Dir::Cache", "cache"),
        set("Dir::Etc::sourcelist", "sources.list"),
        set("Dir::Etc::sourceparts", "none"),
        set("Dir::Etc::preferencesparts", "none"),
        "APT::Get::List-Cleanup=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
        "Debug::NoLocking=true".to_owned(),
        // An archive that is not there is a warning otherwise.
        "APT::Update::Error-Mode=any".to_owned(),
    ] {
        apt.arg("-o").arg(option);
    }
    let output = apt.arg("-q").args(arguments).output().map_err(|error| format!("apt-get: {error}"))?;
    let said = || String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    if output.status.success() { Ok(()) } else { Err(said()) }
}
