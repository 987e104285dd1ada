//! What the processes say to each other, and what anybody says to the two sockets.

use crate::idle::successor;
use crate::{assert_round, parts, text};
use dsvm_agent::config::settings::Settings;
use dsvm_agent::daemon::listener::{self, Page};
use dsvm_agent::daemon::request::{Reply, Request};
use dsvm_agent::worker::client;
use dsvm_agent::worker::job::Job;
use dsvm_agent::worker::wire::{Ask, Tell};
use std::time::Duration;

/// Jobs as the launcher takes them, and what it says back.
pub(crate) fn jobs(data: &[u8]) {
    if let Ok(ask) = serde_json::from_slice::<Ask>(data) {
        assert_round(&ask);
    }
    if let Ok(tell) = serde_json::from_slice::<Tell>(data) {
        assert_round(&tell);
    }
    if let Ok((job, own)) = serde_json::from_slice::<(Job, (u32, u32))>(data) {
        assert_round(&(job.clone(), own));
        assert!(!job.deadline().is_zero() && job.deadline() < Duration::from_secs(48 * 3600));
        assert!(job.process_name().to_bytes().len() < 16, "as the kernel takes it");
        job.directories().for_each(drop);
        job.needs_settings();
    }
}

/// A worker's answer.
pub(crate) fn answers(data: &[u8]) {
    match client::parse(data) {
        Ok(answer) => assert_round(&answer),
        Err(failure) => assert!(!failure.line().is_empty()),
    }
}

/// A line to the request socket, and the answer of that part of the agent which keeps the VM.
pub(crate) fn requests(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(data) else { return };
    assert_round(&request);
    let settings = Settings::default().idle;
    let (_place, mut idle) = successor(None);
    for (uid, now) in [(1001, 100), (0, 200), (1001, 300)] {
        let (reply, _) = idle.answer(uid, request.clone(), &settings, Duration::from_secs(now));
        let bytes = serde_json::to_vec(&reply).expect("every answer can be written");
        assert!(bytes.len() < 64 << 10);
        if let Reply::Keep { kept_s } = reply {
            assert!((0.0..=settings.keep_max.as_secs_f64()).contains(&kept_s), "{kept_s}");
        }
    }
}

/// The head of a request to `/ready` and `/metrics`.
pub(crate) fn listener(data: &[u8]) {
    let [head, metrics] = parts::<2>(data);
    for not_ready in [None, Some("draining")] {
        let page = Page { not_ready, metrics: text(metrics).into_owned() };
        let answer = listener::answer(head, &page);
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a whole head");
        let (lines, body) = (text(&answer[..end]).into_owned(), &answer[end + 4..]);
        assert!(lines.starts_with("HTTP/1.1 ") && lines.is_ascii());
        let length = lines.lines().find_map(|l| l.strip_prefix("Content-Length: ")).and_then(|n| n.parse().ok());
        assert!(length == Some(body.len()) || (head.starts_with(b"HEAD ") && body.is_empty()), "{lines}");
        assert!(lines.lines().count() <= 6, "nothing of a request comes back: {lines}");
    }
}
