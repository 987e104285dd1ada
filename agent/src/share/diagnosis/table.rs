//! The table of faults: what was tried, the error's number (errno(3)) and the kernel's messages on the one side; the
//! share's state, the problem's code, a sentence and a remedy on the other. The first row that fits counts.
//!
//! Meanings for SMB: mount.cifs(8), the kernel's `fs/smb/client/smb2maperror.c` (which status of the server's becomes
//! which number), and the vendor's "Troubleshoot Azure Files connectivity and access issues (SMB)" and "Troubleshoot
//! Linux NFS file shares". Numbers were seen from a 6.12 kernel with Samba and with the kernel's own NFS server.

use crate::config::settings::Kind;
use crate::share::model::{Attempt, ShareState};
use libc::{
    EACCES, EAGAIN, EBUSY, ECONNABORTED, ECONNREFUSED, ECONNRESET, EDQUOT, EHOSTDOWN, EHOSTUNREACH, EINPROGRESS,
    EINVAL, EIO, EKEYEXPIRED, EKEYREJECTED, EKEYREVOKED, ELOOP, ENETDOWN, ENETRESET, ENETUNREACH, ENODEV, ENOENT,
    ENOKEY, ENOSPC, ENOSYS, ENOTCONN, ENOTDIR, ENOTEMPTY, EOPNOTSUPP, EPERM, EPIPE, EPROTONOSUPPORT, EREMOTEIO, EROFS,
    ESTALE, ETIMEDOUT,
};

/// One row: a fault, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What was tried.
    pub during: &'static [Attempt],
    /// Of this kind of share only.
    pub kind: Option<Kind>,
    /// One of these numbers; none: whatever it is.
    pub errnos: &'static [i32],
    /// One of these is said by the kernel or a library; none: whatever is said.
    pub says: &'static [&'static str],
    /// What it makes of the share.
    pub state: ShareState,
    /// The problem's code.
    pub code: &'static str,
    /// One sentence or two, with the words of [`super::WORDS`] in braces.
    pub summary: &'static str,
    /// What to do, likewise.
    pub remedy: &'static str,
}

/// On the way to the server.
const REACH: &[Attempt] = &[Attempt::Connect];
/// Preparing the mount point.
const GUARD: &[Attempt] = &[Attempt::Guard, Attempt::MountPoints];
/// Mounting, and work on what is mounted.
const MOUNT: &[Attempt] = &[Attempt::Mount, Attempt::Attach, Attempt::Directory, Attempt::Detach, Attempt::Unmount];
/// As above, and the sign of life.
const SHARE: &[Attempt] = &[Attempt::Mount, Attempt::Attach, Attempt::Directory, Attempt::Detach, Attempt::Probe];
/// Everything.
const ANY: &[Attempt] = &[
    Attempt::Resolve,
    Attempt::Connect,
    Attempt::Credentials,
    Attempt::Vault,
    Attempt::Guard,
    Attempt::MountPoints,
    Attempt::Source,
    Attempt::Mount,
    Attempt::Probe,
    Attempt::Directory,
    Attempt::Attach,
    Attempt::Detach,
    Attempt::Unmount,
    Attempt::Heal,
    Attempt::Rekey,
    Attempt::Worker,
];

/// The numbers of a connection that does not come about or breaks.
const AWAY: &[i32] = &[
    EHOSTDOWN,
    EHOSTUNREACH,
    ENETUNREACH,
    ENETDOWN,
    ENETRESET,
    ETIMEDOUT,
    ECONNREFUSED,
    ECONNRESET,
    ECONNABORTED,
    ENOTCONN,
    EINPROGRESS,
    EAGAIN,
    EPIPE,
    EIO,
    EREMOTEIO,
    ESTALE,
];

macro_rules! kind {
    (any) => {
        None
    };
    ($kind:ident) => {
        Some(Kind::$kind)
    };
}

macro_rules! faults {
    ($(($during:expr, $kind:ident, $errnos:expr, $says:expr) => $state:ident $code:literal: $summary:literal; $remedy:literal;)+) => {
        /// All faults.
        pub static FAULTS: &[Fault] = &[$(Fault {
            during: $during,
            kind: kind!($kind),
            errnos: $errnos,
            says: $says,
            state: ShareState::$state,
            code: $code,
            summary: $summary,
            remedy: $remedy,
        }),+];
    };
}

faults! {
    // The name.
    (&[Attempt::Resolve], any, &[], &["Temporary failure", "no answer"]) => Unreachable "share.name-unknown":
        "No name server answers the question for {host}.";
        "Check this network's DNS; for a private endpoint, that its private DNS zone is linked. It is tried again by itself.";
    (&[Attempt::Resolve], any, &[], &[]) => Unreachable "share.name-unknown":
        "The file server's name {host} cannot be resolved: there is no such name here.";
        "Check [share] source, and that this network's DNS knows the name; for a private endpoint, that its private DNS zone is linked.";

    // The connection.
    (REACH, any, &[ECONNREFUSED], &[]) => Unreachable "share.unreachable":
        "{server} refuses connections on port {port}: no file server runs there.";
        "{likely} Do: sudo dsvm-agent doctor";
    (REACH, any, &[EHOSTUNREACH, ENETUNREACH, ENETDOWN, EHOSTDOWN], &[]) => Unreachable "share.unreachable":
        "{server} cannot be reached: there is no way to it through the network.";
        "Check this VM's network and its routes. It is tried again by itself. Do: sudo dsvm-agent doctor";
    (REACH, any, &[EACCES, EPERM], &[]) => Unreachable "share.unreachable":
        "{server} cannot be reached on port {port}: a firewall on this VM forbids it.";
        "Look at this VM's own rules: sudo nft list ruleset";
    (REACH, any, &[], &[]) => Unreachable "share.unreachable":
        "{server} gives no answer on port {port}.";
        "{likely} Do: sudo dsvm-agent doctor";

    // The key.
    (&[Attempt::Vault], any, &[], &["says 401", "says 403"]) => Refused "share.waiting-for-role":
        "Key Vault refuses this VM's identity: {details}. That is normal for about 10 min after a deployment.";
        "It is tried again by itself. After 15 min: give the identity the role \"Key Vault Secrets User\" on the vault.";
    (&[Attempt::Vault], any, &[], &[]) => Refused "share.vault":
        "The key cannot be fetched from Key Vault: {details}.";
        "Check [share.credentials] key_vault, and that the VM has the identity. It is tried again by itself.";
    (&[Attempt::Credentials], any, &[], &[]) => Refused "share.credentials":
        "The share's key cannot be used: {details}.";
        "Put it right: the file belongs to root, has mode 0600 and the lines username=ACCOUNT and password=KEY. It is read again by itself.";

    // The mount point.
    (GUARD, any, &[ENOTEMPTY], &[]) => Refused "share.mount-point-occupied":
        "{at} is not empty ({details}). Nothing was touched: mounting over it would hide what is in it.";
        "Look at it, move it away, for example: sudo mv {at} {at}.before";
    (GUARD, any, &[ELOOP, ENOTDIR], &[]) => Refused "share.mount-point-no-directory":
        "{at} is, or leads through, a link or something that is no directory.";
        "Choose another [share] mount_point, or remove what is there.";
    (GUARD, any, &[ENOSYS, EINVAL], &[]) => Refused "share.kernel-too-old":
        "This kernel lacks a mount call that the agent needs: {said}.";
        "Linux 5.12 or newer is needed. Where it is that, the filter of the service shuts the call off: systemctl cat dsvm-agent";
    (GUARD, any, &[EPERM], &[]) => Refused "share.mount-point":
        "{at} cannot be prepared: somebody else than root may write to it or to a directory above it.";
        "Give it and the directories above it to root, mode 0755. It is tried again by itself.";
    (GUARD, any, &[], &[]) => Refused "share.mount-point":
        "{at} cannot be prepared: {said}.";
        "Put it right or choose another [share] mount_point; it is tried again by itself.";

    // The local directory that stands for the share.
    (&[Attempt::Source], any, &[], &[]) => Refused "share.source-missing":
        "{source} cannot stand for the share: {said}.";
        "Mount the file system that belongs there. If it is meant to be on this machine's own disk: [share.directory] local = true.";

    // What a server, or the kernel's client, answers to a mount and to work on one.
    (SHARE, Smb, &[], &["hmac(md5)", "MD5", "md4"]) => Refused "share.fips":
        "This kernel is in FIPS mode and refuses the log-on with a key, which needs MD5.";
        "Use NFS, or a kernel that is not in FIPS mode.";
    (SHARE, Smb, &[EACCES, EPERM, EKEYREJECTED, EKEYREVOKED, EKEYEXPIRED], &["ACCESS_DENIED"]) => Refused "share.access-denied":
        "{host} knows the key and refuses access to {source}.";
        "Allow this network on the storage account (Networking), and SMB with shared keys (File shares, Security).";
    (SHARE, Smb, &[EACCES, EPERM, EKEYREJECTED, EKEYREVOKED, EKEYEXPIRED], &[]) => Refused "share.key-refused":
        "{host} refuses the account's key. It was regenerated, or shared-key access is switched off for the account.";
        "Put the present key {key}. It is read again by itself; nobody is logged out.";
    (SHARE, Directory, &[EACCES, EPERM], &[]) => Refused "share.access-denied":
        "{source} refuses root: {said}.";
        "Let root of this VM in: for a network file system, look at what it makes of root (squash).";
    (SHARE, any, &[EACCES, EPERM], &[]) => Refused "share.access-denied":
        "{host} refuses access to {source}.";
        "Allow this network on the storage account, and switch off \"secure transfer required\" for NFS without TLS.";
    (SHARE, any, &[ENOENT], &[]) => Refused "share.not-found":
        "{host} has no share or directory {source}.";
        "Check [share] source. Was the share deleted? It can be restored while soft delete keeps it.";
    (SHARE, any, &[ENOKEY], &[]) => Refused "share.no-ticket":
        "The server wants a Kerberos ticket, and this VM has none or an expired one.";
        "Use the account's key, or renew the ticket.";
    (MOUNT, Smb, &[EOPNOTSUPP], &["ncryption"]) => Refused "share.encryption-refused":
        "{host} does not encrypt, and notebooks are not sent in the clear.";
        "Switch on SMB 3.1.1 with channel encryption on the storage account or the server.";
    (MOUNT, Smb, &[EOPNOTSUPP, EPROTONOSUPPORT], &[]) => Refused "share.protocol-refused":
        "{host} refuses SMB 3.1.1 with encryption, or an option of the mount ({said}).";
        "Allow SMB 3.1.1 with encryption on the storage account; take out [share.smb] options that the server does not know.";
    (MOUNT, Nfs, &[EPROTONOSUPPORT, EOPNOTSUPP], &[]) => Refused "share.protocol-refused":
        "{host} refuses NFS 4.1, or an option of the mount ({said}).";
        "The server must speak NFS 4.1; take out [share.nfs] options that it does not know.";
    (MOUNT, any, &[ENODEV], &[]) => Refused "share.kernel-without-module":
        "This kernel cannot mount {module}: its module is missing.";
        "Install the kernel's extra modules (linux-modules-extra-… on Ubuntu), or start a kernel that has it.";
    (MOUNT, any, &[EINVAL], &["option ", "nknown parameter", "Bad value", "conflict"]) => Refused "share.option-refused":
        "The kernel refuses an option of the mount: {details}.";
        "Take it out of the options in the configuration: sudo dsvm-agent config show";
    (MOUNT, any, &[ENOSYS], &[]) => Refused "share.kernel-too-old":
        "This kernel lacks a mount call that the agent needs: {said}.";
        "Linux 5.12 or newer is needed. Where it is that, the filter of the service shuts the call off: systemctl cat dsvm-agent";
    (MOUNT, any, &[ENOSPC, EDQUOT], &[]) => Mounted "share.full":
        "{source} is full, or its quota is reached: nothing can be saved.";
        "{enlarge}";
    (MOUNT, any, &[EROFS], &[]) => Refused "share.read-only":
        "{source} can only be read.";
        "Give the account or the export the right to write.";
    (&[Attempt::Detach], any, &[EBUSY], &[]) => Mounted "workspace.not-mounted":
        "What is mounted is still in use.";
        "It is unmounted when nobody uses it any more.";

    // What is mounted, and the server's changes under it.
    (&[Attempt::Rekey], any, &[], &[]) => Mounted "share.key-not-taken":
        "The new key could not be given to what is mounted: {said}. Nothing was unmounted.";
        "It is tried again by itself. What is closed and opened again in ~/notebooks/remote after ten minutes has the new key.";
    (&[Attempt::Heal], any, &[], &[]) => Hung "share.not-healed":
        "Dead connections to {host} could not be closed: {said}. The kernel gives them up by itself, after minutes.";
        "It is tried again by itself. If it lasts, see: sudo journalctl -u dsvm-agent";

    // No answer.
    (&[Attempt::Probe], any, &[], &[]) => Hung "share.hung":
        "The share has stopped answering. Saving waits until it does. Keep your browser tab open: unsaved cells are still in it.";
        "It is tried again every few seconds; nothing is unmounted under you.";
    (MOUNT, any, AWAY, &[]) => Unreachable "share.unreachable":
        "{host} does not serve {source}: {said}.";
        "{likely} Do: sudo dsvm-agent doctor";
    (MOUNT, any, &[], &[]) => Refused "share.mount-failed":
        "{source} cannot be mounted: {said}.";
        "It is tried again by itself. If it lasts: sudo dsvm-agent doctor";
    (ANY, any, &[], &[]) => Mounting "agent.helper-failed":
        "A helper process of the agent failed: {said}.";
        "It is tried again by itself. If it lasts, see: sudo journalctl -u dsvm-agent";
}
