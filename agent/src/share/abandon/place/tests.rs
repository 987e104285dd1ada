//! Each in a network of its own, which takes root's rights: what is done to this machine's ends with the thread.

use super::*;
use crate::share::greeting::{ask_smb, length, read_smb};
use crate::sys::mountinfo;
use nix::sched::{CloneFlags, unshare};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

const PORT: u16 = 4450;
const LONG: Duration = Duration::from_secs(10);

fn ip(arguments: &str) {
    // A thread's children are in its network.
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Does something in a new network. Whether it was done.
fn alone(work: impl FnOnce() + Send + 'static) -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: this needs root, for a network of its own");
        return false;
    }
    std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        work();
    })
    .join()
    .unwrap();
    true
}

fn is_own(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// As this thread's network has it (proc_sys_net of the kernel's fs/proc).
fn ignores() -> String {
    std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/arp_ignore").unwrap().trim().to_owned()
}

/// What whoever asks a file server there is told.
fn refusal(at: SocketAddr) -> String {
    let began = std::time::Instant::now();
    let mut stream = loop {
        match TcpStream::connect_timeout(&at, LONG) {
            Ok(stream) => break stream,
            // The kernel makes an IPv6 address's route a moment later (addrconf_dad_work of net/ipv6/addrconf.c). Its own
            // client of the file server tries again, too.
            Err(e) if e.kind() == io::ErrorKind::NetworkUnreachable && began.elapsed() < LONG => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => panic!("{e}"),
        }
    };
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(&ask_smb([9; 32])).unwrap();
    let mut first = [0; 4];
    stream.read_exact(&mut first).unwrap();
    let mut answer = vec![0; length(first, true).unwrap()];
    stream.read_exact(&mut answer).unwrap();
    read_smb(&answer).unwrap_err()
}

#[test]
fn nothing_is_taken_where_anything_else_speaks_to_that_machine() {
    let server: Server = ("10.0.0.4".parse().unwrap(), 445);
    let root = "7 1 0:11 / /run/dsvm-agent/share/root rw - cifs //h/s rw,addr=10.0.0.4\n";
    let mount = |target: &str, rest: &str| format!("8 1 0:12 / {target} rw - {rest}\n");
    let connection = |remote: &str, port: u16, uid| {
        let mut connection = Connection::for_tests(1, 0, remote.parse().unwrap(), uid);
        connection.port = port;
        connection
    };
    for (mounts, connections, expected) in [
        (String::new(), vec![], None),
        (mount("/mnt/x", "cifs //h/x rw,addr=10.0.0.4"), vec![], None),
        (mount("/mnt/x", "cifs //h/x rw,addr=10.0.0.4,port=4450"), vec![], Some("/mnt/x is mounted")),
        (mount("/mnt/x", "nfs4 h:/x rw,addr=10.0.0.4"), vec![], Some("/mnt/x is mounted")),
        (mount("/mnt/x", "nfs4 h:/x rw,port=445,addr=10.0.0.4"), vec![], Some("/mnt/x is mounted")),
        (mount("/mnt/x", "nfs h:/x rw,mountport=1,addr=10.0.0.4"), vec![], Some("(nfs)")),
        (mount("/mnt/x", "nfs4 h:/x rw,addr=::ffff:10.0.0.4"), vec![], Some("/mnt/x is mounted")),
        (mount("/mnt/x", "nfs4 h:/x rw,addr=10.0.0.5"), vec![], None),
        (mount("/mnt/x", "ext4 /dev/sda rw"), vec![], None),
        (String::new(), vec![connection("10.0.0.4", 445, 0)], None),
        (String::new(), vec![connection("10.0.0.4", 389, 0)], Some("port 389")),
        (String::new(), vec![connection("10.0.0.4", 445, 0), connection("10.0.0.4", 2049, 0)], Some("port 2049")),
        (String::new(), vec![connection("10.0.0.5", 389, 0)], None),
        // Anybody could hold everybody up.
        (String::new(), vec![connection("10.0.0.4", 22, 1000)], None),
    ] {
        let mounts = mountinfo::parse(format!("{root}{mounts}").as_bytes()).unwrap();
        let why = in_the_way(&mounts, &connections, server);
        match expected {
            None => assert_eq!(why, None, "{mounts:?}"),
            Some(part) => assert!(why.as_ref().is_some_and(|why| why.contains(part)), "{why:?}: {mounts:?}"),
        }
    }
}

#[test]
fn a_place_is_taken_at_the_first_call_and_given_back() {
    alone(|| {
        let before = ignores();
        for address in ["10.9.9.4", "fd00:9::4"] {
            let address: IpAddr = address.parse().unwrap();
            if address.is_ipv6() && TcpListener::bind(("::1", 0)).is_err() {
                eprintln!("SKIPPED: no IPv6");
                continue;
            }
            let mut places = Places::default();
            places.take((address, PORT), &[]).unwrap();
            assert!(refusal((address, PORT).into()).contains("0xc0000022"));
            assert!(is_own(address));
            drop(places);
            assert!(!is_own(address), "{address} is given back");
            assert_eq!(ignores(), before);
        }
    });
}

#[test]
fn a_place_where_somebody_listens_is_left_alone() {
    alone(|| {
        let before = ignores();
        let _somebody = TcpListener::bind(("0.0.0.0", PORT)).unwrap();
        let address: IpAddr = "10.9.9.4".parse().unwrap();
        let mut places = Places::default();
        assert_eq!(places.take((address, PORT), &[]).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let others = mountinfo::parse(b"8 1 0:12 / /mnt/x rw - nfs4 h:/x rw,addr=10.9.9.4\n").unwrap();
        assert!(places.take((address, PORT + 1), &others).unwrap_err().to_string().contains("/mnt/x"));
        assert!(!is_own(address) && places.quiet.is_none() && ignores() == before, "nothing was changed");
    });
}

/// A neighbour that asks for the server must reach the server, or nobody.
#[test]
fn a_place_is_for_this_machine_alone() {
    use std::sync::mpsc;
    let (tell, told) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let neighbour = std::thread::spawn(move || {
        alone(move || {
            tell.send(rustix::thread::gettid()).unwrap();
            let at: SocketAddr = "10.9.9.4:4450".parse().unwrap();
            ended.recv().unwrap();
            ip("link set there up");
            ip("address add 10.9.9.2/24 dev there");
            let connect = || TcpStream::connect_timeout(&at, LONG).map(drop).map_err(|e| e.kind());
            assert_eq!(connect(), Err(io::ErrorKind::HostUnreachable), "nobody says that the address is theirs");
            // One that was told before, or that sends everything to this machine.
            ip("neighbour replace 10.9.9.4 lladdr 02:00:00:00:00:01 dev there nud permanent");
            assert_eq!(connect(), Err(io::ErrorKind::ConnectionRefused));
        })
    });
    let Ok(there) = told.recv() else {
        assert!(!neighbour.join().unwrap());
        return;
    };
    alone(move || {
        let peer = format!("peer name there netns {}", there.as_raw_nonzero());
        ip(&format!("link add here address 02:00:00:00:00:01 type veth {peer}"));
        ip("link set here up");
        ip("address add 10.9.9.1/24 dev here");
        let address: IpAddr = "10.9.9.4".parse().unwrap();
        let mut places = Places::default();
        places.take((address, PORT), &[]).unwrap();
        end.send(()).unwrap();
        assert!(neighbour.join().unwrap());
        assert!(refusal((address, PORT).into()).contains("0xc0000022"), "it is there all the same");
    });
}
