//! What a failure means, in words: from what was tried, the error's number and the kernel's messages to a state and a
//! problem. What can happen is data: [`table::FAULTS`].

pub mod table;

use super::model::{Failure, Probe, ShareState};
use crate::config::settings::{Credentials, Share};
use crate::problem::Problem;
use std::net::IpAddr;
use table::{FAULTS, Fault};

/// What a failure means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// What it makes of the share.
    pub state: ShareState,
    /// What a person is told.
    pub problem: Problem,
}

/// What `failure` means for `share`.
pub fn diagnose(share: &Share, failure: &Failure) -> Diagnosis {
    let fault = find(share, failure);
    let (summary, remedy) = (fill(fault.summary, share, failure), fill(fault.remedy, share, failure));
    Diagnosis { state: fault.state, problem: Problem::new(fault.code, summary, remedy) }
}

/// The first row that fits; the last one fits everything.
pub fn find(share: &Share, failure: &Failure) -> &'static Fault {
    let last = &FAULTS[FAULTS.len() - 1];
    FAULTS.iter().find(|fault| fault.fits(share.kind(), failure)).unwrap_or(last)
}

impl Fault {
    fn fits(&self, kind: crate::config::settings::Kind, failure: &Failure) -> bool {
        let said = || failure.details.iter().any(|d| self.says.iter().any(|word| d.contains(word)));
        self.during.contains(&failure.attempt)
            && self.kind.is_none_or(|k| k == kind)
            && (self.errnos.is_empty() || failure.errno.is_some_and(|e| self.errnos.contains(&e)))
            && (self.says.is_empty() || said())
    }
}

/// The words that stand in braces in a row's texts.
pub const WORDS: [&str; 11] = [
    "{said}",
    "{details}",
    "{host}",
    "{server}",
    "{port}",
    "{source}",
    "{at}",
    "{key}",
    "{likely}",
    "{enlarge}",
    "{module}",
];

/// A row's text with its words replaced.
fn fill(text: &str, share: &Share, failure: &Failure) -> String {
    let (host, port) = share.server().unwrap_or(("this VM", 0));
    let address = failure.details.iter().find_map(|d| d.parse::<IpAddr>().ok());
    let value = |word: &str| match word {
        "{said}" => failure.words(),
        "{details}" => failure.details.join("; "),
        "{host}" => host.to_owned(),
        "{server}" => server(host, address),
        "{port}" => port.to_string(),
        "{source}" => share.source.to_string(),
        "{at}" => share.mount_point.display().to_string(),
        "{key}" => match &share.credentials {
            Some(Credentials::File(path)) => format!("into {}", path.display()),
            Some(Credentials::KeyVault(vault)) => format!("into {}, which is read every 5 min", vault.vault),
            _ => "where [share.credentials] points".to_owned(),
        },
        "{likely}" => likely(host, port, address),
        "{enlarge}" => enlarge(share, None),
        "{module}" => match share.kind() {
            crate::config::settings::Kind::Smb => "SMB (cifs)".to_owned(),
            _ => "NFS (nfs)".to_owned(),
        },
        _ => String::new(),
    };
    // Each word once, from left to right: what replaces one may hold braces itself.
    let mut out = String::with_capacity(text.len() + 64);
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let (before, behind) = rest.split_at(open);
        out.push_str(before);
        match WORDS.iter().find(|word| behind.starts_with(**word)) {
            Some(word) => {
                out.push_str(&value(word));
                rest = &behind[word.len()..];
            }
            None => {
                out.push('{');
                rest = &behind[1..];
            }
        }
    }
    out + rest
}

/// The server's name with the address that was tried, and whether that one is in the private ranges of RFC 1918 and
/// RFC 4193.
fn server(host: &str, address: Option<IpAddr>) -> String {
    match address {
        Some(a) if a.to_string() == host => host.to_owned(),
        Some(a) => format!("{host} is {a} ({}), which", if is_private(a) { "private" } else { "public" }),
        None => host.to_owned(),
    }
}

/// Whether an address is of a private network, or of this machine.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(a) => a.is_private() || a.is_loopback() || a.is_link_local(),
        IpAddr::V6(a) => a.is_loopback() || a.is_unique_local() || a.is_unicast_link_local(),
    }
}

/// What is behind a server that cannot be reached, most often.
fn likely(host: &str, port: u16, address: Option<IpAddr>) -> String {
    match address {
        Some(a) if !is_private(a) && is_azure(host) => {
            format!("Likely: the private DNS zone is not linked to this network, or port {port} is blocked.")
        }
        Some(a) if is_private(a) && is_azure(host) => {
            format!(
                "Likely: a network security group or a firewall blocks port {port}, or the private endpoint is gone."
            )
        }
        _ => format!("Likely: the server is down, or a firewall blocks port {port}."),
    }
}

/// Whether a name is a storage account's file service, in any of the vendor's clouds or behind a private link.
fn is_azure(host: &str) -> bool {
    host.contains(".file.core.") || host.contains(".file.storage.azure.") || host.contains(".privatelink.file.")
}

/// How to make a share larger: twice as large, where its size is known.
fn enlarge(share: &Share, total: Option<u64>) -> String {
    use crate::config::settings::Source;
    let name = match &share.source {
        Source::Smb { share: name, .. } => name.split('/').next(),
        Source::Nfs { export, .. } => export.trim_matches('/').split('/').nth(1),
        Source::Directory(_) => None,
    };
    match (share.server(), name) {
        (Some((host, _)), Some(name)) if is_azure(host) => {
            let account = host.split('.').next().unwrap_or_default();
            let quota = total.map_or("GIB".to_owned(), |bytes| bytes.div_ceil(GIB).saturating_mul(2).to_string());
            format!(
                "Enlarge the share: az storage share-rm update --storage-account {account} -n {name} --quota {quota}"
            )
        }
        _ => "Enlarge the share, or delete what is not needed.".to_owned(),
    }
}

/// Less than this is little on a share of any size.
const LITTLE: u64 = 10 * GIB;
const GIB: u64 = 1 << 30;
/// With less than this nothing of anybody's can be saved, though a few bytes come and go: a block, a row of a VM's.
const NOTHING: u64 = 64 * 1024;

/// What is to be said of the room that is left on the share: nothing while there is enough of it. Little is less than a
/// twentieth, and less than 10 GiB: a twentieth of a large share is still room for months.
pub fn space(share: &Share, probe: &Probe) -> Option<Problem> {
    let (total, free) = (probe.bytes_total, probe.bytes_free);
    if total == 0 || free >= LITTLE || free >= total / 20 {
        return None;
    }
    if free < NOTHING {
        let full = Failure::call(super::model::Attempt::Directory, rustix::io::Errno::NOSPC);
        return Some(diagnose(share, &full).problem);
    }
    let limit = if share.kind() == crate::config::settings::Kind::Directory {
        ""
    } else {
        " The share has no limit for single users."
    };
    let summary = format!(
        "{} of {} are left on the share. Saves will soon fail with \"No space left on device\".{limit}",
        bytes(free),
        bytes(total)
    );
    Some(Problem::new("share.nearly-full", summary, enlarge(share, Some(total))))
}

/// Bytes for people: `1.2 GiB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", GIB), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (unit, size) in UNITS {
        if count >= size {
            let tenths = u128::from(count) * 10 / u128::from(size);
            return match tenths {
                0..100 if tenths % 10 != 0 => format!("{}.{} {unit}", tenths / 10, tenths % 10),
                _ => format!("{} {unit}", tenths / 10),
            };
        }
    }
    format!("{count} bytes")
}

impl Failure {
    /// The failure in words, for people: what the kernel calls the error, then what it said.
    pub fn words(&self) -> String {
        // A worker that was given up on says how long it was waited for: "timed out" adds nothing.
        let given_up = self.errno == Some(libc::ETIMEDOUT) && self.details.iter().any(|d| d.starts_with("no answer"));
        let errno = self.errno.filter(|_| !given_up).map(|e| {
            let text = std::io::Error::from_raw_os_error(e).to_string();
            text.split(" (os error").next().unwrap_or_default().to_owned()
        });
        errno.into_iter().chain(self.details.iter().cloned()).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests;
