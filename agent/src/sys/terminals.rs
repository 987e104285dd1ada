//! Terminals of people: which there are, and writing a few lines on them, as wall(1) does.
//!
//! Whoever writes has the group of terminals and no other right. So `mesg n` (mesg(1)) is respected by the kernel, and
//! what is no terminal cannot be opened for writing. Nothing here waits: a terminal that is stopped (Ctrl-S) or full
//! misses the lines.

use super::mountinfo;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The most terminals that are written on.
pub const MOST: usize = 512;
/// The most of one user's: whoever opens a thousand keeps nobody else from being told.
pub const OF_ONE: usize = 32;
/// The longest text, in bytes.
pub const LONGEST: usize = 4096;

/// The kernel's numbers of what may be written on: consoles and serial lines (4), and pseudo-terminals (136 to 143;
/// Linux, Documentation/admin-guide/devices.txt).
const CONSOLES: u32 = 4;
const PSEUDO: std::ops::RangeInclusive<u32> = 136..=143;

/// Somebody's terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Terminal {
    /// Its name below `/dev`: `pts/3`, `tty1`, `ttyS0`.
    pub name: String,
    /// Whose it is.
    pub uid: u32,
}

/// What there is at most of consoles and serial lines that somebody may be logged in on.
pub fn consoles() -> impl Iterator<Item = String> {
    (1..=6).map(|n| format!("tty{n}")).chain((0..=3).map(|n| format!("ttyS{n}")))
}

/// Whether it is the name of a pseudo-terminal in `/dev/pts`.
pub fn is_number(name: &str) -> bool {
    !name.is_empty() && name.len() <= 9 && name.bytes().all(|b| b.is_ascii_digit())
}

/// The terminals of people and, of pseudo-terminals, root's: `sudo -i` and log-ins as root have a person behind them. A
/// console is root's while nobody is logged in there. stat(2) alone, which asks no driver.
pub fn of_people(dev: &Path, is_human: &dyn Fn(u32) -> bool) -> Vec<Terminal> {
    let owner = |name: &str| std::fs::symlink_metadata(dev.join(name)).ok().map(|meta| meta.uid());
    let numbers = std::fs::read_dir(dev.join("pts")).into_iter().flatten().flatten();
    let numbers = numbers.map(|e| e.file_name().to_string_lossy().into_owned()).filter(|name| is_number(name));
    let pseudo = numbers.map(|n| (format!("pts/{n}"), true)).chain(consoles().map(|name| (name, false)));
    let whose = pseudo.filter_map(|(name, roots)| {
        let uid = owner(&name).filter(|uid| is_human(*uid) || (roots && *uid == 0))?;
        Some(Terminal { name, uid })
    });
    let mut of_one: BTreeMap<u32, Vec<Terminal>> = BTreeMap::new();
    // A console is where somebody sits for certain: it comes before what a user can have any number of.
    whose.for_each(|terminal| of_one.entry(terminal.uid).or_default().push(terminal));
    let ranked = of_one.into_values().flat_map(|mut own: Vec<Terminal>| {
        own.sort_by(|a, b| (a.name.starts_with("pts/"), &a.name).cmp(&(b.name.starts_with("pts/"), &b.name)));
        own.into_iter().take(OF_ONE).enumerate()
    });
    let mut found: Vec<(usize, Terminal)> = ranked.collect();
    // Everybody's first one before anybody's second.
    found.sort_by(|(a, one), (b, other)| (a, one.uid).cmp(&(b, other.uid)));
    found.truncate(MOST);
    found.into_iter().map(|(_, terminal)| terminal).collect()
}

/// The group of terminals: what devpts gives to every new one. Their owners may change the group of theirs, so that it
/// is not read there.
pub fn group() -> Option<u32> {
    let mounts = mountinfo::read().ok()?;
    let devpts = mounts.iter().rfind(|m| m.fs_type == "devpts" && m.target == Path::new("/dev/pts"))?;
    devpts.option("gid")?.parse().ok()
}

/// Writes `text` on the terminals that still belong to whom they are said to, and says on how many.
pub fn write(dev: &Path, terminals: &[Terminal], text: &str) -> usize {
    let bytes = lines(text);
    terminals.iter().take(MOST).filter(|terminal| write_one(dev, terminal, &bytes).is_ok()).count()
}

fn write_one(dev: &Path, terminal: &Terminal, bytes: &[u8]) -> Result<(), Errno> {
    let name = terminal.name.as_str();
    if !name.strip_prefix("pts/").map_or_else(|| consoles().any(|known| known == name), is_number) {
        return Err(Errno::INVAL);
    }
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(dev.join(name), flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&fd)?;
    let major = rustix::fs::major(stat.st_rdev);
    let is_terminal = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && (PSEUDO.contains(&major) || major == CONSOLES);
    if !is_terminal || stat.st_uid != terminal.uid {
        return Err(Errno::NOTTY);
    }
    // What does not fit now is left out.
    rustix::io::write(&fd, bytes).map(drop)
}

/// The text as bytes that act on no terminal: plain ASCII, each line with both characters of its end, since programs
/// switch the terminal's own help with that off.
fn lines(text: &str) -> Vec<u8> {
    let plain = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let lines = text.lines().map(|line| line.chars().map(plain).collect::<String>());
    let mut out = String::from("\r\n");
    lines.for_each(|line| out.extend([line.as_str(), "\r\n"]));
    out.truncate(LONGEST);
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_acts_on_no_terminal() {
        let text = "Save now.\n\u{1b}]0;x\u{7}\u{9b}31m\u{202e}é\tend";
        assert_eq!(lines(text), b"\r\nSave now.\r\n?]0;x??31m???end\r\n");
        assert!(lines(&"x".repeat(1 << 20)).len() <= LONGEST);
    }

    #[test]
    fn only_terminals_are_written_on() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pts")).unwrap();
        let own = rustix::process::getuid().as_raw();
        for name in ["pts/1", "pts/ptmx", "tty1", "secret"] {
            std::fs::write(dir.path().join(name), "kept").unwrap();
        }
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("pts/2")).unwrap();
        std::os::unix::fs::symlink("/dev/null", dir.path().join("pts/3")).unwrap();
        let found = of_people(dir.path(), &|uid| uid == own);
        let names: Vec<&str> = found.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["tty1", "pts/1", "pts/2", "pts/3"]);
        let odd = ["pts/ptmx", "../secret", "pts/../secret", "pts/", "secret", "pts/1/x"].map(str::to_owned);
        let odd = odd.map(|name| Terminal { name, uid: own });
        assert_eq!(write(dir.path(), &[found, odd.to_vec()].concat(), "gone"), 0);
        for name in ["pts/1", "tty1", "secret"] {
            assert_eq!(std::fs::read_to_string(dir.path().join(name)).unwrap(), "kept");
        }
    }

    #[test]
    fn whoever_has_a_thousand_hides_nobodys_first() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("pts")).unwrap();
        let own = rustix::process::getuid().as_raw();
        for name in (0..600).map(|n| format!("pts/{n}")).chain(["tty1".to_owned()]) {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = of_people(dir.path(), &|uid| uid == own);
        assert_eq!((found.len(), found[0].name.as_str()), (OF_ONE, "tty1"));
        if own != 0 {
            return;
        }
        for n in 500..600 {
            std::os::unix::fs::chown(dir.path().join(format!("pts/{n}")), Some(2000 + n), None).unwrap();
        }
        let found = of_people(dir.path(), &|uid| uid != 0);
        assert_eq!(found.len(), 100 + OF_ONE, "a hundred users have one each, and root theirs");
        let found = of_people(dir.path(), &|uid| uid == own || uid > 2000);
        assert!(found.iter().take(100).map(|t| t.uid).collect::<std::collections::BTreeSet<_>>().len() == 100);
    }

    #[test]
    fn one_that_is_full_or_somebody_elses_holds_nobody_up() {
        // SAFETY: posix_openpt(3) and the calls after it take no pointers but the buffer of their answer.
        let (master, name) = unsafe {
            let master = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY);
            assert!(master >= 0 && libc::grantpt(master) == 0 && libc::unlockpt(master) == 0);
            let mut name = [0; 64];
            assert_eq!(libc::ptsname_r(master, name.as_mut_ptr(), name.len()), 0);
            (master, std::ffi::CStr::from_ptr(name.as_ptr()).to_str().unwrap().to_owned())
        };
        let own = rustix::process::getuid().as_raw();
        let terminal = Terminal { name: name.trim_start_matches("/dev/").to_owned(), uid: own };
        let dev = Path::new("/dev");
        assert_eq!(write(dev, std::slice::from_ref(&terminal), "Save now."), 1);
        let mut buffer = [0_u8; 64];
        // SAFETY: the buffer is as long as it is said to be.
        let n = unsafe { libc::read(master, buffer.as_mut_ptr().cast(), buffer.len()) };
        assert_eq!(&buffer[..usize::try_from(n).unwrap()], b"\r\r\nSave now.\r\r\n", "the terminal itself adds one");
        assert_eq!(write(dev, &[Terminal { uid: own + 1, ..terminal.clone() }], "Save now."), 0);
        // Nobody reads it: it fills up, and nobody waits.
        let full = (0..1000).take_while(|_| write(dev, std::slice::from_ref(&terminal), &"x".repeat(4000)) == 1);
        assert!(full.count() < 1000);
        // SAFETY: nothing else owns it.
        unsafe { libc::close(master) };
    }
}
