use super::*;
use crate::idle::observe::sense::Humans;

#[test]
fn a_home_is_entered_as_its_user_only() {
    let person = Person::new(1001, 1001, vec![1001], "/home/alice".into()).unwrap();
    let job = Job::Link { person: person.clone(), directory: "notebooks/alice".into(), make: true };
    assert_eq!(job.privilege(), Privilege::User(person.clone()));
    let directory = "notebooks/alice".to_owned();
    for job in [
        Job::Survey { person: person.clone(), directory: directory.clone() },
        Job::LastTime { person: person.clone(), directory: directory.clone() },
        Job::Rescue { person: person.clone(), directory, into: "2026-03-04-vm".to_owned(), limit: 1 },
    ] {
        assert_eq!(job.privilege(), Privilege::User(person.clone()));
        assert!(!job.is_by_hand() && job.needs_settings());
    }
}

#[test]
fn nobody_can_ask_for_a_worker_as_root() {
    let json = r#"{"Link":{"person":{"uid":0,"gid":0,"groups":[],"home":"/root"},"directory":"x","make":true}}"#;
    assert!(serde_json::from_str::<Job>(json).is_err());
    let json = json.replace(r#""uid":0"#, r#""uid":1001"#);
    assert!(serde_json::from_str::<Job>(&json).is_err(), "root's group neither");
    let person = Person::new(1001, 1001, vec![0, 1001], "/home/a".into()).unwrap();
    assert_eq!(person.groups(), [1001]);
}

#[test]
fn what_loads_libraries_or_resolves_names_has_no_privilege() {
    let place = Job::ScaleSet(Box::new(crate::scale_set::act::Ask::Place));
    for job in [Job::Accounts { from: 1, to: 2, names: vec![] }, Job::Reach { host: "h".into(), port: 445 }, place] {
        assert_eq!(job.privilege(), Privilege::Nobody);
    }
}

#[test]
fn a_users_servers_are_asked_as_that_user_and_the_hub_by_nobody() {
    let person = Person::new(1001, 1001, vec![], "/".into()).unwrap();
    let job = Job::Jupyter { person: person.clone() };
    assert_eq!(job.privilege(), Privilege::User(person));
    assert!(job.is_by_hand(), "the main process has no business with it");
    // Whoever reads the token, or starts those who ask, can become somebody else and nothing more.
    let become_another = CapabilitySet::SETUID | CapabilitySet::SETGID | CapabilitySet::SETPCAP;
    for sense in [Sense::Jupyter, Sense::Hub] {
        let humans = Humans { from: 1000, to: 60000, others: vec![] };
        let job = Job::Sense { sense, humans };
        assert_eq!(job.privilege(), Privilege::Root(become_another));
        assert!(job.only_looks() && !job.is_by_hand());
    }
}

/// Should one of them be taken over, the launcher's memory is laid out as its own.
#[test]
fn what_reads_what_others_wrote_has_a_memory_of_its_own() {
    let person = Person::new(1001, 1001, vec![], "/home/alice".into()).unwrap();
    let directory = "notebooks/alice".to_owned();
    let humans = Humans { from: 1000, to: 60000, others: vec![] };
    for job in [
        Job::Accounts { from: 1, to: 2, names: vec![] },
        Job::Reach { host: "h".into(), port: 445 },
        Job::ScaleSet(Box::new(crate::scale_set::act::Ask::Place)),
        Job::FetchKeys,
        Job::Survey { person: person.clone(), directory },
        Job::Jupyter { person },
        Job::Sense { sense: Sense::Hub, humans },
        Job::Rows,
    ] {
        assert!(!job.may_be_copied(), "{job:?}");
    }
    assert!(Job::Probe.may_be_copied());
}
