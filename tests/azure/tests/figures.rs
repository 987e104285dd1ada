//! Figures, printed: `cargo nextest run -p azure --test figures --run-ignored only --no-capture`. From the first key to
//! protection, and from the event to the approval of an unused VM, are printed by the tests `leave` and `drain`.

use azure::Azure;
use azure::world::{Mode, World};
use dsvm_agent::config::settings::ScaleSet as Settings;
use dsvm_agent::daemon::scale_set::{Facts, ScaleSet};
use dsvm_agent::scale_set::act::{Ask, Told, perform};
use dsvm_agent::scale_set::model::{Protection, Reading, Use};
use dsvm_agent::sys::http::Url;
use dsvm_agent::worker::job::Answer;
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

/// The service, and what its documentation says of how often it may be asked.
const LIMITS: [(&str, &str); 5] = [
    ("instance", "18000: 5 a second for each VM, all of instance metadata"),
    ("scheduledevents", "18000: the same five; once a second is recommended"),
    ("identity", "72000: 20 a second for each VM"),
    ("manager", "none is known for one VM: it is shared with the subscription"),
    ("monitor", "none is documented for requests; 50000 series of a region"),
];

fn service(path: &str) -> &str {
    match path.split('/').nth(2) {
        Some(kind) if path.starts_with("/metadata") => kind,
        _ if path.ends_with("/metrics") => "monitor",
        _ => "manager",
    }
}

/// How often the agent asks what in an hour is its own decision, in made-up time; how many requests that takes is what the
/// simulator received. Each question is put to it once, also the longest, which waits a minute for news.
#[test]
#[ignore = "long: a minute; prints figures and proves nothing that other tests do not"]
fn what_is_asked_of_each_service_in_an_hour() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    let url = Url::parse(&azure.url()).expect("an address");
    let some = Some(url.clone());
    let settings = Settings { metadata: url, resource_manager: some.clone(), monitor: some, ..Settings::default() };
    let mut set = ScaleSet::default();
    let mut known: BTreeMap<&str, (Told, Duration, BTreeMap<String, usize>)> = BTreeMap::new();
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    let mut pending: Vec<(Duration, u64, Ask)> = Vec::new();
    let start = Duration::from_secs(1_000_000_020);
    // In an hour of use. The first ten minutes are the boot's.
    for second in 0..4200_u64 {
        let now = Duration::from_secs(second);
        let facts = Facts { now, wall: SystemTime::UNIX_EPOCH + start + now, used: Use::InUse, chance: 256 };
        let (due, later): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(at, ..)| *at <= now);
        pending = later;
        for (_, id, ask) in due {
            let told = known.get(key(&ask)).map(|(told, ..)| told.clone()).expect("it was asked");
            set.absorb(id, &ask, Ok(Answer::ScaleSet(Box::new(Ok(told)))), facts);
        }
        for ask in set.decide(&settings, facts).asks {
            let (_, takes, requests) = known.entry(key(&ask)).or_insert_with(|| once(&azure, &settings, &ask));
            if second >= 600 {
                for (what, count) in requests {
                    *asked.entry(what.clone()).or_default() += *count;
                }
            }
            set.started(second, ask.clone());
            pending.push((now + *takes, second, ask));
        }
    }
    println!("{:24} {:>8}  documented limit", "requests", "an hour");
    for (what, count) in &asked {
        let limit = LIMITS.iter().find(|(service, _)| what.ends_with(service)).map_or("", |(_, limit)| limit);
        println!("{what:24} {count:>8}  {limit}");
    }
}

/// What is the same question. The first one about events is answered at once, those that follow wait for news.
fn key(ask: &Ask) -> &'static str {
    match ask {
        Ask::Events { known: None, .. } => "first events",
        other => other.name(),
    }
}

/// Puts a question to the simulator: the answer, how long it took, and the requests that it took.
fn once(azure: &Azure, settings: &Settings, ask: &Ask) -> (Told, Duration, BTreeMap<String, usize>) {
    if let Ask::Protect { node, instance, wanted, .. } = ask {
        // What is asked again and again is whether it still is so.
        let first = Ask::Protect { node: node.clone(), instance: instance.clone(), wanted: *wanted, force: false };
        assert!(matches!(
            perform(&first, settings),
            Ok(Told::Protection(Reading { now: Protection { scale_in: true, .. }, .. }))
        ));
    }
    let (before, began) = (azure.world().received.len(), Instant::now());
    let ask = match ask {
        // Monitor takes only what is fresh.
        Ask::Publish { node, instance, values, .. } => {
            let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            Ask::Publish { node: node.clone(), instance: instance.clone(), values: *values, at }
        }
        other => other.clone(),
    };
    let told = perform(&ask, settings).unwrap_or_else(|why| panic!("{ask:?}: {why:?}"));
    let mut requests: BTreeMap<String, usize> = BTreeMap::new();
    for received in azure.world().received.iter().skip(before) {
        let what = format!("{} {}", received.request.method, service(&received.request.path));
        *requests.entry(what).or_default() += 1;
    }
    (told, began.elapsed(), requests)
}
