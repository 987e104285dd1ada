//! Configuration: TOML of an administrator's, or of whoever could write a file.

use crate::{assert_sentence, parts, text};
use dsvm_agent::config::{self, Loaded};
use dsvm_agent::workspace::names;
use std::path::{Component, Path, PathBuf};

/// Two files, the whole way to settings.
pub(crate) fn config(data: &[u8]) {
    let [first, second] = parts::<2>(data);
    let (Ok(first), Ok(second)) = (std::str::from_utf8(first), std::str::from_utf8(second)) else { return };
    let texts = || {
        let file = |name: &str, text: &str| (PathBuf::from(format!("/etc/dsvm-agent/{name}")), text.to_owned());
        vec![file("agent.toml", first), file("agent.d/50.toml", second)]
    };
    let lines = first.lines().count().max(second.lines().count()) + 1;
    match config::from_texts(texts()) {
        Ok(loaded) => {
            assert_eq!(config::from_texts(texts()), Ok(loaded.clone()), "the same files are the same settings");
            loaded.notes.iter().for_each(|note| assert_sentence(&note.to_string(), 2000 + 12 * data.len()));
            in_force(&loaded);
        }
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            for mistake in &mistakes {
                assert_sentence(&mistake.to_string(), 2000 + 12 * data.len());
                assert!(mistake.place.position().is_none_or(|at| (1..=lines).contains(&at.line)), "{mistake}");
            }
        }
    }
}

/// What no configuration can ask for.
fn in_force(loaded: &Loaded) {
    let settings = &loaded.settings;
    let plain =
        |path: &str| !path.is_empty() && Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
    assert!(plain(&settings.workspace.link), "the link stays in the home: {:?}", settings.workspace.link);
    let directory = |user: &str| settings.workspace.directory.replace("{user}", user);
    assert!(plain(&directory("alice")) && directory("alice") != directory("bob"), "everybody has their own");
    assert_eq!(names::whose(&settings.workspace.directory, &directory("alice")).as_deref(), Some("alice"));
    for shared in &settings.shared {
        assert!(plain(&shared.directory) && plain(&shared.link), "{shared:?}");
    }
    if let Some(share) = &settings.share {
        let point = &share.mount_point;
        let clean = point.is_absolute() && !point.components().any(|c| matches!(c, Component::ParentDir));
        assert!(clean && point.components().count() > 1, "{}", point.display());
        assert!(!point.starts_with("/mnt"), "Azure's ephemeral disk: {}", point.display());
    }
    let idle = &settings.idle;
    assert!(!idle.tuning.sample.is_zero() && !idle.tuning.window.is_zero());
}

/// The share that a text asks for; that of an SMB share where it asks for none.
pub(crate) fn share_of(data: &[u8]) -> Option<config::settings::Share> {
    const SMB: &str = "[share]\nsource = \"//contosods.file.core.windows.net/dsvmshare\"\nmount_point = \"/data\"\n\
                       [share.credentials]\nfile = \"/etc/dsvm-agent/share.key\"\n";
    let asked = if data.is_empty() { SMB.into() } else { text(data) };
    config::from_texts(vec![("/etc/dsvm-agent/agent.toml".into(), asked.into_owned())]).ok()?.settings.share
}
