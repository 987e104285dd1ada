//! Mount options as people write them, judged one word at a time.
//!
//! People know options from `mount(8)` and `/etc/fstab`. The agent speaks to the kernel itself, and the kernel knows
//! fewer words: what `mount(8)` or its helpers do with the others would end in "invalid argument", or in a kernel
//! that takes a word and ignores it. The table [`WORDS`] is the only place that knows which word is which.

use super::settings::Kind;

/// What becomes of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    /// A property of the mount, not of the file system: set with `mount_setattr`, as the file system would take the
    /// word for an unknown option or ignore it.
    Attribute,
    /// Has no meaning here; left out, with a note that says why.
    Dropped(&'static str),
    /// Passed to the kernel, with a note that says what it costs.
    Risky(&'static str),
    /// Never accepted; says why.
    Refused(&'static str),
}

use Treatment::{Attribute, Dropped, Refused, Risky};

/// For which kinds of share a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Both,
    Smb,
    Nfs,
}

const FSTAB: &str = "is for mount(8) and /etc/fstab, and the agent uses neither";
const DEFAULT: &str = "is so anyway";
const HELPER: &str = "is for the mount helper, and the agent retries by itself";
const SECRET: &str =
    "names and keys belong in the file that share.credentials.file names, where nobody else reads them";
const SOURCE: &str = "the source is share.source";
const ADDRESS: &str = "the agent looks up the server's address itself, and again when it moves";
const OWNER: &str = "the agent sets who owns the files and who may read them, so that nobody reads another's notebooks";
const ACCESS: &str = "it would let the server's idea of owners and modes, or none, decide who reads whose notebooks";
const ATTACK: &str = "it would let a file on the share make its finder root";
const LOSS: &str = "what users are writing while the server is away can be lost without an error; `hard` waits instead";

/// Every word that is not simply passed to the kernel. Names are the kernel's and mount(8)'s, in lower case.
/// Sources: mount(8), mount.cifs(8), nfs(5), and the kernel's `fs/smb/client/fs_context.c` and `fs/nfs/fs_context.c`.
const WORDS: &[(For, &[&str], Treatment)] = &[
    (For::Both, &["ro", "noexec", "nosymfollow"], Attribute),
    (For::Both, &["noatime", "nodiratime", "relatime", "strictatime"], Attribute),
    (For::Both, &["nofail", "_netdev", "auto", "noauto", "defaults", "comment", "loop"], Dropped(FSTAB)),
    (For::Both, &["users", "nouser", "nousers", "owner", "noowner", "group", "nogroup"], Dropped(FSTAB)),
    (For::Both, &["rw", "exec", "async", "atime", "diratime", "symfollow"], Dropped(DEFAULT)),
    (For::Both, &["nosuid", "nodev"], Dropped("is always set")),
    (For::Nfs, &["bg", "fg", "retry"], Dropped(HELPER)),
    (For::Both, &["soft"], Risky(LOSS)),
    (For::Nfs, &["softerr"], Risky(LOSS)),
    (For::Smb, &["nostrictsync"], Risky("a program that saves and asks for certainty (fsync) does not get it")),
    (For::Both, &["username", "user", "password", "password2", "pass", "pass2", "passwd"], Refused(SECRET)),
    (For::Both, &["credentials", "cred"], Refused(SECRET)),
    (For::Smb, &["guest", "cruid", "multiuser"], Refused("every user's mount uses the account of share.credentials")),
    (For::Nfs, &["multiuser"], Refused("it is an option of SMB")),
    (For::Both, &["source", "unc", "target", "path", "prefixpath"], Refused(SOURCE)),
    (For::Both, &["ip", "addr", "clientaddr"], Refused(ADDRESS)),
    (For::Nfs, &["mountaddr", "mounthost", "mountport", "mountproto", "mountvers"], Refused("it is for NFS 3")),
    (For::Both, &["port"], Refused("write share.port")),
    (For::Both, &["uid", "gid", "forceuid", "noforceuid", "forcegid", "noforcegid"], Refused(OWNER)),
    (For::Both, &["file_mode", "dir_mode", "mode", "umask", "backupuid", "backupgid"], Refused(OWNER)),
    (For::Smb, &["noperm", "cifsacl", "idsfromsid", "modefromsid", "posix", "unix", "setuids"], Refused(ACCESS)),
    (For::Both, &["suid", "dev"], Refused(ATTACK)),
    (For::Nfs, &["minorversion"], Refused("write vers=4.1")),
];

/// An option after it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judged {
    /// Kept, in [`super::Settings`]; with a note, if it costs something.
    Kept(Option<String>),
    /// Left out, with a note that says why.
    Dropped(String),
}

/// Whether `option` is a property of the mount, for `mount_setattr`, instead of one of the file system's options.
pub fn is_attribute(option: &str) -> bool {
    // Attribute words are the same for every kind.
    matches!(treatment(Kind::Smb, option), Some(Attribute))
}

/// Judges one option for a share of `kind`, `key` or `key=value`.
///
/// # Errors
/// Why it is not accepted. Messages never show a value: it may be a secret that stands in the wrong place.
pub fn judge(kind: Kind, option: &str) -> Result<Judged, String> {
    let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
    if option.is_empty() {
        return Err("an option is empty".to_owned());
    }
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
        // Also a comma in the first word.
        return Err(match option.contains(',') {
            true => "options are joined with a comma: give each option its own item".to_owned(),
            false => "one item is no option: write `key` or `key=value`, each in its own item".to_owned(),
        });
    }
    match treatment(kind, key) {
        Some(Refused(reason)) => return Err(format!("`{key}` is not accepted: {reason}")),
        _ if option.contains(',') => {
            return Err(format!("a comma follows `{key}`: give each option its own item"));
        }
        _ if option.contains(char::is_control) => {
            return Err(format!("`{key}` has a control character"));
        }
        Some(Dropped(reason)) => return Ok(Judged::Dropped(format!("`{key}` is left out: it {reason}"))),
        Some(Attribute) if value.is_some() => return Err(format!("`{key}` takes no value")),
        Some(Risky(cost)) => return Ok(Judged::Kept(Some(format!("with `{key}`, {cost}")))),
        Some(Attribute) | None => {}
    }
    version(kind, key, value)?;
    if kind == Kind::Smb && key.eq_ignore_ascii_case("sec") && value == Some("none") {
        return Err("`sec=none` is not accepted: it logs on as nobody".to_owned());
    }
    Ok(Judged::Kept(None))
}

fn treatment(kind: Kind, key: &str) -> Option<Treatment> {
    let key = key.to_ascii_lowercase();
    if key.starts_with("x-") {
        return Some(Dropped(FSTAB));
    }
    WORDS
        .iter()
        .filter(|(whose, ..)| match whose {
            For::Both => true,
            For::Smb => kind == Kind::Smb,
            For::Nfs => kind == Kind::Nfs,
        })
        .find(|(_, words, _)| words.contains(&key.as_str()))
        .map(|(.., treatment)| *treatment)
}

/// Refuses protocol versions that neither encrypt (SMB before 3.0) nor know the calls that the agent relies on (NFS
/// before 4.1).
fn version(kind: Kind, key: &str, value: Option<&str>) -> Result<(), String> {
    let key = key.to_ascii_lowercase();
    let (good, rule): (&[&str], _) = match (kind, key.as_str()) {
        (Kind::Smb, "vers") => (
            &["3", "3.0", "3.02", "3.0.2", "3.1.1", "3.11"],
            "SMB below 3.0 does not encrypt; leave it out to negotiate the best, or write vers=3.1.1",
        ),
        (Kind::Nfs, "vers" | "nfsvers") => (&["4.1", "4.2"], "the agent mounts NFS 4.1 and later; write vers=4.1"),
        (Kind::Nfs, "v2" | "v3" | "v4" | "v4.0") => (&[], "the agent mounts NFS 4.1 and later; write vers=4.1"),
        _ => return Ok(()),
    };
    match value {
        Some(value) if good.contains(&value) => Ok(()),
        _ => Err(format!("this `{key}` is not accepted: {rule}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Kind::{Nfs, Smb};

    fn outcome(kind: Kind, option: &str) -> &'static str {
        match judge(kind, option) {
            Ok(Judged::Kept(None)) => "kept",
            Ok(Judged::Kept(Some(_))) => "risky",
            Ok(Judged::Dropped(_)) => "dropped",
            Err(_) => "refused",
        }
    }

    #[test]
    fn each_word_for_smb_and_for_nfs() {
        let table = [
            ("actimeo=60", "kept", "kept"),
            ("noexec", "kept", "kept"),
            ("ro", "kept", "kept"),
            ("nosharesock", "kept", "kept"),
            ("domain=CONTOSO", "kept", "kept"),
            ("nconnect=8", "kept", "kept"),
            ("sec=sys", "kept", "kept"),
            ("nofail", "dropped", "dropped"),
            ("_netdev", "dropped", "dropped"),
            ("x-systemd.automount", "dropped", "dropped"),
            ("X-mount.mkdir=0755", "dropped", "dropped"),
            ("defaults", "dropped", "dropped"),
            ("rw", "dropped", "dropped"),
            ("nosuid", "dropped", "dropped"),
            ("bg", "kept", "dropped"),
            ("soft", "risky", "risky"),
            ("softerr", "kept", "risky"),
            ("nostrictsync", "risky", "kept"),
            ("username=me", "refused", "refused"),
            ("user=me", "refused", "refused"),
            ("user", "refused", "refused"),
            ("PASSWORD=x", "refused", "refused"),
            ("password2=x", "refused", "refused"),
            ("pass=x", "refused", "refused"),
            ("credentials=/x", "refused", "refused"),
            ("cred=/x", "refused", "refused"),
            ("source=//a/b", "refused", "refused"),
            ("ip=10.0.0.1", "refused", "refused"),
            ("addr=10.0.0.1", "refused", "refused"),
            ("port=445", "refused", "refused"),
            ("uid=1000", "refused", "refused"),
            ("gid=1000", "refused", "refused"),
            ("forceuid", "refused", "refused"),
            ("forcegid", "refused", "refused"),
            ("file_mode=0777", "refused", "refused"),
            ("dir_mode=0777", "refused", "refused"),
            ("multiuser", "refused", "refused"),
            ("noperm", "refused", "kept"),
            ("suid", "refused", "refused"),
            ("dev", "refused", "refused"),
            ("sec=none", "refused", "kept"),
            ("vers=1.0", "refused", "refused"),
            ("vers=2.1", "refused", "refused"),
            ("vers=default", "refused", "refused"),
            ("vers", "refused", "refused"),
            ("vers=3.0", "kept", "refused"),
            ("vers=3.1.1", "kept", "refused"),
            ("vers=4", "refused", "refused"),
            ("vers=4.1", "refused", "kept"),
            ("nfsvers=3", "kept", "refused"),
            ("minorversion=1", "kept", "refused"),
            ("v3", "kept", "refused"),
            ("", "refused", "refused"),
            ("=", "refused", "refused"),
            ("no exec", "refused", "refused"),
            (" noexec", "refused", "refused"),
            ("noexec=1", "refused", "refused"),
            ("noexec,ro", "refused", "refused"),
            ("actimeo=1,ro", "refused", "refused"),
            ("domain=a\nb", "refused", "refused"),
            ("dömain=a", "refused", "refused"),
        ];
        for (option, smb, nfs) in table {
            assert_eq!(outcome(Smb, option), smb, "SMB {option:?}");
            assert_eq!(outcome(Nfs, option), nfs, "NFS {option:?}");
        }
    }

    #[test]
    fn no_message_shows_a_value() {
        for option in [
            "password=S3cret",
            "pass word=S3cret",
            "=S3cret",
            "actimeo=1,password=S3cret",
            "ro,password=S3cret",
            "vers=S3cret",
            "noexec=S3cret",
            "key=a\nS3cret",
            "x-y=S3cret",
            "soft=S3cret",
        ] {
            for kind in [Smb, Nfs] {
                assert!(!format!("{:?}", judge(kind, option)).contains("S3cret"), "{option}");
            }
        }
    }

    #[test]
    fn a_joined_list_is_named_as_such() {
        for option in ["noexec,ro", "actimeo=1,ro", "soft,ro", "nofail,ro", "a b,c"] {
            assert!(judge(Smb, option).unwrap_err().contains("its own item"), "{option}");
        }
    }

    #[test]
    fn words_stand_once_and_in_lower_case() {
        for (i, (whose, words, _)) in WORDS.iter().enumerate() {
            for word in *words {
                assert_eq!(*word, word.to_ascii_lowercase());
                let again = WORDS[i + 1..].iter().any(|(other, others, _)| {
                    others.contains(word) && (whose == other || [whose, other].contains(&&For::Both))
                });
                assert!(!again, "{word} stands twice");
            }
        }
    }

    #[test]
    fn attributes() {
        for (option, attribute) in [("noexec", true), ("ro", true), ("noatime", true), ("actimeo=1", false)] {
            assert_eq!(is_attribute(option), attribute, "{option}");
        }
    }
}
