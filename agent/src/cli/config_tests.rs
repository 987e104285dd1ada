//! What `config check` and `config show` write.

use super::*;
use crate::config::settings::{Directory, Hub, Idle, Nfs, Smb, Source, Status, Stretch, Tuning, Workspace};
use proptest::prelude::*;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const SMB: &str = "[share]\nsource = \"//host/share\"\nmount_point = \"/data/share\"\n\
                   [share.credentials]\nfile = \"/etc/dsvm-agent/share.key\"\n";

/// A directory with `agent.toml` and, in `agent.d`, the rest.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

/// The exit code of a command and what it wrote, without the temporary directory and without notes about whose the
/// files are, which depends on who runs the tests.
fn written(dir: &tempfile::TempDir, command: impl FnOnce(&Path, &mut Vec<u8>) -> io::Result<u8>) -> (u8, String) {
    let mut out = Vec::new();
    let code = command(&dir.path().join("agent.toml"), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap().replace(&format!("{}/", dir.path().display()), "");
    let lines = text.lines().filter(|line| !line.contains("the daemon will refuse it like this"));
    (code, lines.map(|line| format!("{line}\n")).collect())
}

fn checked(dir: &tempfile::TempDir) -> (u8, String) {
    written(dir, |path, out| check(Some(path), |_| Vec::new(), out))
}

#[test]
fn check_says_so_when_all_is_well() {
    let dir = directory(&[("agent.toml", SMB), ("agent.d/10-a.toml", "[workspace]\nlinger = \"1m\"")]);
    assert_eq!(checked(&dir), (0, "agent.toml: no mistakes\nagent.d/10-a.toml: no mistakes\n".to_owned()));
    let dir = directory(&[("agent.toml", "")]);
    assert_eq!(
        checked(&dir),
        (0, "agent.toml: no mistakes\nIt has no [share]: the agent runs, and mounts nothing.\n".to_owned())
    );
}

#[test]
fn check_counts_mistakes_and_shows_notes() {
    let dir = directory(&[("agent.toml", "[workspace]\nlink = 5\ncolour = 1")]);
    assert_eq!(
        checked(&dir),
        (
            1,
            "agent.toml:2:8: workspace.link wants a text in quotes, not a whole number\n\
             agent.toml:3:1: unknown key `workspace.colour`\n2 mistakes\n"
                .to_owned()
        )
    );
    let dir = directory(&[("agent.toml", &format!("{SMB}[share.smb]\noptions = [\"nofail\"]"))]);
    let (code, text) = checked(&dir);
    assert_eq!(code, 0);
    assert!(text.starts_with("agent.toml:7:12: note: share.smb.options: `nofail` is left out"), "{text}");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let missing = (1, "agent.toml: cannot be read: No such file or directory\n1 mistake\n".to_owned());
    assert_eq!(checked(&directory(&[])), missing);
    assert_eq!(checked(&directory(&[("agent.d/a.toml", "")])), missing);
}

#[test]
fn what_the_caller_finds_on_the_machine_is_a_mistake() {
    let dir = directory(&[("agent.toml", SMB)]);
    let found = written(&dir, |path, out| {
        let extra = |loaded: &Loaded| {
            let place = loaded.places.get("share.mount_point").unwrap();
            vec![Mistake::new(place.clone(), "share.mount_point is not empty")]
        };
        check(Some(path), extra, out)
    });
    assert_eq!(found, (1, "agent.toml:3:15: share.mount_point is not empty\n1 mistake\n".to_owned()));

    // Not asked when the files have mistakes of their own.
    let dir = directory(&[("agent.toml", "x = 1")]);
    written(&dir, |path, out| check(Some(path), |_| panic!("asked"), out));
}

#[test]
fn show_names_the_place_of_every_setting() {
    let dir = directory(&[
        ("agent.toml", SMB),
        ("agent.d/10-team.toml", "[workspace]\nlinger = \"1h 30m\"\nexclude = [\"bob\", \"@ops\"]\n"),
    ]);
    let (code, text) = written(&dir, |path, out| show(Some(path), out));
    assert_eq!(code, 0);
    let expected = "\
[share]
source      = \"//host/share\"                                 # agent.toml:2
mount_point = \"/data/share\"                                  # agent.toml:3
# port      = 445                                            # default

[share.smb]
isolation   = \"per-user\"                                     # default
options     = []                                             # default

[share.credentials]
file        = \"/etc/dsvm-agent/share.key\"                    # agent.toml:5

[workspace]
directory   = \"notebooks/{user}\"                             # default
link        = \"notebooks/remote\"                             # default
include     = []                                             # default
exclude     = [\"bob\", \"@ops\"]                                # agent.d/10-team.toml:3
mount       = \"on-presence\"                                  # default
linger      = \"1h 30m\"                                       # agent.d/10-team.toml:2

[idle]
after       = \"1h\"                                           # default
announce    = \"15m\"                                          # default
boot_grace  = \"30m\"                                          # default
keep_max    = \"3days\"                                        # default

[idle.tuning]
sample      = \"30s\"                                          # default
window      = \"5m\"                                           # default
cpu_cores   = 0.05                                           # default

[idle.tuning.memory]
above       = \"2GiB\"                                         # default
after       = \"3h\"                                           # default

[scale_set]
enabled     = \"auto\"                                         # default
protect     = \"in-use\"                                       # default
metrics     = true                                           # default
client_id   = \"\"                                             # default
listen      = \"\"                                             # default

[scale_set.endpoints]
metadata    = \"http://169.254.169.254\"                       # default
resource_manager = \"\"                                        # default
monitor     = \"\"                                             # default

[status]
textfile    = \"\"                                             # default
";
    assert_eq!(text, expected);
}

#[test]
fn show_writes_the_mistakes_of_what_cannot_be_in_force() {
    let dir = directory(&[("agent.toml", "x = 1")]);
    let (code, text) = written(&dir, |path, out| show(Some(path), out));
    assert_eq!((code, text.as_str()), (1, "agent.toml:1:1: unknown key `x`\n1 mistake\n"));
}

#[test]
fn texts_are_toml_whatever_is_in_them() {
    assert_eq!(quoted("a\"b\\c\u{7}ü\u{202e}"), "\"a\\\"b\\\\c\\u0007ü\\u202E\"");
}

fn texts(pattern: &'static str) -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(pattern, 0..3)
}

/// Settings as the loader makes them.
fn settings() -> impl Strategy<Value = Settings> {
    let host = || {
        prop_oneof!["[a-z][a-z0-9.]{0,8}[a-z]", Just("fd00::1".to_owned())].prop_filter("host", |h| !h.contains(".."))
    };
    let source = prop_oneof![
        (host(), "s[a-zA-Z \\$é'#=-]{0,8}x(/dx[ü \\]]{0,2}x)?").prop_map(|(host, share)| Source::Smb { host, share }),
        (host(), "/[a-z\"\\\\#:]{0,8}").prop_map(|(host, export)| Source::Nfs { host, export }),
        "/srv/[a-z \"'\\\\#=\\[\u{202e}]{1,8}x".prop_map(|path| Source::Directory(PathBuf::from(path))),
    ];
    let share = (
        source,
        "/data/[a-z \"'\\\\#=\\]]{0,8}x",
        prop::option::of(1u16..),
        texts("domain=[A-Z\"\\\\#=']{0,5}"),
        texts("nconnect=[0-9]"),
        any::<(bool, bool)>(),
    )
        .prop_map(|(source, mount_point, port, smb, nfs, (local, open))| Share {
            credentials: matches!(source, Source::Smb { .. })
                .then(|| Credentials::File(PathBuf::from("/etc/dsvm-agent/\"key\""))),
            source,
            mount_point: PathBuf::from(mount_point),
            port,
            smb: Smb { isolation: if open { Isolation::Open } else { Isolation::PerUser }, options: smb },
            nfs: Nfs { options: nfs },
            directory: Directory { local },
        });
    let workspace = (
        "(x[a-zé' =#]{0,6}x/)?\\{user\\}",
        "[a-z \"\\\\#]{0,8}x(/[a-z]{1,3})?",
        (
            texts("@?a[a-z. ]{0,5}a").prop_map(|mut names| {
                names.iter_mut().filter(|name| !name.starts_with('@')).for_each(|name| *name = name.replace(' ', ""));
                names
            }),
            texts("b[a-z@\\\\]{0,5}"),
        ),
        any::<bool>(),
        (0u64..86_400, 0u32..1_000_000_000),
    )
        .prop_map(|(directory, link, (include, exclude), always, (seconds, nanos))| Workspace {
            directory,
            link,
            include,
            exclude,
            mount: if always { MountWhen::Always } else { MountWhen::OnPresence },
            linger: Duration::new(seconds, nanos),
        });
    let textfile = prop::option::of("/[a-z\"]{1,8}/[a-z]{1,8}\\.prom");
    let status = textfile.prop_map(|file| Status { textfile: file.map(Into::into) });
    let shared = ("y[a-z ü\\]]{0,5}z", "[a-z\"]{1,4}", prop::option::of("a[a-z ]{0,5}a"), any::<bool>());
    // Beside users' own, wherever those are, and beside one another.
    let shared = prop::collection::vec(shared, 0..3).prop_map(|all| {
        let one = |(number, (directory, link, group, read_only)): (usize, (String, String, _, _))| Shared {
            directory: format!("{number}{directory}"),
            link: format!("{number}!/{link}"),
            group,
            read_only,
        };
        all.into_iter().enumerate().map(one).collect::<Vec<_>>()
    });
    (prop::option::of(share), workspace, shared, idle(), scale_set(), status).prop_map(
        |(share, workspace, shared, idle, scale_set, status)| {
            let open = share.as_ref().is_some_and(Share::is_open);
            let shared = if open || workspace.directory == "{user}" { Vec::new() } else { shared };
            Settings { share, workspace, shared, idle, scale_set, status }
        },
    )
}

fn idle() -> impl Strategy<Value = Idle> {
    let seconds = |range: std::ops::Range<u64>| range.prop_map(Duration::from_secs);
    let hub = ("http://(127\\.0\\.0\\.1|localhost|\\[::1\\]):[1-9][0-9]{3}/[a-z]{1,8}", "/[a-z\"]{1,8}");
    let hub = hub.prop_map(|(url, file)| Hub { url, token_file: file.into() });
    let tuning = (seconds(1..300), seconds(600..3600), 1_u32..6400, 1_u64..10_000, seconds(60..604_800));
    let tuning = tuning.prop_map(|(sample, window, cores, above, after)| Tuning {
        sample,
        window,
        cpu_cores: f64::from(cores) / 100.0,
        memory: Stretch { above: above << 10, after },
    });
    let times = (seconds(60..604_800), 0.01..1.0_f64, seconds(0..86_400), seconds(60..2_592_000));
    (times, prop::option::of(hub), tuning).prop_map(|((after, part, boot_grace, keep_max), jupyterhub, tuning)| Idle {
        after,
        announce: after.mul_f64(part).max(Duration::from_secs(1)),
        boot_grace,
        keep_max,
        jupyterhub,
        tuning,
    })
}

fn scale_set() -> impl Strategy<Value = ScaleSet> {
    let url = || prop_oneof![Just("http://127.0.0.1:8169"), Just("https://management.example")];
    let url = move || url().prop_map(|text| Url::parse(text).unwrap());
    let enabled = prop_oneof![Just(Enabled::Auto), Just(Enabled::On), Just(Enabled::Off)];
    let protect = prop_oneof![Just(Protect::InUse), Just(Protect::ScaleIn), Just(Protect::Off)];
    let client_id = prop_oneof![Just(String::new()), Just("3f2a1c5e-0000-4000-8000-000000000000".to_owned())];
    let listen = prop::option::of(prop_oneof![Just("0.0.0.0:9460"), Just("[::]:9460")]);
    let listen = listen.prop_map(|address| address.map(|text| text.parse().unwrap()));
    let others = (url(), prop::option::of(url()), prop::option::of(url()));
    (enabled, protect, any::<bool>(), client_id, listen, others).prop_map(
        |(enabled, protect, metrics, client_id, listen, (metadata, resource_manager, monitor))| ScaleSet {
            enabled,
            protect,
            metrics,
            client_id,
            listen,
            metadata,
            resource_manager,
            monitor,
        },
    )
}

proptest! {
    #[test]
    fn what_is_shown_means_the_same_when_it_is_read(settings in settings()) {
        let text = render(&settings, &Places::default());
        let dir = directory(&[("agent.toml", &text)]);
        let loaded = load(&dir.path().join("agent.toml"), Trust::Anyone);
        prop_assert_eq!(loaded.map(|loaded| loaded.settings), Ok(settings), "{}", text);
    }
}
