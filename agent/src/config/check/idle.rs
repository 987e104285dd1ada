//! `[idle]`: when the VM counts as not used.

use super::{Findings, excused, paths};
use crate::config::fragment::Fragment;
use crate::config::place::Given;
use crate::config::settings::{Hub, Idle, Stretch, Tuning};
use std::net::IpAddr;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Whether `given` lies between two bounds, both included; if not, why they are there.
fn between(given: Duration, least: Duration, most: Duration, why: &str) -> Result<Duration, String> {
    let say = |d: Duration| humantime::format_duration(d).to_string();
    if given < least || given > most {
        return Err(format!("is from {} to {}, not {}: {why}", say(least), say(most), say(given)));
    }
    Ok(given)
}

pub(super) fn settings(fragment: &Fragment, findings: &mut Findings) -> Idle {
    let default = Idle::default();
    let value = |given: Option<Given<Duration>>, default: Duration| given.map_or(default, |g| g.value);

    let after = findings.read("idle.after", fragment.idle_after.as_ref(), |d| {
        between(*d, MINUTE, 7 * DAY, "sooner nobody could come back, and later is never")
    });
    let after = value(after, default.after);
    let announce = findings.read("idle.announce", fragment.idle_announce.as_ref(), |d| {
        between(*d, Duration::from_secs(1), after, "it is a part of idle.after, at the end of it")
    });
    // A short idle.after has a short announcement, unless somebody says otherwise.
    let announce = value(announce, default.announce.min(after / 4));
    let boot_grace = findings.read("idle.boot_grace", fragment.idle_boot_grace.as_ref(), |d| {
        between(*d, Duration::ZERO, DAY, "it is how long after boot nothing is said")
    });
    let keep_max = findings.read("idle.keep_max", fragment.idle_keep_max.as_ref(), |d| {
        between(*d, MINUTE, 30 * DAY, "it is the longest that a user may keep the VM")
    });

    Idle {
        after,
        announce,
        boot_grace: value(boot_grace, default.boot_grace),
        keep_max: value(keep_max, default.keep_max),
        jupyterhub: hub(fragment, findings),
        tuning: tuning(fragment, findings),
    }
}

fn tuning(fragment: &Fragment, findings: &mut Findings) -> Tuning {
    let default = Tuning::default();
    let value = |given: Option<Given<Duration>>, default: Duration| given.map_or(default, |g| g.value);
    let sample = findings.read("idle.tuning.sample", fragment.idle_sample.as_ref(), |d| {
        between(*d, Duration::from_secs(1), 5 * MINUTE, "each look costs a little, and a rare one sees little")
    });
    let sample = value(sample, default.sample);
    let window = findings.read("idle.tuning.window", fragment.idle_window.as_ref(), |d| {
        between(*d, 2 * sample, 60 * MINUTE, "two looks must fit into it (idle.tuning.sample)")
    });
    let cpu_cores = findings.read("idle.tuning.cpu_cores", fragment.idle_cpu_cores.as_ref(), |cores| {
        let fits = *cores > 0.0 && *cores <= 64.0;
        fits.then_some(*cores).ok_or_else(|| format!("is more than 0 and at most 64, not {cores}"))
    });
    let after = findings.read("idle.tuning.memory.after", fragment.idle_memory_after.as_ref(), |d| {
        between(*d, MINUTE, 7 * DAY, "later is never")
    });
    Tuning {
        sample,
        window: value(window, default.window.max(2 * sample)),
        cpu_cores: cpu_cores.map_or(default.cpu_cores, |g| g.value),
        memory: Stretch {
            above: fragment.idle_memory_above.as_ref().map_or(default.memory.above, |g| g.value.0),
            after: value(after, default.memory.after),
        },
    }
}

fn hub(fragment: &Fragment, findings: &mut Findings) -> Option<Hub> {
    let (url, file) = (fragment.hub_url.as_ref(), fragment.hub_token_file.as_ref());
    let opened = fragment.tables.get("idle.jupyterhub")?;
    for (key, given) in [("idle.jupyterhub.url", url), ("idle.jupyterhub.token_file", file)] {
        if given.is_none() && !excused(fragment, key) {
            findings.mistake(opened, format!("idle.jupyterhub needs both url and token_file; {key} is missing"));
        }
    }
    let url = findings.read("idle.jupyterhub.url", url, |url| local(url));
    let file = findings.read("idle.jupyterhub.token_file", file, |file| paths::absolute(file));
    Some(Hub { url: url?.value, token_file: file?.value })
}

/// A URL of the hub's API on this VM: the token goes there unencrypted, and only this VM's users count.
fn local(url: &str) -> Result<String, String> {
    let wanted = "is the hub's API on this VM, such as \"http://127.0.0.1:8081/hub/api\"";
    let refused = || format!("{wanted}, not {url:?}");
    let rest = url.strip_prefix("http://").ok_or_else(refused)?;
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let is_local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let plain = url.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#' | '@' | '"' | '\\'));
    if is_local && plain { Ok(url.trim_end_matches('/').to_owned()) } else { Err(refused()) }
}
