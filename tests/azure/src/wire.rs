//! The wire server at 168.63.129.16: where a VM learns what the platform wants of it, and says that it is provisioned.
//!
//! Sources: cloud-init's `sources/helpers/azure.py` and WALinuxAgent's `protocol/wire.py`, which are its clients.

use super::message::{Answer, Request};
use super::world::World;

/// Answers what is asked of 168.63.129.16.
pub fn answer(world: &mut World, request: &Request) -> Answer {
    if request.header("x-ms-version") != Some("2012-11-30") {
        return Answer::empty(400);
    }
    match (request.method.as_str(), request.query("comp")) {
        ("GET", Some("goalstate")) => goal_state(world, request.vm),
        ("POST", Some("health")) => health(world, request),
        _ => Answer::empty(404),
    }
}

fn goal_state(world: &World, vm: usize) -> Answer {
    let Some(vm) = world.vms.get(vm) else { return Answer::empty(410) };
    let (incarnation, id) = (world.incarnation, &vm.id);
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
         <GoalState xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:noNamespaceSchemaLocation=\"goalstate10.xsd\">\
         <Version>2012-11-30</Version><Incarnation>{incarnation}</Incarnation>\
         <Machine><ExpectedState>Started</ExpectedState><StopRolesDeadlineHint>300000</StopRolesDeadlineHint></Machine>\
         <Container><ContainerId>{id}</ContainerId><RoleInstanceList><RoleInstance><InstanceId>_{id}</InstanceId>\
         <State>Started</State></RoleInstance></RoleInstanceList></Container></GoalState>"
    );
    let kind = "text/xml; charset=utf-8".to_owned();
    Answer { status: 200, headers: vec![("Content-Type", kind)], body: body.into_bytes() }
}

fn health(world: &mut World, request: &Request) -> Answer {
    let body = String::from_utf8_lossy(&request.body);
    let inner = |name: &str| {
        let after = body.split_once(&format!("<{name}>"))?.1;
        Some(after.split_once(&format!("</{name}>"))?.0.trim().to_owned())
    };
    let Some(vm) = world.vms.get_mut(request.vm) else { return Answer::empty(410) };
    match (inner("ContainerId"), inner("State")) {
        (Some(container), Some(state)) if container == vm.id => {
            vm.health = Some(state);
            Answer::empty(200)
        }
        _ => Answer::empty(400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Mode;

    fn asked(world: &mut World, method: &str, comp: &str, version: &str, body: &str) -> Answer {
        let request = Request {
            vm: 0,
            method: method.into(),
            path: "/machine/".into(),
            query: vec![("comp".into(), comp.into())],
            headers: vec![("x-ms-version".into(), version.into())],
            body: body.into(),
            tls: false,
        };
        answer(world, &request)
    }

    #[test]
    fn a_vm_says_that_it_is_provisioned_only_as_itself() {
        let mut world = World::new(Mode::Uniform, 1);
        let goal = asked(&mut world, "GET", "goalstate", "2012-11-30", "");
        let id = world.vms[0].id.clone();
        assert!(String::from_utf8(goal.body).unwrap().contains(&format!("<ContainerId>{id}</ContainerId>")));
        let report = |id: &str| format!("<Health><ContainerId>{id}</ContainerId><State>Ready</State></Health>");
        assert_eq!(asked(&mut world, "POST", "health", "2012-11-30", &report("another")).status, 400);
        assert_eq!(asked(&mut world, "POST", "health", "2015-01-01", &report(&id)).status, 400);
        assert_eq!(world.vms[0].health, None);
        assert_eq!(asked(&mut world, "POST", "health", "2012-11-30", &report(&id)).status, 200);
        assert_eq!(world.vms[0].health.as_deref(), Some("Ready"));
    }
}
