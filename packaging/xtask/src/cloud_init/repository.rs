//! A package repository, made as `cloud-init/README.md` says, and asked as a VM of `stock-apt.yaml` asks it.

use crate::deb::fresh_directory;
use crate::host::{self, Error, at, run};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What making one takes, by Debian package.
const HOST_PACKAGES: &[&str] = &["apt-utils", "dpkg-dev", "gpg", "gpg-agent", "gpgv"];

/// A repository with a package that is called `dsvm-agent`, and its key.
pub struct Repository {
    work: PathBuf,
    /// Where it is.
    pub address: String,
    /// Its key, as it stands in user-data.
    pub key: String,
}

impl Repository {
    /// Makes one below `work`, by the commands of the notes.
    ///
    /// # Errors
    /// One of them failed.
    pub fn make(work: &Path, notes: &str) -> Result<Self, Error> {
        host::packages(HOST_PACKAGES)?;
        fresh_directory(work)?;
        let place = work.join("repository");
        let content = work.join("package");
        for directory in [&place, &content.join("DEBIAN")] {
            at(directory, fs::create_dir_all(directory))?;
        }
        let control =
            "Package: dsvm-agent\nVersion: 1\nArchitecture: all\nMaintainer: a <a@a.invalid>\nDescription: x\n";
        at(&content, fs::write(content.join("DEBIAN/control"), control))?;
        run(Command::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(&content).arg(&place))?;

        // Its socket's path would be too long in most directories.
        let home = PathBuf::from(run(Command::new("mktemp").arg("--directory"))?.trim());
        let made = Self::sign(&home, &place, notes);
        let _ = Command::new("gpgconf").args(["--kill", "gpg-agent"]).env("GNUPGHOME", &home).status();
        at(&home, fs::remove_dir_all(&home))?;
        let address = format!("file:{}/", place.display());
        Ok(Self { work: work.to_owned(), address, key: made? })
    }

    /// Signs it, and returns the public key.
    fn sign(home: &Path, place: &Path, notes: &str) -> Result<String, Error> {
        at(home, fs::set_permissions(home, fs::Permissions::from_mode(0o700)))?;
        let who = "pool@contoso.invalid";
        let new = ["--batch", "--quiet", "--passphrase", "", "--quick-generate-key", who, "ed25519", "sign", "never"];
        run(Command::new("gpg").args(new).env("GNUPGHOME", home))?;
        let missing = |what: &str| Error::Missing(format!("cloud-init/README.md has no {what}"));
        let section = notes.split("## A repository of your own").nth(1).ok_or_else(|| missing("repository"))?;
        let commands = section.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
        let commands = commands.ok_or_else(|| missing("commands for a repository"))?;
        let export = section.split('`').find(|span| span.starts_with("gpg --export KEY"));
        let export = export.ok_or_else(|| missing("command that prints a repository's key"))?.replace("KEY", who);
        let shell = |line: &str| run(Command::new("sh").args(["-ec", line]).current_dir(place).env("GNUPGHOME", home));
        shell(commands)?;
        Ok(shell(&export)?.trim().to_owned())
    }

    /// Has apt find the package by the files that the user-data writes, away from this machine's own settings.
    ///
    /// # Errors
    /// It does not, or trusts it without the key.
    pub fn ask(&self, user_data: &Value) -> Result<(), Error> {
        let written = |path: &str| -> Result<String, Error> {
            let files = user_data["write_files"].as_array().into_iter().flatten();
            let content = files.filter(|file| file["path"] == path).find_map(|file| file["content"].as_str());
            content.map(str::to_owned).ok_or_else(|| Error::Missing(format!("stock-apt.yaml writes no {path}")))
        };
        let keyring = "/etc/apt/keyrings/dsvm-agent.gpg";
        let key = self.work.join("dsvm-agent.gpg");
        let encoded = self.work.join("dsvm-agent.b64");
        at(&encoded, fs::write(&encoded, written(keyring)?))?;
        run(Command::new("sh").args(["-ec", "base64 --decode <\"$1\" >\"$2\"", "sh"]).arg(&encoded).arg(&key))?;
        let sources = written("/etc/apt/sources.list.d/dsvm-agent.sources")?;
        let parts = self.work.join("sources.list.d");
        for directory in ["sources.list.d", "state/lists/partial", "cache/archives/partial", "down"] {
            let directory = self.work.join(directory);
            at(&directory, fs::create_dir_all(&directory))?;
        }
        let file = parts.join("dsvm-agent.sources");
        at(&file, fs::write(&file, sources.replace(keyring, &key.display().to_string())))?;
        let apt = |arguments: &[&str]| {
            let mut apt = Command::new("apt-get");
            for (name, path) in [
                ("Dir::Etc::sourcelist", Path::new("/dev/null")),
                ("Dir::Etc::sourceparts", &parts),
                ("Dir::State", &self.work.join("state")),
                ("Dir::State::status", Path::new("/dev/null")),
                ("Dir::Cache", &self.work.join("cache")),
            ] {
                apt.arg("-o").arg(format!("{name}={}", path.display()));
            }
            apt.args(["-o", "APT::Sandbox::User=root", "-o", "APT::Update::Error-Mode=any"]).args(arguments);
            run(apt.current_dir(self.work.join("down")))
        };
        apt(&["update"])?;
        apt(&["download", "dsvm-agent"])?;
        // Another's key: nothing may come from there any more.
        at(&key, fs::write(&key, ""))?;
        match apt(&["update"]) {
            Ok(said) => Err(Error::Failed("apt trusts a repository without its key".to_owned(), said)),
            Err(_) => Ok(()),
        }
    }
}
