//! Requests to a program on this machine that is known by its socket, and not by a certificate or a name.

use super::{Error, Request, Response, config, run};
use rustls::crypto::ring;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::http::uri::Scheme;
use ureq::tls::TlsConfig;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{
    ConnectionDetails, Connector, NextTimeout, RustlsConnector, TcpConnector, Transport,
};

/// Looks once more at who it is that was connected to, before a word is said.
struct Check<F>(F);

impl<F> std::fmt::Debug for Check<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Check")
    }
}

impl<F: Fn() -> bool + Send + Sync + 'static, In: Transport> Connector<In> for Check<F> {
    type Out = In;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<In>, ureq::Error> {
        if (self.0)() { Ok(chained) } else { Err(ureq::Error::Io(io::Error::from(io::ErrorKind::ConnectionRefused))) }
    }
}

/// Finds addresses that are written as such. No name service is asked, and no thread started, which a user's limits may refuse.
#[derive(Debug)]
struct Written;

impl Resolver for Written {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let port = uri.port_u16().or_else(|| uri.scheme().map(|s| if *s == Scheme::HTTPS { 443 } else { 80 }));
        let address = uri.host().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok()).zip(port);
        let mut found = self.empty();
        found.push(address.ok_or(ureq::Error::HostNotFound)?.into());
        Ok(found)
    }
}

/// Sends `request`, whose host is written as an address, and reads the answer. Once there is a connection, and before anything is sent, `is_known` says whether
/// who listens there is still the one that is meant: then the connection is theirs, since no two programs of different
/// users can listen at one address. A certificate would say no more, and is not looked at.
///
/// # Errors
/// As [`super::send`]; no connection when it is somebody else.
pub fn send_to_known(
    request: &Request,
    is_known: impl Fn() -> bool + Send + Sync + 'static,
) -> Result<Response, Error> {
    let provider = || Arc::new(ring::default_provider());
    let tls = request.url.is_https().then(|| {
        TlsConfig::builder().disable_verification(true).unversioned_rustls_crypto_provider(provider()).build()
    });
    let connector = ().chain(TcpConnector::default()).chain(Check(is_known)).chain(RustlsConnector::default());
    run(request, &ureq::Agent::with_parts(config(request, tls), connector, Written))
}

#[cfg(test)]
mod tests {
    use super::super::{Method, Url};
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Duration;

    fn request(port: u16) -> Request {
        let url = Url::parse(&format!("http://127.0.0.1:{port}/x")).unwrap();
        Request::new(Method::Get, url).within(Duration::from_secs(10)).header("Authorization", "token secret")
    }

    #[test]
    fn nothing_is_said_to_whom_is_not_known() {
        for known in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let heard = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let (mut heard, mut buffer) = (String::new(), [0; 1024]);
                while !heard.ends_with("\r\n\r\n") {
                    match stream.read(&mut buffer).unwrap() {
                        0 => break,
                        n => heard.push_str(&String::from_utf8_lossy(&buffer[..n])),
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                heard
            });
            let answer = send_to_known(&request(port), move || known);
            match known {
                true => assert_eq!(answer.unwrap().body.as_slice(), b"ok"),
                false => assert!(matches!(answer, Err(Error::Unreachable { .. })), "{answer:?}"),
            }
            assert_eq!(heard.join().unwrap().contains("token secret"), known);
        }
    }
}
