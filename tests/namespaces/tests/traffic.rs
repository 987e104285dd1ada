//! Evidence of use that only a worker sees: who holds a connection, and what moves over it.

use namespaces::{SOON, Sandbox, wait_for};
use serde_json::Value;

const SHORT: &str = "[idle]\nafter = \"60s\"\nannounce = \"1s\"\nboot_grace = \"0s\"\n\
                     [idle.tuning]\nsample = \"1s\"\nwindow = \"4s\"\ncpu_cores = 8\n";

/// A VM with two users. An address of its own that is none of the loopback's stands for another machine.
fn machine() -> Option<Sandbox> {
    let vm = Sandbox::new("vm1")?;
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    vm.configure(SHORT);
    vm.sh("ip link set lo up && ip address add 10.9.0.1/32 dev lo").ok();
    Some(vm)
}

/// The evidence of a kind, if any is busy.
fn busy(vm: &Sandbox, name: &str) -> Option<Value> {
    let view: Value = serde_json::from_str(&vm.sh("dsvm-agent idle --json").out).unwrap_or_default();
    let sources = view["sources"].as_array()?;
    sources.iter().find(|s| s["name"] == name && s["state"] == "busy").cloned()
}

#[test]
fn what_programs_move_and_wait_for_elsewhere_is_use_and_what_stays_here_is_not() {
    let Some(vm) = machine() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    let server = "import socket,sys,threading\n\
                  s=socket.create_server((sys.argv[1],7000))\n\
                  def serve(c):\n while c.recv(65536): pass\n\
                  while True: threading.Thread(target=serve,args=(s.accept()[0],),daemon=True).start()\n";
    vm.write("/tmp/server.py", server);
    vm.write(
        "/tmp/client.py",
        "import socket,sys,time\nc=socket.create_connection((sys.argv[1],7000))\n\
         while True:\n c.sendall(b'x'*int(sys.argv[2]))\n time.sleep(0.2)\n",
    );
    let _servers =
        ["10.9.0.1", "127.0.0.1"].map(|at| vm.spawn_as("root", &format!("exec python3 /tmp/server.py {at}")));
    wait_for("both listen", SOON, || vm.sh("ss -tln | grep -c :7000").out.trim() == "2");

    let here = vm.spawn_as("grace", "exec python3 /tmp/client.py 127.0.0.1 100000");
    let sent = vm.spawn_as("ada", "exec python3 /tmp/client.py 10.9.0.1 100000");
    wait_for(&format!("what is sent is seen: {}", agent.describe()), SOON, || busy(&vm, "network").is_some());
    let seen = busy(&vm, "network").expect("it is busy");
    assert_eq!(seen["who"], "ada", "what stays on this machine is nobody's traffic: {seen}");
    assert!(seen["observed"].as_f64() >= seen["threshold"].as_f64(), "{seen}");
    assert!(seen["what"].as_str().is_some_and(|what| what.contains("client.py 10.9.0.1")), "{seen}");
    drop((here, sent));
    wait_for("it is over", SOON, || busy(&vm, "network").is_none());

    // A program in front of a terminal that waits, and computes and moves nothing.
    let waits = vm.spawn_as("ada", "exec script -qc 'python3 /tmp/client.py 10.9.0.1 0' /dev/null </dev/null");
    wait_for(&format!("who waits is seen: {}", agent.describe()), SOON, || busy(&vm, "program").is_some());
    let seen = busy(&vm, "program").expect("it is busy");
    assert_eq!(seen["who"], "ada");
    assert!(seen["what"].as_str().is_some_and(|what| what.contains("client.py")), "{seen}");
    let others = vm.as_user("grace", "dsvm-agent idle --json; dsvm-agent idle").out;
    assert!(!others.contains("client.py 10.9") && !others.contains("ada"), "{others}");
    drop(waits);
    wait_for("it is over", SOON, || busy(&vm, "program").is_none());
}

/// The user who reads and writes, seen as such within a few looks.
fn reads_and_writes(vm: &Sandbox, whose: &str, what: &str) {
    wait_for(&format!("{what} is seen"), SOON, || busy(vm, "io").is_some());
    let seen = busy(vm, "io").expect("it is busy");
    assert_eq!(seen["who"], whose, "{seen}");
}

#[test]
fn copies_are_use_whoever_makes_them_and_however_little_they_compute() {
    let Some(vm) = machine() else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    // Nothing for as long as many windows: neither a shell that starts a program every second nor the agent's own helpers,
    // which read ada's directories as her.
    let waits = vm.spawn_as("ada", "while sleep 1; do date >/dev/null; done");
    for _ in 0..10 {
        agent.wait_looked();
        assert!(busy(&vm, "io").is_none(), "{:?}", busy(&vm, "io"));
    }
    drop(waits);

    // Small files, each by a program that has ended before anybody could look at it.
    let small = "head -c 200000 /dev/zero >/home/grace/a; while sleep 0.1; do cp /home/grace/a /home/grace/b; done";
    let copies = vm.spawn_as("grace", small);
    reads_and_writes(&vm, "grace", "a loop of copies");
    drop(copies);
    wait_for("it is over", SOON, || busy(&vm, "io").is_none());

    // Pages that are fetched over a connection each, and kept.
    vm.write(
        "/tmp/pages.py",
        "import socket\ns=socket.create_server(('10.9.0.1',7001))\nwhile True:\n c=s.accept()[0]\n c.sendall(b'x'*200000)\n c.close()\n",
    );
    vm.write(
        "/tmp/fetch.py",
        "import socket,time\nwhile True:\n c=socket.create_connection(('10.9.0.1',7001))\n f=open('/home/ada/page','wb')\n\
         \x20while b:=c.recv(65536): f.write(b)\n f.close()\n c.close()\n time.sleep(0.2)\n",
    );
    let _pages = vm.spawn_as("root", "exec python3 /tmp/pages.py");
    wait_for("it listens", SOON, || vm.sh("ss -tln").out.contains(":7001"));
    let fetches = vm.spawn_as("ada", "exec python3 /tmp/fetch.py");
    reads_and_writes(&vm, "ada", "what is fetched and kept");
    assert!(busy(&vm, "network").is_none(), "no look finds a connection that moved much");
    drop(fetches);
    wait_for("it is over", SOON, || busy(&vm, "io").is_none());
}
