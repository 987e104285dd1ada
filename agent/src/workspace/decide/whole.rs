//! What is decided where the whole share is shown to everybody: one mount for all, always, and links to directories in it.

use super::{Busy, Step};
use crate::config::settings::Settings;
use crate::share::model::{Mounted, UserMount, View};
use crate::share::options;
use crate::share::whole::EVERYBODY;
use crate::workspace::memory::Memory;
use std::path::Path;
use std::time::Duration;

/// Whether the settings want it so.
pub fn is_open(settings: &Settings) -> bool {
    settings.share.as_ref().is_some_and(crate::config::settings::Share::is_open)
}

/// Mounts the whole share where that is wanted and nothing else is mounted there: that would be hidden.
pub(super) fn show(
    settings: &Settings,
    share: &View,
    mounted: &Mounted,
    memory: &Memory,
    busy: &Busy,
    now: Duration,
) -> Option<Step> {
    let wanted = is_open(settings) && memory.closing.is_none() && mounted.users.is_empty();
    let due = memory.whole.as_ref().is_none_or(|t| now >= t.again);
    let free = share.usable.is_some() && share.guard.is_some() && !busy.mounts.contains(Path::new(""));
    (wanted && due && free).then_some(Step::ShowAll { address: share.address })
}

/// Why a mount is to go that the settings do not want any more; nothing where each user's own rules hold.
pub(super) fn why(settings: &Settings, memory: &Memory, mount: &UserMount) -> Option<Option<&'static str>> {
    let whole = mount.directory.as_os_str().is_empty();
    if !is_open(settings) {
        return whole.then_some(Some("each user sees their own directory alone now"));
    }
    if !whole {
        return Some(Some("the whole share is shown now"));
    }
    let gone = memory.closing.as_ref().is_some_and(|c| c.gone);
    let otherwise = options::whom(&mount.mount).is_some_and(|seen| seen != EVERYBODY);
    Some(gone.then_some("the VM goes").or(otherwise.then_some("it is mounted otherwise than it should be")))
}

#[cfg(test)]
mod tests {
    use super::super::{decide, take_accounts};
    use super::*;
    use crate::config::settings::{Isolation, Share};
    use crate::share::model::ShareState;
    use crate::share::observe::mounted;
    use crate::sys::mountinfo;
    use crate::workspace::memory::Closing;
    use crate::workspace::model::Account;

    const NOW: Duration = Duration::from_secs(1000);
    const VIEW: View =
        View { state: ShareState::Mounted, guard: Some(5), usable: Some(7), address: None, problems: Vec::new() };
    const GUARD: &str = "5 1 0:9 / /data ro - tmpfs dsvm-agent-guard rw\n";
    const WHOLE: &str = "8 5 0:11 / /data rw,nosuid,nodev - cifs //h/s rw,uid=0,gid=0,file_mode=0666,dir_mode=0777\n";
    const ALICE: &str =
        "8 5 0:11 / /data/notebooks/alice rw - cifs //h/s/notebooks/alice rw,uid=1001,gid=1001,file_mode=0600\n";

    fn settings(isolation: Isolation) -> Settings {
        let mut share = Share::smb_for_tests();
        share.mount_point = "/data".into();
        share.source = crate::config::settings::Source::Smb { host: "h".to_owned(), share: "s".to_owned() };
        share.smb.isolation = isolation;
        Settings { share: Some(share), ..Settings::default() }
    }

    fn steps(isolation: Isolation, mounts: &str, change: impl FnOnce(&mut Memory)) -> Vec<Step> {
        let settings = settings(isolation);
        let mounts = mountinfo::parse(mounts.as_bytes()).unwrap();
        let seen = mounted(settings.share.as_ref().unwrap(), &mounts);
        assert_eq!((seen.guard, seen.in_the_way.as_ref()), (Some(5), None));
        let mut memory = Memory::default();
        let alice = Account::for_tests("alice", 1001);
        take_accounts(&mut memory, &settings, vec![alice], &[], 1000, NOW);
        memory.see(None, NOW);
        for r in memory.all_mut() {
            (r.point, r.made, r.linked, r.checked) = (Some(5), Some(7), Some(NOW), Some(NOW));
        }
        change(&mut memory);
        decide(&settings, &VIEW, &seen, &memory, &Busy::default(), NOW)
    }

    fn detach(directory: &str, why: &'static str) -> Step {
        Step::Detach { directory: directory.into(), why }
    }

    #[test]
    fn the_whole_share_is_one_mount_for_all_and_hides_nothing() {
        use Isolation::{Open, PerUser};
        let (whole, alice) = (format!("{GUARD}{WHOLE}"), format!("{GUARD}{ALICE}"));
        assert_eq!(steps(Open, GUARD, |_| ()), [Step::ShowAll { address: None }]);
        assert_eq!(steps(Open, &whole, |_| ()), []);
        assert_eq!(steps(PerUser, GUARD, |_| ()), [Step::Attach { name: "alice".to_owned(), address: None }]);
        // From one way to the other: what is there goes first, when nobody uses it.
        assert_eq!(steps(Open, &alice, |_| ()), [detach("notebooks/alice", "the whole share is shown now")]);
        let apart = steps(PerUser, &whole, |_| ());
        assert!(apart.contains(&detach("", "each user sees their own directory alone now")), "{apart:?}");
        // What was made otherwise is made anew.
        let narrow = whole.replace("0666", "0600");
        assert_eq!(steps(Open, &narrow, |_| ()), [detach("", "it is mounted otherwise than it should be")]);
        let closing = |m: &mut Memory| m.closing = Some(Closing { gone: true, ..Closing::default() });
        assert_eq!(steps(Open, &whole, closing), [detach("", "the VM goes")]);
        assert_eq!(steps(Open, GUARD, closing), []);
    }
}
