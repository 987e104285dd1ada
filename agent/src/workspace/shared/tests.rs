//! What is decided for places in shared directories.

use super::*;
use crate::share::model::{Mounted, ShareState, View};
use crate::sys::mountinfo::Mount;
use crate::workspace::decide::{self, Busy, take_accounts};
use crate::workspace::model::{Directory, Step};

const NOW: Duration = Duration::from_secs(1000);
const VIEW: View =
    View { state: ShareState::Mounted, guard: Some(5), usable: Some(7), address: None, problems: Vec::new() };

fn settings(read_only: bool) -> Settings {
    let shared = |directory: &str, group: Option<&str>, read_only| Setting {
        directory: directory.to_owned(),
        link: format!("notebooks/{directory}"),
        group: group.map(str::to_owned),
        read_only,
    };
    Settings {
        shared: vec![shared("projects", Some("lab"), read_only), shared("data", None, true)],
        ..Settings::default()
    }
}

fn account(name: &str, uid: u32, groups: &[(&str, u32)]) -> Account {
    Account {
        name: name.to_owned(),
        uid,
        gid: uid,
        groups: vec![uid],
        named_groups: groups.iter().map(|(name, gid)| ((*name).to_owned(), *gid)).collect(),
        home: format!("/home/{name}").into(),
        shell: "/bin/bash".into(),
    }
}

fn told(memory: &mut Memory, settings: &Settings, accounts: &[Account]) {
    take_accounts(memory, settings, accounts.to_vec(), &[], 1000, NOW);
}

/// Alice is in the lab and bob is not; everything is there but what is mounted.
fn memory() -> Memory {
    let mut memory = Memory::default();
    told(&mut memory, &settings(false), &[account("alice", 1001, &[("lab", 2000)]), account("bob", 1002, &[])]);
    for r in memory.all_mut() {
        (r.point, r.made, r.linked, r.checked) = (Some(5), Some(7), Some(NOW), Some(NOW));
    }
    memory
}

fn mounted(places: &[(&str, &str, &str)]) -> Mounted {
    let one = |(id, (place, attributes, options)): (u64, &(&str, &str, &str))| UserMount {
        directory: place.into(),
        mount: Mount {
            id,
            parent: 5,
            device: "0:9".to_owned(),
            root: "/".into(),
            target: Path::new("/data").join(place),
            attributes: format!("{attributes},nosuid,nodev"),
            fs_type: "cifs".to_owned(),
            source: "//h/s/projects".into(),
            options: (*options).to_owned(),
        },
        other: false,
        carries: false,
    };
    Mounted { guard: Some(5), users: (10..).zip(places).map(one).collect(), ..Mounted::default() }
}

const ALICES: (&str, &str, &str) = ("projects/alice", "rw", "rw,uid=1001,gid=2000,file_mode=0660,dir_mode=0770");

fn steps(settings: &Settings, memory: &Memory, mounted: &Mounted, now: Duration) -> Vec<Step> {
    decide::decide(settings, &VIEW, mounted, memory, &Busy::default(), now)
}

fn attached(steps: &[Step]) -> Vec<&str> {
    steps.iter().filter_map(|s| if let Step::Attach { name, .. } = s { Some(name.as_str()) } else { None }).collect()
}

fn detached(steps: &[Step]) -> Vec<(&str, &str)> {
    let one = |s| if let &Step::Detach { ref directory, why } = s { Some((directory.to_str()?, why)) } else { None };
    steps.iter().filter_map(one).collect()
}

#[test]
fn members_alone_have_a_place() {
    let memory = memory();
    assert_eq!(memory.shared.keys().collect::<Vec<_>>(), ["data/alice", "data/bob", "projects/alice"]);
    let alice = &memory.shared["projects/alice"];
    assert_eq!((alice.key(), alice.whom().uid()), ("projects/alice", 1001));
    assert_eq!(memory.get("bob").map(Record::key), Some("bob"));
    assert_eq!(memory.of(Path::new("data/bob")).map(|r| r.whom().uid()), Some(0), "nobody's, to read");
    let all = settings(false);
    assert_eq!(owner_of(&all, Path::new("projects/%41lice")).as_deref(), Some("Alice"));
    assert_eq!(owner_of(&all, Path::new("notebooks/bob")).as_deref(), Some("bob"));
    assert_eq!(owner_of(&all, Path::new("other/bob")), None);
}

#[test]
fn a_place_is_mounted_while_its_user_is_here() {
    let (settings, mut memory) = (settings(false), memory());
    assert_eq!(steps(&settings, &memory, &mounted(&[]), NOW), []);
    memory.see(Some(&[1001].into()), NOW);
    assert_eq!(attached(&steps(&settings, &memory, &mounted(&[]), NOW)), ["alice", "data/alice", "projects/alice"]);
    let (later, linger) = (NOW + Duration::from_secs(1), settings.workspace.linger);
    memory.see(Some(&[].into()), later);
    let there = mounted(&[ALICES]);
    assert_eq!(detached(&steps(&settings, &memory, &there, later)), []);
    let gone = detached(&steps(&settings, &memory, &there, NOW + linger)).len();
    assert_eq!(gone, 1, "as soon as her own would be");
}

#[test]
fn who_leaves_the_group_loses_the_place_and_nothing_else() {
    let (settings, mut memory) = (settings(false), memory());
    memory.see(Some(&[1001, 1002].into()), NOW);
    told(&mut memory, &settings, &[account("alice", 1001, &[]), account("bob", 1002, &[("lab", 2000)])]);
    assert!(!memory.shared.contains_key("projects/alice") && memory.users["alice"].made == Some(7));
    let steps = steps(&settings, &memory, &mounted(&[ALICES]), NOW);
    assert_eq!(detached(&steps), [("projects/alice", "it is for nobody who is served")]);
    // Bob's is new: its mount point comes first.
    assert!(steps.contains(&Step::MountPoints { names: vec!["projects/bob".to_owned()] }), "{steps:?}");
    assert!(memory.shared["projects/bob"].last_present == Some(NOW), "he is here already");
}

#[test]
fn what_is_mounted_otherwise_than_is_asked_for_goes() {
    let mut memory = memory();
    memory.see(None, NOW);
    let read_only = settings(true);
    let there = mounted(&[ALICES]);
    assert_eq!(detached(&steps(&settings(false), &memory, &there, NOW)), []);
    // The group was given another number.
    let regrouped = [account("alice", 1001, &[("lab", 2001)]), account("bob", 1002, &[])];
    told(&mut memory, &settings(false), &regrouped);
    let why = "the configuration or the group is another now";
    assert_eq!(detached(&steps(&settings(false), &memory, &there, NOW)), [("projects/alice", why)]);
    told(&mut memory, &read_only, &[account("alice", 1001, &[("lab", 2000)])]);
    assert_eq!(detached(&steps(&read_only, &memory, &there, NOW)).len(), 1);
    let right = ("projects/alice", "ro", "rw,uid=0,gid=2000,file_mode=0440,dir_mode=0550");
    assert_eq!(detached(&steps(&read_only, &memory, &mounted(&[right]), NOW)), []);
    let writable = ("projects/alice", "rw", "rw,uid=0,gid=2000,file_mode=0440,dir_mode=0550");
    assert_eq!(detached(&steps(&read_only, &memory, &mounted(&[writable]), NOW)).len(), 1);
}

#[test]
fn what_is_wrong_with_a_shared_directory_is_said_once_and_holds_up_nobodys_own() {
    let mut memory = memory();
    let unfit = Directory::Unfit { uid: 0, gid: 0, mode: 0o777 };
    for place in ["data/alice", "data/bob"] {
        let record = memory.of_mut(Path::new(place)).unwrap();
        record.directory(7, &unfit, NOW, 0);
        assert!(record.has_problem() && record.made.is_none());
    }
    let share = crate::config::settings::Share::smb_for_tests();
    let problems = decide::problems(&share, &mounted(&[]), &memory);
    assert_eq!(problems.iter().map(|p| p.code.as_str()).collect::<Vec<_>>(), ["workspace.shared-unfit"]);
    assert!(problems[0].subject.is_none() && problems[0].remedy.contains("chmod 0755 data"), "{problems:?}");
    memory.see(None, NOW);
    assert_eq!(attached(&steps(&settings(false), &memory, &mounted(&[]), NOW)), ["alice", "bob", "projects/alice"]);
    // A server that gives root no rights: the members' own rights do not help.
    let record = memory.of_mut(Path::new("projects/alice")).unwrap();
    record.directory(7, &Directory::Squashed, NOW, 0);
    let said = record.troubles.values().find_map(|t| t.problem.clone()).unwrap();
    assert!(said.remedy.contains("chown root:lab projects; chmod 2770 projects"), "{said:?}");
}

#[test]
fn nothing_new_is_mounted_while_the_vm_goes_and_what_is_there_goes() {
    let (settings, mut memory) = (settings(false), memory());
    memory.see(None, NOW);
    let needed = ["alice".to_owned()].into();
    memory.closing = Some(crate::workspace::memory::Closing { gone: false, needed });
    assert_eq!(attached(&steps(&settings, &memory, &mounted(&[]), NOW)), ["alice"]);
    assert_eq!(detached(&steps(&settings, &memory, &mounted(&[ALICES]), NOW)), []);
    memory.closing = Some(crate::workspace::memory::Closing { gone: true, needed: Default::default() });
    assert_eq!(detached(&steps(&settings, &memory, &mounted(&[ALICES]), NOW)), [("projects/alice", "the VM goes")]);
}
