//! Monitor's ingestion of custom metrics.
//!
//! Sources: Microsoft's `metrics-store-custom-rest-api.md` and `metrics-custom-overview.md`, and
//! `azureMonitorCustomMetricsIngestionApi.json` of azure-rest-api-specs.

use super::access;
use super::fault::What;
use super::message::{Answer, Request};
use super::world::{Sample, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// How old and how new a value may be.
const WINDOW: (Duration, Duration) = (Duration::from_secs(20 * 60), Duration::from_secs(5 * 60));
/// Keys of dimensions.
const DIMENSIONS: usize = 10;
/// Letters of a name or value.
const LETTERS: usize = 256;
/// Bytes of a body.
const BODY: usize = 4 * 1024 * 1024;

/// Takes metrics in, or says why not.
pub fn answer(world: &mut World, request: &Request, fault: Option<&What>) -> Answer {
    if request.method != "POST" {
        return refused(405, "MethodNotAllowed", "The method is not allowed");
    }
    let identity = match access::identity(world, request, "https://monitoring.azure.com", fault) {
        Ok(identity) => identity.clone(),
        Err(why) => {
            let (code, message) = why.words();
            return refused(401, code, message);
        }
    };
    if !identity.metrics {
        return refused(403, "AuthorizationFailed", "The identity may not write metrics of this resource");
    }
    let resource = request.path.trim_end_matches("/metrics").to_ascii_lowercase();
    // The path has room for a resource, and for none below it.
    if resource != world.set_id().to_ascii_lowercase() {
        return refused(404, "ResourceNotFound", "The resource is not one that metrics can be emitted against");
    }
    if request.body.len() > BODY {
        return refused(413, "PayloadTooLarge", "The payload is too large");
    }
    let lines: Vec<&[u8]> = match request.header("content-type").map(|t| t.split(';').next().unwrap_or(t).trim()) {
        Some("application/json") => vec![&request.body],
        Some("application/x-ndjson") => request.body.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect(),
        _ => return refused(415, "UnsupportedMediaType", "The content type is not supported"),
    };
    let mut taken = Vec::new();
    for line in lines {
        match serde_json::from_slice(line).map_err(|e| e.to_string()).and_then(|v| samples(&v, &resource, world.now()))
        {
            Ok(mut some) => taken.append(&mut some),
            Err(why) => return refused(400, "BadRequest", &why),
        }
    }
    world.samples.append(&mut taken);
    Answer::json(200, &json!({"statusCode": 200}))
}

fn refused(status: u16, code: &str, message: &str) -> Answer {
    let body = json!({"statusCode": status, "apiFailureResponse": {"error": {"code": code, "message": message}}});
    Answer::json(status, &body)
}

fn samples(document: &Value, resource: &str, now: SystemTime) -> Result<Vec<Sample>, String> {
    let text = |value: &Value, name: &str| {
        let found = value.get(name).and_then(Value::as_str).filter(|t| !t.is_empty() && t.len() <= LETTERS);
        found.map(str::to_owned).ok_or_else(|| format!("{name} is missing, empty or too long"))
    };
    let time = text(document, "time")?;
    let time = humantime::parse_rfc3339(&time).map_err(|_| "time is no ISO 8601 date".to_owned())?;
    if time + WINDOW.0 < now || time > now + WINDOW.1 {
        return Err("time is more than 20 minutes in the past or 5 minutes in the future".to_owned());
    }
    let base = document.pointer("/data/baseData").ok_or("data.baseData is missing")?;
    let (metric, namespace) = (text(base, "metric")?, text(base, "namespace")?);
    let names = strings(base.get("dimNames"))?;
    if names.len() > DIMENSIONS {
        return Err("there are more than 10 dimensions".to_owned());
    }
    let series = base.get("series").and_then(Value::as_array).filter(|s| !s.is_empty()).ok_or("series is missing")?;
    let minute = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
    let one = |series: &Value| {
        let values = strings(series.get("dimValues"))?;
        if values.len() != names.len() {
            return Err("dimValues do not match dimNames".to_owned());
        }
        let number = |name: &str| series.get(name).and_then(Value::as_f64).ok_or_else(|| format!("{name} is missing"));
        Ok(Sample {
            resource: resource.to_owned(),
            metric: metric.clone(),
            namespace: namespace.clone(),
            dimensions: names.iter().cloned().zip(values).collect::<BTreeMap<_, _>>(),
            minute,
            values: (number("min")?, number("max")?, number("sum")?, number("count")?),
        })
    };
    series.iter().map(one).collect()
}

fn strings(list: Option<&Value>) -> Result<Vec<String>, String> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let items = list.as_array().ok_or("a list of dimensions is no list")?;
    let short = |v: &Value| v.as_str().filter(|t| !t.is_empty() && t.len() <= LETTERS).map(str::to_owned);
    items.iter().map(|v| short(v).ok_or_else(|| "a dimension is empty, too long, or no text".to_owned())).collect()
}
