//! Every problem that the program can raise: its code, what it means, and what to do about it. The manual page
//! dsvm-agent-problems(7) is made from this list, and a test holds the program to it. A code is never given another
//! meaning and never taken away: people have written it into their alarms.

/// One kind of problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The code, `room.what`.
    pub code: &'static str,
    /// What it means, in general. What is so on a VM is said by the problem itself.
    pub means: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! problems {
    ($($code:literal: $means:literal; $remedy:literal;)+) => {
        /// All of them, by room and then as one meets them.
        pub static PROBLEMS: &[Entry] = &[$(Entry { code: $code, means: $means, remedy: $remedy }),+];
    };
}

problems! {
    "config.mistake":
        "The configuration on disk has a mistake. What was in force before stays in force until it is mended, also after \
         a restart of the agent. At a boot with a mistake nobody is connected.";
        "Mend it: sudo dsvm-agent config check names file, line and column. It is read again by itself.";

    "share.unconfigured":
        "The VM has no configuration: no share is mounted, and files saved on the VM go away with it.";
        "Write /etc/dsvm-agent/agent.toml (see /usr/share/doc/dsvm-agent), then: sudo systemctl reload dsvm-agent";
    "share.name-unknown":
        "The file server's name cannot be resolved to an address.";
        "Check [share] source, and that the network's DNS knows the name. For a private endpoint, the private DNS zone must \
         be linked to the VM's network.";
    "share.unreachable":
        "The file server cannot be reached, or the connection to it was lost.";
        "It is tried again by itself. Check that the server is up, that the port (445 for SMB, 2049 for NFS) is open from \
         this network, and that the name leads to the right address. sudo dsvm-agent doctor says which of these fails.";
    "share.credentials":
        "The share's key cannot be read, or what is read is no key.";
        "Put right what the problem names: a file must be root's, have mode 0600 and the lines username=ACCOUNT and \
         password=KEY. It is read again by itself.";
    "share.waiting-for-role":
        "Key Vault refuses the VM's identity. That is normal for about 10 minutes after a deployment, until the role has \
         reached every server.";
        "Wait. If it lasts for more than 15 minutes, give the identity the role \"Key Vault Secrets User\" on the vault.";
    "share.vault":
        "The key cannot be fetched from Key Vault: the vault or the VM's identity does not answer, or there is no such \
         secret.";
        "Check [share.credentials] key_vault: the vault's and the secret's name, and that the VM has an identity. \
         It is tried again by itself.";
    "share.key-refused":
        "The server refuses the account's key: it was regenerated, or shared-key access is switched off for the account.";
        "Put the present key where [share.credentials] points. It is read again by itself; nobody is logged out.";
    "share.access-denied":
        "The server lets this VM in but refuses access to the share or the export.";
        "Allow this network on the storage account. For NFS without TLS, switch off \"secure transfer required\".";
    "share.not-found":
        "The server has no share, export or directory of that name.";
        "Check [share] source. A share that was deleted can be restored while soft delete keeps it.";
    "share.protocol-refused":
        "Client and server do not agree on SMB 3.1.1, or on an option of the mount.";
        "Allow SMB 3.1.1 on the storage account; take out [share.smb] options that the server does not know.";
    "share.encryption-refused":
        "The server does not encrypt, and the agent does not send notebooks in the clear.";
        "Switch encryption on at the server: on a storage account, SMB 3.1.1 with AES-128-GCM or AES-256-GCM channel \
         encryption.";
    "share.no-ticket":
        "The server wants a Kerberos ticket, and the VM has none or an expired one.";
        "Use the account's key, or renew the ticket.";
    "share.fips":
        "The kernel runs in FIPS mode and refuses the log-on with a key, which needs MD5.";
        "Use NFS, or a kernel that is not in FIPS mode.";
    "share.kernel-without-module":
        "The kernel cannot mount this kind of share: its module is missing.";
        "Install the kernel's extra modules (linux-modules-extra-… on Ubuntu), or start a kernel that has it.";
    "share.kernel-too-old":
        "The kernel lacks a call that the agent needs.";
        "Linux 5.12 or newer is needed. Where it is that, the filter of the service shuts the call off: systemctl cat dsvm-agent";
    "share.option-refused":
        "The kernel refuses an option of the mount.";
        "Take it out of the options in the configuration: sudo dsvm-agent config show says where it stands.";
    "share.options-differ":
        "A mount has other options than the agent gave it: somebody or something changed them afterwards.";
        "Take out what changes mounts behind the agent's back, then: sudo systemctl restart dsvm-agent";
    "share.other-source":
        "The configuration names another share than one that is still mounted. Nothing was unmounted under anybody.";
        "It changes by itself where nobody works. Who does: close what is open there (notebooks, terminals), or restart the VM.";
    "share.mount-failed":
        "The kernel refuses to mount the share, for a reason that has no code of its own.";
        "It is tried again by itself. If it lasts: sudo dsvm-agent doctor";
    "share.mount-point":
        "The mount point cannot be prepared.";
        "Put right what the problem names, or choose another [share] mount_point. It is tried again by itself.";
    "share.mount-point-occupied":
        "The mount point is not empty. Nothing was mounted over it, since that would hide what is in it.";
        "Look at what is there and move it away, for example: sudo mv MOUNT_POINT MOUNT_POINT.before";
    "share.mount-point-taken":
        "Something else is mounted on the mount point.";
        "Unmount it, or choose another [share] mount_point.";
    "share.old-mount-point":
        "The mount point was another one before, and something there is still used. It was left as it is.";
        "It goes by itself when nobody uses it any more. Who does: sudo fuser -vm OLD_MOUNT_POINT";
    "share.mount-point-no-directory":
        "The mount point is, or leads through, a link or something that is no directory.";
        "Choose another [share] mount_point, or remove what is there.";
    "share.mounts-unreadable":
        "The kernel's list of mounts cannot be read. Nothing is changed until it can.";
        "See: sudo journalctl -u dsvm-agent";
    "share.source-missing":
        "Nothing is mounted on the local directory that stands for the share, or it does not exist.";
        "Mount the file system that belongs there. If it is meant to be on the VM's own disk: [share.directory] local = true.";
    "share.clock-differs":
        "The VM's clock and the server's are more than five minutes apart: log-on may be refused, and files get wrong dates.";
        "Put it right: sudo timedatectl set-ntp true";
    "share.hung":
        "The share is mounted and does not answer. Saving waits until it does; nothing is lost and nothing is unmounted.";
        "Keep notebooks open: unsaved cells are still in the browser. It is tried again every few seconds.";
    "share.key-not-taken":
        "The key changed, and what is mounted could not be given the new one. Nothing was unmounted.";
        "It is tried again by itself. Whoever leaves their notebooks and comes back later has the new key.";
    "share.key-old":
        "The key changed, and the kernel (before Linux 6.9) gives no new one to what is mounted. Directories that are in use \
         keep the old key; nothing was unmounted. Saving there fails once the server drops the old key.";
        "Ask their users to save and to close what is open there: the new key is in force then. Regenerate the old key last.";
    "share.not-healed":
        "The server is back, and dead connections to it could not be closed. The kernel gives them up by itself, after \
         minutes.";
        "It is tried again by itself. If it lasts, see: sudo journalctl -u dsvm-agent";
    "share.full":
        "The share or its quota is full: nothing can be saved.";
        "Enlarge the share, or delete what is not needed.";
    "share.nearly-full":
        "Little is left on the share: saves will soon fail with \"No space left on device\".";
        "Enlarge the share, or delete what is not needed. Azure Files has no limit for single users.";
    "share.read-only":
        "The share can only be read.";
        "Give the account or the export the right to write.";

    "workspace.users-unknown":
        "The name services do not say who the VM's users are. Users who were known before stay served.";
        "Check the name services: getent passwd";
    "workspace.account-unconfirmed":
        "The name services do not confirm who a user is: they do not answer, or say otherwise than before. Nothing is done in \
         the user's name until they do; what is mounted for them stays.";
        "Check the name services: getent passwd NAME. It is tried again by itself.";
    "workspace.name":
        "A user's name is too long, or not text, to be written as a directory's name on the share.";
        "Rename the account, or list it in [workspace] exclude.";
    "workspace.not-mounted":
        "A user's directory cannot be made or mounted.";
        "It is tried again by itself. If it lasts: sudo dsvm-agent doctor";
    "workspace.directory-occupied":
        "Where a user's directory belongs on the share, there is something that is no directory. It was not touched.";
        "Look at who put it there and move it away; then the user gets a directory.";
    "workspace.directory-exposed":
        "Others than root could swap users' directories on the share, by the owner or the mode of the directory above them. \
         Nobody's is opened.";
        "Look whether each is right; then give the directory above to root, with mode 0711. Sticky (1777) will do, too.";
    "workspace.directory-removed":
        "A user's directory was removed on the share while it was open on this VM. Nothing can be saved in it.";
        "Close what is open in it; a new one is made then. What was in it: look for a snapshot of the share.";
    "workspace.shared-unfit":
        "A shared directory on the share lets in others than the group that it is for, or not all of them. It is not opened, \
         and nothing in it is changed.";
        "Look whether what is in it is right; then give it the owner, group and mode that the problem names.";
    "workspace.uid-differs":
        "A user's directory on the share, or their name as it is recorded there, belongs to another number than the user has \
         on this VM, or their number to another name. It is not opened.";
        "Give the user the same uid on every VM, then start a fresh VM. Do not chown the share. What is recorded is shown \
         by sudo dsvm-agent workspace identity show, and corrected by bind.";
    "workspace.name-retired":
        "The user's name was retired on the share: whoever has it now is taken to be somebody else. The directory of that \
         name is kept, and opened for nobody.";
        "Give the new person another name. If it is the same person: sudo dsvm-agent workspace identity bind NAME";
    "workspace.root-squash":
        "The NFS share gives root no rights (root squash), and a user may not make their directory there either.";
        "Make the directory on the server, the user's own, mode 0700; or let users make theirs: chmod 1777 the directory above; or switch root squash off.";
    "workspace.home-silent":
        "A user's home does not answer. Other users are not held up.";
        "Check the file system that the home is on. It is tried again by itself.";
    "workspace.home-blocked":
        "The link cannot be made in a user's home: something on the way is no directory, or may not be entered.";
        "Put it right as that user. It is tried again by itself.";
    "workspace.link-missing":
        "A user's link is not there yet.";
        "It is made by itself.";
    "workspace.link-elsewhere":
        "Where a user's link belongs, there is a link to somewhere else. It was not touched.";
        "Move it away; the right link is made by itself then.";
    "workspace.link-occupied":
        "Where a user's link belongs, there is a file or a directory of their own. Nothing was touched, and nothing in it \
         is on the share.";
        "To copy it there, verified, and keep the original: sudo dsvm-agent workspace import NAME. Or move it away; the link \
         is made by itself then.";

    "idle.cannot-tell":
        "Whether the VM is used cannot be told for hours, since something that is there cannot be read, or only now and then: \
         a GPU, a hub, the process table. It counts as used meanwhile, and costs money.";
        "Put right what the problem names. When the status shows nobody, a reboot often helps: sudo systemctl reboot";
    "idle.long-busy":
        "The VM is kept busy for a day by something that computes little, all the time or again and again, with nobody there: \
         a forgotten server or loop, most likely. Or it is kept for as long by nothing but an inhibitor of systemd's. Nothing \
         was ended.";
        "Ask whoever the problem names to end it if nobody needs it. sudo dsvm-agent idle shows what it is.";

    "agent.absent":
        "No agent runs on the VM: nothing new is mounted, and nobody who logs in is connected.";
        "sudo systemctl start dsvm-agent; if it does not stay: sudo journalctl -u dsvm-agent";
    "agent.mute":
        "The agent runs, and what it publishes is old or cannot be read.";
        "sudo systemctl restart dsvm-agent; users are not disturbed.";
    "scale-set.none":
        "[scale_set] enabled = \"on\" says that there is a scale set, and this VM belongs to none or reaches no instance \
         metadata; or the firmware says that it is Azure's, and metadata does not. The VM is not protected then, keeps autoscale \
         from taking any, and hears of no deletion.";
        "Check that the VM was made by the scale set and that root can reach 169.254.169.254, or set enabled = \"auto\", or \"off\" \
         where there is no scale set.";
    "scale-set.unprotected":
        "The VM is in use and cannot be protected from scale-in: autoscale may delete it. Scale-in of the whole set is vetoed \
         meanwhile.";
        "Give the VM's identity a role on the scale set with Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read \
         and write. A new role takes up to 10 minutes.";
    "scale-set.not-lifted":
        "Nobody uses the VM, and its protection from scale-in can be neither lifted nor read: it stays, or does not count as \
         idle, and costs money. No other VM is held up.";
        "Give the VM's identity the role that scale-set.unprotected names, and take read-only locks off the scale set, its \
         resource group and its subscription. It is tried again by itself.";
    "scale-set.listener":
        "The agent cannot answer at the address of [scale_set] listen: probes of the load balancer fail.";
        "Name a port that is free, 1024 or above, and an address of this VM, or 0.0.0.0 for all.";
    "scale-set.metrics":
        "Azure Monitor does not hear from the VM, so that autoscale takes no VM away on its account.";
        "Give the VM's identity the role \"Monitoring Metrics Publisher\" on the scale set, and let it reach \
         https://REGION.monitoring.azure.com.";
    "scale-set.events":
        "What Azure announces to the VM could not be read for 10 minutes: it may be deleted without anybody being told, and \
         before what is on it alone is copied to the share.";
        "See whether the VM reaches 169.254.169.254, and what keeps the agent from it: firewall rules, Azure's Metadata \
         Security Protocol. Where nothing does, redeploy the VM.";
    "scale-set.log-ins":
        "The VM is about to be deleted and log-ins cannot be refused, or they are refused although it is not: /run/nologin \
         cannot be changed.";
        "It is tried again by itself. If the VM stays and people cannot log in: sudo rm /run/nologin";
    "scale-set.not-rescued":
        "The VM is about to be deleted, and files of a user that are on it alone could not be copied to the share.";
        "Copy what is needed from their home by hand, as long as the VM is there. It is tried again by itself.";
    "scale-set.not-flushed":
        "The VM is about to go, and what waits to be written to the share could not be written.";
        "It is tried again until the VM goes. See why the share does not answer: sudo dsvm-agent doctor";
    "scale-set.approval":
        "Everything is done for the deletion of the VM, and Azure does not take that it may begin.";
        "Nothing has to be done: it is tried again, and the deletion begins by itself when its notice is over.";

    "agent.textfile":
        "The file for metrics, [status] textfile, cannot be written.";
        "Its directory, and those above it, must be there and be root's or the exporter's, mode 0755, with no link on the way. \
         It is tried again by itself.";
    "agent.helper-failed":
        "A helper process of the agent failed.";
        "It is tried again by itself. If it lasts: sudo journalctl -u dsvm-agent";
    "agent.helper-stuck":
        "A helper process of the agent neither finishes nor can be ended. It is left alone.";
        "It goes away when the file server or disk behind it answers again, or with the next reboot.";
}

/// The entry of a code.
pub fn find(code: &str) -> Option<&'static Entry> {
    PROBLEMS.iter().find(|entry| entry.code == code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The rooms that codes begin with.
    const ROOMS: [&str; 6] = ["config", "share", "workspace", "idle", "scale-set", "agent"];

    #[test]
    fn every_entry_is_whole_and_there_once() {
        let mut seen = BTreeSet::new();
        for entry in PROBLEMS {
            assert!(seen.insert(entry.code), "{} is there twice", entry.code);
            assert!(is_code(entry.code), "{}", entry.code);
            for text in [entry.means, entry.remedy] {
                assert!(text.len() > 20 && !text.contains("  ") && !text.contains('\n'), "{}: {text:?}", entry.code);
            }
            for word in ["worker", "brain", "errno", "launcher"] {
                assert!(!entry.means.contains(word) && !entry.remedy.contains(word), "{}", entry.code);
            }
        }
        assert_eq!(find("share.hung").map(|e| e.code), Some("share.hung"));
        assert_eq!(find("share.nonsense"), None);
    }

    fn is_code(text: &str) -> bool {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase())
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        text.split_once('.').is_some_and(|(room, what)| ROOMS.contains(&room) && plain(what))
    }

    /// The string literals of a source file that have the form of a code.
    fn codes(source: &str) -> impl Iterator<Item = &str> {
        source.split('"').filter(|text| is_code(text))
    }

    fn sources(directory: &Path, out: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                out.push(path);
            }
        }
    }

    #[test]
    fn no_code_is_raised_that_is_not_here_and_none_is_here_for_nothing() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut files = Vec::new();
        sources(&root, &mut files);
        let mut raised = BTreeSet::new();
        for path in files {
            let below = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
            // Keys of the configuration and the program's own tests of how unknown codes look.
            if below.starts_with("config/") || below.starts_with("problem/") || below.contains("tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap_or_default();
            let is_section = |code: &str| {
                let keys = crate::config::fragment::KEYS;
                keys.iter()
                    .any(|key| key.strip_prefix(code).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
            };
            for code in codes(product).filter(|code| *code != "agent.d" && (find(code).is_some() || !is_section(code)))
            {
                assert!(
                    find(code).is_some() || below.contains("fixtures"),
                    "{below} has {code}, which is not registered"
                );
                raised.insert(code.to_owned());
            }
        }
        assert!(raised.len() > 30, "{raised:?}");
        for entry in PROBLEMS {
            assert!(raised.contains(entry.code), "nothing raises {}", entry.code);
        }
    }
}
