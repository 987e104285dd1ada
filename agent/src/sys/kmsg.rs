//! The kernel's log, `/dev/kmsg` (Documentation/ABI/testing/dev-kmsg): what its file systems say there and nowhere else.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, SeekFrom};

/// Most lines that are kept.
const MOST: usize = 8;
/// Most records that are read: others may be writing all the time.
const RECORDS: usize = 400;

/// The log from now on.
#[derive(Debug)]
pub struct Log(Option<OwnedFd>);

impl Log {
    /// Starts listening. Where the log may not be read nothing is ever heard.
    pub fn from_now() -> Self {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok();
        Self(file.filter(|f| rustix::fs::seek(f, SeekFrom::End(0)).is_ok()))
    }

    /// What was said since, about SMB and NFS.
    pub fn said(&self) -> Vec<String> {
        let Some(file) = &self.0 else { return Vec::new() };
        let mut out: Vec<String> = Vec::new();
        let mut buffer = [0u8; 8192];
        // One record at a time; EPIPE says that some were overwritten, and the next read goes on behind them.
        for _ in 0..RECORDS {
            match rustix::io::read(file, &mut buffer) {
                Ok(n) => {
                    let record = String::from_utf8_lossy(buffer.get(..n).unwrap_or_default());
                    if let Some(line) = telling(&record).filter(|line| !out.iter().any(|o| o == line)) {
                        out.push(line.to_owned());
                    }
                }
                Err(rustix::io::Errno::PIPE | rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
            if out.len() == MOST {
                break;
            }
        }
        out
    }
}

/// The message of a record, `priority,sequence,time,flags;message`, if it tells why something about SMB or NFS failed.
pub fn telling(record: &str) -> Option<&str> {
    let message = record.split_once(';')?.1.lines().next()?;
    let about = ["CIFS", "NFS"].iter().any(|word| message.contains(word)) || message.contains("hmac(md5)");
    // These say only that something was tried, or repeat the error's number.
    let empty = ["Attempting to mount", "failed w/return code", "Use of the less secure", "No dialect specified"];
    (about && !empty.iter().any(|words| message.contains(words))).then(|| message.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_tells_something_is_kept() {
        for (record, expected) in [
            (
                "3,812,5140900,-;CIFS: Status code returned 0xc000006d STATUS_LOGON_FAILURE\n SUBSYSTEM=x\n",
                Some("CIFS: Status code returned 0xc000006d STATUS_LOGON_FAILURE"),
            ),
            (
                "3,813,5140901,-;CIFS: VFS: \\\\h\\s Send error in SessSetup = -13\n",
                Some("CIFS: VFS: \\\\h\\s Send error in SessSetup = -13"),
            ),
            ("6,811,5140899,-;CIFS: Attempting to mount //h/s\n", None),
            ("3,814,5140902,-;CIFS: VFS: cifs_mount failed w/return code = -13\n", None),
            ("6,815,1,-;usb 1-1: new device\n", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(telling(record), expected, "{record}");
        }
    }

    #[test]
    fn a_log_that_may_not_be_read_says_nothing() {
        assert!(Log(None).said().is_empty());
    }
}
