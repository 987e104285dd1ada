//! `[scale_set]` and `[scale_set.endpoints]`.

use super::super::fragment::Fragment;
use super::super::place::Given;
use super::super::settings::ScaleSet;
use super::{Findings, credentials};
use crate::sys::http::Url;
use std::net::SocketAddr;

pub(super) fn scale_set(fragment: &Fragment, findings: &mut Findings) -> ScaleSet {
    let default = ScaleSet::default();
    let client_id = findings.read("scale_set.client_id", fragment.scale_set_client_id.as_ref(), |id| {
        if id.is_empty() { Ok(String::new()) } else { credentials::identity(id) }
    });
    ScaleSet {
        enabled: fragment.scale_set_enabled.as_ref().map_or(default.enabled, |given| given.value),
        protect: fragment.scale_set_protect.as_ref().map_or(default.protect, |given| given.value),
        metrics: fragment.scale_set_metrics.as_ref().map_or(default.metrics, |given| given.value),
        client_id: client_id.map_or(default.client_id, |given| given.value),
        listen: listen(fragment.scale_set_listen.as_ref(), findings),
        metadata: endpoint("metadata", fragment.endpoints_metadata.as_ref(), findings).unwrap_or(default.metadata),
        resource_manager: endpoint("resource_manager", fragment.endpoints_resource_manager.as_ref(), findings),
        monitor: endpoint("monitor", fragment.endpoints_monitor.as_ref(), findings),
    }
}

/// An address; nothing when it is left out or empty.
fn endpoint(name: &str, given: Option<&Given<String>>, findings: &mut Findings) -> Option<Url> {
    let given = given.filter(|given| !given.value.is_empty());
    let read = findings.read(&format!("scale_set.endpoints.{name}"), given, |text| {
        let url = Url::parse(text).map_err(|mistake| mistake.to_string())?;
        if url.path() != "/" || text.contains('?') {
            return Err("is a server alone, without a path behind it".to_owned());
        }
        Ok(url)
    });
    read.map(|given| given.value)
}

/// An address and a port; nothing when it is left out or empty. The agent's main process has no right to the low ports.
fn listen(given: Option<&Given<String>>, findings: &mut Findings) -> Option<SocketAddr> {
    let given = given.filter(|given| !given.value.is_empty());
    let read = findings.read("scale_set.listen", given, |text| match text.parse::<SocketAddr>() {
        Ok(address) if address.port() >= 1024 => Ok(address),
        Ok(_) => Err("is a port from 1024 to 65535".to_owned()),
        Err(_) => Err(format!("is an address with a port, such as \"0.0.0.0:9460\", not {text:?}")),
    });
    read.map(|given| given.value)
}
