//! A directory service: a real second source of names beside the machine's files, which lists nobody.

use crate::sandbox::Sandbox;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Where nss-systemd(8) finds services of names.
const PLACE: &str = "/run/systemd/userdb";
/// The service's name.
const NAME: &str = "com.contoso.people";

/// A service that speaks User/Group Record Lookup by Varlink, as nss-systemd(8) asks it. Its thread ends with the test.
#[derive(Debug)]
pub struct DirectoryService {
    silent: Arc<AtomicBool>,
    people: Arc<Mutex<People>>,
}

/// Numbers by name.
type People = BTreeMap<String, u32>;

impl DirectoryService {
    /// Starts one that knows `people`: names with numbers, whose homes are `/home/NAME`. Nothing, which is said, where
    /// the C library's module for it is not installed.
    ///
    /// # Panics
    /// It cannot be started.
    pub fn start(sandbox: &Sandbox, people: &[(&str, u32)]) -> Option<Self> {
        let modules = ["/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64", "/lib"];
        if !modules.iter().any(|d| Path::new(d).join("libnss_systemd.so.2").exists()) {
            eprintln!("SKIPPED: there is no libnss_systemd.so.2 to ask a second source of names with");
            return None;
        }
        sandbox
            .sh(&format!("mkdir -p {PLACE}; sed -i 's/^\\(passwd\\|group\\):.*/& systemd/' /etc/nsswitch.conf"))
            .ok();
        let socket = sandbox.path(format!("{PLACE}/{NAME}"));
        let listener = UnixListener::bind(&socket).expect("a socket");
        std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).expect("anybody may ask");
        let silent = Arc::new(AtomicBool::new(false));
        let people: People = people.iter().map(|(n, u)| ((*n).to_owned(), *u)).collect();
        let people = Arc::new(Mutex::new(people));
        let (is_silent, known) = (Arc::clone(&silent), Arc::clone(&people));
        std::thread::spawn(move || serve(&listener, &is_silent, &known));
        Some(Self { silent, people })
    }

    /// From now on it knows nobody of this name. Nothing on the machine changes by that.
    ///
    /// # Panics
    /// Another thread did.
    pub fn delete(&self, name: &str) {
        self.people.lock().expect("no thread panicked").remove(name);
    }

    /// From now on whoever asks gets no answer, or gets one again.
    pub fn silence(&self, silent: bool) {
        self.silent.store(silent, Ordering::SeqCst);
    }
}

fn serve(listener: &UnixListener, silent: &AtomicBool, people: &Mutex<People>) {
    // Whoever is not answered waits for as long as their end stays open.
    let mut left_waiting = Vec::new();
    for stream in listener.incoming().flatten() {
        if silent.load(Ordering::SeqCst) {
            left_waiting.push(stream);
        } else {
            let people = people.lock().expect("no thread panicked").clone();
            std::thread::spawn(move || answer(stream, &people));
        }
    }
}

/// Answers one client: messages are JSON that ends with a zero byte.
fn answer(stream: UnixStream, people: &People) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    let mut message = Vec::new();
    while matches!(reader.read_until(0, &mut message), Ok(n) if n > 0) {
        message.pop();
        let asked: serde_json::Value = serde_json::from_slice(&message).unwrap_or_default();
        message.clear();
        let parameters = &asked["parameters"];
        let person = people.iter().find(|(name, uid)| match parameters["userName"].as_str() {
            Some(wanted) => wanted == name.as_str(),
            None => parameters["uid"].as_u64() == Some(u64::from(**uid)),
        });
        let reply = match person {
            Some((name, uid)) if asked["method"] == "io.systemd.UserDatabase.GetUserRecord" => serde_json::json!({
                "parameters": {"incomplete": false, "record": {
                    "userName": name, "uid": uid, "gid": uid, "homeDirectory": format!("/home/{name}"),
                    "shell": "/bin/bash", "disposition": "regular", "service": NAME,
                }},
            }),
            _ => serde_json::json!({"error": "io.systemd.UserDatabase.NoRecordFound", "parameters": {}}),
        };
        let text = format!("{reply}\0");
        if out.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}
