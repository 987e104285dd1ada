//! A server that a user started: `jupyter server`, as it comes from PyPI.

use super::{PYTHON, SOON, jupyter, machine, wait_for, wait_row};

#[test]
fn a_cell_that_only_waits_is_use_and_a_kernel_that_rests_is_not_and_asking_is_none() {
    let Some(vm) = machine(Some(&jupyter()), "") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    // Its log tells of every request.
    let more = "--port=8888 --IdentityProvider.token=secret --ServerApp.log_level=DEBUG";
    let serve = format!("exec {PYTHON} -m jupyter_server {more} >~/log 2>&1");
    let server = vm.spawn_as("ada", &serve);
    wait_for("the server answers", SOON, || vm.sh("grep -q 'is running at' /home/ada/log").success());
    let person = |what: &str| {
        let line = format!("{PYTHON} /run/person.py http://127.0.0.1:8888/ secret {what}");
        vm.as_user("ada", &line).ok().to_owned()
    };
    // The tab is closed once the cell runs.
    let kernel = person("run 'import time; time.sleep(3600)'");
    let row = wait_row(&vm, &agent, "kernel", Some("ada"), "busy");
    assert_eq!(row["what"], "work/night.ipynb (python3)");
    assert!(vm.sh("dsvm-agent status").out.contains("night.ipynb"), "{}", agent.describe());
    let bobs = vm.as_user("bob", "dsvm-agent idle; dsvm-agent idle --json").out;
    assert!(bobs.contains("kernel") && !bobs.contains("night"), "{bobs}");

    person(&format!("interrupt {kernel}"));
    wait_row(&vm, &agent, "kernel", Some("ada"), "quiet");
    wait_row(&vm, &agent, "notebook", Some("ada"), "quiet");
    let risks = vm.sh("dsvm-agent idle --json").out;
    assert_eq!(risks.matches("\"kernels\"").count(), 2, "one row, and its unit: {risks}");

    // It is asked again and again, and that is no use: not to the server, and so not to a hub that it reports to.
    let asked = || vm.sh("grep -c 'token-authenticated request' /home/ada/log").out.parse().unwrap_or(0);
    let (times, before): (String, u32) = (person("times"), asked());
    // Three questions each time, and one time may have begun.
    wait_for("it is asked twice more", SOON, || asked() >= before + 9);
    assert_eq!(person("times"), times);
    assert!(super::rows(&vm, "notebook").iter().all(|row| row["state"] == "quiet"));

    person("terminal");
    let row = wait_row(&vm, &agent, "notebook", Some("ada"), "busy");
    assert_eq!(row["what"], "Jupyter terminal 1");

    // Its log has the token in no line that the agent caused, and the agent's own has none at all.
    assert!(!agent.log().contains("secret"));
    drop(server);
    wait_row(&vm, &agent, "kernel", Some("ada"), "quiet");
}

#[test]
fn a_server_with_a_password_is_unknown_and_says_what_to_do() {
    let Some(vm) = machine(Some(&jupyter()), "") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    let password = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c29tZXNhbHQ$c29tZWhhc2g";
    let serve = format!(
        "exec {PYTHON} -m jupyter_server --port=8888 --PasswordIdentityProvider.hashed_password='{password}' >~/log 2>&1"
    );
    let _server = vm.spawn_as("ada", &serve);
    let row = wait_row(&vm, &agent, "kernel", Some("ada"), "unknown");
    assert!(row["what"].as_str().is_some_and(|what| what.contains("Start it with a token")), "{row}");
}
