use super::*;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

/// A server that reads one request's head and body, hands it over, and then does as it is told.
fn server(answer: impl FnOnce(&mut TcpStream) + Send + 'static) -> (Url, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0u8; 1];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
            head.push(byte[0]);
        }
        let text = String::from_utf8(head).unwrap();
        let length = text.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0u8; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        tell.send(text + std::str::from_utf8(&body).unwrap()).unwrap();
        answer(&mut stream);
        // The client closes first: an early end must come from `answer` alone.
        let _ = stream.read(&mut byte);
    });
    (url, told)
}

fn says(text: impl Into<Vec<u8>>) -> (Url, mpsc::Receiver<String>) {
    let bytes = text.into();
    server(move |stream| {
        let _ = stream.write_all(&bytes);
    })
}

fn get(url: &Url) -> Request {
    Request::new(Method::Get, url.at("/metadata/instance?api-version=2021-03-01").unwrap())
}

fn ask(request: &Request) -> Result<Response, Error> {
    send(request, Path::new("/nonexistent"))
}

#[test]
fn a_request_arrives_as_it_was_meant_and_any_status_is_an_answer() {
    let (url, told) = says("HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}");
    let answer = ask(&get(&url).header("Metadata", "true")).unwrap();
    assert_eq!((answer.status, answer.header("retry-after"), &answer.body[..]), (429, Some("7"), &b"{}"[..]));
    let sent = told.recv().unwrap();
    assert!(sent.starts_with("GET /metadata/instance?api-version=2021-03-01 HTTP/1.1\r\n"), "{sent}");
    assert!(sent.to_ascii_lowercase().contains("\r\nmetadata: true\r\n"), "{sent}");

    let (url, told) = says("HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let request =
        Request::new(Method::Put, url.clone()).bearer(&Zeroizing::new("t".into())).json(b"{\"a\":1}".to_vec());
    assert_eq!(&ask(&request).unwrap().body[..], b"abc");
    let sent = told.recv().unwrap();
    assert!(sent.starts_with("PUT / HTTP/1.1") && sent.ends_with("\r\n\r\n{\"a\":1}"), "{sent}");
    assert!(sent.to_ascii_lowercase().contains("authorization: bearer t\r\n"), "{sent}");

    let (url, told) = says("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    ask(&Request::new(Method::Post, url)).unwrap();
    assert!(told.recv().unwrap().to_ascii_lowercase().contains("content-length: 0\r\n"));
}

#[test]
fn a_redirect_is_not_followed() {
    let (url, _told) = says("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    let answer = ask(&get(&url)).unwrap();
    assert_eq!((answer.status, answer.header("Location")), (302, Some("http://127.0.0.1:1/")));
}

#[test]
fn nothing_is_longer_than_it_may_be() {
    let body = "x".repeat(1001);
    for framing in [format!("Content-Length: {}\r\n\r\n{body}", body.len()), format!("\r\n{body}")] {
        let (url, _told) = server(move |stream| {
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
        let error = ask(&get(&url).limit(1000)).unwrap_err();
        assert_eq!(error, Error::TooLarge { host: "127.0.0.1".into(), limit: 1000 });
    }
    let (url, _told) = says(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(HEAD_LIMIT)));
    assert!(ask(&get(&url)).is_err());
    let (url, _told) = says(format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(1000)));
    assert_eq!(ask(&get(&url).limit(1000)).unwrap().body.len(), 1000);
}

#[test]
fn one_that_is_silent_or_drips_is_given_up() {
    let (url, _told) = server(|stream| drop(stream.read(&mut [0u8; 1])));
    let error = ask(&get(&url).within(Duration::from_millis(200))).unwrap_err();
    assert!(matches!(error, Error::Late { .. }) && error.may_have_arrived(), "{error:?}");

    let (url, _told) = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let error = ask(&get(&url).within(Duration::from_millis(300))).unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error:?}");

    let (url, _told) = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx");
        let _ = stream.read(&mut [0u8; 1]);
    });
    let error = ask(&get(&url).silence(Duration::from_millis(100)).within(Duration::from_secs(30))).unwrap_err();
    assert!(matches!(error, Error::Late { .. }), "{error:?}");
}

#[test]
fn one_that_is_cut_or_no_http_is_no_answer() {
    for said in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 200",
        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
        "",
    ] {
        let (url, _told) = server(move |stream| {
            let _ = stream.write_all(said.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
        });
        let error = ask(&get(&url)).unwrap_err();
        assert!(matches!(error, Error::Garbled { .. }) && error.may_have_arrived(), "{said:?}: {error:?}");
    }
}

#[test]
fn nobody_there_is_told_from_an_answer_that_was_lost() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = ask(&get(&Url::parse(&format!("http://{free}")).unwrap())).unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }) && !error.may_have_arrived(), "{error:?}");
    assert_eq!(error.to_string(), "no connection to 127.0.0.1: Connection refused");
}

#[test]
fn secrets_are_in_no_text() {
    let (url, _told) = says("HTTP/1.1 200 OK\r\nContent-Length: 6\r\nX-Token: hidden\r\n\r\nhidden");
    let request = get(&url).bearer(&Zeroizing::new("hidden".into())).json(b"hidden".to_vec());
    let answer = ask(&request).unwrap();
    assert!(!format!("{request:?} {answer:?}").contains("hidden"));
    let error = ask(&get(&url).header("Metadata", "hid\nden")).unwrap_err();
    assert!(!error.to_string().contains("hid\n"), "{error}");
}

#[test]
fn https_needs_certificates_that_are_trusted() {
    let url = Url::parse("https://127.0.0.1:1").unwrap();
    let error = send(&get(&url), Path::new("/nonexistent")).unwrap_err();
    assert!(matches!(error, Error::Roots(_)), "{error:?}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    assert!(matches!(send(&get(&url), empty.path()).unwrap_err(), Error::Roots(_)));
}
