//! Instance metadata, identity tokens and scheduled events: what every process of a VM may ask at 169.254.169.254.
//!
//! Sources: Microsoft's `instance-metadata-service.md`, `how-to-use-vm-token.md` and `linux/scheduled-events.md`.

use super::message::{Answer, Request};
use super::world::{Event, Mode, Token, World};
use serde_json::{Map, Value, json};
use std::time::{Duration, SystemTime};

/// The versions of instance metadata, newest first.
const VERSIONS: &[&str] = &[
    "2025-04-07",
    "2024-07-17",
    "2024-03-15",
    "2023-11-15",
    "2023-07-01",
    "2021-12-13",
    "2021-11-15",
    "2021-11-01",
    "2021-10-01",
    "2021-08-01",
    "2021-05-01",
    "2021-03-01",
    "2021-02-01",
    "2021-01-01",
    "2020-12-01",
    "2020-10-01",
    "2020-09-01",
    "2020-07-15",
    "2020-06-01",
    "2019-11-01",
    "2019-08-15",
    "2019-08-01",
    "2019-06-04",
    "2019-06-01",
    "2019-04-30",
    "2019-03-11",
    "2019-02-01",
    "2018-10-01",
    "2018-04-02",
    "2018-02-01",
    "2017-12-01",
    "2017-10-01",
    "2017-08-01",
    "2017-04-02",
    "2017-03-01",
];
/// The versions of scheduled events.
const EVENT_VERSIONS: &[&str] = &["2020-07-01", "2019-08-01", "2019-04-01", "2019-01-01", "2017-11-01", "2017-08-01"];

/// Answers what is asked of 169.254.169.254.
pub fn answer(world: &mut World, request: &Request) -> Answer {
    // Whoever passes requests on is refused: it would hand a VM's identity to others.
    if request.header("x-forwarded-for").is_some() {
        return bad("Bad request. X-Forwarded-For header is not allowed");
    }
    let mut names: Vec<&str> = request.query.iter().map(|(n, _)| n.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).any(|w| matches!(w, [a, b] if a.eq_ignore_ascii_case(b))) {
        return bad("Bad request. Duplicate query parameters are not allowed");
    }
    if request.path == "/metadata/versions" && request.method == "GET" {
        return Answer::json(200, &json!({"apiVersions": VERSIONS}));
    }
    if !request.header("metadata").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
        return bad("Bad request: Required metadata header not specified or not correct");
    }
    match request.parts().as_slice() {
        ["metadata", "scheduledevents"] => events(world, request),
        ["metadata", "identity", "oauth2", "token"] if request.method == "GET" => token(world, request),
        ["metadata", "instance", path @ ..] if request.method == "GET" => instance(world, request, path),
        ["metadata", "instance", ..] | ["metadata", "identity", ..] if request.method != "GET" => Answer::empty(405),
        _ => Answer::json(404, &json!({"error": "Not found"})),
    }
}

fn bad(message: &str) -> Answer {
    Answer::json(400, &json!({"error": message}))
}

fn instance(world: &World, request: &Request, path: &[&str]) -> Answer {
    let Some(version) = request.query("api-version").filter(|v| VERSIONS.contains(v)) else {
        let newest: Vec<&&str> = VERSIONS.iter().take(3).collect();
        let message = "Bad request. api-version is invalid or was not specified in the request.";
        return Answer::json(400, &json!({"error": message, "newest-versions": newest}));
    };
    let whole = json!({"compute": compute(world, request.vm, version), "network": {"interface": interfaces(world, request.vm)}});
    let mut found = &whole;
    for part in path {
        match found.get(part) {
            Some(inner) => found = inner,
            None => return Answer::json(404, &json!({"error": "Not found"})),
        }
    }
    match (found, request.query("format")) {
        (Value::String(text), Some("text")) => {
            Answer { status: 200, headers: vec![("Content-Type", "text/plain".into())], body: text.clone().into() }
        }
        // A leaf has no JSON form.
        (Value::String(_), _) => bad("Bad request. Requested format is not supported, use format=text"),
        (other, None | Some("json")) => Answer::json(200, other),
        _ => bad("Bad request. Requested format is not supported"),
    }
}

fn interfaces(world: &World, vm: usize) -> Value {
    let Some(card) = world.vms.get(vm) else { return json!([]) };
    json!([{
        "ipv4": {
            "ipAddress": [{"privateIpAddress": format!("10.0.2.{}", 15 + vm), "publicIpAddress": ""}],
            "subnet": [{"address": "10.0.2.0", "prefix": "24"}],
        },
        "ipv6": {"ipAddress": []},
        "macAddress": card.mac,
    }])
}

/// Every value is text, also numbers and truth; what does not apply is empty. Fields come with their versions.
fn compute(world: &World, vm: usize, version: &str) -> Value {
    let Some(vm) = world.vms.get(vm) else { return json!({}) };
    let set = if world.mode == Mode::Single { "" } else { world.set.as_str() };
    let flexible = if world.mode == Mode::Flexible { world.set_id() } else { String::new() };
    let fields: &[(&str, &str, Value)] = &[
        ("2017-03-01", "location", json!(world.location)),
        ("2017-03-01", "name", json!(vm.name)),
        ("2017-03-01", "osType", json!("Linux")),
        ("2017-03-01", "vmId", json!(vm.id)),
        ("2017-03-01", "vmSize", json!("Standard_D4s_v5")),
        ("2017-08-01", "resourceGroupName", json!(world.group)),
        ("2017-08-01", "subscriptionId", json!(world.subscription)),
        ("2017-08-01", "placementGroupId", json!("")),
        ("2017-08-01", "tags", json!("team:ds")),
        ("2017-12-01", "vmScaleSetName", json!(set)),
        ("2017-12-01", "zone", json!("1")),
        ("2018-10-01", "azEnvironment", json!("AZUREPUBLICCLOUD")),
        ("2018-10-01", "provider", json!("Microsoft.Compute")),
        ("2019-03-11", "resourceId", json!(world.vm_id(vm))),
        ("2019-06-04", "tagsList", json!([{"name": "team", "value": "ds"}])),
        (
            "2020-07-15",
            "osProfile",
            json!({"adminUsername": "azureuser", "computerName": vm.name.replace('_', "00000")}),
        ),
        ("2020-12-01", "priority", json!("Regular")),
        ("2020-12-01", "evictionPolicy", json!("")),
        ("2021-01-01", "userData", json!("")),
        ("2021-03-01", "virtualMachineScaleSet", json!({"id": flexible})),
        ("2023-11-15", "physicalZone", json!("westeurope-az2")),
    ];
    let known = fields.iter().filter(|(since, ..)| *since <= version);
    Value::Object(known.map(|(_, name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>())
}

fn token(world: &mut World, request: &Request) -> Answer {
    let error =
        |status, code: &str, text: &str| Answer::json(status, &json!({"error": code, "error_description": text}));
    let known = ["2018-02-01", "2019-08-01", "2019-11-01", "2020-06-01", "2021-02-01", "2023-07-01"];
    if !request.query("api-version").is_some_and(|v| known.contains(&v)) {
        return error(400, "invalid_request", "Required query variable 'api-version' is missing or not supported");
    }
    let Some(resource) = request.query("resource").filter(|r| !r.is_empty()) else {
        return error(400, "invalid_request", "Required audience parameter not specified");
    };
    let audience = resource.trim_end_matches('/').to_owned();
    let services = [
        "https://management.azure.com",
        "https://vault.azure.net",
        "https://monitoring.azure.com",
        "https://storage.azure.com",
    ];
    if !services.contains(&audience.as_str()) {
        let text = format!("AADSTS500011: The resource principal named {resource} was not found in the tenant.");
        return error(400, "invalid_resource", &text);
    }
    let identity = match world.identity(request.query("client_id")) {
        Ok(identity) => identity,
        Err(text) => return error(400, "invalid_request", text),
    };
    let (now, life) = (world.now(), world.token_life);
    // The platform hands out the same token until it is near its end.
    let fresh =
        |t: &Token| t.identity == identity && t.audience == audience && t.expires > now + Duration::from_secs(300);
    let known = world.tokens.iter().find(|(_, t)| fresh(t)).map(|(text, t)| (text.clone(), t.expires));
    let (text, expires) = known.unwrap_or_else(|| {
        world.count += 1;
        let text = format!("eyJ0eXAiOiJKV1QifQ.simulated-{}.{:032x}", world.count, world.count);
        world.tokens.insert(text.clone(), Token { identity, audience, expires: now + life });
        (text, now + life)
    });
    let seconds = |t: SystemTime| t.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let left = expires.duration_since(now).unwrap_or_default().as_secs();
    let client_id = world.identities.get(identity).map(|i| i.client_id.clone()).unwrap_or_default();
    Answer::json(
        200,
        &json!({
            "access_token": text, "refresh_token": "", "client_id": client_id, "token_type": "Bearer",
            "expires_in": left.to_string(), "expires_on": seconds(expires).to_string(),
            "ext_expires_in": left.to_string(), "not_before": seconds(expires - life).to_string(),
            "resource": resource,
        }),
    )
}

fn events(world: &mut World, request: &Request) -> Answer {
    let Some(version) = request.query("api-version").filter(|v| EVENT_VERSIONS.contains(v)) else {
        let message = "Bad request. api-version is invalid or was not specified in the request.";
        return Answer::json(400, &json!({"error": message, "newest-versions": EVENT_VERSIONS}));
    };
    let version = version.to_owned();
    world.settle();
    match request.method.as_str() {
        "GET" => {
            let known = world.events.iter().filter(|e| is_known(&e.kind, &version) && is_there(world, e));
            let list: Vec<Value> = known.map(|e| shown(e, &version)).collect();
            Answer::json(200, &json!({"DocumentIncarnation": world.incarnation, "Events": list}))
        }
        "POST" => approve(world, request),
        _ => Answer::empty(405),
    }
}

fn approve(world: &mut World, request: &Request) -> Answer {
    let body = request.json();
    let list = body.as_ref().and_then(|b| b.get("StartRequests")).and_then(Value::as_array);
    let ids: Option<Vec<&str>> =
        list.map(|list| list.iter().filter_map(|r| r.get("EventId").and_then(Value::as_str)).collect());
    let known = |id: &&str| world.events.iter().any(|e| e.id.eq_ignore_ascii_case(id));
    match ids {
        Some(ids) if !ids.is_empty() && ids.len() == list.map_or(0, Vec::len) && ids.iter().all(known) => {
            for event in &mut world.events {
                event.approved |= ids.iter().any(|id| event.id.eq_ignore_ascii_case(id));
            }
            world.settle();
            Answer::empty(200)
        }
        _ => bad("Bad request. The event id is malformed"),
    }
}

/// Terminate came with 2019-01-01, and Preempt with 2017-11-01.
fn is_known(kind: &str, version: &str) -> bool {
    match kind {
        "Terminate" => version >= "2019-01-01",
        "Preempt" => version >= "2017-11-01",
        _ => true,
    }
}

/// A deleted VM's event vanishes.
fn is_there(world: &World, event: &Event) -> bool {
    world.vms.iter().any(|vm| !vm.gone && event.resources.contains(&vm.name))
}

fn shown(event: &Event, version: &str) -> Value {
    let date = match (event.started, event.iso) {
        // Once it has started there is no date any more.
        (true, _) => String::new(),
        (false, true) => humantime::format_rfc3339_seconds(event.not_before).to_string(),
        (false, false) => rfc1123(event.not_before),
    };
    let mut shown = json!({
        "EventId": event.id,
        "EventStatus": if event.started { "Started" } else { "Scheduled" },
        "EventType": event.kind,
        "ResourceType": "VirtualMachine",
        "Resources": event.resources,
        "NotBefore": date,
        "Description": "",
    });
    if let Some(map) = shown.as_object_mut() {
        if version >= "2019-08-01" {
            let source = if event.kind == "Terminate" { "User" } else { "Platform" };
            map.insert("EventSource".into(), json!(source));
        }
        if version >= "2020-07-01" {
            map.insert("DurationInSeconds".into(), json!(-1));
        }
    }
    shown
}

/// `Mon, 11 Apr 2022 22:26:58 GMT` (RFC 1123, section 5.2.14).
pub fn rfc1123(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    let number = |range: std::ops::Range<usize>| text.get(range).and_then(|t| t.parse::<usize>().ok()).unwrap_or(1);
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.get(number(5..7).saturating_sub(1)).copied().unwrap_or("Jan");
    let days = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 86_400;
    // 1 January 1970 was a Thursday.
    let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let weekday = weekdays.get(usize::try_from(days % 7).unwrap_or(0)).copied().unwrap_or("Thu");
    format!("{weekday}, {:02} {month} {} {} GMT", number(8..10), number(0..4), text.get(11..19).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |text| rfc1123(humantime::parse_rfc3339(text).unwrap());
        assert_eq!(at("2016-09-19T18:29:47Z"), "Mon, 19 Sep 2016 18:29:47 GMT");
        assert_eq!(at("2024-02-29T00:00:00Z"), "Thu, 29 Feb 2024 00:00:00 GMT");
        assert_eq!(at("1970-01-01T00:00:00Z"), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
