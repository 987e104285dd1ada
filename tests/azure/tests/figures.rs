//! Figures, printed: `cargo nextest run -p azure --test figures --run-ignored only --no-capture`. From the first key to
//! protection, and from the event to the approval of an unused VM, are printed by the tests `leave` and `drain`.

mod vm;

use azure::world::{Mode, World};
use namespaces::{SOON, wait_for};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use vm::{told, wait_protected};

#[test]
#[ignore = "long: five minutes; prints figures and proves nothing that other tests do not"]
fn what_is_asked_of_each_service_in_an_hour() {
    let Some((vm, azure)) = vm::vm(World::new(Mode::Uniform, 1), "") else { return };
    let agent = vm.agent_start();
    agent.wait_ready();
    wait_protected(&agent);
    let (began, long) = (SystemTime::now(), Duration::from_secs(300));
    wait_for("five minutes", long + SOON, || began.elapsed().is_ok_and(|passed| passed >= long));
    assert_eq!(told(&agent, "/scale_set/protected"), json!(true));
    let mut asked: BTreeMap<String, u32> = BTreeMap::new();
    for received in azure.world().received.iter().filter(|r| r.at >= began) {
        let path = received.request.path.split('/').nth(2).filter(|_| received.request.path.starts_with("/metadata"));
        let service =
            path.map_or(if received.request.path.ends_with("/metrics") { "monitor" } else { "manager" }, |p| p);
        *asked.entry(format!("{} {service}", received.request.method)).or_default() += 1;
    }
    for (what, count) in asked {
        println!("{what}: {} an hour", count * 12);
    }
}
