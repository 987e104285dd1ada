use super::*;
use proptest::prelude::*;
use std::net::TcpListener;
use std::os::fd::AsRawFd;

const UID: u32 = 1001;

fn listener(address: &str, port: u16) -> Listener {
    Listener { address: address.parse().unwrap(), port, uid: UID, inode: 7 }
}

fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, Zeroizing<Vec<u8>>> {
    let text: String = pairs.iter().map(|(name, value)| format!("{name}={value}\0")).collect();
    environment(text.as_bytes())
}

/// As jupyterhub 6.1.1 starts a server.
const HUB: [(&str, &str); 4] = [
    ("PATH", "/usr/bin"),
    ("JUPYTERHUB_API_TOKEN", "secret"),
    ("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:41234/user/ada/"),
    ("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/"),
];

#[test]
fn what_the_hub_started_is_known_by_its_environment() {
    let claim = from_environment(&variables(&HUB)).unwrap();
    assert_eq!(
        (claim.port, claim.secure, claim.base.as_str(), claim.token.as_str()),
        (41234, false, "/user/ada/", "secret")
    );
    for (name, bad) in [
        ("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1:0/user/ada/"),
        ("JUPYTERHUB_SERVICE_URL", "http://127.0.0.1/user/ada/"),
        ("JUPYTERHUB_SERVICE_URL", "ftp://127.0.0.1:21/"),
        ("JUPYTERHUB_SERVICE_PREFIX", "user/ada"),
        ("JUPYTERHUB_SERVICE_PREFIX", "/user/?x="),
        ("JUPYTERHUB_API_TOKEN", "a\r\nHost: b"),
        ("JUPYTERHUB_API_TOKEN", ""),
    ] {
        let changed = HUB.map(|(n, v)| (n, if n == name { bad } else { v }));
        assert_eq!(from_environment(&variables(&changed)), None, "{name}={bad}");
    }
}

#[test]
fn a_plain_server_is_known_by_its_file() {
    let text = |more: &str| format!(r#"{{"port": 8888, "base_url": "/x/", "pid": 5, "sock": ""{more}}}"#);
    let claim = from_file(text(r#", "token": "secret", "secure": true"#).as_bytes()).unwrap();
    assert_eq!((claim.port, claim.secure, claim.base.as_str(), claim.token.as_str()), (8888, true, "/x/", "secret"));
    assert!(from_file(text("").as_bytes()).unwrap().token.is_empty());
    for bad in ["", "{}", "[]", r#"{"port": 99999, "base_url": "/"}"#, r#"{"port": 1, "base_url": "http://evil/"}"#] {
        assert_eq!(from_file(bad.as_bytes()), None, "{bad}");
    }
    let long = text(&format!(r#", "token": "{}""#, "x".repeat(2000)));
    assert_eq!(from_file(long.as_bytes()), None);
}

#[test]
fn the_runtime_directory_is_where_jupyter_says() {
    let home = ("HOME", "/home/ada");
    for (more, expected) in [
        (vec![], "/home/ada/.local/share/jupyter/runtime"),
        (vec![("XDG_DATA_HOME", "/d")], "/d/jupyter/runtime"),
        (vec![("JUPYTER_DATA_DIR", "/j"), ("XDG_DATA_HOME", "/d")], "/j/runtime"),
        (vec![("JUPYTER_RUNTIME_DIR", "/r"), ("JUPYTER_DATA_DIR", "/j")], "/r"),
    ] {
        let all: Vec<_> = more.into_iter().chain([home]).collect();
        assert_eq!(runtime(&variables(&all)), Some(expected.into()));
    }
    assert_eq!(runtime(&variables(&[("JUPYTER_RUNTIME_DIR", "here")])), None);
    assert_eq!(runtime(&variables(&[])), None);
}

#[test]
fn it_is_asked_on_loopback_at_its_own_address() {
    let claim = Claim { port: 80, secure: false, base: "/".into(), token: Zeroizing::default() };
    for (bound, asked) in [
        (vec!["127.0.0.1"], Some("127.0.0.1:80")),
        (vec!["0.0.0.0"], Some("127.0.0.1:80")),
        (vec!["::"], Some("[::1]:80")),
        (vec!["::1"], Some("[::1]:80")),
        (vec!["10.0.0.4", "::1"], Some("[::1]:80")),
        (vec!["10.0.0.4"], None),
    ] {
        let held: Vec<_> = bound.iter().map(|a| listener(a, 80)).collect();
        assert_eq!(server(&claim, &held).ok().map(|s| s.at.to_string()), asked.map(str::to_owned), "{bound:?}");
    }
}

#[test]
fn servers_are_known_by_their_command_lines() {
    let line = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    for (text, expected) in [
        ("/opt/venv/bin/python3 /opt/venv/bin/jupyter-lab --no-browser", true),
        ("python3 -m jupyter_server", true),
        ("/opt/jupyterhub/bin/python /opt/jupyterhub/bin/jupyterhub-singleuser --ip=", true),
        ("python3 -m ipykernel_launcher -f /x/kernel-1.json", false),
        ("vim notes on jupyter-lab", false),
    ] {
        assert_eq!(is_server(&line(text)), expected, "{text}");
    }
}

/// A process table of one process, with the sockets that are really this one's.
struct Table {
    dir: tempfile::TempDir,
    uid: u32,
    sockets: Vec<Listener>,
    _held: Vec<TcpListener>,
}

impl Table {
    fn new(count: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let held: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        std::fs::create_dir_all(dir.path().join("10/fd")).unwrap();
        let uid = rustix::process::getuid().as_raw();
        let sockets: Vec<_> = held
            .iter()
            .map(|l| {
                let link = std::fs::read_link(format!("/proc/self/fd/{}", l.as_raw_fd())).unwrap();
                std::os::unix::fs::symlink(&link, dir.path().join(format!("10/fd/{}", l.as_raw_fd()))).unwrap();
                let inode =
                    link.to_str().unwrap().trim_start_matches("socket:[").trim_end_matches(']').parse().unwrap();
                let address = l.local_addr().unwrap();
                Listener { address: address.ip(), port: address.port(), uid, inode }
            })
            .collect();
        Self { dir, uid, sockets, _held: held }
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn found(&self) -> Vec<Result<Server, String>> {
        servers(self.dir.path(), self.uid, &self.sockets).unwrap()
    }
}

#[test]
fn only_a_process_that_holds_the_socket_is_the_server() {
    let table = Table::new(2);
    let port = table.sockets[0].port;
    let url = |port: u16| {
        format!(
            "JUPYTERHUB_SERVICE_URL=http://127.0.0.1:{port}/u/\0JUPYTERHUB_SERVICE_PREFIX=/u/\0JUPYTERHUB_API_TOKEN=t\0"
        )
    };
    table.write("10/cmdline", "python3\0-m\0ipykernel_launcher\0");
    table.write("10/environ", &url(1));
    assert!(table.found().is_empty(), "a kernel has its server's environment");
    table.write("10/environ", &url(port));
    let found = table.found();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].as_ref().unwrap().socket, table.sockets[0]);
    // Somebody else's socket with that number.
    let mut others = table.sockets.clone();
    others.iter_mut().for_each(|s| s.uid = 77);
    assert!(servers(table.dir.path(), table.uid, &others).unwrap().is_empty());
}

#[test]
fn a_file_counts_when_it_is_a_plain_one_of_the_users_own() {
    let table = Table::new(1);
    let dir = table.dir.path();
    table.write("10/environ", &format!("JUPYTER_RUNTIME_DIR={}\0", dir.display()));
    table.write("10/cmdline", "python3\0/usr/bin/jupyter-lab\0");
    let text = format!(r#"{{"port": {}, "base_url": "/", "token": "t"}}"#, table.sockets[0].port);
    let file = dir.join("jpserver-10.json");
    assert!(table.found()[0].as_ref().unwrap_err().contains("does not say how it is opened"));
    std::fs::write(dir.join("elsewhere"), &text).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    assert!(table.found()[0].is_err(), "a link");
    std::fs::remove_file(&file).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &file, Mode::from(0o600)).unwrap();
    assert!(table.found()[0].is_err(), "a FIFO holds nobody up");
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, format!("{text}{}", " ".repeat(300_000))).unwrap();
    assert!(table.found()[0].is_err(), "too large");
    std::fs::write(&file, &text).unwrap();
    assert_eq!(table.found()[0].as_ref().unwrap().token.as_str(), "t");
    assert!(!format!("{:?}", table.found()).contains("token"), "no secret is shown");
}

#[test]
fn a_server_that_lets_nobody_look_into_it_is_not_taken_for_none() {
    let table = Table::new(1);
    let dir = table.dir.path();
    table.write("10/cmdline", "/opt/venv/bin/python3\0/opt/venv/bin/jupyter-lab\0");
    // It ended meanwhile.
    std::fs::remove_dir_all(dir.join("10/fd")).unwrap();
    assert!(table.found().is_empty());
    // No directory, so that whoever runs the tests cannot list it, root neither.
    table.write("10/fd", "");
    let found = table.found();
    assert!(found.len() == 1 && found[0].as_ref().unwrap_err().contains("lets nobody look into it"), "{found:?}");
    // The next one that can be asked is asked nevertheless, and each of the others is told of.
    std::fs::create_dir(dir.join("11")).unwrap();
    table.write("11/cmdline", "jupyterhub-singleuser\0");
    table.write("11/fd", "");
    assert_eq!(table.found().len(), 2);
    // An agent of keys does not let anybody look either, and is no server.
    table.write("10/cmdline", "ssh-agent\0-s\0");
    table.write("11/cmdline", "");
    assert!(table.found().is_empty());
}

#[test]
fn a_server_in_a_container_is_not_taken_for_none() {
    let table = Table::new(1);
    let dir = table.dir.path();
    let network = |process: &str, number: u32| {
        std::fs::create_dir_all(dir.join(process).join("ns")).unwrap();
        let link = dir.join(process).join("ns/net");
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("net:[{number}]"), link).unwrap();
    };
    std::fs::remove_dir_all(dir.join("10/fd")).unwrap();
    table.write("10/cmdline", "python3\0/opt/conda/bin/jupyter-lab\0");
    network("self", 1);
    network("10", 1);
    assert!(table.found().is_empty());
    network("10", 2);
    let found = table.found();
    assert!(found.len() == 1 && found[0].as_ref().unwrap_err().contains("container"), "{found:?}");
    table.write("10/cmdline", "python3\0train.py\0");
    assert!(table.found().is_empty());
}

proptest! {
    #[test]
    fn any_environment_and_file_is_a_claim_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let all = environment(&bytes);
        let _ = (from_environment(&all), runtime(&all), from_file(&bytes));
    }

    #[test]
    fn what_is_claimed_stays_one_path_and_one_header(port in any::<u16>(), base in ".{0,40}", token in ".{0,40}") {
        if let Some(claim) = checked(port, false, &base, &token) {
            prop_assert!(claim.base.starts_with('/') && claim.base.ends_with('/'));
            let all = format!("{}{}", claim.base, claim.token.as_str());
            prop_assert!(!all.contains(char::is_whitespace) && !all.contains(char::is_control));
        }
    }
}
