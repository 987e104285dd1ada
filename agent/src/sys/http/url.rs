//! Addresses that may be asked.

use std::net::IpAddr;
use ureq::http::Uri;
use ureq::http::uri::{PathAndQuery, Scheme};

/// An absolute address: https anywhere, plain http only on this machine and its link. By construction valid.
#[derive(Clone, PartialEq, Eq)]
pub struct Url(Uri);

/// What is wrong with an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlMistake {
    /// It cannot be read.
    #[error("is no address: write https://HOST")]
    Unreadable,
    /// Neither http nor https.
    #[error("must start with https://")]
    Scheme,
    /// Plain http to elsewhere.
    #[error("must start with https://: plain http is for loopback and link-local addresses, such as 169.254.169.254")]
    Plain,
    /// A name or a password in it.
    #[error("may have no user name or password in it")]
    User,
}

impl Url {
    /// Azure's instance metadata, which has the same address on every VM.
    pub fn metadata() -> Self {
        Self(Uri::from_static("http://169.254.169.254/"))
    }

    /// Reads an absolute address.
    ///
    /// # Errors
    /// What is wrong, to be said behind the name of the setting.
    pub fn parse(text: &str) -> Result<Self, UrlMistake> {
        let uri: Uri = text.parse().map_err(|_| UrlMistake::Unreadable)?;
        let authority = uri.authority().ok_or(UrlMistake::Unreadable)?;
        if authority.as_str().contains('@') {
            return Err(UrlMistake::User);
        }
        // What stands behind the host must be a port, and one that there is.
        let bare = authority.as_str().len() == authority.host().len();
        if authority.host().is_empty() || (!bare && authority.port_u16().is_none()) {
            return Err(UrlMistake::Unreadable);
        }
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => {}
            Some(scheme) if *scheme == Scheme::HTTP => {
                if !is_near(authority.host()) {
                    return Err(UrlMistake::Plain);
                }
            }
            _ => return Err(UrlMistake::Scheme),
        }
        Ok(Self(uri))
    }

    /// The same server with this path and query, which starts with a slash and is encoded already.
    ///
    /// # Errors
    /// When it has characters that no path may have.
    pub fn at(&self, path_and_query: &str) -> Result<Self, UrlMistake> {
        if !path_and_query.starts_with('/') {
            return Err(UrlMistake::Unreadable);
        }
        let mut parts = self.0.clone().into_parts();
        parts.path_and_query = Some(path_and_query.parse::<PathAndQuery>().map_err(|_| UrlMistake::Unreadable)?);
        Uri::from_parts(parts).map(Self).map_err(|_| UrlMistake::Unreadable)
    }

    /// Whether both are the same server by the same protocol: what may be said to one may be said to the other.
    pub fn is_same_server(&self, other: &Url) -> bool {
        self.0.scheme() == other.0.scheme()
            && self.host().eq_ignore_ascii_case(other.host())
            && self.port() == other.port()
    }

    /// The server's port; the protocol's own where none is written.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_https() { 443 } else { 80 })
    }

    /// Name or address of the server.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default()
    }

    /// Whether it speaks TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == Some(&Scheme::HTTPS)
    }

    /// Path without the query.
    pub fn path(&self) -> &str {
        self.0.path()
    }

    pub(super) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether `host` is written as an address of this machine or of its link (RFC 1122, 3927, 4291). Names are not: what
/// they mean is for others to say.
fn is_near(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback() || address.is_unicast_link_local(),
        Err(_) => false,
    }
}

/// `text` as one component of a path or one value of a query: everything but unreserved characters is encoded
/// (RFC 3986, section 2.3).
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_only_for_this_machine_and_its_link() {
        for good in [
            "http://169.254.169.254",
            "http://127.0.0.1:8080/x?y=z",
            "http://[::1]:80",
            "http://[fe80::1]/",
            "https://management.azure.com",
            "https://127.0.0.1:8443",
            "HTTPS://contoso-kv.vault.azure.net/",
        ] {
            assert!(Url::parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("http://management.azure.com", UrlMistake::Plain),
            ("http://localhost", UrlMistake::Plain),
            ("http://168.63.129.16", UrlMistake::Plain),
            ("http://10.0.0.1", UrlMistake::Plain),
            ("http://169.254.169.254@evil.example", UrlMistake::User),
            ("https://a:b@contoso.example", UrlMistake::User),
            ("http://[fc00::1]", UrlMistake::Plain),
            ("ftp://127.0.0.1", UrlMistake::Scheme),
            ("/metadata", UrlMistake::Unreadable),
            ("contoso-kv", UrlMistake::Scheme),
            ("", UrlMistake::Unreadable),
            ("https://", UrlMistake::Unreadable),
            ("https://host:99999", UrlMistake::Unreadable),
            ("https://ho st/", UrlMistake::Unreadable),
        ] {
            assert_eq!(Url::parse(bad).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn a_path_is_put_behind_the_server() {
        let metadata = Url::metadata();
        assert_eq!(Url::parse("http://169.254.169.254").as_ref(), Ok(&metadata));
        let base = Url::parse("https://h:444").unwrap();
        assert_eq!(base.at("/a/b?c=d").unwrap().to_string(), "https://h:444/a/b?c=d");
        assert!(base.at("a").is_err() && base.at("/a b").is_err() && base.at("@evil/").is_err());
        assert!(base.is_same_server(&Url::parse("https://H:444/x").unwrap()));
        for other in ["https://h/x", "https://h.evil:444/x"] {
            assert!(!base.is_same_server(&Url::parse(other).unwrap()), "{other}");
        }
        assert!(Url::parse("https://h").unwrap().is_same_server(&Url::parse("https://h:443/x").unwrap()));
    }

    #[test]
    fn what_is_put_into_a_path_cannot_leave_its_place() {
        assert_eq!(encode("dsvm pool/../x?&#é"), "dsvm%20pool%2F..%2Fx%3F%26%23%C3%A9");
        assert_eq!(encode("a-Z_0.~"), "a-Z_0.~");
    }
}
