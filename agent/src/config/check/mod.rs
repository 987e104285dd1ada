//! What the keys mean: from a fragment to settings, or to mistakes that say what to write instead.
//!
//! Everything here judges what is written, and nothing looks at the machine: whether the mount point is empty or the
//! file with the key is root's is found out when the share is mounted, and said there.

mod credentials;
mod idle;
mod names;
mod paths;
mod scale_set;
mod shared;
mod source;

pub(crate) use paths::safe_on_smb;

use super::fragment::Fragment;
use super::options::{self, Judged};
use super::place::{Given, Mistake, Place};
use super::settings::{Credentials, Directory, Kind, Nfs, Settings, Share, Smb, Source, Status, Workspace};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The longest that a directory stays mounted after its user is gone.
const LONGEST_LINGER: Duration = Duration::from_secs(24 * 60 * 60);

/// What was found beside the settings.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<Mistake>,
    /// Right, but worth knowing.
    pub(super) notes: Vec<Mistake>,
}

impl Findings {
    fn mistake(&mut self, place: &Place, message: impl AsRef<str>) {
        self.mistakes.push(Mistake::new(place.clone(), message));
    }

    fn note(&mut self, place: &Place, message: impl AsRef<str>) {
        self.notes.push(Mistake::new(place.clone(), message));
    }

    /// The value that `read` makes of what `key` was given. What is wrong with it becomes a mistake in its place.
    fn read<T, U>(
        &mut self,
        key: &str,
        given: Option<&Given<T>>,
        read: impl FnOnce(&T) -> Result<U, String>,
    ) -> Option<Given<U>> {
        let given = given?;
        match read(&given.value) {
            Ok(value) => Some(given.map(|_| value)),
            Err(message) => {
                self.mistake(&given.place, format!("{key} {message}"));
                None
            }
        }
    }
}

/// The settings that `fragment` asks for, with everything that it leaves out at its default. They count only when
/// `findings` has no mistake.
pub(super) fn settings(fragment: &Fragment, findings: &mut Findings) -> Settings {
    let (share, workspace) = (share(fragment, findings), workspace(fragment, findings));
    let shared = shared::shared(fragment, &workspace, findings);
    if share.as_ref().is_some_and(Share::is_open)
        && let Some(given) = &fragment.smb_isolation
    {
        open(&given.place, fragment, findings);
    }
    Settings {
        share,
        workspace,
        shared,
        idle: idle::settings(fragment, findings),
        scale_set: scale_set::scale_set(fragment, findings),
        status: Status { textfile: textfile(fragment.status_textfile.as_ref(), findings) },
    }
}

/// What it costs to show the whole share to everybody, and what cannot be kept then.
fn open(place: &Place, fragment: &Fragment, findings: &mut Findings) {
    findings.note(
        place,
        "share.smb.isolation: with \"open\", every user of the VM reads, changes and removes everything of everybody on \
         the share, and a program of theirs can, too; \"per-user\" keeps them apart",
    );
    if let Some(entry) = fragment.shared.as_ref().and_then(|all| all.first()) {
        findings.mistake(
            &entry.place,
            format!("[[shared]] cannot be kept where share.smb.isolation is \"open\" ({})", place.file_and_line()),
        );
    }
}

/// The file for metrics; nothing when it is left out or empty.
fn textfile(given: Option<&Given<String>>, findings: &mut Findings) -> Option<PathBuf> {
    let given = given.filter(|given| !given.value.is_empty());
    let read = findings.read("status.textfile", given, |text| {
        let path = paths::absolute(text)?;
        // What does not end so is not read by Prometheus' node exporter.
        let named = path.extension().is_some_and(|end| end == "prom") && path.parent() != Some(Path::new("/"));
        let hint = "a file in a directory of its own, with a name that ends with .prom";
        if named { Ok(path) } else { Err(format!("must be {hint}, not {text:?}")) }
    });
    read.map(|given| given.value)
}

fn share(fragment: &Fragment, findings: &mut Findings) -> Option<Share> {
    let opened = fragment.tables.get("share")?;

    let source = findings.read("share.source", fragment.share_source.as_ref(), |text| source::parse(text));
    if fragment.share_source.is_none() && !excused(fragment, "share.source") {
        findings.mistake(opened, format!("[share] has no share.source: write {}", source::FORMS));
    }
    let mount_point = fragment.share_mount_point.as_ref();
    let mount_point = findings.read("share.mount_point", mount_point, |text| paths::mount_point(text));
    if fragment.share_mount_point.is_none() && !excused(fragment, "share.mount_point") {
        let example = "mount_point = \"/datamnt/dsvmshare\"";
        findings.mistake(
            opened,
            format!("[share] has no share.mount_point, where users see the share: write, for example, {example}"),
        );
    }
    let credentials = credentials::read(fragment, findings);
    let local = fragment.directory_local.as_ref().is_some_and(|given| given.value);

    if let (Some(source), Some(mount_point)) = (&source, &mount_point)
        && let Source::Directory(directory) = &source.value
        && paths::overlap(directory, &mount_point.value)
    {
        findings.mistake(
            &mount_point.place,
            format!(
                "share.mount_point {} and the share's own directory {} lie within each other: one would hide the other",
                mount_point.value.display(),
                directory.display()
            ),
        );
    }
    if let Some(Given { value: Source::Directory(directory), place }) = &source
        && let Err(message) = paths::directory(directory, local)
    {
        findings.mistake(place, format!("share.source {message}"));
    }
    if let (Some(Credentials::File(file)), Some(given), Some(mount_point)) =
        (&credentials, &fragment.credentials_file, &mount_point)
        && file.starts_with(&mount_point.value)
    {
        findings
            .mistake(&given.place, "share.credentials.file lies under share.mount_point, where users see the share");
    }

    let kind = source.as_ref().map(|source| kind(&source.value));
    if let (Some(kind), Some(source)) = (kind, &source) {
        fitting(kind, &source.place, fragment, findings);
    }
    let smb = judged(Kind::Smb, "share.smb.options", fragment.smb_options.as_ref(), findings);
    let nfs = judged(Kind::Nfs, "share.nfs.options", fragment.nfs_options.as_ref(), findings);

    Some(Share {
        source: source?.value,
        mount_point: mount_point?.value,
        port: fragment.share_port.as_ref().map(|given| given.value),
        smb: Smb {
            isolation: fragment.smb_isolation.as_ref().map(|given| given.value).unwrap_or_default(),
            options: smb,
        },
        nfs: Nfs { options: nfs },
        directory: Directory { local },
        credentials,
    })
}

/// Whether the lack of `key` needs no mistake: it has one already, or stands where nothing could be read.
fn excused(fragment: &Fragment, key: &str) -> bool {
    let covers = |spoilt: &str| key == spoilt || key.strip_prefix(spoilt).is_some_and(|rest| rest.starts_with('.'));
    fragment.incomplete || fragment.spoilt.iter().any(|spoilt| covers(spoilt))
}

fn kind(source: &Source) -> Kind {
    match source {
        Source::Smb { .. } => Kind::Smb,
        Source::Nfs { .. } => Kind::Nfs,
        Source::Directory(_) => Kind::Directory,
    }
}

/// The kind, as a person calls it.
fn called(kind: Kind) -> &'static str {
    match kind {
        Kind::Smb => "SMB",
        Kind::Nfs => "NFS",
        Kind::Directory => "a local directory",
    }
}

/// Whether what was given goes with a share of this kind.
fn fitting(kind: Kind, source: &Place, fragment: &Fragment, findings: &mut Findings) {
    match (kind, credentials::given(fragment).first()) {
        (Kind::Smb, None) if !credentials::KEYS.iter().any(|key| excused(fragment, key)) => findings.mistake(
            source,
            "share.source is SMB, which needs an account: put username= and password= into a file that only root can \
             read, and name it with file = \"/etc/dsvm-agent/share.key\" under [share.credentials]; or name a vault under \
             [share.credentials.key_vault], or a credential of systemd's with systemd_credential",
        ),
        (Kind::Nfs | Kind::Directory, Some((key, place))) => findings
            .mistake(place, format!("{key} is not used: share.source is {}, which knows no account", called(kind))),
        _ => {}
    }

    let unused = [
        ("share.port", fragment.share_port.as_ref().map(|g| &g.place), kind != Kind::Directory),
        ("share.smb.isolation", fragment.smb_isolation.as_ref().map(|g| &g.place), kind == Kind::Smb),
        ("share.smb.options", fragment.smb_options.as_ref().map(|g| &g.place), kind == Kind::Smb),
        ("share.nfs.options", fragment.nfs_options.as_ref().map(|g| &g.place), kind == Kind::Nfs),
        ("share.directory.local", fragment.directory_local.as_ref().map(|g| &g.place), kind == Kind::Directory),
    ];
    for (key, place, used) in unused {
        if let Some(place) = place
            && !used
        {
            findings.note(place, format!("{key} is not used: share.source is {}", called(kind)));
        }
    }
}

/// The options that are kept.
fn judged(kind: Kind, key: &str, given: Option<&Given<Vec<Given<String>>>>, findings: &mut Findings) -> Vec<String> {
    let mut kept = Vec::new();
    for option in given.into_iter().flat_map(|given| &given.value) {
        match options::judge(kind, &option.value) {
            Ok(Judged::Kept(note)) => {
                kept.push(option.value.clone());
                if let Some(note) = note {
                    findings.note(&option.place, format!("{key}: {note}"));
                }
            }
            Ok(Judged::Dropped(note)) => findings.note(&option.place, format!("{key}: {note}")),
            Err(message) => findings.mistake(&option.place, format!("{key}: {message}")),
        }
    }
    kept
}

fn workspace(fragment: &Fragment, findings: &mut Findings) -> Workspace {
    let default = Workspace::default();
    let directory = fragment.workspace_directory.as_ref();
    let directory = findings.read("workspace.directory", directory, |text| paths::user_directory(text));
    let link = findings.read("workspace.link", fragment.workspace_link.as_ref(), |text| paths::link(text));
    let linger = findings.read("workspace.linger", fragment.workspace_linger.as_ref(), |linger| {
        if *linger <= LONGEST_LINGER {
            return Ok(*linger);
        }
        Err(format!(
            "is at most 24h, not {}: it is how long a directory stays mounted after its user is gone",
            humantime::format_duration(*linger)
        ))
    });

    let include = users("workspace.include", fragment.workspace_include.as_ref(), findings);
    let exclude = users("workspace.exclude", fragment.workspace_exclude.as_ref(), findings);
    let included: HashMap<_, _> = include.iter().map(|given| (&given.value, &given.place)).collect();
    for left_out in &exclude {
        if let Some(place) = included.get(&left_out.value) {
            findings.mistake(
                &left_out.place,
                format!(
                    "workspace.exclude has {:?}, and so has workspace.include ({})",
                    left_out.value,
                    place.file_and_line()
                ),
            );
        }
    }
    let values = |list: Vec<Given<String>>| list.into_iter().map(|given| given.value).collect();

    Workspace {
        directory: directory.map_or(default.directory, |given| given.value),
        link: link.map_or(default.link, |given| given.value),
        include: values(include),
        exclude: values(exclude),
        mount: fragment.workspace_mount.as_ref().map_or(default.mount, |given| given.value),
        linger: linger.map_or(default.linger, |given| given.value),
    }
}

/// The names in a list that can be names.
fn users(key: &str, given: Option<&Given<Vec<Given<String>>>>, findings: &mut Findings) -> Vec<Given<String>> {
    let items = given.into_iter().flat_map(|given| &given.value);
    items.filter_map(|item| findings.read(key, Some(item), |name| names::user_or_group(name))).collect()
}

/// A path that is given as text, without trailing or repeated slashes.
fn tidy(text: &str) -> PathBuf {
    std::path::Path::new(text).components().collect()
}

#[cfg(test)]
mod tests;
