//! What is said about each bad input, by table: a configuration, and what its mistakes or notes are.

use super::*;
use crate::config::place::Text;
use std::path::Path;

fn findings(text: &str) -> (Settings, Findings) {
    let (fragment, mistakes) = crate::config::fragment::read(&Text::new(Path::new("f"), text));
    let mut findings = Findings { mistakes, notes: Vec::new() };
    let settings = settings(&fragment, &mut findings);
    (settings, findings)
}

fn shown(list: &[Mistake]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

/// A share that has nothing wrong, with `more` behind it.
fn smb(more: &str) -> String {
    format!("[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nfile = \"/etc/share.key\"\n{more}")
}

#[test]
fn each_mistake_has_its_place_and_says_what_to_write() {
    let table: &[(&str, &[(&str, &str)])] = &[
        ("[share]", &[("f:1:2: ", "no share.source"), ("f:1:2: ", "no share.mount_point")]),
        ("[share]\nmount_point = \"/d\"", &[("f:1:2: ", "[share] has no share.source: write \"//host/share\"")]),
        ("[share]\nsource = \"/srv\"", &[("f:1:2: ", "[share] has no share.mount_point")]),
        ("[share.smb]\noptions = []", &[("f:1:2: ", "no share.source"), ("f:1:2: ", "no share.mount_point")]),
        // One mistake is enough where the key was meant or has the wrong type.
        ("[share]\nsuorce = \"/srv\"\nmount_point = \"/d\"", &[("f:2:1: ", "did you mean `share.source`?")]),
        (
            "[share]\nsource = 5\nmount_point = \"/d\"",
            &[("f:2:10: ", "share.source wants a text in quotes, not a whole")],
        ),
        ("[share]\nsource = /srv\nmount_point = \"/d\"", &[("f:2:10: ", "not TOML")]),
        ("share = \"/srv\"", &[("f:1:1: ", "`share` is a section, not a text: open it with `[share]`")]),
        ("[[share]]\nsource = \"/srv\"", &[("f:1:3: ", "`share` is a section, not a list")]),
        (
            "[share]\nsource.smb = \"/srv\"\nmount_point = \"/d\"",
            &[("f:2:1: ", "wants a text in quotes, not a section")],
        ),
        (
            "[share]\nsource = \"/srv/s\"\nmount_point = \"/mnt/s\"",
            &[("f:3:15: ", "share.mount_point cannot be under /mnt (\"/mnt/s\"): Azure")],
        ),
        ("[share]\nsource = \"/srv/s\"\nmount_point = \"/srv/s/x\"", &[("f:3:15: ", "lie within each other")]),
        ("[share]\nsource = \"/srv/s\"\nmount_point = \"/srv\"", &[("f:3:15: ", "lie within each other")]),
        ("[share]\nsource = \"/proc\"\nmount_point = \"/d\"", &[("f:2:10: ", "share.source cannot be under /proc")]),
        (
            "[share]\nsource = \"/mnt/s\"\nmount_point = \"/d\"\ndirectory.local = true",
            &[("f:2:10: ", "local and under /mnt")],
        ),
        ("[share]\nsource = \"//h/s\"\nmount_point = \"/d\"", &[("f:2:10: ", "needs an account")]),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\npassword = \"x\"",
            &[("f:2:10: ", "needs an account"), ("f:5:1: ", "unknown key `share.credentials.password`")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credential]\nfile = \"/x\"",
            &[("f:4:8: ", "did you mean `share.credentials`?")],
        ),
        (
            "[share]\nsource = \"h:/s\"\nmount_point = \"/d\"\n[share.credentials]\nfile = \"/k\"",
            &[("f:5:8: ", "share.credentials.file is not used: share.source is NFS")],
        ),
        (
            "[share]\nsource = \"/s\"\nmount_point = \"/d\"\n[share.credentials]\nfile = \"/k\"",
            &[("f:5:8: ", "is not used: share.source is a local directory")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nfile = \"share.key\"",
            &[("f:5:8: ", "share.credentials.file must be an absolute path")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nfile = \"/d/share.key\"",
            &[("f:5:8: ", "lies under share.mount_point")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nfile = \"/k\"\nsystemd_credential = \"k\"",
            &[("f:6:22: ", "share.credentials.systemd_credential is given besides share.credentials.file")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nfile = \"/k\"\nkey_vault = { vault = \"kv1\", secret = \"s\" }",
            &[("f:6:23: ", "share.credentials.key_vault.vault is given besides share.credentials.file")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nkey_vault = { vault = \"kv1\" }",
            &[("f:5:1: ", "key_vault has no share.credentials.key_vault.secret")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nkey_vault = { vault = \"kv1\", secret = \"s\", secrets = \"x\" }",
            &[("f:5:44: ", "unknown key `share.credentials.key_vault.secrets`")],
        ),
        (
            "[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\nvault = \"kv1\"",
            &[("f:5:1: ", "unknown key `share.credentials.vault`: did you mean `share.credentials.key_vault`?")],
        ),
        (
            "[share]\nsource = \"h:/s\"\nmount_point = \"/d\"\n[share.credentials]\nsystemd_credential = \"k\"",
            &[("f:5:22: ", "share.credentials.systemd_credential is not used: share.source is NFS")],
        ),
        ("[share]\nport = 0\nsource = \"/s\"\nmount_point = \"/d\"", &[("f:2:8: ", "from 1 to 65535")]),
        ("[share]\nport = 65536\nsource = \"/s\"\nmount_point = \"/d\"", &[("f:2:8: ", "from 1 to 65535")]),
        ("[share]\nport = -1\nsource = \"/s\"\nmount_point = \"/d\"", &[("f:2:8: ", "from 1 to 65535")]),
        ("[share]\nport = 4.5\nsource = \"/s\"\nmount_point = \"/d\"", &[("f:2:8: ", "not a number")]),
        (
            &smb("[share.smb]\nisolation = \"none\""),
            &[("f:7:13: ", "share.smb.isolation is \"per-user\" or \"open\", not \"none\"")],
        ),
        (&smb("[share.smb]\noptions = \"ro\""), &[("f:7:11: ", "wants a list of texts")]),
        (&smb("[share.smb]\noptions = [1, \"ro\", true]"), &[("f:7:12: ", "each item"), ("f:7:21: ", "each item")]),
        (
            &smb("[share.smb]\noptions = [\"ro,soft\",\n  \"uid=1\"]"),
            &[("f:7:12: ", "its own item"), ("f:8:3: ", "`uid` is not accepted")],
        ),
        ("[workspace]\nlinger = 30", &[("f:2:10: ", "no unit: write \"30m\" or \"90s\"")]),
        ("[workspace]\nlinger = 1.5", &[("f:2:10: ", "no unit")]),
        ("[workspace]\nlinger = \"30\"", &[("f:2:10: ", "no unit")]),
        ("[workspace]\nlinger = \"soon\"", &[("f:2:10: ", "no duration: \"soon\"")]),
        ("[workspace]\nlinger = \"-5m\"", &[("f:2:10: ", "no duration")]),
        ("[workspace]\nlinger = true", &[("f:2:10: ", "wants a duration")]),
        ("[workspace]\nlinger = \"25h\"", &[("f:2:10: ", "at most 24h, not 1day 1h")]),
        // Months, to the library that reads durations.
        ("[workspace]\nlinger = \"10M\"", &[("f:2:10: ", "at most 24h")]),
        ("[workspace]\nmount = true", &[("f:2:9: ", "wants \"on-presence\" or \"always\"")]),
        ("[workspace]\ndirectory = \"notebooks\"", &[("f:2:13: ", "workspace.directory has no {user}")]),
        (
            "[workspace]\ninclude = [\"a/b\", \"alice\", \"..\"]",
            &[("f:2:12: ", "a user's name"), ("f:2:28: ", "\"..\"")],
        ),
        (
            "[workspace]\ninclude = [\"alice\", \"@ml\"]\nexclude = [\"bob\", \"@ml\"]",
            &[("f:3:19: ", "workspace.exclude has \"@ml\", and so has workspace.include (f:2)")],
        ),
        ("[workspaces]\nlink = \"x\"", &[("f:1:2: ", "unknown section `workspaces`: did you mean `workspace`?")]),
        ("linger = \"5m\"", &[("f:1:1: ", "unknown key `linger`: did you mean `workspace.linger`?")]),
        ("[scale_set]\nenabled = true", &[("f:2:11: ", "scale_set.enabled wants \"auto\" or \"on\" or \"off\"")]),
        ("[scale_set]\nclient_id = \"dsvm\"", &[("f:2:13: ", "not \"dsvm\"")]),
        ("[scale_set]\nlisten = \"9460\"", &[("f:2:10: ", "an address with a port")]),
        ("[scale_set]\nlisten = \"0.0.0.0:80\"", &[("f:2:10: ", "from 1024")]),
        ("[scale_set.endpoints]\nmonitor = \"http://10.0.0.1\"", &[("f:2:11: ", "plain http is for loopback")]),
        ("[scale_set.endpoints]\nmetadata = \"https://h/x\"", &[("f:2:12: ", "a server alone")]),
        ("[status]\ntextfile = \"dsvm.prom\"", &[("f:2:12: ", "absolute path")]),
        ("[status]\ntextfile = \"/var/lib/dsvm.txt\"", &[("f:2:12: ", "ends with .prom")]),
        ("[status]\ntextfile = \"/dsvm.prom\"", &[("f:2:12: ", "directory of its own")]),
        ("[scale_set.endpoint]\nmonitor = \"\"", &[("f:1:12: ", "`scale_set.endpoint`")]),
        ("[guard]\nenabled = true\n[state]\n", &[("f:1:2: ", "section `guard`"), ("f:3:2: ", "`state`")]),
    ];
    for (text, expected) in table {
        let mut mistakes = findings(text).1.mistakes;
        mistakes.sort_by_key(|mistake| mistake.place.position());
        let mistakes = shown(&mistakes);
        assert_eq!(mistakes.len(), expected.len(), "{text}\n{mistakes:#?}");
        for (mistake, (place, says)) in mistakes.iter().zip(*expected) {
            assert!(mistake.starts_with(place) && mistake.contains(says), "{text}\n{mistake}\nis not {place}{says}");
        }
    }
}

#[test]
fn what_is_open_to_all_cannot_be_closed_for_some() {
    let shared = "[[shared]]\ndirectory = \"a\"\nlink = \"x\"";
    let found = findings(&smb(&format!("[share.smb]\nisolation = \"open\"\n{shared}"))).1.mistakes;
    assert!(found.len() == 1 && found[0].to_string().starts_with("f:8:1: [[shared]] cannot be kept"), "{found:?}");
    let nfs = format!("[share]\nsource = \"h:/s\"\nmount_point = \"/d\"\nsmb.isolation = \"open\"\n{shared}");
    assert!(findings(&nfs).1.mistakes.is_empty(), "it is not used there");
}

#[test]
fn what_is_right_has_no_mistake() {
    for text in [
        "".to_owned(),
        smb(""),
        smb("[share.smb]\noptions = [\"vers=3.1.1\", \"noexec\"]\n[workspace]\nlinger = \"0s\""),
        "[share]\nsource = \"h:/a/b\"\nmount_point = \"/d\"\nport = 20049\nnfs.options = [\"vers=4.2\"]".to_owned(),
        "[share]\nsource = \"/s\"\nmount_point = \"/d\"\n[share.directory]\nlocal = true".to_owned(),
        "[workspace]\nlinger = \"24h\"\ninclude = [\"alice\"]\nexclude = [\"@alice\"]".to_owned(),
    ] {
        let (_, findings) = findings(&text);
        assert!(findings.mistakes.is_empty() && findings.notes.is_empty(), "{text}\n{findings:?}");
    }
}

#[test]
fn notes() {
    for (text, says) in [
        (
            smb("[share.smb]\nisolation = \"open\""),
            "f:7:13: share.smb.isolation: with \"open\", every user of the VM reads",
        ),
        (smb("[share.smb]\noptions = [\"soft\"]"), "f:7:12: share.smb.options: with `soft`, what users are writing"),
        (smb("[share.smb]\noptions = [\"_netdev\"]"), "f:7:12: share.smb.options: `_netdev` is left out"),
        (smb("[share.nfs]\noptions = [\"ro\"]"), "f:7:11: share.nfs.options is not used: share.source is SMB"),
        (
            "[share]\nsource = \"/s\"\nmount_point = \"/d\"\nport = 1".to_owned(),
            "f:4:8: share.port is not used: share.source is a local directory",
        ),
    ] {
        let (_, findings) = findings(&text);
        assert!(findings.mistakes.is_empty(), "{:?}", findings.mistakes);
        let notes = shown(&findings.notes);
        assert!(notes.len() == 1 && notes[0].starts_with(says), "{text}\n{notes:?}");
    }
}

#[test]
fn a_share_without_its_table_is_no_share() {
    assert_eq!(findings("[workspace]\nlink = \"x\"").0.share, None);
}
