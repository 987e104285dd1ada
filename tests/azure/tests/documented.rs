//! The simulator against the requests and answers that the documentation shows, and the agent's own client against the
//! simulator's faults.

use azure::Azure;
use azure::fault::{Fault, What};
use azure::world::{Identity, Mode, World};
use dsvm_agent::sys::http::{Error, Method, Request, Response, Url, encode, send};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

fn ask(request: &Request) -> Result<Response, Error> {
    send(request, Path::new("/nonexistent"))
}

fn at(azure: &Azure, path: &str) -> Url {
    Url::parse(&format!("{}{path}", azure.url())).expect("it works")
}

fn metadata(azure: &Azure, path: &str) -> (u16, Value) {
    let answer = ask(&Request::new(Method::Get, at(azure, path)).header("Metadata", "true")).expect("it works");
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

fn token(azure: &Azure, resource: &str) -> Zeroizing<String> {
    let path = format!("/metadata/identity/oauth2/token?api-version=2018-02-01&resource={}", encode(resource));
    let (status, body) = metadata(azure, &path);
    assert_eq!(status, 200, "{body}");
    assert!(body["expires_on"].as_str().expect("text").parse::<u64>().is_ok(), "numbers are text");
    Zeroizing::new(body["access_token"].as_str().expect("text").to_owned())
}

fn call(azure: &Azure, method: Method, path: &str, audience: &str, body: Option<Value>) -> (u16, Value) {
    let mut request = Request::new(method, at(azure, path)).bearer(&token(azure, audience));
    if let Some(body) = body {
        request = request.json(body.to_string().into_bytes());
    }
    let answer = ask(&request).expect("it works");
    (answer.status, serde_json::from_slice(&answer.body).unwrap_or_default())
}

const ARM: &str = "https://management.azure.com/";

fn vm_path(azure: &Azure) -> String {
    let world = azure.world();
    format!("{}/virtualMachines/{}?api-version=2024-11-01", world.set_id(), world.vms[0].instance)
}

fn protect(scale_in: bool, actions: bool) -> Value {
    json!({"location": "westeurope", "properties": {"protectionPolicy": {
        "protectFromScaleIn": scale_in, "protectFromScaleSetActions": actions}}})
}

#[test]
fn instance_metadata_has_its_documented_shape_and_refusals() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    let (status, body) = metadata(&azure, "/metadata/instance?api-version=2021-03-01");
    assert_eq!(status, 200);
    let compute = &body["compute"];
    assert_eq!(compute["name"], "dsvmpool_0");
    assert_eq!(compute["virtualMachineScaleSet"]["id"], "", "only of Flexible sets");
    assert!(compute["resourceId"].as_str().unwrap().ends_with("/virtualMachineScaleSets/dsvmpool/virtualMachines/0"));
    assert_eq!(compute.get("physicalZone"), None, "came later");
    assert!(compute["osProfile"]["computerName"].is_string());

    let (status, body) = metadata(&azure, "/metadata/instance");
    assert_eq!(status, 400);
    assert!(body["newest-versions"].as_array().unwrap().contains(&json!("2025-04-07")));
    assert_eq!(metadata(&azure, "/metadata/instance/compute/nothing?api-version=2021-03-01").0, 404);
    assert_eq!(metadata(&azure, "/metadata/instance/compute/name?api-version=2021-03-01").0, 400);
    assert_eq!(metadata(&azure, "/metadata/instance?api-version=2021-03-01&api-version=2021-03-01").0, 400);
    let plain = Request::new(Method::Get, at(&azure, "/metadata/instance?api-version=2021-03-01"));
    assert_eq!(ask(&plain).unwrap().status, 400, "without the header");
    let passed_on = Request::new(Method::Get, at(&azure, "/metadata/instance?api-version=2021-03-01"))
        .header("Metadata", "true")
        .header("X-Forwarded-For", "10.0.0.4");
    assert_eq!(ask(&passed_on).unwrap().status, 400);
    let post = Request::new(Method::Post, at(&azure, "/metadata/instance?api-version=2021-03-01"));
    assert_eq!(ask(&post.header("Metadata", "true")).unwrap().status, 405);
}

#[test]
fn with_several_identities_one_must_be_named() {
    let azure = Azure::start(World::new(Mode::Flexible, 1));
    let second = Identity { client_id: "aaaa".into(), ..azure.world().identities[0].clone() };
    azure.world().identities.push(second);
    let path = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=https%3A%2F%2Fvault.azure.net";
    let (status, body) = metadata(&azure, path);
    assert_eq!((status, &body["error"]), (400, &json!("invalid_request")));
    assert_eq!(metadata(&azure, &format!("{path}&client_id=aaaa")).0, 200);
    assert_eq!(metadata(&azure, &format!("{path}&client_id=bbbb")).0, 400);
    assert_eq!(metadata(&azure, "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x").0, 400);
}

#[test]
fn protection_is_set_read_back_and_refused_as_documented() {
    for mode in [Mode::Uniform, Mode::Flexible] {
        let azure = Azure::start(World::new(mode, 2));
        let path = vm_path(&azure);
        let (status, body) = call(&azure, Method::Get, &path, ARM, None);
        assert_eq!((status, body["properties"].get("protectionPolicy")), (200, None), "a new VM has none");
        assert_eq!(body["properties"]["provisioningState"], "Succeeded");
        let (status, body) = call(&azure, Method::Put, &path, ARM, Some(protect(true, true)));
        assert_eq!((status, &body["properties"]["protectionPolicy"]["protectFromScaleIn"]), (200, &json!(true)));
        assert_eq!(azure.world().vms[0].protection, Some((true, true)));

        let (status, body) = call(&azure, Method::Put, &path, ARM, Some(protect(false, true)));
        assert_eq!((status, &body["error"]["code"]), (400, &json!("InvalidParameter")));
        let without = json!({"properties": {}});
        assert_eq!(call(&azure, Method::Put, &path, ARM, Some(without)).0, 400);
        let whole = json!({"location": "westeurope", "properties": {"networkProfile": {}}});
        let (status, body) = call(&azure, Method::Put, &path, ARM, Some(whole));
        assert_eq!((status, &body["error"]["code"]), (403, &json!("LinkedAuthorizationFailed")));
        assert_eq!(call(&azure, Method::Patch, &path, ARM, Some(protect(true, true))).0, 405, "there is no PATCH");
        let (status, body) =
            call(&azure, Method::Get, &path.replace("/virtualMachines/", "/virtualMachines/9"), ARM, None);
        assert!(status == 400 && body["error"]["message"].as_str().unwrap().contains("is not an active"), "{body}");
        assert_eq!(call(&azure, Method::Get, &path, "https://vault.azure.net", None).0, 401);
        let old = call(&azure, Method::Get, &path.replace("2024-11-01", "2022-11-01"), ARM, None).0;
        assert_eq!(old, if mode == Mode::Flexible { 400 } else { 200 });
    }
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    azure.world().identities[0].virtual_machines = false;
    let (status, body) = call(&azure, Method::Put, &vm_path(&azure), ARM, Some(protect(true, true)));
    assert_eq!((status, &body["error"]["code"]), (403, &json!("AuthorizationFailed")));
}

#[test]
fn a_slow_write_is_an_operation_and_conflicts_with_another() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    azure.world().looks = Some(4);
    let path = vm_path(&azure);
    let put = Request::new(Method::Put, at(&azure, &path))
        .bearer(&token(&azure, ARM))
        .json(protect(true, false).to_string().into_bytes());
    let accepted = ask(&put).unwrap();
    assert_eq!((accepted.status, accepted.header("Retry-After")), (202, Some("1")));
    let place = accepted.header("Azure-AsyncOperation").unwrap().replace(&azure.url(), "");
    assert!(accepted.header("Location").is_some());
    assert_eq!(ask(&put).unwrap().status, 409);
    let (_, body) = call(&azure, Method::Get, &path, ARM, None);
    assert_eq!(body["properties"]["provisioningState"], "Updating");
    for expected in ["InProgress", "InProgress", "Succeeded", "Succeeded"] {
        assert_eq!(call(&azure, Method::Get, &place, ARM, None).1["status"], expected);
    }
    assert_eq!(azure.world().vms[0].protection, Some((true, false)));
    azure.play([Fault::new("/virtualMachines/", What::Operation { looks: 0, fails: true }).method("PUT")]);
    let accepted = ask(&put).unwrap();
    let place = accepted.header("Azure-AsyncOperation").unwrap().replace(&azure.url(), "");
    assert_eq!(call(&azure, Method::Get, &place, ARM, None).1["status"], "Failed");
}

#[test]
fn events_are_shown_approved_and_gone() {
    let azure = Azure::start(World::new(Mode::Uniform, 2));
    let path = "/metadata/scheduledevents?api-version=2020-07-01";
    let id = azure.world().announce("Terminate", 1, Duration::from_secs(600));
    let (_, body) = metadata(&azure, path);
    let event = &body["Events"][0];
    assert_eq!(event["Resources"], json!(["dsvmpool_1"]), "every VM sees the events of all");
    assert!(event["NotBefore"].as_str().unwrap().ends_with(" GMT"));
    assert_eq!(event["DurationInSeconds"], -1);
    azure.world().events[0].iso = true;
    assert!(metadata(&azure, path).1["Events"][0]["NotBefore"].as_str().unwrap().ends_with('Z'));
    let older = metadata(&azure, "/metadata/scheduledevents?api-version=2019-01-01").1;
    assert_eq!(older["Events"][0].get("EventSource"), None);
    assert_eq!(metadata(&azure, "/metadata/scheduledevents?api-version=2017-11-01").1["Events"], json!([]));
    let approve = |id: &str| {
        let body = json!({"StartRequests": [{"EventId": id}]}).to_string().into_bytes();
        ask(&Request::new(Method::Post, at(&azure, path)).header("Metadata", "true").json(body)).unwrap().status
    };
    assert_eq!(approve("nonsense"), 400);
    let before = body["DocumentIncarnation"].as_u64().unwrap();
    assert_eq!((approve(&id), approve(&id)), (200, 200));
    let (_, body) = metadata(&azure, path);
    assert_eq!(body["Events"], json!([]), "the VM is deleted, and its event vanishes");
    assert!(body["DocumentIncarnation"].as_u64().unwrap() > before);
    assert!(azure.world().vms[1].gone);
}

#[test]
fn what_is_protected_is_no_victim() {
    let azure = Azure::start(World::new(Mode::Uniform, 3));
    let mut world = azure.world();
    world.vms[2].protection = Some((true, true));
    assert_eq!((world.scale_in(), world.scale_in(), world.scale_in()), (Some(1), Some(0), None));
}

fn metric(time: &str) -> Value {
    json!({"time": time, "data": {"baseData": {"metric": "IdleNodes", "namespace": "DsvmAgent", "dimNames": ["Instance"],
        "series": [{"dimValues": ["dsvmpool_0"], "min": 1, "max": 1, "sum": 1, "count": 1}]}}})
}

#[test]
fn metrics_are_taken_for_the_scale_set_alone_and_only_fresh_and_whole() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    let now = humantime::format_rfc3339_seconds(azure.world().now()).to_string();
    let path = format!("{}/metrics", azure.world().set_id());
    let monitoring = "https://monitoring.azure.com/";
    let post = |path: &str, body: Value| call(&azure, Method::Post, path, monitoring, Some(body)).0;
    assert_eq!(post(&path, metric(&now)), 200);
    assert_eq!(azure.world().samples[0].dimensions["Instance"], "dsvmpool_0");
    assert_eq!(post(&path, metric("2020-01-01T00:00:00Z")), 400, "too old");
    let ahead = humantime::format_rfc3339_seconds(azure.world().now() + Duration::from_secs(600)).to_string();
    assert_eq!(post(&path, metric(&ahead)), 400, "too new");
    let mut without = metric(&now);
    without["data"]["baseData"]["series"][0]["dimValues"] = json!([]);
    assert_eq!(post(&path, without), 400);
    let child = path.replace("/metrics", "/virtualMachines/0/metrics");
    assert_eq!(post(&child, metric(&now)), 404);
    azure.world().identities[0].metrics = false;
    assert_eq!(post(&path, metric(&now)), 403);
    assert_eq!(azure.world().samples.len(), 1);
}

#[test]
fn a_secret_needs_its_token_and_its_role() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    azure.world().secrets.insert("share-key".into(), "a+b/c==".into());
    let path = "/secrets/share-key?api-version=7.4";
    let without = ask(&Request::new(Method::Get, at(&azure, path))).unwrap();
    assert_eq!(without.status, 401);
    assert!(without.header("WWW-Authenticate").unwrap().contains("resource=\"https://vault.azure.net\""));
    let vault = "https://vault.azure.net";
    let (status, body) = call(&azure, Method::Get, path, vault, None);
    assert_eq!((status, &body["value"]), (200, &json!("a+b/c==")));
    assert_eq!(
        call(&azure, Method::Get, "/secrets/none?api-version=7.4", vault, None).1["error"]["code"],
        "SecretNotFound"
    );
    azure.world().identities[0].secrets = false;
    let (status, body) = call(&azure, Method::Get, path, vault, None);
    assert_eq!((status, &body["error"]["innererror"]["code"]), (403, &json!("ForbiddenByRbac")));
}

#[test]
fn every_fault_is_played_as_often_as_it_was_asked_for() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    let get = || {
        Request::new(Method::Get, at(&azure, "/metadata/instance?api-version=2021-03-01")).header("Metadata", "true")
    };
    let fault = |what| azure.play([Fault::new("/metadata/instance", what).after(1).times(1)]);
    for (status, retry_after) in [(404, None), (410, None), (429, Some(7)), (500, None), (503, Some(2))] {
        fault(What::Status { status, retry_after });
        assert_eq!(ask(&get()).unwrap().status, 200);
        let answer = ask(&get()).unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("Retry-After").map(str::to_owned), retry_after.map(|s| s.to_string()));
        assert_eq!(ask(&get()).unwrap().status, 200);
    }
    for what in [What::Cut, What::Lost, What::Dropped, What::Garbage] {
        azure.play([Fault::new("/metadata", what.clone()).times(1)]);
        let before = azure.world().received.len();
        let error = ask(&get()).unwrap_err();
        assert!(matches!(error, Error::Garbled { .. }) && error.may_have_arrived(), "{what:?}: {error}");
        assert_eq!(azure.world().received.len() - before, usize::from(what != What::Dropped));
    }
    azure.play([Fault::new("/metadata", What::Nonsense).times(1)]);
    assert!(serde_json::from_slice::<Value>(&ask(&get()).unwrap().body).is_err());
    azure.play([Fault::new("/metadata", What::Slow { ms: 60_000 }).times(1)]);
    assert!(matches!(ask(&get().within(Duration::from_millis(200))).unwrap_err(), Error::Late { .. }));
    azure.play([Fault::new("/virtualMachines/", What::Expired).times(1)]);
    let path = vm_path(&azure);
    assert_eq!(call(&azure, Method::Get, &path, ARM, None).1["error"]["code"], "ExpiredAuthenticationToken");
    assert_eq!(call(&azure, Method::Get, &path, ARM, None).0, 200);
    azure.world().ahead = Duration::from_secs(25 * 3600);
    assert_eq!(call(&azure, Method::Get, &path, ARM, None).0, 200, "a new token is fetched and good");
    azure.world().limits = true;
    let answers: Vec<u16> = (0..8).map(|_| ask(&get()).unwrap().status).collect();
    assert!(answers[..2] == [200, 200], "{answers:?}");
}

#[test]
fn the_agents_client_trusts_a_certificate_only_if_it_is_told_to() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    let url = Url::parse(&format!("{}/metadata/instance?api-version=2021-03-01", azure.https())).unwrap();
    let request = Request::new(Method::Get, url).header("Metadata", "true");
    let mut roots = tempfile::NamedTempFile::new().unwrap();
    roots.write_all(azure.certificate().as_bytes()).unwrap();
    assert_eq!(send(&request, roots.path()).unwrap().status, 200);

    let stranger = Azure::start(World::new(Mode::Uniform, 1));
    std::fs::write(roots.path(), stranger.certificate()).unwrap();
    let error = send(&request, roots.path()).unwrap_err();
    assert!(matches!(error, Error::Tls { .. }) && !error.may_have_arrived(), "{error:?}");
    // A server without TLS where TLS is wanted.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = Url::parse(&format!("https://{}", other.local_addr().unwrap())).unwrap();
    std::thread::spawn(move || other.accept().map(|(mut s, _)| s.write_all(b"HTTP/1.1 200 OK\r\n\r\n")));
    assert!(matches!(send(&Request::new(Method::Get, plain), roots.path()).unwrap_err(), Error::Tls { .. }));
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let azure = Azure::start(World::new(Mode::Uniform, 1));
    let dead = "http://127.0.0.1:9";
    if std::env::var("http_proxy").as_deref() == Ok(dead) {
        let url = std::env::var("DSVM_TEST_URL").unwrap();
        let request = Request::new(Method::Get, Url::parse(&url).unwrap()).header("Metadata", "true");
        assert_eq!(ask(&request).unwrap().status, 200);
        return;
    }
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "a_proxy_of_the_environment_is_not_used"]);
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"] {
        again.env(name, dead);
    }
    again.env("DSVM_TEST_URL", format!("{}/metadata/versions", azure.url()));
    assert!(again.status().unwrap().success());
    assert_eq!(azure.world().received.len(), 1);
}
