//! The request socket, to which anybody may connect.

use namespaces::{SOON, Sandbox, wait_for};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

#[test]
fn nonsense_hurts_nobody() {
    let Some(vm) = Sandbox::new("vm1") else { return };
    ["ada", "grace"].iter().for_each(|name| vm.user(name));
    vm.configure("");
    let agent = vm.agent_start();
    agent.wait_ready();
    let brain = agent.brain();
    let socket = vm.path("/run/dsvm-agent/status/request.sock");
    let connect = || UnixStream::connect(&socket).expect("it listens");
    let huge = vec![b'x'; 1 << 20];
    let deep = "[".repeat(4000);
    for nonsense in [
        &b"\n"[..],
        b"\0\0\0\n",
        b"{}\n",
        b"{\"request\":\"root\"}\n",
        b"\xff\xfe\n",
        &huge,
        deep.as_bytes(),
        b"no end",
    ] {
        let mut stream = connect();
        // It may hang up on what is too long.
        let _ = stream.write_all(nonsense);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.contains("error"), "{answer}");
    }
    // Those who say nothing wait in the queue and are hung up on in their turn; whoever asks is answered.
    let silent: Vec<_> = (0..200)
        .map_while(|_| {
            let stream = UnixStream::connect(&socket).ok()?;
            stream.set_nonblocking(true).ok()?;
            Some(stream)
        })
        .collect();
    wait_for("ada is answered", SOON, || vm.as_user("ada", "dsvm-agent status").out.contains("~/notebooks/remote"));
    drop(silent);
    vm.log_in("ada").ok();
    wait_for("ada's notebooks are mounted", SOON, || vm.is_mounted("notebooks/ada"));
    // Who asks is the kernel's word: grace cannot make ada come.
    vm.as_user("grace", "PAM_TYPE=account PAM_USER=ada dsvm-agent login-hook").ok();
    assert!(!vm.as_user("grace", "dsvm-agent status").ok().contains("ada"), "nor see hers");
    assert_eq!(agent.brain(), brain, "it is the same process still");
    agent.wait_no_problem();
}
