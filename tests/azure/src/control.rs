//! `/simulator`: for whoever runs the simulator by hand. Tests in Rust have the world itself.

use super::fault::Fault;
use super::message::{Answer, Request};
use super::world::World;
use serde_json::{Value, json};
use std::time::Duration;

/// What can be asked for.
pub const HELP: &str = "\
GET  /simulator                     the state: VMs, events, metrics, what was received
POST /simulator/faults              a list of faults, which replaces the one before
POST /simulator/secrets             {\"name\": \"value\", …}
POST /simulator/events              {\"type\": \"Terminate\", \"vm\": 0, \"notice_s\": 600}
POST /simulator/scale-in            what autoscale does when it wants one VM less
POST /simulator/ahead               {\"seconds\": 3600}: the services' clock goes ahead
";

/// Answers for the simulator itself.
pub fn answer(world: &mut World, request: &Request) -> Answer {
    let body = request.json().unwrap_or_default();
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    match (request.method.as_str(), request.path.trim_end_matches('/')) {
        ("GET", "/simulator") => Answer::json(200, &state(world)),
        ("POST", "/simulator/faults") => match serde_json::from_value::<Vec<Fault>>(body) {
            Ok(faults) => {
                world.faults = faults;
                Answer::json(200, &json!({}))
            }
            Err(e) => Answer::error(400, "BadFaults", &e.to_string()),
        },
        ("POST", "/simulator/secrets") => {
            let pairs = body.as_object().into_iter().flatten();
            world.secrets.extend(pairs.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))));
            Answer::json(200, &json!({}))
        }
        ("POST", "/simulator/events") => {
            let kind = body.get("type").and_then(Value::as_str).unwrap_or("Terminate").to_owned();
            let vm = number("vm").and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
            let id = world.announce(&kind, vm, Duration::from_secs(number("notice_s").unwrap_or(600)));
            Answer::json(200, &json!({"id": id}))
        }
        ("POST", "/simulator/scale-in") => Answer::json(200, &json!({"victim": world.scale_in()})),
        ("POST", "/simulator/ahead") => {
            world.ahead = Duration::from_secs(number("seconds").unwrap_or(0));
            Answer::json(200, &json!({}))
        }
        _ => Answer { status: 404, headers: Vec::new(), body: HELP.into() },
    }
}

fn state(world: &World) -> Value {
    let vms: Vec<Value> = world
        .vms
        .iter()
        .map(|vm| json!({"name": vm.name, "health": vm.health, "protection": vm.protection, "gone": vm.gone}))
        .collect();
    let events: Vec<Value> = world.events.iter().map(|e| {
        json!({"id": e.id, "type": e.kind, "resources": e.resources, "started": e.started, "approved": e.approved})
    }).collect();
    let metrics: Vec<Value> = world
        .samples
        .iter()
        .map(|s| json!({"metric": s.metric, "minute": s.minute, "dimensions": s.dimensions, "sum": s.values.2}))
        .collect();
    // Tokens and bodies are not shown.
    let received: Vec<Value> = world
        .received
        .iter()
        .map(|r| {
            json!({"at": humantime::format_rfc3339_millis(r.at).to_string(), "vm": r.request.vm,
               "request": format!("{} {}", r.request.method, r.request.path), "status": r.status})
        })
        .collect();
    json!({"vms": vms, "events": events, "metrics": metrics, "received": received, "faults": world.faults})
}
