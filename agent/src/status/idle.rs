//! What the status says of use: the verdict, the evidence, keeps, and what would be lost.

use crate::idle::model::{State, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Whether the VM is used, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IdleView {
    /// The verdict.
    pub verdict: Verdict,
    /// Since when it is so: RFC 3339, UTC, as every time here.
    pub since: Option<String>,
    /// When it will be idle if nothing happens; nothing while something happens, or when that cannot be told.
    pub idle_at: Option<String>,
    /// When it was last used.
    pub last_busy: Option<String>,
    /// From when on use would have been seen, where quiet counts from there and not from the last use.
    #[serde(default)]
    pub seen_from: Option<SeenFromView>,
    /// How long it must be quiet, in seconds, as configured.
    pub after_s: u64,
    /// The same, stretched by memory that is held.
    pub needed_s: u64,
    /// What is averaged is averaged over this, in seconds.
    pub window_s: u64,
    /// How long the last look at the VM's processes and terminals took, in milliseconds.
    #[serde(default)]
    pub sample_ms: f64,
    /// The evidence, most important first.
    pub sources: Vec<SourceView>,
    /// Who keeps it.
    pub keeps: Vec<KeepView>,
    /// What would be lost if it went now.
    pub at_risk: Vec<RiskView>,
    /// The announcement that it may go, if it was made.
    pub leave: Option<LeaveView>,
}

/// From when on use would have been seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenFromView {
    /// That time.
    pub at: Option<String>,
    /// What could not be read until then, in words; nothing when nobody looked.
    pub unread: Option<String>,
}

/// One line of evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceView {
    /// The kind of evidence.
    pub name: String,
    /// What it says.
    pub state: State,
    /// When it was last busy.
    pub last_busy: Option<String>,
    /// Since when it is as it is.
    pub since: Option<String>,
    /// Until when it keeps the VM, if it is not busy again.
    pub until: Option<String>,
    /// What was observed.
    pub observed: Option<f64>,
    /// From where on it is busy.
    pub threshold: Option<f64>,
    /// The unit of both.
    pub unit: String,
    /// Whose; nothing in the file that everybody may read.
    pub uid: Option<u32>,
    /// Their name, likewise.
    pub who: Option<String>,
    /// What it is, likewise.
    pub what: Option<String>,
    /// In the file that everybody may read: how many users it stands for.
    #[serde(default)]
    pub count: Option<u64>,
}

/// One keep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeepView {
    /// Whose; nothing in the file that everybody may read.
    pub uid: Option<u32>,
    /// Their name, likewise.
    pub who: Option<String>,
    /// Why, likewise.
    pub reason: Option<String>,
    /// Since when.
    pub since: Option<String>,
    /// Until when at the latest.
    pub until: Option<String>,
    /// It ends with a command.
    pub command: bool,
}

/// Something that would be lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RiskView {
    /// What kind.
    pub kind: String,
    /// Whose; nothing in the file that everybody may read.
    pub uid: Option<u32>,
    /// Their name, likewise.
    pub who: Option<String>,
    /// How many, or how many bytes.
    pub value: f64,
    /// The unit.
    pub unit: String,
    /// What it is; nothing in the file that everybody may read.
    pub what: Option<String>,
    /// In the file that everybody may read: how many users it stands for.
    #[serde(default)]
    pub count: Option<u64>,
    /// Of files that are on this VM only.
    #[serde(default)]
    pub files: Option<FilesView>,
}

/// Files that are on this VM only.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FilesView {
    /// Bytes in all of them.
    pub bytes: u64,
    /// Those that were changed last, newest first; nothing in the file that everybody may read.
    pub newest: Vec<String>,
    /// Not everything could be looked at: there may be more.
    pub more: bool,
}

impl FilesView {
    /// Both together, without names.
    fn with(&self, other: &Self) -> Self {
        let bytes = self.bytes.saturating_add(other.bytes);
        Self { bytes, newest: Vec::new(), more: self.more || other.more }
    }
}

/// The announcement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeaveView {
    /// Its number.
    pub epoch: u64,
    /// When it was made.
    pub announced_at: Option<String>,
    /// Before that nothing acts on it; nothing when that is past.
    pub until: Option<String>,
    /// It is past.
    pub due: bool,
    /// The VM's protection was given up on it.
    pub committed: bool,
}

/// What one user is told of their own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct OwnIdle {
    /// Their evidence.
    pub sources: Vec<SourceView>,
    /// Their keeps.
    pub keeps: Vec<KeepView>,
    /// What of theirs would be lost.
    pub at_risk: Vec<RiskView>,
}

/// What everybody may read: how many, and never who or what.
pub fn public(view: &IdleView) -> IdleView {
    let mut sources: Vec<SourceView> = Vec::new();
    for source in &view.sources {
        // That a source cannot be read is nobody's secret.
        if source.state == State::Unknown && source.uid.is_none() {
            sources.push(source.clone());
            continue;
        }
        let same = |s: &&mut SourceView| s.name == source.name && s.state == source.state;
        let count = source.count.unwrap_or(1);
        match sources.iter_mut().find(same) {
            Some(seen) => {
                seen.count = Some(seen.count.unwrap_or(0) + count);
                seen.last_busy = seen.last_busy.clone().max(source.last_busy.clone());
                seen.until = seen.until.clone().max(source.until.clone());
                (seen.observed, seen.since) = (None, None);
            }
            None => sources.push(SourceView { uid: None, who: None, what: None, count: Some(count), ..source.clone() }),
        }
    }
    let mut risks: BTreeMap<&str, RiskView> = BTreeMap::new();
    for risk in &view.at_risk {
        let sum = risks.entry(&risk.kind).or_insert_with(|| RiskView {
            uid: None,
            who: None,
            what: None,
            value: 0.0,
            count: Some(0),
            files: None,
            ..risk.clone()
        });
        sum.value += risk.value;
        if let Some(files) = &risk.files {
            sum.files = Some(sum.files.take().unwrap_or_default().with(files));
        }
        sum.count = sum.count.map(|n| n + risk.count.unwrap_or(1));
    }
    let keeps = view.keeps.iter().map(|k| KeepView { uid: None, who: None, reason: None, ..k.clone() });
    IdleView { keeps: keeps.collect(), at_risk: risks.into_values().collect(), sources, ..view.clone() }
}

/// Whether two views tell the same. What every look measures anew is not compared.
pub fn tells_the_same(a: &IdleView, b: &IdleView) -> bool {
    let sources = |v: &IdleView| v.sources.iter().map(|s| (s.name.clone(), s.uid, s.state)).collect::<BTreeSet<_>>();
    // Files are looked at seldom, and whoever moved some to the share wants to see that.
    let files = |r: &RiskView| r.files.as_ref().map(|f| (r.value as u64, f.bytes, f.newest.clone()));
    let risks = |v: &IdleView| v.at_risk.iter().map(|r| (r.kind.clone(), r.uid, files(r))).collect::<BTreeSet<_>>();
    // Times are told by a clock that is set from time to time.
    let told = |l: &LeaveView| (l.epoch, l.due, l.committed);
    let keeps = |v: &IdleView| v.keeps.iter().map(|k| (k.uid, k.reason.clone(), k.command)).collect::<Vec<_>>();
    a.verdict == b.verdict
        && a.leave.as_ref().map(told) == b.leave.as_ref().map(told)
        && keeps(a) == keeps(b)
        && sources(a) == sources(b)
        && risks(a) == risks(b)
}

/// What `uid` is told of their own.
pub fn own(view: &IdleView, uid: u32) -> OwnIdle {
    OwnIdle {
        sources: view.sources.iter().filter(|s| s.uid == Some(uid)).cloned().collect(),
        keeps: view.keeps.iter().filter(|k| k.uid == Some(uid)).cloned().collect(),
        at_risk: view.at_risk.iter().filter(|r| r.uid == Some(uid)).cloned().collect(),
    }
}

/// The public view with the reader's own rows before those of the others, who are counted without them.
pub fn with_own(view: &IdleView, own: &OwnIdle) -> IdleView {
    let mut sources = own.sources.clone();
    for source in &view.sources {
        let mine = own.sources.iter().filter(|s| s.name == source.name && s.state == source.state).count() as u64;
        match source.count.map(|count| count.saturating_sub(mine)) {
            Some(0) => {}
            count => sources.push(SourceView { count, ..source.clone() }),
        }
    }
    let mut at_risk = own.at_risk.clone();
    for risk in &view.at_risk {
        let mine: Vec<_> = own.at_risk.iter().filter(|r| r.kind == risk.kind).collect();
        let count = risk.count.map(|count| count.saturating_sub(mine.len() as u64));
        let value = (risk.value - mine.iter().map(|r| r.value).sum::<f64>()).max(0.0);
        if count != Some(0) {
            let mut files = risk.files.clone();
            if let Some(files) = &mut files {
                let own = mine.iter().filter_map(|r| r.files.as_ref()).map(|f| f.bytes).sum();
                files.bytes = files.bytes.saturating_sub(own);
            }
            at_risk.push(RiskView { count, value, files, ..risk.clone() });
        }
    }
    // The public keeps have no owner: the reader's own are told by when they began.
    let mut keeps = own.keeps.clone();
    let is_own = |k: &&KeepView| own.keeps.iter().any(|o| (&o.since, &o.until) == (&k.since, &k.until));
    keeps.extend(view.keeps.iter().filter(|k| !is_own(k)).cloned());
    IdleView { sources, at_risk, keeps, ..view.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{idle, source};
    use super::*;

    #[test]
    fn everybody_sees_how_many_and_nobody_who() {
        let view = idle();
        let public = public(&view);
        let json = serde_json::to_string(&public).unwrap();
        for secret in ["alice", "bob", "1001", "train.py", "analysis", "night"] {
            assert!(!json.contains(secret), "{secret} in {json}");
        }
        let counts: Vec<_> = public.sources.iter().map(|s| (s.name.as_str(), s.count)).collect();
        assert_eq!(counts, [("cpu", Some(1)), ("typing", Some(1))]);
        assert_eq!(super::public(&public), public, "twice is once");
    }

    fn files(uid: u32, who: &str, newest: &str, value: f64, bytes: u64) -> RiskView {
        RiskView {
            kind: "files".to_owned(),
            uid: Some(uid),
            who: Some(who.to_owned()),
            value,
            unit: "files".to_owned(),
            what: Some(newest.to_owned()),
            count: None,
            files: Some(FilesView { bytes, newest: vec![newest.to_owned()], more: uid == 1002 }),
        }
    }

    #[test]
    fn files_are_counted_for_all_and_named_to_their_owner() {
        let mut view = idle();
        view.at_risk = vec![files(1001, "alice", "~/secret-a", 3.0, 100), files(1002, "bob", "~/secret-b", 1.0, 10)];
        let public = public(&view);
        let json = serde_json::to_string(&public).unwrap();
        assert!(!json.contains("secret") && !json.contains("alice"), "{json}");
        let [sum] = &public.at_risk[..] else { panic!("{public:?}") };
        let all = FilesView { bytes: 110, newest: Vec::new(), more: true };
        assert_eq!((sum.value, sum.count, sum.files.as_ref()), (4.0, Some(2), Some(&all)));
        assert_eq!(super::public(&public), public, "twice is once");
        let mine = with_own(&public, &own(&view, 1001));
        assert_eq!(mine.at_risk[0], view.at_risk[0]);
        let others = &mine.at_risk[1];
        assert_eq!((others.value, others.count), (1.0, Some(1)));
        assert_eq!(others.files.as_ref().map(|f| f.bytes), Some(10));
        // Moved to the share: that is news.
        let mut after = view.clone();
        after.at_risk[0] = files(1001, "alice", "~/secret-a", 2.0, 90);
        assert!(tells_the_same(&view, &view) && !tells_the_same(&view, &after));
    }

    #[test]
    fn ones_own_is_shown_and_counted_once() {
        let mut view = idle();
        view.sources.push(source("cpu", 1002, "bob"));
        let own = own(&view, 1001);
        assert_eq!(own.sources.len(), 1);
        let mine = with_own(&public(&view), &own);
        let rows: Vec<_> = mine.sources.iter().map(|s| (s.name.as_str(), s.who.as_deref(), s.count)).collect();
        assert_eq!(rows, [("cpu", Some("alice"), None), ("cpu", None, Some(1)), ("typing", None, Some(1))]);
        assert_eq!(mine.keeps.len(), view.keeps.len());
    }
}
