//! The kernel's own mount calls (fsopen(2), fsconfig(2), fsmount(2), move_mount(2), open_tree(2),
//! mount_setattr(2)): no mount helper, so that no secret leaves memory, and with the kernel's own words on failure.

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use std::ffi::CStr;
use zeroize::Zeroizing;

/// What every mount of the agent's has: a set-user-id program or a device file on a share must do nothing. On
/// network file systems these are attributes of the mount, not options: cifs accepts and ignores the options.
pub const SAFE: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// One option for fsconfig(2).
#[derive(Clone, PartialEq, Eq)]
pub struct FsOption {
    /// The kernel's word.
    pub key: String,
    /// Its value; nothing for a flag. Zeroed when dropped, since it may be a key.
    pub value: Option<Zeroizing<String>>,
}

impl FsOption {
    /// An option with a value.
    pub fn new(key: &str, value: impl Into<String>) -> Self {
        Self { key: key.to_owned(), value: Some(Zeroizing::new(value.into())) }
    }

    /// An option without a value.
    pub fn flag(key: &str) -> Self {
        Self { key: key.to_owned(), value: None }
    }

    /// Whether the value must never be shown.
    pub fn is_secret(&self) -> bool {
        self.key.starts_with("pass")
    }
}

impl std::fmt::Debug for FsOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            None => write!(f, "{}", self.key),
            Some(_) if self.is_secret() => write!(f, "{}=…", self.key),
            Some(value) => write!(f, "{}={}", self.key, value.as_str()),
        }
    }
}

/// A mount call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountError {
    /// Which call, and on what.
    pub call: String,
    /// The error's number (errno(3)).
    pub errno: i32,
    /// What the kernel wrote into the mount's context.
    pub messages: Vec<String>,
}

impl std::fmt::Display for MountError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.call, std::io::Error::from_raw_os_error(self.errno))?;
        self.messages.iter().try_for_each(|m| write!(f, "; {m}"))
    }
}

fn failed(call: &str, errno: Errno, context: Option<&OwnedFd>) -> MountError {
    let messages = context.map(messages).unwrap_or_default();
    MountError { call: call.to_owned(), errno: errno.raw_os_error(), messages }
}

/// Reads the messages of a context: each starts with a letter for its level and a space.
fn messages(context: &OwnedFd) -> Vec<String> {
    let mut out = Vec::new();
    let mut buffer = [0u8; 4096];
    while let Ok(n) = rustix::io::read(context, &mut buffer) {
        if n == 0 || out.len() == 16 {
            break;
        }
        let text = String::from_utf8_lossy(buffer.get(..n).unwrap_or_default());
        out.push(text.get(2..).unwrap_or_default().trim_end().to_owned());
    }
    out
}

/// Makes a mount of a new or shared superblock that is not attached anywhere yet.
///
/// # Errors
/// The call that failed with the kernel's messages.
pub fn make(fs: &str, options: &[FsOption], attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
    create(fs, &context(fs, options)?, attributes)
}

/// The context of a mount that is to be made, with its options: nobody was spoken to, and the caller needs them no more.
///
/// # Errors
/// The call that failed with the kernel's messages.
pub fn context(fs: &str, options: &[FsOption]) -> Result<OwnedFd, MountError> {
    let context =
        rustix::mount::fsopen(fs, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| failed(&format!("fsopen {fs}"), e, None))?;
    configure(&context, options)?;
    Ok(context)
}

/// Makes the mount of a context. With a server that is not there it may wait for ever.
///
/// # Errors
/// The call that failed with the kernel's messages.
pub fn create(fs: &str, context: &OwnedFd, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
    rustix::mount::fsconfig_create(context).map_err(|e| failed(&format!("mount {fs}"), e, Some(context)))?;
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|e| failed(&format!("fsmount {fs}"), e, Some(context)))
}

fn configure(context: &OwnedFd, options: &[FsOption]) -> Result<(), MountError> {
    for option in options {
        let result = match &option.value {
            Some(value) => set(context, &option.key, value),
            None => rustix::mount::fsconfig_set_flag(context, option.key.as_str()),
        };
        result.map_err(|e| failed(&format!("option {}", option.key), e, Some(context)))?;
    }
    Ok(())
}

/// Gives the kernel one option. A text without its end would be copied to where nobody zeroes it.
fn set(context: &OwnedFd, key: &str, value: &str) -> Result<(), Errno> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(value.len() + 1));
    bytes.extend_from_slice(value.as_bytes());
    bytes.push(0);
    let value = CStr::from_bytes_with_nul(&bytes).map_err(|_| Errno::INVAL)?;
    rustix::mount::fsconfig_set_string(context, key, value)
}

/// Changes the options of the superblock whose root `root` is open on (fspick(2)). Every option that is not named falls
/// back to the file system's own default: `options` must be complete.
///
/// # Errors
/// The call that failed with the kernel's messages.
pub fn reconfigure(root: &OwnedFd, options: &[FsOption]) -> Result<(), MountError> {
    use rustix::mount::FsPickFlags;
    let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH | FsPickFlags::FSPICK_NO_AUTOMOUNT;
    let context = rustix::mount::fspick(root, c"", flags).map_err(|e| failed("fspick", e, None))?;
    configure(&context, options)?;
    rustix::mount::fsconfig_reconfigure(&context).map_err(|e| failed("reconfigure", e, Some(&context)))
}

/// Attaches a detached mount over the directory that `target` is open on.
///
/// # Errors
/// As of move_mount(2).
pub fn attach(mount: &OwnedFd, target: impl AsFd) -> Result<(), MountError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", target, c"", flags).map_err(|e| failed("move_mount", e, None))
}

/// Clones the mount of the directory that `directory` is open on, from there down and without what is mounted
/// below it, and sets and clears attributes on the clone, which is not attached anywhere yet.
///
/// # Errors
/// As of open_tree(2) and mount_setattr(2); the latter needs Linux 5.12.
pub fn clone(directory: impl AsFd, set: MountAttrFlags, clear: MountAttrFlags) -> Result<OwnedFd, MountError> {
    // AT_EMPTY_PATH has no name among rustix's flags for this call.
    let empty = OpenTreeFlags::from_bits_retain(libc::AT_EMPTY_PATH.unsigned_abs());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | empty;
    let tree = rustix::mount::open_tree(directory, c"", flags).map_err(|e| failed("open_tree", e, None))?;
    set_attributes(&tree, set, clear).map_err(|e| failed("mount_setattr", e, None))?;
    Ok(tree)
}

/// `struct mount_attr` of linux/mount.h, version 0.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

fn set_attributes(mount: &OwnedFd, set: MountAttrFlags, clear: MountAttrFlags) -> Result<(), Errno> {
    let attr = MountAttr { set: set.bits().into(), clear: clear.bits().into(), propagation: 0, userns_fd: 0 };
    let empty: &CStr = c"";
    // SAFETY: mount_setattr(2) reads `size_of::<MountAttr>()` bytes at `attr` and a terminated string at `empty`;
    // both live until it returns, and it writes to neither.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_EMPTY_PATH,
            std::ptr::from_ref(&attr),
            std::mem::size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        return Ok(());
    }
    let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL);
    Err(Errno::from_raw_os_error(errno))
}

/// Unmounts what lies on the directory `name` of the directory that `parent` is open on, if nobody uses it. umount2(2)
/// takes paths only; one that starts at a descriptor leads through nothing that could have been changed meanwhile.
/// Never lazily: a mount that is only hidden is still used, and shutdown would not wait for it. Never forced: that throws
/// away what was not written yet.
///
/// # Errors
/// As of umount2(2): `EBUSY` while somebody uses it, `EINVAL` when it is no mount point.
pub fn unmount_below(parent: &OwnedFd, name: &std::ffi::OsStr) -> Result<(), MountError> {
    let path = std::path::Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string()).join(name);
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::NOFOLLOW).map_err(|e| failed("umount2", e, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let options =
            [FsOption::new("password", "hunter2"), FsOption::new("password2", "hunter3"), FsOption::flag("seal")];
        assert_eq!(format!("{options:?}"), "[password=…, password2=…, seal]");
    }
}
