//! What a failure means, in words: one table from what was tried and the error's number to a state, a problem's code,
//! a sentence and a remedy. Numbers: errno(3). Their meaning for cifs: mount.cifs(8), the vendor's troubleshooting
//! pages for SMB and NFS on Linux, and what a 6.12 kernel was seen to return.

use super::model::{Attempt, Failure, ShareState};
use crate::config::settings::{Kind, Share};
use crate::problem::Problem;
use libc::{
    EACCES, EAGAIN, ECONNREFUSED, ECONNRESET, EDQUOT, EHOSTDOWN, EHOSTUNREACH, EINPROGRESS, EINVAL, EIO, ENETUNREACH,
    ENODEV, ENOENT, ENOKEY, ENOSPC, ENOSYS, ENOTEMPTY, EOPNOTSUPP, EPERM, EREMOTEIO, EROFS, ESTALE, ETIMEDOUT,
};

/// What a failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it makes of the share.
    pub state: ShareState,
    /// What a person is told.
    pub problem: Problem,
}

const DOCTOR: &str = "It is tried again by itself. If it lasts: is the server up, is the network's private DNS zone linked, is the port open?";

/// What `failure` means for `share`.
pub fn diagnose(share: &Share, failure: &Failure) -> Diagnosis {
    let (host, port) = share.server().unwrap_or(("", 0));
    let source = share.source.to_string();
    let (state, code, summary, remedy) = match failure.attempt {
        Attempt::Resolve => (
            ShareState::Unreachable,
            "share.name-unknown",
            format!("The file server's name {host} cannot be resolved."),
            "Check [share] source, and that this network's DNS knows the name (for a private endpoint: the private DNS zone is linked).".to_owned(),
        ),
        Attempt::Connect => connect(failure, host, port),
        Attempt::Credentials => (
            ShareState::Refused,
            "share.credentials",
            format!("The share's key cannot be used: {}.", failure.details.join("; ")),
            "Put it right: the file belongs to root, has mode 0600 and the lines username=ACCOUNT and password=KEY. It is read again by itself.".to_owned(),
        ),
        Attempt::Guard | Attempt::MountPoints => guard(share, failure),
        Attempt::Source => (
            ShareState::Refused,
            "share.source-missing",
            format!("{source} cannot stand for the share: {}.", said(failure)),
            "Mount the file system that belongs there. If it is meant to be on this machine's own disk: [share.directory] local = true.".to_owned(),
        ),
        Attempt::Probe => (
            ShareState::Hung,
            "share.hung",
            format!("The share does not answer ({}). Saving waits until it does. Keep your browser tab open: unsaved cells are still in it.", said(failure)),
            "It is tried again by itself; nothing is unmounted under anybody.".to_owned(),
        ),
        Attempt::Mount | Attempt::Attach | Attempt::Directory | Attempt::Detach => mount(share, failure, host, &source),
        Attempt::Worker => (
            ShareState::Mounting,
            "agent.helper-failed",
            format!("A helper process of the agent failed: {}.", said(failure)),
            "It is tried again by itself. If it lasts, see: journalctl -u dsvm-agent".to_owned(),
        ),
    };
    Diagnosis { state, problem: Problem::new(code, summary, remedy) }
}

type Row = (ShareState, &'static str, String, String);

fn connect(failure: &Failure, host: &str, port: u16) -> Row {
    let at = failure.details.first().map(|a| format!(" ({a})")).unwrap_or_default();
    let what = match failure.errno {
        Some(ECONNREFUSED) => format!("{host}{at} refuses connections on port {port}: no file server runs there."),
        Some(EHOSTUNREACH | ENETUNREACH) => format!("There is no way through the network to {host}{at}."),
        Some(ETIMEDOUT) | None => format!("{host}{at} gives no answer on port {port}."),
        Some(_) => format!("{host}{at} cannot be reached on port {port}: {}.", said(failure)),
    };
    (ShareState::Unreachable, "share.unreachable", what, DOCTOR.to_owned())
}

fn guard(share: &Share, failure: &Failure) -> Row {
    let at = share.mount_point.display();
    match failure.errno {
        Some(ENOTEMPTY) => (
            ShareState::Refused,
            "share.mount-point-occupied",
            format!(
                "{at} is not empty ({}). Nothing was touched: mounting over it would hide what is in it.",
                failure.details.join(", ")
            ),
            format!("Look at it, move it away, for example: mv {at} {at}.before"),
        ),
        Some(libc::ELOOP | libc::ENOTDIR) => (
            ShareState::Refused,
            "share.mount-point-no-directory",
            format!("{at} is, or leads through, a link or something that is no directory."),
            "Choose another [share] mount_point, or remove what is there.".to_owned(),
        ),
        Some(ENOSYS | EINVAL) => (
            ShareState::Refused,
            "share.kernel-too-old",
            format!("This kernel lacks a mount call that the agent needs: {}.", said(failure)),
            "Linux 5.12 or newer is needed.".to_owned(),
        ),
        _ => (
            ShareState::Refused,
            "share.mount-point",
            format!("{at} cannot be prepared: {}.", said(failure)),
            "Put it right or choose another [share] mount_point; it is tried again by itself.".to_owned(),
        ),
    }
}

fn mount(share: &Share, failure: &Failure, host: &str, source: &str) -> Row {
    let smb = share.kind() == Kind::Smb;
    let option = failure.details.iter().any(|d| d.starts_with("option ") || d.contains("nknown parameter"));
    match failure.errno {
        Some(EACCES | EPERM) if smb => (
            ShareState::Refused,
            "share.key-refused",
            format!("{host} refuses the account's key. It was regenerated, or shared-key access is switched off for the account."),
            "Put the present key where [share.credentials] points. It is read again by itself; nobody is logged out.".to_owned(),
        ),
        Some(EACCES | EPERM) => (
            ShareState::Refused,
            "share.access-denied",
            format!("{host} refuses access to {source}."),
            "Allow this network on the storage account, and switch off \"secure transfer required\" for NFS without TLS.".to_owned(),
        ),
        Some(ENOENT) => (
            ShareState::Refused,
            "share.not-found",
            format!("{host} has no share or directory {source}."),
            "Check [share] source. Was the share deleted? It can be restored while soft delete keeps it.".to_owned(),
        ),
        Some(EOPNOTSUPP) if smb => (
            ShareState::Refused,
            "share.protocol-refused",
            format!("{host} refuses SMB 3.1.1 with encryption, or an option of the mount ({}).", said(failure)),
            "Allow SMB 3.1.1 with encryption on the storage account; take out [share.smb] options that the server does not know.".to_owned(),
        ),
        Some(ENODEV) => (
            ShareState::Refused,
            "share.kernel-without-module",
            format!("This kernel cannot mount {}: its module is missing.", if smb { "SMB (cifs)" } else { "NFS" }),
            "Install the kernel's extra modules (linux-modules-extra-… on Ubuntu), or start a kernel that has it.".to_owned(),
        ),
        Some(EINVAL) if option => (
            ShareState::Refused,
            "share.option-refused",
            format!("The kernel refuses an option of the mount: {}.", failure.details.join("; ")),
            "Take it out of the options in the configuration: sudo dsvm-agent config show".to_owned(),
        ),
        Some(ENOKEY) => (
            ShareState::Refused,
            "share.no-ticket",
            "The server wants a Kerberos ticket and this VM has none.".to_owned(),
            "Use the account's key, or renew the ticket.".to_owned(),
        ),
        Some(ENOSPC | EDQUOT) => (
            ShareState::Mounted,
            "share.full",
            format!("{source} is full: nothing can be saved."),
            "Enlarge the share, or delete what is not needed.".to_owned(),
        ),
        Some(EROFS) => (
            ShareState::Refused,
            "share.read-only",
            format!("{source} can only be read."),
            "Give the account or the export the right to write.".to_owned(),
        ),
        Some(EHOSTDOWN | EHOSTUNREACH | ENETUNREACH | ETIMEDOUT | ECONNREFUSED | ECONNRESET | EINPROGRESS | EAGAIN | EIO | EREMOTEIO | ESTALE) => (
            ShareState::Unreachable,
            "share.unreachable",
            format!("{host} does not serve {source}: {}.", said(failure)),
            DOCTOR.to_owned(),
        ),
        _ => (
            ShareState::Refused,
            "share.mount-failed",
            format!("{source} cannot be mounted: {}.", said(failure)),
            "It is tried again by itself. If it lasts, see: journalctl -u dsvm-agent".to_owned(),
        ),
    }
}

fn said(failure: &Failure) -> String {
    let errno = failure.errno.map(|e| {
        let text = std::io::Error::from_raw_os_error(e).to_string();
        text.split(" (os error").next().unwrap_or_default().to_owned()
    });
    errno.into_iter().chain(failure.details.iter().cloned()).collect::<Vec<_>>().join("; ")
}
