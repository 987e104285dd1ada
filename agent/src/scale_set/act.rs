//! What the agent asks of Azure, each in a worker without privileges: a token is fetched, used and forgotten there, and
//! never reaches another process.

use super::model::{Event, Failure, Instance, Node, Place, Protection, Reading, Service, Values};
use super::observe;
use crate::config::settings::ScaleSet;
use crate::sys::http::{self, Method, Request, Response, SYSTEM_ROOTS, Url, encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// Instance metadata: the oldest version that has every field (Microsoft, `instance-metadata-service.md`).
const METADATA: &str = "2021-03-01";
/// Identity tokens (`how-to-use-vm-token.md`).
const IDENTITY: &str = "2018-02-01";
/// Scheduled events: the newest (`linux/scheduled-events.md`).
const EVENTS: &str = "2020-07-01";
/// Virtual machines of scale sets. Instance protection of Flexible sets needs 2023-09-01.
const COMPUTE: &str = "2024-11-01";
/// How long a change of protection may take before the rest is left to the next try.
const CHANGE: Duration = Duration::from_secs(45);
/// So long a question about events waits for news.
const NEWS: Duration = Duration::from_secs(55);
/// The first answer about events takes up to two minutes.
const FIRST_NEWS: Duration = Duration::from_secs(140);
/// Events are looked for this often; on a Spot VM, which has 30 seconds, more often.
const LOOK: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(2));
/// The namespace of the metrics. Azure's command line takes no spaces or hyphens in it.
pub const NAMESPACE: &str = "DsvmAgent";

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// Which VM this is.
    Place,
    /// Make its protection this one, and read it back.
    Protect {
        /// The VM.
        node: Node,
        /// What it is in its set.
        instance: Instance,
        /// What it shall be protected from.
        wanted: Protection,
        /// Write it even if it is so already.
        force: bool,
    },
    /// Read its protection, and change nothing.
    Look {
        /// The VM.
        node: Node,
        /// What it is in its set.
        instance: Instance,
    },
    /// Tell Azure Monitor.
    Publish {
        /// The VM.
        node: Node,
        /// What it is in its set.
        instance: Instance,
        /// What is so.
        values: Values,
        /// When, in seconds since 1970.
        at: u64,
    },
    /// Wait for news of events.
    Events {
        /// The VM.
        node: Node,
        /// The list that is known.
        known: Option<u64>,
    },
    /// Tell Azure that events may begin.
    Approve {
        /// Their ids.
        ids: Vec<String>,
    },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// This VM.
    Place(Place),
    /// Its protection.
    Protection(Reading),
    /// It arrived.
    Published,
    /// The number of the list, and this VM's events.
    Events(u64, Vec<Event>),
    /// They may begin.
    Approved,
}

impl Ask {
    /// After this the worker is killed.
    pub fn deadline(&self) -> Duration {
        match self {
            Ask::Place | Ask::Approve { .. } => Duration::from_secs(15),
            Ask::Protect { .. } | Ask::Look { .. } => CHANGE + Duration::from_secs(20),
            Ask::Publish { .. } => Duration::from_secs(40),
            Ask::Events { known: None, .. } => FIRST_NEWS + Duration::from_secs(10),
            Ask::Events { .. } => NEWS + Duration::from_secs(25),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Ask::Place => "place",
            Ask::Protect { .. } | Ask::Look { .. } => "protection",
            Ask::Publish { .. } => "metrics",
            Ask::Events { .. } => "events",
            Ask::Approve { .. } => "approval",
        }
    }

    /// Whether Azure may have changed something when no answer comes.
    pub fn changes(&self) -> bool {
        matches!(self, Ask::Protect { .. } | Ask::Publish { .. } | Ask::Approve { .. })
    }

    /// Whom it is asked of.
    pub fn service(&self) -> Service {
        match self {
            Ask::Place => Service::Metadata,
            Ask::Protect { .. } | Ask::Look { .. } => Service::ResourceManager,
            Ask::Publish { .. } => Service::Monitor,
            Ask::Events { .. } | Ask::Approve { .. } => Service::Events,
        }
    }
}

/// Asks, and gives what came of it.
///
/// # Errors
/// What failed, of which service.
pub fn perform(ask: &Ask, settings: &ScaleSet) -> Result<Told, Failure> {
    match ask {
        Ask::Place => place(settings).map(Told::Place),
        Ask::Protect { node, instance, wanted, force } => {
            protect(settings, node, instance, *wanted, *force).map(Told::Protection)
        }
        Ask::Look { node, instance } => look(settings, node, instance).map(Told::Protection),
        Ask::Publish { node, instance, values, at } => {
            publish(settings, node, instance, *values, *at).map(|()| Told::Published)
        }
        Ask::Events { node, known } => events(settings, node, *known).map(|(n, e)| Told::Events(n, e)),
        Ask::Approve { ids } => approve(settings, ids).map(|()| Told::Approved),
    }
}

fn place(settings: &ScaleSet) -> Result<Place, Failure> {
    let path = format!("/metadata/instance/compute?api-version={METADATA}");
    let answer = metadata(settings, Service::Metadata, &path, Duration::from_secs(8))?;
    observe::place(&answer.body).map_err(|why| garbled(Service::Metadata, &why))
}

fn metadata(settings: &ScaleSet, service: Service, path: &str, within: Duration) -> Result<Response, Failure> {
    let url = at(&settings.metadata, service, path)?;
    let request = Request::new(Method::Get, url).header("Metadata", "true").within(within).silence(within);
    answered(service, http::send(&request, Path::new(SYSTEM_ROOTS)), false)
}

/// A token for `audience`. It is fetched for every use: the platform keeps it and hands it out again.
///
/// # Errors
/// What failed.
pub fn token(settings: &ScaleSet, audience: &str) -> Result<Zeroizing<String>, Failure> {
    #[derive(Deserialize)]
    struct Token<'a> {
        // Borrowed, so that there is no copy of it but the one that is zeroed.
        access_token: &'a str,
    }
    let mut path = format!("/metadata/identity/oauth2/token?api-version={IDENTITY}&resource={}", encode(audience));
    if !settings.client_id.is_empty() {
        path += &format!("&client_id={}", encode(&settings.client_id));
    }
    let answer = metadata(settings, Service::Identity, &path, Duration::from_secs(15))?;
    let read = serde_json::from_slice::<Token<'_>>(&answer.body);
    read.map(|t| Zeroizing::new(t.access_token.to_owned())).map_err(|_| garbled(Service::Identity, "it sends no token"))
}

/// Where this VM's protection is read and changed, with a token for it.
struct Door {
    base: Url,
    url: Url,
    token: Zeroizing<String>,
}

impl Door {
    fn open(settings: &ScaleSet, node: &Node, instance: &Instance) -> Result<Self, Failure> {
        let service = Service::ResourceManager;
        let cloud = node.cloud.resource_manager();
        let base = settings.resource_manager.clone().map_or_else(|| Url::parse(cloud), Ok);
        let base = base.map_err(|e| garbled(service, &format!("{cloud} {e}")))?;
        let token = token(settings, &format!("{cloud}/"))?;
        let path = format!("{}/virtualMachines/{}?api-version={COMPUTE}", instance.set_id, encode(&instance.id));
        Ok(Self { url: at(&base, service, &path)?, base, token })
    }

    fn get(&self, url: &Url) -> Result<Response, Failure> {
        let request = Request::new(Method::Get, url.clone()).bearer(&self.token).within(Duration::from_secs(15));
        answered(Service::ResourceManager, http::send(&request, Path::new(SYSTEM_ROOTS)), false)
    }

    /// The VM's protection, and whether a change of the VM is under way.
    fn read(&self) -> Result<(Protection, bool), Failure> {
        observe::protection(&self.get(&self.url)?.body).map_err(|why| garbled(Service::ResourceManager, &why))
    }

    /// The VM's protection once no change of the VM is under way any more.
    fn read_settled(&self, until: Instant) -> Result<Protection, Failure> {
        loop {
            let (now, changing) = self.read()?;
            if !changing {
                return Ok(now);
            }
            pause(Service::ResourceManager, None, until)?;
        }
    }
}

fn look(settings: &ScaleSet, node: &Node, instance: &Instance) -> Result<Reading, Failure> {
    let now = Door::open(settings, node, instance)?.read_settled(Instant::now() + CHANGE)?;
    Ok(Reading { found: Some(now), now })
}

fn protect(
    settings: &ScaleSet,
    node: &Node,
    instance: &Instance,
    wanted: Protection,
    force: bool,
) -> Result<Reading, Failure> {
    let service = Service::ResourceManager;
    let until = Instant::now() + CHANGE;
    let door = Door::open(settings, node, instance)?;
    let mut found = None;
    if !force {
        let (now, changing) = door.read()?;
        // What a change that is under way will leave is not what was found.
        found = (!changing).then_some(now);
        if found == Some(wanted) {
            return Ok(Reading { found, now });
        }
    }
    // Only what shall change: with the whole description come rights to everything that is linked in it.
    let policy = json!({"protectFromScaleIn": wanted.scale_in, "protectFromScaleSetActions": wanted.actions});
    let body = json!({"location": node.location, "properties": {"protectionPolicy": policy}});
    let request = Request::new(Method::Put, door.url.clone()).bearer(&door.token).json(body.to_string().into_bytes());
    let request = request.within(Duration::from_secs(20));
    let mut still = found;
    let answer = loop {
        match answered(service, http::send(&request, Path::new(SYSTEM_ROOTS)), true) {
            // Another change of this VM is under way: most likely one of the agent's own, whose answer was lost.
            Err(conflict) if conflict.status == Some(409) && !conflict.is_locked() => {
                still = None;
                wait(conflict.retry_after.unwrap_or(Duration::from_secs(2)), until).ok_or(conflict)?;
            }
            // Nothing came of it: what was found is there still.
            Err(refused) if !refused.doubtful => return Err(Failure { found: still, ..refused }),
            other => break other?,
        }
    };
    // From here on something may have changed, whatever happens.
    let doubtful = |failure: Failure| Failure { doubtful: true, ..failure };
    if let Some(operation) = operation(&answer, &door.base) {
        match finish(&operation, &|url| door.get(url), answer.header("Retry-After"), until) {
            // The right to a VM is none to every operation's own address. The VM itself says how far it is.
            Err(refused) if matches!(refused.status, Some(401 | 403 | 404)) => {}
            other => other.map_err(doubtful)?,
        }
    }
    let now = door.read_settled(until).map_err(doubtful)?;
    Ok(Reading { found, now })
}

/// Where to look whether a long-running change is through (Microsoft, `async-operations.md`). The token goes to the same
/// server only.
fn operation(answer: &Response, base: &Url) -> Option<Url> {
    let url = Url::parse(answer.header("Azure-AsyncOperation")?).ok()?;
    url.is_same_server(base).then_some(url)
}

fn finish(
    operation: &Url,
    look: &impl Fn(&Url) -> Result<Response, Failure>,
    first: Option<&str>,
    until: Instant,
) -> Result<(), Failure> {
    let service = Service::ResourceManager;
    let mut wait = first.map(str::to_owned);
    loop {
        pause(service, wait.as_deref(), until)?;
        let answer = look(operation)?;
        match observe::operation(&answer.body).map_err(|why| garbled(service, &why))? {
            Some(true) => return Ok(()),
            Some(false) => {
                let code = observe::error_code(&answer.body);
                return Err(Failure { code, ..garbled(service, "the change of protection failed") });
            }
            None => wait = answer.header("Retry-After").map(str::to_owned),
        }
    }
}

/// Waits as long as the service asks for, but not past `until`.
fn pause(service: Service, asked: Option<&str>, until: Instant) -> Result<(), Failure> {
    let asked = asked.and_then(|a| observe::retry_after(a, SystemTime::now()));
    let late = || garbled(service, "the change of protection takes long");
    wait(asked.unwrap_or(Duration::from_secs(1)), until).ok_or_else(late)
}

/// Waits one to ten seconds; nothing when there is no time for that before `until`.
fn wait(pause: Duration, until: Instant) -> Option<()> {
    let pause = pause.clamp(Duration::from_secs(1), Duration::from_secs(10));
    if Instant::now() + pause >= until {
        return None;
    }
    std::thread::sleep(pause);
    Some(())
}

fn publish(settings: &ScaleSet, node: &Node, instance: &Instance, values: Values, at_s: u64) -> Result<(), Failure> {
    let service = Service::Monitor;
    let base = match &settings.monitor {
        Some(url) => url.clone(),
        None => {
            let regional = format!("https://{}.monitoring.azure.com", node.location);
            Url::parse(&regional).map_err(|e| garbled(service, &format!("{regional} {e}")))?
        }
    };
    let token = token(settings, "https://monitoring.azure.com/")?;
    let url = at(&base, service, &format!("{}/metrics", instance.set_id))?;
    let request = Request::new(Method::Post, url)
        .bearer(&token)
        .header("Content-Type", "application/x-ndjson")
        .body(documents(node, values, at_s).into_bytes())
        .within(Duration::from_secs(20));
    answered(service, http::send(&request, Path::new(SYSTEM_ROOTS)), true).map(drop)
}

/// One document a line, one metric a document (Microsoft, `metrics-store-custom-rest-api.md`). The whole minute is meant,
/// and it is the scale set's: what has no value is left out.
pub fn documents(node: &Node, values: Values, at_s: u64) -> String {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(at_s);
    let time = humantime::format_rfc3339_seconds(time).to_string();
    let metrics =
        [("IdleNodes", values.idle), ("BusyNodes", values.busy), ("BusyUnprotectedNodes", values.unprotected)];
    let document = |(metric, value): (&str, Option<bool>)| {
        let value = u8::from(value?);
        let series = json!({"dimValues": [node.name], "min": value, "max": value, "sum": value, "count": 1});
        let base: Value =
            json!({"metric": metric, "namespace": NAMESPACE, "dimNames": ["Instance"], "series": [series]});
        Some(json!({"time": time, "data": {"baseData": base}}).to_string() + "\n")
    };
    metrics.into_iter().filter_map(document).collect()
}

fn events(settings: &ScaleSet, node: &Node, known: Option<u64>) -> Result<(u64, Vec<Event>), Failure> {
    let path = format!("/metadata/scheduledevents?api-version={EVENTS}");
    let until = Instant::now() + NEWS;
    let within = if known.is_none() { FIRST_NEWS } else { Duration::from_secs(20) };
    loop {
        let answer = metadata(settings, Service::Events, &path, within)?;
        let (incarnation, events) =
            observe::events(&answer.body, &node.name).map_err(|why| garbled(Service::Events, &why))?;
        let look = if node.spot { LOOK.1 } else { LOOK.0 };
        if known != Some(incarnation) || Instant::now() + look >= until {
            return Ok((incarnation, events));
        }
        std::thread::sleep(look);
    }
}

fn approve(settings: &ScaleSet, ids: &[String]) -> Result<(), Failure> {
    let service = Service::Events;
    let url = at(&settings.metadata, service, &format!("/metadata/scheduledevents?api-version={EVENTS}"))?;
    let list: Vec<Value> = ids.iter().map(|id| json!({"EventId": id})).collect();
    let request = Request::new(Method::Post, url)
        .header("Metadata", "true")
        .json(json!({"StartRequests": list}).to_string().into_bytes());
    answered(service, http::send(&request, Path::new(SYSTEM_ROOTS)), true).map(drop)
}

fn at(base: &Url, service: Service, path: &str) -> Result<Url, Failure> {
    base.at(path).map_err(|e| garbled(service, &format!("{base} {e}")))
}

fn garbled(service: Service, why: &str) -> Failure {
    let text = format!("{}: {why}", service.name());
    Failure { service, status: None, code: None, text, retry_after: None, doubtful: false, found: None }
}

/// An answer that says that it worked, or why not. `changes`: it was asked to change something.
fn answered(service: Service, result: Result<Response, http::Error>, changes: bool) -> Result<Response, Failure> {
    match result {
        Ok(answer) if (200..300).contains(&answer.status) => Ok(answer),
        Ok(answer) => Err(Failure {
            service,
            status: Some(answer.status),
            code: observe::error_code(&answer.body),
            text: format!("{} says {}", service.name(), answer.status),
            retry_after: answer.header("Retry-After").and_then(|v| observe::retry_after(v, SystemTime::now())),
            // The service itself may not know what became of it.
            doubtful: changes && answer.status >= 500,
            found: None,
        }),
        Err(error) => {
            let doubtful = changes && error.may_have_arrived();
            Err(Failure { doubtful, ..garbled(service, &error.to_string()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale_set::model::Cloud;

    #[test]
    fn a_report_has_one_document_for_each_metric_that_is_known() {
        let node = Node {
            name: "dsvmpool_7".into(),
            vm_id: "v".into(),
            location: "westeurope".into(),
            cloud: Cloud::Public,
            spot: false,
        };
        let values = Values { idle: Some(true), busy: None, unprotected: Some(false) };
        let text = documents(&node, values, 1_788_261_900);
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(
            lines[0],
            json!({"time": "2026-09-01T11:25:00Z", "data": {"baseData": {"metric": "IdleNodes", "namespace": "DsvmAgent",
                "dimNames": ["Instance"], "series": [{"dimValues": ["dsvmpool_7"], "min": 1, "max": 1, "sum": 1, "count": 1}]}}})
        );
        assert_eq!(lines[1]["data"]["baseData"]["series"][0]["sum"], 0);
    }
}
