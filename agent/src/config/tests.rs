//! From files to settings.

use super::settings::{Credentials, Enabled, Isolation, MountWhen, Protect, Shared, Source};
use super::*;
use proptest::prelude::*;
use std::fs;
use std::time::Duration;

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

fn load_from(dir: &tempfile::TempDir) -> Result<Loaded, Vec<String>> {
    load(&dir.path().join("agent.toml"), Trust::Anyone)
        .map_err(|mistakes| mistakes.iter().map(|m| shown(dir, m)).collect())
}

/// As displayed, without the temporary directory.
fn shown(dir: &tempfile::TempDir, mistake: &Mistake) -> String {
    mistake.to_string().replace(&format!("{}/", dir.path().display()), "")
}

#[test]
fn nothing_there_is_a_machine_that_is_not_configured() {
    let dir = directory(&[]);
    assert_eq!(load_from(&dir), Ok(Loaded::default()));
    let dir = directory(&[("agent.toml", "# nothing yet\n")]);
    let loaded = load_from(&dir).unwrap();
    assert_eq!((loaded.settings, loaded.files.len()), (Settings::default(), 1));
}

#[test]
fn the_key_comes_from_one_place_of_several() {
    let read = |credentials: &str| {
        let text = format!("[share]\nsource = \"//h/s\"\nmount_point = \"/d\"\n[share.credentials]\n{credentials}\n");
        load_from(&directory(&[("agent.toml", &text)])).unwrap().settings.share.unwrap().credentials
    };
    assert_eq!(read("systemd_credential = \"share.key\""), Some(Credentials::Systemd("share.key".to_owned())));
    let vault = settings::KeyVault {
        vault: "contoso-kv".to_owned(),
        secret: "share-key".to_owned(),
        secret2: None,
        client_id: None,
    };
    let short = "key_vault = { vault = \"contoso-kv\", secret = \"share-key\" }";
    assert_eq!(read(short), Some(Credentials::KeyVault(vault.clone())));
    let whole = "key_vault = { vault = \"contoso-kv\", secret = \"share-key\", secret2 = \"share-key-2\", \
                 client_id = \"01234567-89ab-cdef-0123-456789abcdef\" }";
    let more = settings::KeyVault {
        secret2: Some("share-key-2".to_owned()),
        client_id: Some("01234567-89ab-cdef-0123-456789abcdef".to_owned()),
        ..vault
    };
    assert_eq!(read(whole), Some(Credentials::KeyVault(more)));
}

#[test]
fn every_key_is_read() {
    let text = r#"
[share]
source      = "//contosods.file.core.windows.net/dsvmshare"
mount_point = "/datamnt/dsvmshare"
port        = 1445
[share.smb]
isolation = "per-user"
options   = ["actimeo=60", "nofail"]
[share.nfs]
options = ["nconnect=8"]
[share.directory]
local = true
[share.credentials]
file = "/etc/dsvm-agent/share.key"
[workspace]
directory = "people/{user}"
link      = "remote"
include   = ["@users"]
exclude   = ["bob"]
mount     = "always"
linger    = "90s"
[[shared]]
directory = "datasets"
link      = "notebooks/datasets"
group     = "users"
read_only = true
[[shared]]
directory = "projects"
link      = "projects"
[idle]
after      = "2h"
announce   = "10m"
boot_grace = "5m"
keep_max   = "24h"
jupyterhub = { url = "http://127.0.0.1:8081/hub/api/", token_file = "/etc/dsvm-agent/hub.token" }
[idle.tuning]
sample    = "10s"
window    = "2m"
cpu_cores = 0.1
memory    = { above = "4GiB", after = "4h" }

[scale_set]
enabled   = "on"
protect   = "scale-in"
metrics   = false
client_id = "3F2A1C5E-0000-4000-8000-000000000000"
listen    = "0.0.0.0:9460"
[scale_set.endpoints]
metadata         = "http://127.0.0.1:8169"
resource_manager = "https://management.usgovcloudapi.net"
monitor          = ""

[status]
textfile = "/var/lib/prometheus/node-exporter/dsvm.prom"
"#;
    let dir = directory(&[("agent.toml", text)]);
    let loaded = load_from(&dir).unwrap();
    let share = loaded.settings.share.unwrap();
    let host = "contosods.file.core.windows.net".to_owned();
    assert_eq!(share.source, Source::Smb { host, share: "dsvmshare".to_owned() });
    assert_eq!(share.mount_point, Path::new("/datamnt/dsvmshare"));
    assert_eq!(share.port, Some(1445));
    assert_eq!(share.smb.isolation, Isolation::PerUser);
    assert_eq!(share.smb.options, ["actimeo=60"], "nofail is mount(8)'s");
    assert_eq!(share.nfs.options, ["nconnect=8"]);
    assert!(share.directory.local);
    assert_eq!(share.credentials, Some(Credentials::File("/etc/dsvm-agent/share.key".into())));
    let workspace = loaded.settings.workspace;
    assert_eq!((workspace.directory.as_str(), workspace.link.as_str()), ("people/{user}", "remote"));
    assert_eq!((workspace.include, workspace.exclude), (vec!["@users".to_owned()], vec!["bob".to_owned()]));
    assert_eq!((workspace.mount, workspace.linger), (MountWhen::Always, Duration::from_secs(90)));
    let shared = |directory: &str, link: &str, group: Option<&str>, read_only| Shared {
        directory: directory.to_owned(),
        link: link.to_owned(),
        group: group.map(str::to_owned),
        read_only,
    };
    assert_eq!(
        loaded.settings.shared,
        [shared("datasets", "notebooks/datasets", Some("users"), true), shared("projects", "projects", None, false)]
    );
    let shared_places = ["shared[0].group", "shared[0].read_only", "shared[1].link"];
    assert!(
        shared_places.iter().all(|key| loaded.places.get(key).is_some())
            && loaded.places.get("shared[1].group").is_none()
    );
    let scale_set = loaded.settings.scale_set;
    assert_eq!((scale_set.enabled, scale_set.protect, scale_set.metrics), (Enabled::On, Protect::ScaleIn, false));
    assert_eq!(scale_set.client_id, "3f2a1c5e-0000-4000-8000-000000000000");
    assert_eq!(scale_set.metadata.to_string(), "http://127.0.0.1:8169/");
    assert_eq!(scale_set.resource_manager.unwrap().host(), "management.usgovcloudapi.net");
    assert_eq!(scale_set.monitor, None);
    assert_eq!(scale_set.listen, "0.0.0.0:9460".parse().ok());
    let textfile = loaded.settings.status.textfile;
    assert_eq!(textfile.as_deref(), Some(Path::new("/var/lib/prometheus/node-exporter/dsvm.prom")));

    let idle = loaded.settings.idle;
    let seconds = |d: Duration| d.as_secs();
    assert_eq!((seconds(idle.after), seconds(idle.announce), seconds(idle.boot_grace)), (7200, 600, 300));
    assert_eq!((seconds(idle.tuning.sample), seconds(idle.tuning.window)), (10, 120));
    assert_eq!(idle.jupyterhub.unwrap().url, "http://127.0.0.1:8081/hub/api");
    assert_eq!((idle.tuning.memory.above, seconds(idle.tuning.memory.after)), (4 << 30, 4 * 3600));

    // The key comes from one place.
    let other =
        |key: &str| key.starts_with("shared.") || key.contains(".credentials.") && key != "share.credentials.file";
    for key in fragment::KEYS.iter().copied().filter(|key| !other(key)) {
        assert!(loaded.places.get(key).is_some(), "{key} has a place");
    }
    let line = |key: &str| loaded.places.get(key).unwrap().position().unwrap().line;
    assert_eq!((line("share.source"), line("share.smb.options"), line("workspace.linger")), (3, 8, 21));
    // Without those about the owner and mode of the files, which depend on who runs the tests.
    let in_line = loaded.notes.iter().filter(|note| note.place.position().is_some());
    let notes: Vec<_> = in_line.map(|note| shown(&dir, note)).collect();
    assert_eq!(
        notes,
        [
            "agent.toml:8:28: share.smb.options: `nofail` is left out: it is for mount(8) and /etc/fstab, and the \
             agent uses neither",
            "agent.toml:10:11: share.nfs.options is not used: share.source is SMB",
            "agent.toml:12:9: share.directory.local is not used: share.source is SMB",
        ]
    );
}

#[test]
fn later_files_replace_key_by_key_and_lists_whole() {
    let dir = directory(&[
        (
            "agent.toml",
            "[share]\nsource = \"/srv/a\"\nmount_point = \"/data\"\n[workspace]\nlink = \"r\"\nexclude = [\"a\", \"b\"]",
        ),
        ("agent.d/10-team.toml", "[share]\nsource = \"/srv/b\"\n[workspace]\nexclude = [\"c\"]\nlinger = \"1m\""),
        ("agent.d/9-last.toml", "workspace.linger = \"2m\"\n"),
    ]);
    let loaded = load_from(&dir).unwrap();
    let share = loaded.settings.share.unwrap();
    assert_eq!((share.source.to_string().as_str(), share.mount_point.to_str()), ("/srv/b", Some("/data")));
    assert_eq!(loaded.settings.workspace.exclude, ["c"]);
    assert_eq!(loaded.settings.workspace.link, "r");
    assert_eq!(loaded.settings.workspace.linger, Duration::from_secs(120), "9 comes after 1");
    assert_eq!(loaded.files.len(), 3);
    let place = |key: &str| loaded.places.get(key).unwrap().to_string().replace(dir.path().to_str().unwrap(), "");
    assert_eq!(place("share.source"), "/agent.d/10-team.toml:2:10");
    assert_eq!(place("share.mount_point"), "/agent.toml:3:15");
    assert_eq!(place("workspace.linger"), "/agent.d/9-last.toml:1:20");
}

#[test]
fn fragments_alone_are_a_configuration() {
    let dir = directory(&[("agent.d/share.toml", "share = { source = \"/srv/a\", mount_point = \"/data\" }")]);
    assert!(load_from(&dir).unwrap().settings.share.is_some());
}

#[test]
fn all_mistakes_of_all_files_are_told_in_order() {
    let dir = directory(&[
        (
            "agent.toml",
            "[share]\nmountpoint = \"/data\"\nport = \"445\"\nsource = \"dsvmshare\"\n[workspace]\nlinger = 30",
        ),
        ("agent.d/1.toml", "[workspace\nlink = 5\n"),
        ("agent.d/2.toml", "[workspace]\nlink = \"/x\"\ncolour = 1\n[pool]\nafter = \"60m\"\n"),
    ]);
    std::os::unix::fs::symlink("nowhere", dir.path().join("agent.d/3.toml")).unwrap();
    let mistakes = load_from(&dir).unwrap_err();
    assert_eq!(
        mistakes,
        [
            "agent.d/3.toml: cannot be read: No such file or directory",
            "agent.toml:2:1: unknown key `share.mountpoint`: did you mean `share.mount_point`?",
            "agent.toml:3:8: share.port wants a whole number from 1 to 65535, not a text",
            "agent.toml:4:10: share.source is no share: \"dsvmshare\": write \"//host/share\" for SMB, \"host:/path\" \
             for NFS, or \"/directory\" for a local directory",
            "agent.toml:6:10: workspace.linger has no unit: write \"30m\" or \"90s\"",
            "agent.d/1.toml:1:11: this is not TOML: unclosed table, expected `]`",
            "agent.d/2.toml:2:8: workspace.link must be relative to the home, not \"/x\": write, for example, \
             \"notebooks/remote\"",
            "agent.d/2.toml:3:1: unknown key `workspace.colour`",
            "agent.d/2.toml:4:2: unknown section `pool`",
        ]
    );
}

#[test]
fn windows_that_make_no_sense_are_refused() {
    for (text, says) in [
        ("after = \"5s\"", "idle.after is from 1m to 7days, not 5s"),
        ("after = \"10m\"\nannounce = \"15m\"", "idle.announce is from 1s to 10m, not 15m"),
        ("tuning = { sample = \"1m\", window = \"1m\" }", "idle.tuning.window is from 2m to 1h"),
        ("tuning = { cpu_cores = 0 }", "idle.tuning.cpu_cores is more than 0"),
        ("tuning = { memory = { above = \"2 GB\" } }", "idle.tuning.memory.above is no size"),
        ("jupyterhub = { url = \"http://127.0.0.1/hub/api\" }", "idle.jupyterhub.token_file is missing"),
        ("jupyterhub = { url = \"http://hub.example/api\", token_file = \"/t\" }", "is the hub's API on this VM"),
        ("jupyterhub = { url = \"https://127.0.0.1/api\", token_file = \"/t\" }", "is the hub's API on this VM"),
    ] {
        let mistakes = load_from(&directory(&[("agent.toml", &format!("[idle]\n{text}\n"))])).unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].contains(says), "{text}: {mistakes:?}");
    }
    let short = load_from(&directory(&[("agent.toml", "idle.after = \"2m\"")])).unwrap();
    assert_eq!(short.settings.idle.announce, Duration::from_secs(30), "a short wait has a short announcement");
}

#[test]
fn a_secret_where_none_belongs_is_not_repeated() {
    for text in [
        "[share.credentials]\npassword = \"S3cret\"",
        "[share.credentials]\npassword = S3cret",
        "[share.credentials\npassword = \"S3cret",
        "[share]\nsource = \"//me:S3cret@host/share\"\nmount_point = \"/d\"",
        "[share.smb]\noptions = [\"password=S3cret\", \"a b=S3cret\", \"username=x,password=S3cret\"]",
        "[share.smb]\noptions = \"password=S3cret\"",
    ] {
        let mistakes = load_from(&directory(&[("agent.toml", text)])).unwrap_err();
        assert!(!mistakes.join("\n").contains("S3cret"), "{mistakes:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(main in prop::collection::vec(any::<u8>(), 0..400), more in ".{0,200}") {
        let dir = directory(&[("agent.d/a.toml", &more)]);
        fs::write(dir.path().join("agent.toml"), main).unwrap();
        let _ = load_from(&dir);
    }

    #[test]
    fn what_looks_like_configuration_never_panics(lines in prop::collection::vec(line(), 0..12)) {
        let dir = directory(&[("agent.toml", &lines.join("\n"))]);
        if let Err(mistakes) = load_from(&dir) {
            prop_assert!(!mistakes.is_empty());
        }
    }
}

/// A line that may stand in a configuration, or nearly.
fn line() -> impl Strategy<Value = String> {
    let key = prop::sample::select(fragment::KEYS);
    let value = prop_oneof![
        "\"[ -~]{0,20}\"",
        "-?[0-9]{1,25}",
        Just("true".to_owned()),
        Just("[\"ro\", \"a=b\", 5]".to_owned()),
        Just("\"//host/share\"".to_owned()),
        Just("{ a = 1, b = { c = 2 } }".to_owned()),
        Just("2020-01-01".to_owned()),
        "[\\[\\]{}\"'=,a-z]{0,10}",
    ];
    let section = prop::sample::select(
        &["[share]", "[[share]]", "[[shared]]", "[shared]", "[share.smb]", "[workspace]", "[share", "[\"\"]"][..],
    );
    prop_oneof![
        (key.clone(), value.clone()).prop_map(|(key, value)| format!("{key} = {value}")),
        (key, value).prop_map(|(key, value)| format!("{} = {value}", key.rsplit('.').next().unwrap_or(key))),
        section.prop_map(str::to_owned),
        "[ -~]{0,30}",
    ]
}
