//! What is mounted, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)). Reading it never asks a file server.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

/// One line of mountinfo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Unique while it is mounted; may be used again later.
    pub id: u64,
    /// The mount that it lies on.
    pub parent: u64,
    /// Device number, `major:minor`.
    pub device: String,
    /// The directory of the file system that forms its root.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Attributes of this mount: `rw,nosuid,nodev`.
    pub attributes: String,
    /// File system type.
    pub fs_type: String,
    /// What is mounted, as given to the kernel.
    pub source: OsString,
    /// Options of the file system. cifs shows paths and names unescaped here.
    pub options: String,
}

impl Mount {
    /// The value of a file system option: `Some("")` for one without a value.
    pub fn option(&self, key: &str) -> Option<&str> {
        self.options.split(',').find_map(|o| match o.split_once('=') {
            Some((k, v)) if k == key => Some(v),
            None if o == key => Some(""),
            _ => None,
        })
    }
}

/// The id of the mount that a descriptor is open on, without asking its file system, which may not answer: from
/// `/proc/self/fdinfo` (proc_pid_fdinfo(5)).
pub fn id_of(descriptor: &impl std::os::fd::AsRawFd) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", descriptor.as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?.trim().parse().ok()
}

/// Parses the whole file. A line that does not parse is an error: half a picture is worse than none.
///
/// # Errors
/// The number of the line, from 1, that is not as the manual page says.
pub fn parse(text: &[u8]) -> Result<Vec<Mount>, usize> {
    let lines = text.split(|b| *b == b'\n').enumerate().filter(|(_, l)| !l.is_empty());
    lines.map(|(i, line)| parse_line(line).ok_or(i + 1)).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|b| *b == b' ');
    let mut next = || fields.next();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let number = |b: &[u8]| std::str::from_utf8(b).ok()?.parse::<u64>().ok();
    let id = number(next()?)?;
    let parent = number(next()?)?;
    let device = text(next()?);
    let root = unescape(next()?)?;
    let target = unescape(next()?)?;
    let attributes = text(next()?);
    // Optional fields, ended by a single hyphen.
    while next()? != b"-" {}
    let fs_type = text(next()?);
    let source = unescape(next()?)?;
    let options = text(next().unwrap_or_default());
    Some(Mount { id, parent, device, root: root.into(), target: target.into(), attributes, fs_type, source, options })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> Option<OsString> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&b, tail)) = rest.split_first() {
        if b == b'\\' {
            let digits = tail.get(..3)?;
            let value = std::str::from_utf8(digits).ok().and_then(|d| u32::from_str_radix(d, 8).ok())?;
            out.push(u8::try_from(value).ok()?);
            rest = tail.get(3..)?;
        } else {
            out.push(b);
            rest = tail;
        }
    }
    Some(OsString::from_vec(out))
}

/// Reads and parses the mounts of this process's mount namespace.
///
/// # Errors
/// As of reading a file; a line that is not as documented is `InvalidData`.
pub fn read() -> io::Result<Vec<Mount>> {
    whole(&text()?)
}

/// The file itself, as the kernel gives it.
///
/// # Errors
/// As of reading a file.
pub fn text() -> io::Result<Vec<u8>> {
    std::fs::read("/proc/self/mountinfo")
}

/// Parses what [`text`] gave.
///
/// # Errors
/// A line that is not as documented is `InvalidData`.
pub fn whole(text: &[u8]) -> io::Result<Vec<Mount>> {
    parse(text).map_err(|n| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/self/mountinfo:{n}: unexpected")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CIFS: &[u8] = b"36 35 0:52 / /data/my\\040share rw,nosuid,nodev shared:5 master:1 - cifs //h/s/notebooks/alice rw,vers=3.1.1,uid=1002,forceuid,file_mode=0600\n";

    #[test]
    fn a_line_is_read_with_its_escapes_and_options() {
        let mounts = parse(CIFS).unwrap();
        assert_eq!(mounts[0].target, PathBuf::from("/data/my share"));
        assert_eq!(mounts[0].fs_type, "cifs");
        assert_eq!(mounts[0].source, "//h/s/notebooks/alice");
        assert_eq!(mounts[0].option("uid"), Some("1002"));
        assert_eq!(mounts[0].option("forceuid"), Some(""));
        assert_eq!(mounts[0].option("gid"), None);
    }

    #[test]
    fn a_broken_line_is_named() {
        assert_eq!(parse(b"1 2 0:1 / / rw - tmpfs t rw\nnonsense\n"), Err(2));
        assert_eq!(parse(b"1 2 0:1 / /a\\9 rw - tmpfs t rw\n"), Err(1));
    }

    #[test]
    fn a_descriptor_tells_its_mount() {
        let file = std::fs::File::open("/proc/self/mountinfo").unwrap();
        let proc = read().unwrap().into_iter().rfind(|m| m.target == std::path::Path::new("/proc")).unwrap();
        assert_eq!(id_of(&file), Some(proc.id));
    }

    #[test]
    fn this_machine_parses() {
        assert!(read().unwrap().iter().any(|m| m.target == std::path::Path::new("/")));
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn escaping_is_undone(name in "[ -~\t\n]{1,30}") {
            let escaped: String = name.bytes().map(|b| match b {
                b' ' | b'\t' | b'\n' | b'\\' => format!("\\{b:03o}"),
                b => char::from(b).to_string(),
            }).collect();
            let line = format!("1 2 0:1 / /{escaped} rw - tmpfs none rw\n");
            prop_assert_eq!(&parse(line.as_bytes()).unwrap()[0].target, &PathBuf::from(format!("/{name}")));
        }
    }
}
