//! From what Azure answers to the words of this room. Everything here takes text and gives data.

use super::model::{Cloud, Event, EventKind, Instance, Node, Place, Protection};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::time::{Duration, SystemTime};

/// The compute part of instance metadata, as far as it is used. All values are text, and what does not apply is empty
/// (Microsoft, `instance-metadata-service.md`).
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Compute {
    az_environment: String,
    location: String,
    name: String,
    priority: String,
    resource_group_name: String,
    resource_id: String,
    subscription_id: String,
    vm_id: String,
    vm_scale_set_name: String,
    virtual_machine_scale_set: SetId,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct SetId {
    id: String,
}

/// Which VM this is, from `/metadata/instance/compute`.
///
/// # Errors
/// In words, when it is no such document.
pub fn place(document: &[u8]) -> Result<Place, String> {
    let compute: Compute = serde_json::from_slice(document).map_err(|_| "it is not Azure's instance metadata")?;
    let node = Node {
        name: plain(&compute.name).ok_or("it gives no name of the VM")?,
        vm_id: plain(&compute.vm_id).ok_or("it gives no id of the VM")?,
        location: plain(&compute.location).ok_or("it gives no region")?,
        cloud: cloud(&compute.az_environment),
        spot: compute.priority.eq_ignore_ascii_case("spot") || compute.priority.eq_ignore_ascii_case("low"),
    };
    Ok(match instance(&compute, &node) {
        Some(instance) => Place::Member(node, instance),
        None => Place::Single(node),
    })
}

fn cloud(name: &str) -> Cloud {
    match name.to_ascii_lowercase().as_str() {
        "azureusgovernmentcloud" => Cloud::UsGovernment,
        "azurechinacloud" => Cloud::China,
        _ => Cloud::Public,
    }
}

/// What the VM is in its scale set. A Uniform set's VM is a resource below the set, and its id says everything. A
/// Flexible set's VM is a resource of its own, called below the set by its name (Microsoft,
/// `virtual-machine-scale-sets-instance-ids.md`).
fn instance(compute: &Compute, node: &Node) -> Option<Instance> {
    let parts: Vec<&str> = compute.resource_id.split('/').collect();
    let at = parts.iter().position(|p| p.eq_ignore_ascii_case("virtualMachineScaleSets"));
    if let Some(at) = at
        && let Some([_, set, below, id]) = parts.get(at..at + 4)
        && below.eq_ignore_ascii_case("virtualMachines")
    {
        let set_id = parts.get(..at + 2)?.join("/");
        return Some(Instance { set: plain(set)?, set_id: resource(&set_id)?, id: plain(id)? });
    }
    let flexible = &compute.virtual_machine_scale_set.id;
    if !flexible.is_empty() {
        let set = plain(flexible.rsplit('/').next()?)?;
        return Some(Instance { set, set_id: resource(flexible)?, id: node.name.clone() });
    }
    let set = plain(&compute.vm_scale_set_name)?;
    let set_id = resource(&format!(
        "/subscriptions/{}/resourceGroups/{}/providers/Microsoft.Compute/virtualMachineScaleSets/{set}",
        compute.subscription_id, compute.resource_group_name
    ))?;
    // Uniform: `set_7`, and the number counts.
    let number = node.name.strip_prefix(&set)?.strip_prefix('_')?;
    let uniform = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) && number.len() < 8;
    Some(Instance { set, set_id, id: if uniform { number.to_owned() } else { node.name.clone() } })
}

/// A name as Azure gives them: it goes into addresses and messages.
fn plain(text: &str) -> Option<String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let dots = text.chars().all(|c| c == '.');
    (!dots && text.len() <= 128 && text.chars().all(fine)).then(|| text.to_owned())
}

/// The id of a scale set. A group's name may have round brackets.
fn resource(text: &str) -> Option<String> {
    let parts: Vec<&str> = text.split('/').collect();
    let ["", s, subscription, g, group, p, provider, kind, set] = parts.as_slice() else { return None };
    let words = [
        (s, "subscriptions"),
        (g, "resourceGroups"),
        (p, "providers"),
        (provider, "Microsoft.Compute"),
        (kind, "virtualMachineScaleSets"),
    ];
    let named = words.iter().all(|(is, wanted)| is.eq_ignore_ascii_case(wanted));
    let group_fine = plain(&group.replace(['(', ')'], "-")).is_some();
    (named && group_fine && plain(subscription).is_some() && plain(set).is_some()).then(|| text.to_owned())
}

/// What a VM is protected from, from its resource below the scale set; whether a change of it is still under way. A VM
/// that was never protected has no policy.
///
/// # Errors
/// In words, when it is no such document.
pub fn protection(document: &[u8]) -> Result<(Protection, bool), String> {
    let document: Value = serde_json::from_slice(document).map_err(|_| "it is no description of a VM")?;
    let properties = document.get("properties").filter(|p| p.is_object()).ok_or("it is no description of a VM")?;
    let flag = |name: &str| properties.pointer(&format!("/protectionPolicy/{name}")).and_then(Value::as_bool);
    let protection = Protection {
        scale_in: flag("protectFromScaleIn").unwrap_or(false),
        actions: flag("protectFromScaleSetActions").unwrap_or(false),
    };
    let state = properties.get("provisioningState").and_then(Value::as_str).unwrap_or_default();
    Ok((protection, state.eq_ignore_ascii_case("updating") || state.eq_ignore_ascii_case("creating")))
}

/// How a long-running operation is: nothing while it is under way, then whether it succeeded.
///
/// # Errors
/// In words, when it is no such document.
pub fn operation(document: &[u8]) -> Result<Option<bool>, String> {
    let document: Value = serde_json::from_slice(document).map_err(|_| "it is no state of an operation")?;
    let status = document.get("status").and_then(Value::as_str).ok_or("it is no state of an operation")?;
    Ok(match status.to_ascii_lowercase().as_str() {
        "succeeded" => Some(true),
        "failed" | "canceled" => Some(false),
        _ => None,
    })
}

/// The code of an error, as Resource Manager, Key Vault, Monitor or the identity service name it.
pub fn error_code(document: &[u8]) -> Option<String> {
    let document: Value = serde_json::from_slice(document).ok()?;
    let places = ["/error/code", "/apiFailureResponse/error/code", "/error"];
    let code = places.iter().find_map(|p| document.pointer(p).and_then(Value::as_str))?;
    let fine = code.len() <= 64 && code.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (fine && !code.is_empty()).then(|| code.to_owned())
}

/// The document of scheduled events.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Events {
    document_incarnation: u64,
    #[serde(deserialize_with = "or_nothing")]
    events: Vec<RawEvent>,
}

/// One event's odd field must not hide the others: what is null is as if it were not there.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RawEvent {
    #[serde(deserialize_with = "or_nothing")]
    event_id: String,
    #[serde(deserialize_with = "or_nothing")]
    event_status: String,
    #[serde(deserialize_with = "or_nothing")]
    event_type: String,
    #[serde(deserialize_with = "or_nothing")]
    resources: Vec<Option<String>>,
    #[serde(deserialize_with = "or_nothing")]
    not_before: String,
}

fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// The incarnation of the document, and its events that are about the VM `name`: every VM of a set sees those of all
/// (Microsoft, `linux/scheduled-events.md`). Kinds that are not known are left out.
///
/// # Errors
/// In words, when it is no such document.
pub fn events(document: &[u8], name: &str) -> Result<(u64, Vec<Event>), String> {
    let document: Events = serde_json::from_slice(document).map_err(|_| "it is no list of events")?;
    let is_this = |vm: &Option<String>| vm.as_ref().is_some_and(|vm| vm.eq_ignore_ascii_case(name));
    let own = document.events.iter().filter(|e| e.resources.iter().any(is_this));
    let read = |event: &RawEvent| {
        let kind = match event.event_type.to_ascii_lowercase().as_str() {
            "freeze" => EventKind::Freeze,
            "reboot" => EventKind::Reboot,
            "redeploy" => EventKind::Redeploy,
            "preempt" => EventKind::Preempt,
            "terminate" => EventKind::Terminate,
            _ => return None,
        };
        let started = event.event_status.eq_ignore_ascii_case("started");
        let alone = event.resources.iter().all(is_this);
        Some(Event { id: plain(&event.event_id)?, kind, not_before: date(&event.not_before), started, alone })
    };
    let mut events: Vec<Event> = own.filter_map(read).collect();
    events.truncate(16);
    Ok((document.document_incarnation, events))
}

/// A date as the service writes it, `Mon, 19 Sep 2016 18:29:47 GMT`, or as the vendor's mock server does,
/// `2016-09-19T18:29:47Z`. The name of the weekday is not looked at: the documentation's own example has a wrong one.
pub fn date(text: &str) -> Option<SystemTime> {
    if let Ok(time) = humantime::parse_rfc3339_weak(text.trim()) {
        return Some(time);
    }
    let words: Vec<&str> = text.split([' ', ',']).filter(|w| !w.is_empty()).collect();
    let [_, day, month, year, time, "GMT" | "UTC"] = words.as_slice() else { return None };
    let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = months.iter().position(|m| month.to_ascii_lowercase().starts_with(m))? + 1;
    let day: u8 = day.parse().ok()?;
    humantime::parse_rfc3339(&format!("{year}-{month:02}-{day:02}T{time}Z")).ok()
}

/// When to ask again, from `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    match value.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(date(value)?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
#[path = "observe_tests.rs"]
mod tests;
