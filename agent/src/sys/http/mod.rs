//! HTTP for workers: one request, one answer, a deadline, a limit to everything.
//!
//! What it never does: try again (whoever asks decides that), follow a redirect (a token would go along), use a proxy
//! of the environment (instance metadata must not, and nobody else's environment reaches a worker), speak plain HTTP
//! to anything but this machine and its link, or write a header's value or a body to the log.
//!
//! Headers and bodies are zeroed when they are dropped. The library's own buffers are not: a worker hides itself from
//! debuggers and core dumps, has no swap, and ends after its one job.

mod known;
mod url;

pub use known::send_to_known;
pub use url::{Url, UrlMistake, encode};

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};
use zeroize::Zeroizing;

/// The certificates that the system trusts, as the package `ca-certificates` of Debian and Ubuntu writes them.
pub const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The longest answer that is read unless the request says otherwise. Instance metadata is a few KiB.
pub const LIMIT: usize = 256 * 1024;
/// The longest head of an answer. Azure's have many headers, of a few KiB in all.
const HEAD_LIMIT: usize = 32 * 1024;
/// How long a connection may take, within the deadline: an address that never answers is told from a slow service.
const CONNECT: Duration = Duration::from_secs(10);

/// The verb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// GET.
    Get,
    /// PUT.
    Put,
    /// POST.
    Post,
    /// PATCH.
    Patch,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Put => "PUT",
            Method::Post => "POST",
            Method::Patch => "PATCH",
        }
    }
}

/// A request. `Debug` shows no header's value and no body.
pub struct Request {
    method: Method,
    url: Url,
    headers: Vec<(&'static str, Zeroizing<String>)>,
    body: Option<Zeroizing<Vec<u8>>>,
    deadline: Duration,
    silence: Duration,
    limit: usize,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.method.name(), self.url)
    }
}

impl Request {
    /// A request that may take 10 s in all and whose answer may have [`LIMIT`] bytes.
    pub fn new(method: Method, url: Url) -> Self {
        let (deadline, silence) = (Duration::from_secs(10), Duration::from_secs(10));
        Self { method, url, headers: Vec::new(), body: None, deadline, silence, limit: LIMIT }
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, Zeroizing::new(value.into())));
        self
    }

    /// With `Authorization: Bearer token` (RFC 6750, section 2.1).
    #[must_use]
    pub fn bearer(mut self, token: &Zeroizing<String>) -> Self {
        self.headers.push(("Authorization", Zeroizing::new(format!("Bearer {}", token.as_str()))));
        self
    }

    /// With this body.
    #[must_use]
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = Some(Zeroizing::new(body));
        self
    }

    /// With this body of JSON.
    #[must_use]
    pub fn json(self, body: Vec<u8>) -> Self {
        self.body(body).header("Content-Type", "application/json")
    }

    /// With this time for everything: name, connection, handshake, request, answer.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// With this time between two signs of life once it is connected; the deadline holds as well.
    #[must_use]
    pub fn silence(mut self, silence: Duration) -> Self {
        self.silence = silence;
        self
    }

    /// With this limit to the answer's body, in bytes.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

/// An answer, whatever its status. `Debug` shows the status and the body's length.
pub struct Response {
    /// The status code.
    pub status: u16,
    headers: Vec<(String, Zeroizing<String>)>,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl Response {
    /// The first header of this name, in any case of letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} with {} bytes", self.status, self.body.len())
    }
}

/// Why there is no answer. The text has no secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The name is not known, or nobody answers for names.
    #[error("the name {0} cannot be found")]
    NoSuchHost(String),
    /// No connection.
    #[error("no connection to {host}: {why}")]
    Unreachable {
        /// To whom.
        host: String,
        /// The system's words.
        why: String,
    },
    /// The other side is not who it should be, or speaks no TLS.
    #[error("{host} is not trusted: {why}")]
    Tls {
        /// Who.
        host: String,
        /// Why.
        why: String,
    },
    /// Not within the time.
    #[error("{host} took longer than {} s", .after.as_secs_f32())]
    Late {
        /// Who.
        host: String,
        /// How long it was given.
        after: Duration,
    },
    /// The answer is larger than it may be.
    #[error("the answer of {host} is larger than {limit} bytes")]
    TooLarge {
        /// Whose.
        host: String,
        /// The limit.
        limit: usize,
    },
    /// What came is no HTTP, or stopped in the middle.
    #[error("the answer of {host} makes no sense: {why}")]
    Garbled {
        /// Whose.
        host: String,
        /// What is wrong.
        why: String,
    },
    /// The trusted certificates cannot be read.
    #[error("{0}: the trusted certificates cannot be read (is ca-certificates installed?)")]
    Roots(String),
}

impl Error {
    /// Whether the request may have arrived although no answer did: its effect is not known.
    pub fn may_have_arrived(&self) -> bool {
        matches!(self, Error::Late { .. } | Error::TooLarge { .. } | Error::Garbled { .. })
    }
}

/// Sends `request` and reads the answer. `roots` is a file of trusted certificates in PEM, read only for https: see
/// [`SYSTEM_ROOTS`].
///
/// # Errors
/// No answer, and why. A status that says failure is an answer.
pub fn send(request: &Request, roots: &Path) -> Result<Response, Error> {
    let tls = if request.url.is_https() { Some(trusted(roots)?) } else { None };
    run(request, &config(request, tls).new_agent())
}

/// How a request is sent, whoever gets it.
fn config(request: &Request, tls: Option<TlsConfig>) -> ureq::config::Config {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .max_idle_connections(0)
        .max_response_header_size(HEAD_LIMIT)
        .user_agent(concat!("dsvm-agent/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(request.deadline))
        .timeout_connect(Some(CONNECT.min(request.deadline)))
        .timeout_per_read(Some(request.silence));
    match tls {
        Some(tls) => config.tls_config(tls).build(),
        None => config.build(),
    }
}

fn run(request: &Request, agent: &ureq::Agent) -> Result<Response, Error> {
    let mut head = ureq::http::Request::builder().method(request.method.name()).uri(request.url.uri());
    for (name, value) in &request.headers {
        let garbled = |_| failed(request, "a header's value has characters that none may have");
        let mut value = ureq::http::HeaderValue::from_str(value).map_err(garbled)?;
        value.set_sensitive(true);
        head = head.header(*name, value);
    }
    let built = |e: ureq::http::Error| failed(request, &e.to_string());
    let answer = match request.body.as_deref() {
        Some(body) => agent.run(head.body(&body[..]).map_err(built)?),
        None if request.method == Method::Get => agent.run(head.body(()).map_err(built)?),
        // Empty, but there: such a request says `Content-Length: 0` (RFC 9110, section 8.6).
        None => agent.run(head.body(&[][..]).map_err(built)?),
    };
    read(request, answer.map_err(|e| translated(request, e))?)
}

fn read(request: &Request, answer: ureq::http::Response<ureq::Body>) -> Result<Response, Error> {
    let status = answer.status().as_u16();
    let text = |v: &ureq::http::HeaderValue| Zeroizing::new(String::from_utf8_lossy(v.as_bytes()).into_owned());
    let headers = answer.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    // Reserved at once: a vector that grows leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(request.limit.min(LIMIT) + 1));
    let mut reader = answer.into_body().into_reader().take(request.limit as u64 + 1);
    if let Err(e) = reader.read_to_end(&mut body) {
        let e = if e.get_ref().is_some_and(|inner| inner.is::<ureq::Error>()) {
            ureq::Error::from(e)
        } else {
            ureq::Error::Io(e)
        };
        return Err(translated(request, e));
    }
    if body.len() > request.limit {
        return Err(Error::TooLarge { host: request.url.host().to_owned(), limit: request.limit });
    }
    Ok(Response { status, headers, body })
}

fn failed(request: &Request, why: &str) -> Error {
    Error::Garbled { host: request.url.host().to_owned(), why: why.to_owned() }
}

fn translated(request: &Request, error: ureq::Error) -> Error {
    use std::io::ErrorKind;
    let host = request.url.host().to_owned();
    match error {
        ureq::Error::HostNotFound => Error::NoSuchHost(host),
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
            Error::Unreachable { host, why: "no answer in time".to_owned() }
        }
        ureq::Error::Timeout(ureq::Timeout::PerRead) => Error::Late { host, after: request.silence },
        ureq::Error::Timeout(_) => Error::Late { host, after: request.deadline },
        ureq::Error::Rustls(why) => Error::Tls { host, why: why.to_string() },
        ureq::Error::Tls(why) => Error::Tls { host, why: why.to_owned() },
        ureq::Error::Io(e) => match tls_reason(&e) {
            Some(why) => Error::Tls { host, why },
            None if matches!(e.kind(), ErrorKind::TimedOut | ErrorKind::WouldBlock) => {
                Error::Late { host, after: request.silence }
            }
            None if is_before_sending(&e) => Error::Unreachable { host, why: plain(&e) },
            None => Error::Garbled { host, why: plain(&e) },
        },
        ureq::Error::ConnectionFailed => Error::Unreachable { host, why: "no address of it answers".to_owned() },
        ureq::Error::LargeResponseHeader(..) => Error::TooLarge { host, limit: HEAD_LIMIT },
        other => Error::Garbled { host, why: other.to_string() },
    }
}

/// What rustls said, if it was rustls.
fn tls_reason(error: &std::io::Error) -> Option<String> {
    error.get_ref()?.downcast_ref::<rustls::Error>().map(ToString::to_string)
}

fn is_before_sending(error: &std::io::Error) -> bool {
    use std::io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionRefused | K::HostUnreachable | K::NetworkUnreachable | K::AddrNotAvailable)
}

/// The system's words without its number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn trusted(roots: &Path) -> Result<TlsConfig, Error> {
    let fail = |why: String| Error::Roots(format!("{}: {why}", roots.display()));
    let pem = std::fs::read(roots).map_err(|e| fail(e.to_string()))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(fail("it has no certificate".to_owned()));
    }
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(certificates))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build())
}

#[cfg(test)]
mod tests;
