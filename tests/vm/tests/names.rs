//! Log-in names as administrators and directory services make them, against a real server that does not tell case apart,
//! has other rules for names than this system, and knows long names by short ones, too.

use std::time::Duration;

use vm::{Scenario, Service, together, wait_for};

const SOON: Duration = Duration::from_secs(120);

/// Each name, and the directory that is documented for it (`agent/src/workspace/names.rs`). None that begins with a space:
/// glibc leaves spaces out that a line of passwd(5) begins with, so nobody can be asked for by such a name.
const NAMES: [(&str, &str); 36] = [
    // Alice in small letters is there, too.
    ("Alice", "%41lice"),
    ("ALICE", "%41%4C%49%43%45"),
    ("alice.", "alice%2E"),
    ("alice..", "alice.%2E"),
    ("alice ", "alice%20"),
    ("%41lice", "%2541lice"),
    ("con", "%63on"),
    ("Con", "%43on"),
    ("con.", "%63on%2E"),
    ("prn", "%70rn"),
    ("aux", "%61ux"),
    ("nul", "%6Eul"),
    ("nul.txt", "%6Eul.txt"),
    ("com1", "%63om1"),
    ("com10", "com10"),
    ("lpt1", "%6Cpt1"),
    ("pc$", "pc$"),
    (".hidden", ".hidden"),
    ("..", "%2E%2E"),
    ("...", "%2E%2E%2E"),
    ("12345", "12345"),
    ("zoë", "zo%C3%AB"),
    ("ZOË", "%5A%4F%C3%8B"),
    ("日本", "%E6%97%A5%E6%9C%AC"),
    ("com¹", "%63om%C2%B9"),
    ("CONTOSO\\bob", "%43%4F%4E%54%4F%53%4F%5Cbob"),
    ("bob@contoso.com", "bob@contoso.com"),
    ("a/b", "a%2Fb"),
    ("a*b", "a%2Ab"),
    ("a?b", "a%3Fb"),
    ("a|b", "a%7Cb"),
    ("a<b", "a%3Cb"),
    ("a>b", "a%3Eb"),
    ("a\"b", "a%22b"),
    ("a'b;c&d", "a'b;c&d"),
    ("e~1", "e%7E1"),
];

/// Makes the users of a table of `[name, directory]`, with homes `/home/odd0` and on, and what they do. Whom useradd(8)
/// refuses comes from elsewhere, as from a directory service.
const PEOPLE: &str = r#"#!/usr/bin/python3
import json, os, subprocess, sys, traceback
FIRST = 3000

def takes(name, n):
    command = ["useradd", "--badname", "--no-log-init", "--no-create-home", "--gid=users", "--shell=/bin/bash",
               f"--uid={FIRST + n}", f"--home-dir=/home/odd{n}", "--", name]
    return subprocess.run(command, capture_output=True).returncode == 0

def add(name, n):
    home, uid = f"/home/odd{n}", FIRST + n
    taken = takes(name, n)
    if not taken:
        with open("/etc/passwd", "a") as passwd, open("/etc/shadow", "a") as shadow:
            passwd.write(f"{name}:x:{uid}:100::{home}:/bin/bash\n")
            shadow.write(f"{name}:*:20000:0:99999:7:::\n")
    make_home(n)
    return taken

def make_home(n):
    os.mkdir(f"/home/odd{n}", 0o700)
    os.chown(f"/home/odd{n}", FIRST + n, 100)

def as_user(n, work):
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([100]); os.setresgid(100, 100, 100); os.setresuid(FIRST + n, FIRST + n, FIRST + n)
            work()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(f"number {n} of the table, see above")

def write(n, directory):
    remote = f"/home/odd{n}/notebooks/remote"
    assert os.readlink(remote) == f"/datamnt/dsvmshare/notebooks/{directory}", os.readlink(remote)
    assert os.listdir(remote) == [], os.listdir(remote)
    with open(remote + "/mine", "x") as mine:
        mine.write(str(n))

def read(n, others):
    remote = f"/home/odd{n}/notebooks/remote"
    assert os.listdir(remote) == ["mine"], os.listdir(remote)
    assert open(remote + "/mine").read() == str(n)
    assert os.stat(remote + "/mine").st_uid == FIRST + n
    for other in others:
        try:
            os.listdir(f"/datamnt/dsvmshare/notebooks/{other}")
        except PermissionError:
            continue
        raise AssertionError(f"it reads {other}")

what, from_, table = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
numbered = list(enumerate(table, from_))
if what == "add":
    print(json.dumps([name for n, (name, _) in numbered if not add(name, n)]))
elif what == "longest":
    print(next(length for length in range(256, 0, -1) if takes("l" * length, from_)))
    make_home(from_)
else:
    for n, (_, directory) in numbered:
        as_user(n, lambda: write(n, directory))
    for n, (_, directory) in numbered:
        as_user(n, lambda: read(n, [other for _, other in table if other != directory]))
"#;

/// What this user's name and directory are, as the script takes them.
fn table(names: &[(&str, &str)]) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\t', "\\t"));
    let rows: Vec<String> = names.iter().map(|(n, d)| format!("[{},{}]", quoted(n), quoted(d))).collect();
    format!("'[{}]'", rows.join(",").replace('\'', r"'\''"))
}

#[test]
#[ignore = "long: fifty users in a guest; run it when the mapping of names changes"]
fn no_two_names_share_a_directory_whatever_the_server_makes_of_them() {
    let scenario = Scenario::new("no_two_names_share_a_directory_whatever_the_server_makes_of_them");
    let (server, guest) = together(|| scenario.file_server(), || scenario.agent_vm("vm1", Service::Running));
    // Long names are known by short ones, too, as many servers still have it.
    server.sh("sed -i 's/^\\[global\\]/&\\nmangled names = yes/' /etc/samba/smb.conf; systemctl restart smbd");
    guest.put(PEOPLE, "/root/people", 0o755);
    let people = |what: &str, first: usize, names: &[(&str, &str)]| {
        guest.sh(&format!("/root/people {what} {first} {}", table(names)))
    };
    assert_eq!(people("add", 0, &NAMES), "[]", "useradd --badname refuses them");
    let longest: usize = people("longest", 50, &[]).parse().expect("a length");
    println!("the longest name that useradd takes has {longest} letters");
    // The kernel takes 255 bytes for what is mounted.
    let room = 255 - format!("//{}/{}/notebooks/", vm::server::HOST, vm::server::SHARE).len();
    let long = "m".repeat(longest.min(room));
    // Each of these letters takes three characters, and there is room for 255.
    let too_long = "U".repeat(86);
    people("add", 60, &[(&too_long, ""), (&long, &long)]);
    guest.configure_smb();
    guest.sh("mkdir -p /etc/dsvm-agent/agent.d");
    guest.put("[workspace]\nmount = \"always\"\n", "/etc/dsvm-agent/agent.d/50-mount.toml", 0o644);
    let mounted = |count: usize| {
        guest.sh("grep -c ' /datamnt/dsvmshare/notebooks/' /proc/self/mountinfo || true") == count.to_string()
    };
    // Alice, bob, carol and debian have theirs, too, and whoever has the longest name.
    wait_for("all have their notebooks", SOON, || mounted(NAMES.len() + 5));
    wait_for("it is said whose name is too long", SOON, || {
        guest.ssh("dsvm-agent status --json").stdout.contains("\"workspace.name\"")
    });

    people("use", 0, &NAMES);
    people("use", 61, &[(&long, &long)]);
    let mut expected: Vec<&str> = NAMES.iter().map(|(_, directory)| *directory).collect();
    expected.extend(["alice", "bob", "carol", "debian", &long]);
    expected.sort_unstable();
    assert_eq!(server.list("notebooks"), expected);
    for (n, (name, directory)) in NAMES.iter().enumerate().filter(|(n, _)| n % 6 == 0) {
        assert_eq!(server.read(&format!("notebooks/{directory}/mine")), n.to_string().as_bytes(), "{name}");
    }
    // As people do it.
    for (name, directory) in [("Alice", "%41lice"), ("con", "%63on"), ("pc$", "pc$"), ("12345", "12345")] {
        guest.log_in(name, "echo here >~/notebooks/remote/in").ok();
        assert_eq!(server.read(&format!("notebooks/{directory}/in")), b"here\n", "{name}");
    }

    // Somebody is called what the server calls another's directory.
    let known = server.sh(&format!(
        "smbclient -U {}%{} //127.0.0.1/{} -c 'altname notebooks/bob@contoso.com'",
        vm::server::ACCOUNT,
        vm::server::KEY,
        vm::server::SHARE
    ));
    let short = known.trim().rsplit(['\\', '/', ' ']).next().unwrap_or_default().to_lowercase();
    println!("the server knows bob@contoso.com by {short}, too");
    assert!(short.contains('~'), "the server has no short names: {known}");
    let directory = short.replace('~', "%7E");
    people("add", 70, &[(&short, &directory)]);
    wait_for("there is one more", SOON, || mounted(NAMES.len() + 6));
    people("use", 70, &[(&short, &directory)]);
    let bob = NAMES.iter().position(|(name, _)| *name == "bob@contoso.com").expect("he is in the table");
    assert_eq!(server.read("notebooks/bob@contoso.com/mine"), bob.to_string().as_bytes());
}
