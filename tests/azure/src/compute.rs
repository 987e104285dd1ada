//! The part of Resource Manager that the agent and the vendor's client use: the VMs of one scale set, with their
//! long-running replies.
//!
//! Sources: azure-rest-api-specs `virtualMachineScaleSet.json` of 2024-11-01 with its examples, Microsoft's
//! `virtual-machine-scale-sets-instance-protection.md`, the asynchronous operations of `async-operations.md`, and what
//! onefuzz' production code met.

use super::access;
use super::fault::What;
use super::message::{Answer, Request};
use super::world::{Identity, Mode, Operation, World};
use serde_json::{Value, json};

/// Instance protection exists since this version; for Flexible sets since the second.
const FIRST: (&str, &str) = ("2019-03-01", "2023-09-01");

/// Answers what is asked of Resource Manager about virtual machines.
pub fn answer(world: &mut World, request: &Request, fault: Option<&What>) -> Answer {
    let Some(version) = request.query("api-version").map(str::to_owned) else {
        let message = "The api-version query parameter (?api-version=) is required for all requests.";
        return Answer::error(400, "MissingApiVersionParameter", message);
    };
    let identity = match access::identity(world, request, "https://management.azure.com", fault) {
        Ok(identity) => identity.clone(),
        Err(refused) => {
            let (code, message) = refused.words();
            return Answer::error(401, code, message)
                .with("WWW-Authenticate", "Bearer authorization_uri=\"https://login.windows.net/common\"");
        }
    };
    let parts: Vec<String> = request.parts().iter().map(|p| p.to_ascii_lowercase()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let ours = |subscription: &str| subscription.eq_ignore_ascii_case(&world.subscription);
    match parts.as_slice() {
        ["subscriptions", s, "providers", "microsoft.compute", "locations", _, "operations", id] if ours(s) => {
            operation(world, id)
        }
        [
            "subscriptions",
            s,
            "resourcegroups",
            group,
            "providers",
            "microsoft.compute",
            "virtualmachinescalesets",
            set,
            rest @ ..,
        ] if ours(s) => {
            if !group.eq_ignore_ascii_case(&world.group) {
                let message = format!("Resource group '{group}' could not be found.");
                return Answer::error(404, "ResourceGroupNotFound", &message);
            }
            if !set.eq_ignore_ascii_case(&world.set) || world.mode == Mode::Single {
                let message = format!(
                    "The Resource 'Microsoft.Compute/virtualMachineScaleSets/{set}' under resource group '{group}' was not found."
                );
                return Answer::error(404, "ResourceNotFound", &message);
            }
            let first = if world.mode == Mode::Flexible { FIRST.1 } else { FIRST.0 };
            if version.as_str() < first {
                let message = format!("The api-version '{version}' does not support this operation on this resource.");
                return Answer::error(400, "InvalidApiVersionParameter", &message);
            }
            match (request.method.as_str(), rest) {
                ("GET", []) if identity.virtual_machines => Answer::json(200, &set_resource(world)),
                ("GET", ["virtualmachines"]) if identity.virtual_machines => list(world),
                ("GET", ["virtualmachines", id]) if identity.virtual_machines => {
                    let answer = get(world, id);
                    pass(world, id);
                    answer
                }
                ("PUT", ["virtualmachines", id]) if identity.virtual_machines => {
                    put(world, request, id, &version, fault)
                }
                ("GET" | "PUT", [] | ["virtualmachines"] | ["virtualmachines", _]) => forbidden(request, &identity),
                _ => Answer::error(
                    405,
                    "UnsupportedRequestMethod",
                    "The request method is not supported for this resource.",
                ),
            }
        }
        ["subscriptions", ..] => Answer::error(404, "SubscriptionNotFound", "The subscription could not be found."),
        _ => Answer::error(404, "NotFound", "The resource could not be found."),
    }
}

fn forbidden(request: &Request, identity: &Identity) -> Answer {
    let action = if request.method == "GET" { "read" } else { "write" };
    let message = format!(
        "The client '{0}' with object id '{0}' does not have authorization to perform action \
         'Microsoft.Compute/virtualMachineScaleSets/virtualMachines/{action}' over scope '{1}' or the scope is \
         invalid. If access was recently granted, please refresh your credentials.",
        identity.client_id, request.path
    );
    Answer::error(403, "AuthorizationFailed", &message)
}

fn set_resource(world: &World) -> Value {
    let mode = if world.mode == Mode::Flexible { "Flexible" } else { "Uniform" };
    let capacity = world.vms.iter().filter(|vm| !vm.gone).count();
    json!({
        "name": world.set, "id": world.set_id(), "type": "Microsoft.Compute/virtualMachineScaleSets",
        "location": world.location, "sku": {"name": "Standard_D4s_v5", "tier": "Standard", "capacity": capacity},
        "properties": {"orchestrationMode": mode, "provisioningState": "Succeeded"},
    })
}

fn list(world: &World) -> Answer {
    let vms: Vec<Value> = world.vms.iter().filter(|vm| !vm.gone).map(|vm| world.vm_resource(vm)).collect();
    Answer::json(200, &json!({"value": vms}))
}

fn find(world: &World, instance: &str) -> Option<usize> {
    world.vms.iter().position(|vm| !vm.gone && vm.instance.eq_ignore_ascii_case(instance))
}

fn inactive(instance: &str) -> Answer {
    // The words that onefuzz looks for.
    let message =
        format!("The provided instanceId {instance} is not an active Virtual Machine Scale Set VM instanceId.");
    Answer::error(400, "InvalidParameter", &message)
}

fn get(world: &World, instance: &str) -> Answer {
    match find(world, instance).and_then(|i| world.vms.get(i)) {
        Some(vm) => Answer::json(200, &world.vm_resource(vm)).with("ETag", format!("\"{}\"", vm.etag)),
        None => inactive(instance),
    }
}

fn put(world: &mut World, request: &Request, instance: &str, version: &str, fault: Option<&What>) -> Answer {
    let Some(index) = find(world, instance) else { return inactive(instance) };
    let Some(body) = request.json() else {
        return Answer::error(
            400,
            "InvalidRequestContent",
            "The request content was invalid and could not be deserialized.",
        );
    };
    if !body.get("location").and_then(Value::as_str).is_some_and(|l| l.eq_ignore_ascii_case(&world.location)) {
        return Answer::error(400, "LocationRequired", "The location property is required for this definition.");
    }
    let policy = body.pointer("/properties/protectionPolicy");
    let flag = |name: &str| policy.and_then(|p| p.get(name)).and_then(Value::as_bool).unwrap_or(false);
    let wanted =
        policy.filter(|p| p.is_object()).map(|_| (flag("protectFromScaleIn"), flag("protectFromScaleSetActions")));
    if wanted == Some((false, true)) {
        let message = "protectFromScaleSetActions cannot be true when protectFromScaleIn is false.";
        return Answer::error(400, "InvalidParameter", message);
    }
    // A body with more than the policy would be a change of the VM, and need the rights to all that it is linked to.
    let properties = body.get("properties").and_then(Value::as_object);
    if properties.is_some_and(|p| p.keys().any(|k| k != "protectionPolicy")) {
        let message = "The client does not have permission to perform action on the linked scope(s) of this resource.";
        return Answer::error(403, "LinkedAuthorizationFailed", message);
    }
    let etag = world.vms.get(index).map_or(0, |vm| vm.etag);
    if request.header("if-match").is_some_and(|e| e != "*" && e.trim_matches('"') != etag.to_string()) {
        return Answer::error(412, "PreconditionFailed", "The etag does not match.");
    }
    if world.operations.values().any(|o| o.vm == index && !o.done) {
        let message = "The request failed due to conflict with a concurrent request. To resolve it, please refer to \
                       https://aka.ms/activitylog to get more details on the conflicting requests.";
        pass(world, instance);
        return Answer::error(409, "Conflict", message);
    }
    let (looks, fails) = match fault {
        Some(What::Operation { looks, fails }) => (Some(*looks), *fails),
        _ => (world.looks, false),
    };
    let Some(looks) = looks else {
        apply(world, index, wanted);
        return get(world, instance);
    };
    let id = world.id();
    world.operations.insert(id.clone(), Operation { vm: index, protection: wanted, looks, fails, done: false });
    let shown = world.vms.get(index).map(|vm| world.vm_resource(vm)).unwrap_or_default();
    let place = format!(
        "{}/subscriptions/{}/providers/Microsoft.Compute/locations/{}/operations/{id}?api-version={version}",
        request.server(),
        world.subscription,
        world.location
    );
    Answer::json(202, &shown)
        .with("Azure-AsyncOperation", place.clone())
        .with("Location", format!("{place}&monitor=true"))
        .with("Retry-After", "1")
}

fn apply(world: &mut World, index: usize, protection: Option<(bool, bool)>) {
    if let Some(vm) = world.vms.get_mut(index) {
        vm.protection = protection.or(vm.protection);
        vm.etag += 1;
    }
}

fn operation(world: &mut World, id: &str) -> Answer {
    let started = "2026-09-01T11:25:00.0000000+00:00";
    if !look(world, id) {
        let body = json!({"startTime": started, "status": "InProgress", "name": id});
        return Answer::json(200, &body).with("Retry-After", "1");
    }
    let Some(operation) = world.operations.get(id) else {
        return Answer::error(404, "NotFound", "The entity was not found.");
    };
    if operation.fails {
        let error = json!({"code": "InternalExecutionError", "message": "An internal execution error occurred."});
        return Answer::json(
            200,
            &json!({"startTime": started, "endTime": started, "status": "Failed", "name": id, "error": error}),
        );
    }
    Answer::json(200, &json!({"startTime": started, "endTime": started, "status": "Succeeded", "name": id}))
}

/// One look at an operation, or at its VM: it is nearer to its end. Whether it is there.
fn look(world: &mut World, id: &str) -> bool {
    let Some(operation) = world.operations.get_mut(id) else { return true };
    if operation.done {
        return true;
    }
    if operation.looks > 0 {
        operation.looks -= 1;
        return false;
    }
    operation.done = true;
    let (index, protection, fails) = (operation.vm, operation.protection, operation.fails);
    if !fails {
        apply(world, index, protection);
    }
    true
}

/// Time passes for what is under way, also when nobody asks for it by its name.
fn pass(world: &mut World, instance: &str) {
    let vm = find(world, instance);
    let running = world.operations.iter().find(|(_, o)| !o.done && Some(o.vm) == vm).map(|(id, _)| id.clone());
    if let Some(id) = running {
        look(world, &id);
    }
}
