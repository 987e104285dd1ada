//! The packaged firewall rules, with real users' attempts: who reaches instance metadata and the wire server.

use namespaces::{Output, SOON, Sandbox, wait_for};
use std::net::{TcpListener, UdpSocket};

const METADATA: &str = "169.254.169.254";
const WIRE: &str = "168.63.129.16";

/// A machine with a network behind it, in which Azure's addresses answer, and a container that it forwards for.
const NETWORK: &str = r#"set -eu
ip link set lo up
for name in azure box; do
    ip netns add $name
    ip link add to-$name type veth peer name eth0 netns $name
    ip link set to-$name up
    ip -n $name link set lo up
    ip -n $name link set eth0 up
done
ip addr add 10.9.1.1/24 dev to-azure
ip -n azure addr add 10.9.1.2/24 dev eth0
ip -n azure route add default via 10.9.1.1
for address in 169.254.169.254 168.63.129.16; do
    ip -n azure addr add $address/32 dev lo
    ip route add $address via 10.9.1.2
done
ip addr add 10.9.2.1/24 dev to-box
ip -n box addr add 10.9.2.2/24 dev eth0
ip -n box route add default via 10.9.2.1
sysctl -qw net.ipv4.ip_forward=1
"#;

/// A command of the unit, with the rules' file where it is here.
fn of_the_unit(kind: &str) -> String {
    let packaging = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");
    let unit =
        std::fs::read_to_string(format!("{packaging}/systemd/dsvm-agent-metadata-guard.service")).expect("the unit");
    let command = unit.lines().find_map(|line| line.strip_prefix(&format!("{kind}="))).expect(kind);
    command.replace("/usr/share/dsvm-agent/metadata-guard", "/run/guard")
}

struct Machine(Sandbox);

impl Machine {
    fn new() -> Option<Self> {
        let vm = Sandbox::new("vm1")?;
        if std::process::Command::new("nft").arg("--version").output().is_err() {
            eprintln!("SKIPPED: this needs nft");
            return None;
        }
        ["alice", "bob"].iter().for_each(|name| vm.user(name));
        vm.sh(NETWORK).ok();
        let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/nftables/dsvm-agent-metadata-guard.nft");
        vm.write("/run/guard/dsvm-agent-metadata-guard.nft", std::fs::read(rules).expect("the rules"));
        // The last word is for whoever waits for it: a thread of this process cannot be told to end.
        let namespace = vm.path("/run/netns/azure");
        std::thread::spawn(move || {
            let network = std::fs::File::open(namespace).expect("a namespace");
            let kind = rustix::thread::LinkNameSpaceType::Network;
            rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&network), Some(kind)).expect("root");
            let ports = [(METADATA, 80), (WIRE, 80), (WIRE, 32526), (WIRE, 53)];
            let all: Vec<_> = ports.map(|at| TcpListener::bind(at).expect("a port")).into();
            for one in all {
                std::thread::spawn(move || for _ in one.incoming() {});
            }
            let dns = UdpSocket::bind((WIRE, 53)).expect("a port");
            let mut question = [0; 512];
            while let Ok((n, whom)) = dns.recv_from(&mut question) {
                let _ = dns.send_to(question.get(..n).unwrap_or_default(), whom);
            }
        });
        let machine = Self(vm);
        wait_for("everything answers", SOON, || machine.tries("root", WIRE, 53) && machine.asks_dns("alice"));
        Some(machine)
    }

    fn nft(&self, kind: &str) -> Output {
        self.0.sh(&of_the_unit(kind))
    }

    /// Whether a user reaches a port; if not, the connection was refused, and at once.
    fn tries(&self, user: &str, address: &str, port: u16) -> bool {
        self.judge(&self.0.as_user(user, &attempt(address, port)))
    }

    fn tries_from_box(&self, address: &str, port: u16) -> bool {
        let command = format!("ip netns exec box bash -c '{}'", attempt(address, port));
        self.judge(&self.0.sh(&command))
    }

    #[track_caller]
    fn judge(&self, tried: &Output) -> bool {
        let refused = tried.err.contains("Connection refused");
        assert!(tried.success() || refused, "neither open nor refused at once: {tried:?}");
        tried.success()
    }

    /// Whether a question by UDP, as of DNS, gets an answer.
    fn asks_dns(&self, user: &str) -> bool {
        self.0.as_user(user, &question(WIRE)).out.ends_with("question")
    }
}

fn attempt(address: &str, port: u16) -> String {
    format!("exec timeout 5 bash -c \"exec 3<>/dev/tcp/{address}/{port}\"")
}

fn question(address: &str) -> String {
    format!("exec 3<>/dev/udp/{address}/53; printf question >&3; timeout 5 head -c 8 <&3")
}

#[test]
fn users_and_containers_are_refused_at_once_and_nobody_else() {
    let Some(machine) = Machine::new() else { return };
    let secret = [(METADATA, 80), (WIRE, 80), (WIRE, 32526)];
    let open = |who: &str| secret.map(|(address, port)| machine.tries(who, address, port));
    let from_box = || secret.map(|(address, port)| machine.tries_from_box(address, port));
    for who in ["root", "dsvm-agent", "alice", "bob"] {
        assert_eq!(open(who), [true; 3], "{who}, without the rules");
    }
    assert_eq!(from_box(), [true; 3]);

    machine.0.sh("nft -c -f /run/guard/dsvm-agent-metadata-guard.nft").ok();
    // Loading twice is loading once.
    machine.nft("ExecStart").ok();
    let rules = machine.0.sh("nft list ruleset").ok().to_owned();
    for again in ["ExecStart", "ExecReload"] {
        machine.nft(again).ok();
        assert_eq!(machine.0.sh("nft list ruleset").ok(), rules);
    }
    for (who, expected) in [("root", true), ("dsvm-agent", true), ("alice", false), ("bob", false)] {
        assert_eq!(open(who), [expected; 3], "{who}");
        assert!(machine.tries(who, WIRE, 53) && machine.asks_dns(who), "{who}: DNS");
    }
    // root in a container is nobody here.
    assert_eq!(from_box(), [false; 3]);
    assert!(machine.tries_from_box(WIRE, 53), "DNS over TCP");
    let dns = format!("ip netns exec box bash -c '{}'", question(WIRE));
    assert_eq!(machine.0.sh(&dns).out, "question");
    // What is no TCP is told, too.
    let udp = machine.0.as_user("alice", &question(METADATA));
    assert!(!udp.out.contains("question") && !udp.err.is_empty(), "{udp:?}");

    // A service's user is let in as README.md says; what others have is not touched.
    machine.0.sh("nft add table inet other; nft add element inet dsvm_agent allowed { bob }").ok();
    assert_eq!((open("bob"), open("alice")), ([true; 3], [false; 3]));
    for _ in 0..2 {
        machine.nft("ExecStop").ok();
        assert_eq!(machine.0.sh("nft list tables").ok(), "table inet other");
    }
    assert_eq!((open("alice"), from_box()), ([true; 3], [true; 3]));
    // Whoever flushes takes it away, and reloading brings it back.
    machine.nft("ExecStart").ok();
    machine.0.sh("nft flush ruleset").ok();
    assert_eq!(open("alice"), [true; 3]);
    machine.nft("ExecReload").ok();
    assert_eq!(open("alice"), [false; 3]);
}

#[test]
fn the_doctor_says_who_may_ask_for_the_vms_identity() {
    let Some(machine) = Machine::new() else { return };
    let vm = &machine.0;
    vm.configure("");
    let said = |who: &str| {
        let text = vm.as_user(who, "dsvm-agent doctor").out;
        text.lines().find(|line| line.starts_with("metadata")).unwrap_or_default().to_owned()
    };
    for who in ["root", "alice"] {
        assert!(said(who).contains("every user may ask for this VM's identity"), "{who}: {}", said(who));
        assert!(said(who).contains("systemctl enable --now dsvm-agent-metadata-guard"), "{who}: {}", said(who));
    }
    machine.nft("ExecStart").ok();
    for who in ["root", "alice"] {
        assert!(said(who).contains("az login --identity and DefaultAzureCredential do not work"), "{}", said(who));
    }
    vm.sh("groupadd docker; usermod -aG docker bob").ok();
    assert!(said("root").ends_with("Who is in the group docker gets around that: bob"), "{}", said("root"));
    // On no VM of Azure's there is nothing to say.
    vm.sh(&format!("ip -n azure addr del {METADATA}/32 dev lo; ip route del {METADATA}")).ok();
    assert_eq!(said("root"), "");
}
