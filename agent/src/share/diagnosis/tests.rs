use super::*;
use crate::config::settings::{Kind, Source};
use crate::problem::registry;
use crate::share::model::Attempt;
use proptest::prelude::*;

fn azure() -> Share {
    let host = "contosods.file.core.windows.net".to_owned();
    Share {
        source: Source::Smb { host, share: "dsvmshare".to_owned() },
        credentials: Some(Credentials::File("/etc/dsvm-agent/share.key".into())),
        ..Share::smb_for_tests()
    }
}

fn nfs() -> Share {
    let host = "contosods.file.core.windows.net".to_owned();
    Share { source: Source::Nfs { host, export: "/contosods/dsvmshare".to_owned() }, ..azure() }
}

fn failure(attempt: Attempt, errno: i32, details: &[&str]) -> Failure {
    Failure { attempt, errno: Some(errno), details: details.iter().map(|d| (*d).to_owned()).collect() }
}

#[test]
fn every_row_is_whole_registered_and_short() {
    for fault in FAULTS {
        assert!(registry::find(fault.code).is_some(), "{} is not registered", fault.code);
        assert!(!fault.during.is_empty(), "{fault:?}");
        for share in [azure(), nfs()] {
            let failure = failure(fault.during[0], libc::EIO, &["20.60.1.2"]);
            for text in [fill(fault.summary, &share, &failure), fill(fault.remedy, &share, &failure)] {
                assert!(!text.contains(['{', '}']) && !text.contains("  "), "{}: {text}", fault.code);
                // Three lines in all at the usual width.
                assert!((15..240).contains(&text.len()), "{}: {text}", fault.code);
                for word in ["Worker", "os error", "errno", "brain"] {
                    assert!(!text.contains(word), "{}: {text}", fault.code);
                }
            }
        }
    }
}

#[test]
fn each_row_can_be_reached() {
    for (index, fault) in FAULTS.iter().enumerate() {
        let kinds = fault.kind.map_or(vec![Kind::Smb, Kind::Nfs, Kind::Directory], |k| vec![k]);
        let reached = kinds.iter().any(|kind| {
            let share = match kind {
                Kind::Smb => azure(),
                Kind::Nfs => nfs(),
                Kind::Directory => Share { source: Source::Directory("/srv/share".into()), ..azure() },
            };
            let says: Vec<&str> = fault.says.first().copied().into_iter().collect();
            let errnos = if fault.errnos.is_empty() { vec![libc::EXDEV] } else { fault.errnos.to_vec() };
            fault.during.iter().any(|attempt| {
                errnos.iter().any(|errno| std::ptr::eq(find(&share, &failure(*attempt, *errno, &says)), fault))
            })
        });
        assert!(reached, "row {index} ({}) is hidden by one above it", fault.code);
    }
}

/// The vendor's numbers, and the faults that are injected in the guests.
#[test]
fn what_administrators_meet() {
    use Attempt::{Attach, Connect, Credentials, Directory, Mount, Probe, Resolve, Vault};
    let smb = azure();
    for (attempt, errno, details, code) in [
        // mount error(13), (112), (115), (126), (2), (95), (1), (22) of the vendor's pages.
        (Mount, libc::EACCES, &[][..], "share.key-refused"),
        (Mount, libc::EACCES, &["STATUS_LOGON_FAILURE"][..], "share.key-refused"),
        (Mount, libc::EACCES, &["STATUS_ACCESS_DENIED"], "share.access-denied"),
        (Mount, libc::EHOSTDOWN, &[], "share.unreachable"),
        (Mount, libc::EINPROGRESS, &[], "share.unreachable"),
        (Mount, libc::ENOKEY, &[], "share.no-ticket"),
        (Mount, libc::ENOENT, &[], "share.not-found"),
        (Mount, libc::ENOENT, &["Could not allocate crypto hmac(md5)"], "share.fips"),
        (Mount, libc::EOPNOTSUPP, &[], "share.protocol-refused"),
        (Mount, libc::EOPNOTSUPP, &["Encryption is not supported on share"], "share.encryption-refused"),
        (Mount, libc::EPERM, &[], "share.key-refused"),
        (Mount, libc::EINVAL, &["option nosuch", "cifs: Unknown parameter 'nosuch'"], "share.option-refused"),
        (Mount, libc::EINVAL, &["create"], "share.mount-failed"),
        (Mount, libc::ENODEV, &["fsopen"], "share.kernel-without-module"),
        (Mount, libc::ENOSYS, &["fsopen"], "share.kernel-too-old"),
        // Killed, dropped silently, refused, no way, a rule on the VM itself.
        (Connect, libc::ECONNREFUSED, &["20.60.1.2"], "share.unreachable"),
        (Connect, libc::ETIMEDOUT, &["20.60.1.2"], "share.unreachable"),
        (Connect, libc::EHOSTUNREACH, &["20.60.1.2"], "share.unreachable"),
        (Connect, libc::EPERM, &["20.60.1.2"], "share.unreachable"),
        (Resolve, 0, &["failed to lookup address information: Name or service not known"], "share.name-unknown"),
        (Resolve, 0, &["Temporary failure in name resolution"], "share.name-unknown"),
        // Deleted, key wrong, silent, under a live mount.
        (Probe, libc::ENOENT, &[], "share.not-found"),
        (Probe, libc::EACCES, &[], "share.key-refused"),
        (Probe, libc::EHOSTDOWN, &[], "share.hung"),
        (Probe, libc::ETIMEDOUT, &["no answer in 10 s"], "share.hung"),
        (Directory, libc::ENOSPC, &[], "share.full"),
        (Directory, libc::EDQUOT, &[], "share.full"),
        (Attach, libc::EROFS, &[], "share.read-only"),
        (Credentials, 0, &["/etc/k: No such file or directory"], "share.credentials"),
        (Vault, 0, &["contoso-kv says 403 to identity 3f2a"], "share.waiting-for-role"),
        (Vault, 0, &["contoso-kv has no secret share-key"], "share.vault"),
    ] {
        assert_eq!(
            diagnose(&smb, &failure(attempt, errno, details)).problem.code,
            code,
            "{attempt:?} {errno} {details:?}"
        );
    }
    for (attempt, errno, code) in [
        (Mount, libc::EACCES, "share.access-denied"),
        (Mount, libc::ENOENT, "share.not-found"),
        (Mount, libc::EPROTONOSUPPORT, "share.protocol-refused"),
        (Mount, libc::ESTALE, "share.unreachable"),
        (Probe, libc::ETIMEDOUT, "share.hung"),
    ] {
        assert_eq!(diagnose(&nfs(), &failure(attempt, errno, &[])).problem.code, code, "nfs {attempt:?} {errno}");
    }
}

#[test]
fn texts_as_people_should_read_them() {
    let text = |failure: &Failure| {
        let problem = diagnose(&azure(), failure).problem;
        format!("{} {}", problem.summary, problem.remedy)
    };
    assert_eq!(
        text(&failure(Attempt::Connect, libc::ETIMEDOUT, &["20.60.1.2"])),
        "contosods.file.core.windows.net is 20.60.1.2 (public), which gives no answer on port 445. Likely: the private DNS \
         zone is not linked to this network, or port 445 is blocked. Do: sudo dsvm-agent doctor"
    );
    assert_eq!(
        text(&failure(Attempt::Mount, libc::EACCES, &[])),
        "contosods.file.core.windows.net refuses the account's key. It was regenerated, or shared-key access is switched \
         off for the account. Put the present key into /etc/dsvm-agent/share.key. It is read again by itself; nobody is \
         logged out."
    );
    assert_eq!(
        text(&failure(Attempt::Directory, libc::ENOSPC, &[])),
        "//contosods.file.core.windows.net/dsvmshare is full, or its quota is reached: nothing can be saved. Enlarge the \
         share: az storage share-rm update --storage-account contosods -n dsvmshare --quota GIB"
    );
}

#[test]
fn words_have_no_numbers_of_the_system_and_no_names_of_the_code() {
    let late = failure(Attempt::Attach, libc::ETIMEDOUT, &["no answer in 30 s"]);
    assert_eq!(late.words(), "no answer in 30 s");
    assert_eq!(failure(Attempt::Attach, libc::EACCES, &["create"]).words(), "Permission denied; create");
    assert_eq!(Failure::said(Attempt::Worker, "too many").words(), "too many");
}

#[test]
fn little_room_is_said_in_time_and_not_too_early() {
    let probe = |free, total| Probe { ms: 1.0, bytes_total: total, bytes_free: free, stalled: 0 };
    for (free, total, code) in [
        (1_288_490_188, 100 * GIB, Some("share.nearly-full")),
        (4 * GIB, 100 * GIB, Some("share.nearly-full")),
        (5 * GIB, 100 * GIB, None),
        // A twentieth of a large share is much.
        (100 * GIB, 5000 * GIB, None),
        (9 * GIB, 5000 * GIB, Some("share.nearly-full")),
        (0, 100 * GIB, Some("share.full")),
        (2048, 100 * GIB, Some("share.full")),
        (64 * 1024, 100 * GIB, Some("share.nearly-full")),
        // It does not say how large it is.
        (0, 0, None),
    ] {
        assert_eq!(space(&azure(), &probe(free, total)).map(|p| p.code).as_deref(), code, "{free} of {total}");
    }
    let problem = space(&azure(), &probe(1_288_490_189, 100 * GIB)).unwrap();
    assert!(problem.summary.starts_with("1.2 GiB of 100 GiB are left on the share."), "{}", problem.summary);
    assert!(problem.remedy.contains("--storage-account contosods -n dsvmshare --quota 200"), "{}", problem.remedy);
}

#[test]
fn sizes() {
    for (count, text) in [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1_288_490_189, "1.2 GiB"),
        (100 * GIB, "100 GiB"),
        (5 << 40, "5 TiB"),
    ] {
        assert_eq!(bytes(count), text);
    }
}

proptest! {
    #[test]
    fn every_failure_has_a_diagnosis_and_what_was_said_is_not_taken_for_a_word(
        errno in proptest::option::of(0i32..140), detail in "\\PC{0,20}\\{host\\}\\PC{0,20}", attempt in 0usize..13
    ) {
        let attempts = FAULTS[FAULTS.len() - 1].during;
        let failure = Failure { attempt: attempts[attempt], errno, details: vec![detail.clone()] };
        let problem = diagnose(&azure(), &failure).problem;
        prop_assert!(registry::find(&problem.code).is_some());
        if problem.summary.contains("{host}") {
            prop_assert!(problem.summary.contains(&detail));
        }
    }
}
