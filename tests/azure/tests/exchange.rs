//! What the agent asks of Azure, against the simulator and its faults: each question as a worker asks it.

use azure::Azure;
use azure::fault::{Fault, What};
use azure::world::{Mode, World};
use dsvm_agent::config::settings::ScaleSet;
use dsvm_agent::scale_set::act::{Ask, Told, perform};
use dsvm_agent::scale_set::model::{EventKind, Failure, Instance, Node, Place, Protection, Reading, Service, Values};
use dsvm_agent::sys::http::Url;
use std::time::{Duration, SystemTime};

const FULL: Protection = Protection { scale_in: true, actions: true };

fn started(mode: Mode) -> (Azure, ScaleSet) {
    let azure = Azure::start(World::new(mode, 2));
    let url = Url::parse(&azure.url()).expect("an address");
    let some = Some(url.clone());
    (azure, ScaleSet { metadata: url, resource_manager: some.clone(), monitor: some, ..ScaleSet::default() })
}

fn member(settings: &ScaleSet) -> (Node, Instance) {
    match perform(&Ask::Place, settings) {
        Ok(Told::Place(Place::Member(node, instance))) => (node, instance),
        other => panic!("{other:?}"),
    }
}

fn protect(settings: &ScaleSet, wanted: Protection, force: bool) -> Result<Protection, Failure> {
    read(settings, |node, instance| Ask::Protect { node, instance, wanted, force }).map(|reading| reading.now)
}

fn read(settings: &ScaleSet, ask: impl Fn(Node, Instance) -> Ask) -> Result<Reading, Failure> {
    let (node, instance) = member(settings);
    match perform(&ask(node, instance), settings)? {
        Told::Protection(reading) => Ok(reading),
        other => panic!("{other:?}"),
    }
}

fn requests(azure: &Azure, method: &str, path: &str) -> usize {
    let world = azure.world();
    let fits = |r: &&azure::world::Received| r.request.method == method && r.request.path.contains(path);
    world.received.iter().filter(fits).count()
}

#[test]
fn a_vm_finds_out_which_one_it_is() {
    for (mode, id) in [(Mode::Uniform, "0"), (Mode::Flexible, "dsvmpool_00000000")] {
        let (azure, settings) = started(mode);
        let (node, instance) = member(&settings);
        assert_eq!((instance.id.as_str(), instance.set.as_str()), (id, "dsvmpool"));
        assert_eq!(instance.set_id, azure.world().set_id());
        assert_eq!((node.name, node.location), (azure.world().vms[0].name.clone(), "westeurope".to_owned()));
    }
    let (_azure, settings) = started(Mode::Single);
    assert!(matches!(perform(&Ask::Place, &settings), Ok(Told::Place(Place::Single(_)))));
    let (azure, settings) = started(Mode::Uniform);
    for what in
        [What::Status { status: 410, retry_after: None }, What::Cut, What::Nonsense, What::Garbage, What::Dropped]
    {
        azure.play([Fault::new("/metadata/instance", what.clone()).times(1)]);
        let failure = perform(&Ask::Place, &settings).unwrap_err();
        assert!(failure.service == Service::Metadata && !failure.doubtful, "{what:?}: {failure:?}");
    }
}

#[test]
fn protection_is_changed_only_where_it_differs_and_read_back() {
    for mode in [Mode::Uniform, Mode::Flexible] {
        let (azure, settings) = started(mode);
        assert_eq!(protect(&settings, FULL, false), Ok(FULL));
        assert_eq!(azure.world().vms[0].protection, Some((true, true)));
        assert_eq!(
            (requests(&azure, "PUT", "/virtualMachines/"), requests(&azure, "GET", "/virtualMachines/")),
            (1, 2)
        );
        assert_eq!(protect(&settings, FULL, false), Ok(FULL));
        assert_eq!(requests(&azure, "PUT", "/virtualMachines/"), 1, "it is so already");
        assert_eq!(protect(&settings, FULL, true), Ok(FULL));
        assert_eq!(requests(&azure, "PUT", "/virtualMachines/"), 2);
        assert_eq!(protect(&settings, Protection::NONE, false), Ok(Protection::NONE));
        assert_eq!(azure.world().vms[1].protection, None, "only its own");
    }
}

#[test]
fn to_look_changes_nothing_and_a_change_says_what_was_there_before() {
    let (azure, settings) = started(Mode::Uniform);
    let look = || read(&settings, |node, instance| Ask::Look { node, instance });
    let reading = |found: Option<Protection>, now| Ok(Reading { found, now });
    assert_eq!(look(), reading(Some(Protection::NONE), Protection::NONE));
    // Somebody protects it in the portal.
    let by_hand = Protection { scale_in: true, actions: false };
    azure.world().vms[0].protection = Some((true, false));
    assert_eq!(look(), reading(Some(by_hand), by_hand));
    assert_eq!(requests(&azure, "PUT", "/virtualMachines/"), 0);
    let change = |force| read(&settings, |node, instance| Ask::Protect { node, instance, wanted: FULL, force });
    assert_eq!(change(false), reading(Some(by_hand), FULL));
    assert_eq!(change(false), reading(Some(FULL), FULL));
    assert_eq!(change(true), reading(None, FULL), "it was not looked at");
    azure.play([Fault::new("/virtualMachines/", What::Status { status: 500, retry_after: None }).method("GET")]);
    assert!(!look().unwrap_err().doubtful, "nothing can have changed");
}

#[test]
fn a_long_running_change_is_waited_for() {
    let (azure, settings) = started(Mode::Uniform);
    azure.world().looks = Some(1);
    assert_eq!(protect(&settings, FULL, false), Ok(FULL));
    assert_eq!(requests(&azure, "GET", "/operations/"), 2);
    azure.play([Fault::new("/virtualMachines/", What::Operation { looks: 0, fails: true }).method("PUT")]);
    let failure = protect(&settings, Protection::NONE, false).unwrap_err();
    assert!(failure.doubtful && failure.code.as_deref() == Some("InternalExecutionError"), "{failure:?}");
    assert_eq!(azure.world().vms[0].protection, Some((true, true)));
}

#[test]
fn a_change_whose_end_is_not_known_is_in_doubt_and_one_that_was_refused_is_not() {
    let (azure, settings) = started(Mode::Uniform);
    let put = |what: What| {
        azure.play([Fault::new("/virtualMachines/", what).method("PUT")]);
        protect(&settings, FULL, true).unwrap_err()
    };
    for what in [What::Lost, What::Cut, What::Garbage, What::Status { status: 500, retry_after: None }] {
        assert!(put(what.clone()).doubtful, "{what:?}");
    }
    // A conflict is waited for, as long as there is time.
    azure.play([Fault::new("/virtualMachines/", What::Status { status: 409, retry_after: Some(1) })
        .method("PUT")
        .times(2)]);
    assert_eq!(protect(&settings, FULL, true), Ok(FULL));
    assert_eq!(put(What::Status { status: 429, retry_after: Some(60) }).retry_after, Some(Duration::from_secs(60)));
    assert!(!put(What::Expired).doubtful && put(What::Expired).is_lasting());
    // One for a lock is none that is waited for.
    let before = requests(&azure, "PUT", "/virtualMachines/");
    let locked = put(What::Locked);
    assert!(locked.is_lasting() && !locked.doubtful && locked.found.is_none(), "{locked:?}");
    assert_eq!(requests(&azure, "PUT", "/virtualMachines/"), before + 1);
    assert_eq!(protect(&settings, Protection::NONE, false).unwrap_err().found, Some(FULL), "it was looked at");
    assert_eq!(requests(&azure, "PUT", "/virtualMachines/"), before + 2);
    // It was done, but it cannot be read back.
    azure.play([Fault::new("/virtualMachines/", What::Nonsense).method("GET")]);
    assert!(protect(&settings, FULL, true).unwrap_err().doubtful);
    azure.play([]);
    azure.world().identities[0].virtual_machines = false;
    let refused = protect(&settings, Protection::NONE, true).unwrap_err();
    assert_eq!(refused.line(), "Azure Resource Manager says 403 (AuthorizationFailed)");
    assert_eq!(azure.world().vms[0].protection, Some((true, true)), "as the lost ones left it");
    azure.world().identities.clear();
    let none = protect(&settings, FULL, true).unwrap_err();
    assert!(none.service == Service::Identity && none.is_lasting() && !none.doubtful, "{none:?}");
}

#[test]
fn a_token_goes_to_its_service_alone() {
    let (azure, settings) = started(Mode::Uniform);
    let stranger = Azure::start(World::new(Mode::Uniform, 1));
    azure.world().looks = Some(0);
    // The place of the operation is a header: one that leads elsewhere is not followed.
    azure.world().operations.clear();
    assert_eq!(protect(&settings, FULL, false), Ok(FULL));
    assert_eq!(stranger.world().received.len(), 0);
    let world = azure.world();
    for received in &world.received {
        let to_metadata = received.request.path.starts_with("/metadata");
        assert_eq!(received.request.header("authorization").is_some(), !to_metadata);
        assert!(received.request.header("x-forwarded-for").is_none());
    }
}

#[test]
fn a_report_arrives_as_monitor_wants_it() {
    let (azure, settings) = started(Mode::Uniform);
    let (node, instance) = member(&settings);
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let values = Values { idle: Some(false), busy: Some(true), unprotected: Some(false) };
    let ask = Ask::Publish { node, instance, values, at };
    assert_eq!(perform(&ask, &settings), Ok(Told::Published));
    {
        let world = azure.world();
        let seen: Vec<_> = world.samples.iter().map(|s| (s.metric.as_str(), s.values.2)).collect();
        assert_eq!(seen, [("IdleNodes", 0.0), ("BusyNodes", 1.0), ("BusyUnprotectedNodes", 0.0)]);
        assert!(world.samples.iter().all(|s| s.dimensions["Instance"] == "dsvmpool_0" && s.namespace == "DsvmAgent"));
        assert!(world.samples.iter().all(|s| s.minute == at / 60));
    }
    azure.play([Fault::new("/metrics", What::Lost)]);
    assert!(perform(&ask, &settings).unwrap_err().doubtful);
}

#[test]
fn events_are_waited_for_and_approved() {
    let (azure, settings) = started(Mode::Uniform);
    let (node, _) = member(&settings);
    let Ok(Told::Events(number, none)) = perform(&Ask::Events { node: node.clone(), known: None }, &settings) else {
        panic!("no events");
    };
    assert!(none.is_empty());
    let id = azure.world().announce("Terminate", 0, Duration::from_secs(600));
    azure.world().announce("Reboot", 1, Duration::from_secs(600));
    let Ok(Told::Events(_, seen)) = perform(&Ask::Events { node, known: Some(number) }, &settings) else {
        panic!("no events");
    };
    assert_eq!(seen.iter().map(|e| (e.kind, e.id.clone())).collect::<Vec<_>>(), [(EventKind::Terminate, id.clone())]);
    assert_eq!(perform(&Ask::Approve { ids: vec![id] }, &settings), Ok(Told::Approved));
    assert!(azure.world().vms[0].gone);
    assert!(perform(&Ask::Approve { ids: vec!["x".into()] }, &settings).is_err());
}

#[test]
fn an_operation_that_may_not_be_looked_at_is_seen_at_the_vm_itself() {
    let (azure, settings) = started(Mode::Uniform);
    azure.world().looks = Some(2);
    for status in [403, 404] {
        azure.play([Fault::new("/operations/", What::Status { status, retry_after: None })]);
        let wanted = if status == 403 { FULL } else { Protection::NONE };
        assert_eq!(protect(&settings, wanted, false), Ok(wanted), "{status}");
        assert_eq!(azure.world().vms[0].protection, Some((wanted.scale_in, wanted.actions)));
    }
}
