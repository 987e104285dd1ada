//! The account's key: read by the worker that mounts, kept nowhere, zeroed after use.

use super::model::{Attempt, Failure};
use crate::config::settings::Credentials;
use crate::sys::mount::FsOption;
use rustix::fs::{Mode, OFlags};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// A credentials file is a few lines; anything larger is something else.
const LIMIT: usize = 16 * 1024;

/// Where keys are in memory that is never swapped: a ramfs that only root may read in.
pub const KEYS: &str = "/run/dsvm-agent/keys";
/// The keys that came from Key Vault, as a credentials file.
pub const FETCHED: &str = "/run/dsvm-agent/keys/vault";
/// Where systemd puts the credentials of the service, for whoever is not a part of it (systemd.exec(5)).
const SERVICE: &str = "/run/credentials/dsvm-agent.service";

/// The file that holds the keys. Its content changes when they do.
pub fn place(credentials: &Credentials) -> PathBuf {
    match credentials {
        Credentials::File(path) => path.clone(),
        Credentials::Systemd(name) => {
            let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map_or_else(|| SERVICE.into(), PathBuf::from);
            directory.join(name)
        }
        Credentials::KeyVault(_) => FETCHED.into(),
    }
}

/// Reads the keys from wherever they are.
///
/// # Errors
/// As [`read`]; of [`Attempt::Vault`] when they were not fetched yet.
pub fn obtain(credentials: &Credentials) -> Result<Keys, Failure> {
    let place = place(credentials);
    match credentials {
        Credentials::KeyVault(_) if !place.exists() => Err(Failure::said(Attempt::Vault, "it was not fetched yet")),
        _ => read(&place),
    }
}

/// Account and keys. `Debug` shows none of them.
#[derive(PartialEq, Eq)]
pub struct Keys {
    /// The storage account's name.
    pub username: Zeroizing<String>,
    /// The key.
    pub password: Zeroizing<String>,
    /// A second key, tried by kernels that know `password2` when the first is refused.
    pub password2: Option<Zeroizing<String>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys { … }")
    }
}

impl Keys {
    /// As mount options.
    pub fn options(&self) -> Vec<FsOption> {
        let mut out = vec![
            FsOption { key: "username".into(), value: Some(self.username.clone()) },
            FsOption { key: "password".into(), value: Some(self.password.clone()) },
        ];
        out.extend(self.password2.iter().map(|p| FsOption { key: "password2".into(), value: Some(p.clone()) }));
        out
    }
}

/// Parses `username=`, `password=`, `password2=` lines, as mount.cifs(8) reads them: blank lines and lines that
/// start with `#` are skipped; white space around the key is not part of it; the value is everything behind the
/// first `=`, commas and further equal signs included.
///
/// # Errors
/// What is wrong, with the number of the line, and never with a part of the file's text.
pub fn parse(text: &str) -> Result<Keys, String> {
    let (mut username, mut password, mut password2) = (None, None, None);
    for (number, line) in text.lines().enumerate().map(|(i, l)| (i + 1, l)) {
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(format!("line {number} is not of the form key=value"));
        };
        let slot = match key.trim() {
            "username" => &mut username,
            "password" => &mut password,
            "password2" => &mut password2,
            _ => return Err(format!("line {number} has a key that is not username, password or password2")),
        };
        let value = value.trim_end_matches('\r');
        if value.is_empty() {
            return Err(format!("line {number} has no value behind ="));
        }
        if slot.replace(Zeroizing::new(value.to_owned())).is_some() {
            return Err(format!("line {number} repeats a key"));
        }
    }
    Ok(Keys {
        username: username.ok_or("there is no line username=")?,
        password: password.ok_or("there is no line password=")?,
        password2,
    })
}

/// Reads a credentials file, which must be a plain file of root's that nobody else may read.
///
/// # Errors
/// A [`Failure`] of [`Attempt::Credentials`] that names the file and what is wrong with it.
pub fn read(path: &Path) -> Result<Keys, Failure> {
    let fail = |what: String| Failure::said(Attempt::Credentials, format!("{}: {what}", path.display()));
    // Non-blocking, so that a FIFO in its place does not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| fail(std::io::Error::from(e).to_string()))?;
    let stat = rustix::fs::fstat(&file).map_err(|e| fail(e.to_string()))?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(fail("is not a plain file".into()));
    }
    if stat.st_uid != 0 {
        return Err(fail(format!("belongs to uid {} instead of root", stat.st_uid)));
    }
    if stat.st_mode & 0o077 != 0 {
        return Err(fail(format!("can be read by others: its mode is {:04o}, it must be 0600", stat.st_mode & 0o7777)));
    }
    let mut buffer = Zeroizing::new(vec![0u8; LIMIT + 1]);
    let mut length = 0;
    loop {
        let free = buffer.get_mut(length..).unwrap_or_default();
        match rustix::io::read(&file, free) {
            Ok(0) => break,
            Ok(n) => length += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(fail(e.to_string())),
        }
        if length > LIMIT {
            return Err(fail(format!("is larger than {LIMIT} bytes")));
        }
    }
    let text = std::str::from_utf8(buffer.get(..length).unwrap_or_default()).map_err(|_| fail("is not text".into()))?;
    let keys = parse(text).map_err(fail);
    buffer.zeroize();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_as_the_vendor_documents_it_is_read() {
        let keys = parse("# account\nusername=contosods\n\npassword=a,b==\r\npassword2=c=\n").unwrap();
        assert_eq!(keys.username.as_str(), "contosods");
        assert_eq!(keys.password.as_str(), "a,b==");
        assert_eq!(keys.password2.as_ref().unwrap().as_str(), "c=");
        assert_eq!(format!("{keys:?}"), "Keys { … }");
    }

    #[test]
    fn what_is_wrong_is_said_without_a_word_of_the_file() {
        for (text, expected) in [
            ("username=a\n", "there is no line password="),
            ("password=secret\n", "there is no line username="),
            ("username=a\npassword=\n", "line 2 has no value behind ="),
            ("username=a\nsecret\n", "line 2 is not of the form key=value"),
            ("username=a\nsecret=secret\n", "line 2 has a key that is not username, password or password2"),
            ("username=a\npassword=secret\npassword=secret\n", "line 3 repeats a key"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("share.key");
        std::fs::write(&path, "username=a\npassword=b\n").unwrap();
        for mode in [0o644, 0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let failure = read(&path).unwrap_err();
            // Whoever runs the tests: not root's, or readable.
            assert!(
                failure.line().contains("must be 0600") || failure.line().contains("instead of root"),
                "{failure:?}"
            );
        }
        assert!(read(&dir.path().join("none")).unwrap_err().line().contains("No such file"));
        assert!(read(dir.path()).is_err());
    }

    proptest! {
        #[test]
        fn a_mistake_never_quotes_the_file(secret in "[a-zA-Z0-9+/]{12,40}", before in "[a-z]{0,5}") {
            for text in [format!("{before}{secret}"), format!("{before}={secret}"), format!("username=x\n{secret}=y")] {
                if let Err(message) = parse(&text) {
                    prop_assert!(!message.contains(&secret));
                }
            }
        }
    }
}
