//! `dsvm-agent config check` and `dsvm-agent config show`.

use crate::config::settings::{
    Credentials, Enabled, Idle, Isolation, Kind, MountWhen, Protect, ScaleSet, Share, Shared,
};
use crate::config::{DEFAULT_FILE, Loaded, Mistake, Place, Places, Settings, Trust, is_hidden, load};
use crate::sys::http::Url;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

/// Exit code: nothing is wrong.
const FINE: u8 = 0;
/// Exit code: there are mistakes.
const MISTAKES: u8 = 1;

/// `config check [FILE]`: writes every mistake and every note about `file`, or about the agent's own configuration,
/// and returns the exit code: 0 without a mistake, 1 with one.
///
/// `extra` looks at what the settings name on this machine, and is asked only when the files have no mistake. A
/// `file` may be anybody's, as it may be a draft; the agent's own configuration is judged as the daemon will.
///
/// # Errors
/// `out` cannot be written to.
pub fn check(file: Option<&Path>, extra: impl FnOnce(&Loaded) -> Vec<Mistake>, out: &mut impl Write) -> io::Result<u8> {
    let Some(loaded) = loaded(file, out)? else { return Ok(MISTAKES) };
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    for note in &loaded.notes {
        writeln!(out, "{}: note: {}", note.place, note.message)?;
    }
    let found = extra(&loaded);
    if !found.is_empty() {
        mistakes(&found, out)?;
        return Ok(MISTAKES);
    }
    let of_file = Place::of_file(path);
    if loaded.files.is_empty() {
        writeln!(out, "{of_file}: not there; the agent runs, and mounts nothing until it is")?;
        return Ok(FINE);
    }
    writeln!(out, "{of_file}: no mistakes")?;
    for other in loaded.files.iter().filter(|read| *read != path) {
        writeln!(out, "{}: no mistakes", Place::of_file(other))?;
    }
    if loaded.settings.share.is_none() {
        writeln!(out, "It has no [share]: the agent runs, and mounts nothing.")?;
    }
    Ok(FINE)
}

/// `config show`: writes the settings in force, in the form of a configuration file, each with the file and line that
/// it came from, and returns the exit code: 0, or 1 when there are mistakes, which are written instead. The settings
/// hold no secret, only the name of the file that does.
///
/// # Errors
/// `out` cannot be written to.
pub fn show(file: Option<&Path>, out: &mut impl Write) -> io::Result<u8> {
    let Some(loaded) = loaded(file, out)? else { return Ok(MISTAKES) };
    out.write_all(render(&loaded.settings, &loaded.places).as_bytes())?;
    Ok(FINE)
}

/// The configuration, or nothing after its mistakes were written.
fn loaded(file: Option<&Path>, out: &mut impl Write) -> io::Result<Option<Loaded>> {
    let (path, trust) = match file {
        Some(file) => (file, Trust::Anyone),
        None => (Path::new(DEFAULT_FILE), Trust::Root),
    };
    let found = match load(path, trust) {
        // Who names a file means one that is there.
        Ok(loaded) if file.is_some() && !loaded.files.iter().any(|read| read == path) => {
            vec![Mistake::new(Place::of_file(path), "cannot be read: No such file or directory")]
        }
        Ok(loaded) => return Ok(Some(loaded)),
        Err(found) => found,
    };
    mistakes(&found, out)?;
    Ok(None)
}

fn mistakes(found: &[Mistake], out: &mut impl Write) -> io::Result<()> {
    for mistake in found {
        writeln!(out, "{mistake}")?;
    }
    match found.len() {
        1 => writeln!(out, "1 mistake"),
        many => writeln!(out, "{many} mistakes"),
    }
}

/// `settings` as a configuration file that has the same meaning, each with its place in `places`.
pub fn render(settings: &Settings, places: &Places) -> String {
    let mut page = Page { text: String::new(), section: String::new(), places };
    match &settings.share {
        Some(share) => render_share(&mut page, share),
        None => page.text.push_str("# No share is configured: nothing is mounted.\n"),
    }

    let workspace = &settings.workspace;
    page.section("workspace");
    page.line("directory", &quoted(&workspace.directory));
    page.line("link", &quoted(&workspace.link));
    page.line("include", &list(&workspace.include));
    page.line("exclude", &list(&workspace.exclude));
    page.line(
        "mount",
        match workspace.mount {
            MountWhen::OnPresence => "\"on-presence\"",
            MountWhen::Always => "\"always\"",
        },
    );
    page.line("linger", &duration(workspace.linger));
    render_shared(&mut page, &settings.shared);
    render_idle(&mut page, &settings.idle);
    render_scale_set(&mut page, &settings.scale_set);
    page.section("status");
    let textfile = settings.status.textfile.as_deref().map(Path::to_string_lossy).unwrap_or_default();
    page.line("textfile", &quoted(&textfile));
    page.text
}

fn render_shared(page: &mut Page<'_>, shared: &[Shared]) {
    for (index, one) in shared.iter().enumerate() {
        page.item("shared", index);
        page.line("directory", &quoted(&one.directory));
        page.line("link", &quoted(&one.link));
        if let Some(group) = &one.group {
            page.line("group", &quoted(group));
        }
        page.line("read_only", &one.read_only.to_string());
    }
}

fn render_idle(page: &mut Page<'_>, idle: &Idle) {
    page.section("idle");
    page.line("after", &duration(idle.after));
    page.line("announce", &duration(idle.announce));
    page.line("boot_grace", &duration(idle.boot_grace));
    page.line("keep_max", &duration(idle.keep_max));
    if let Some(hub) = &idle.jupyterhub {
        page.section("idle.jupyterhub");
        page.line("url", &quoted(&hub.url));
        page.line("token_file", &quoted(&hub.token_file.to_string_lossy()));
    }
    let tuning = &idle.tuning;
    page.section("idle.tuning");
    page.line("sample", &duration(tuning.sample));
    page.line("window", &duration(tuning.window));
    page.line("cpu_cores", &tuning.cpu_cores.to_string());
    page.section("idle.tuning.memory");
    page.line("above", &quoted(&size(tuning.memory.above)));
    page.line("after", &duration(tuning.memory.after));
}

fn duration(duration: Duration) -> String {
    quoted(&humantime::format_duration(duration).to_string())
}

/// Bytes in the largest unit that divides them.
fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB")];
    let whole = units.iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift) && bytes > 0);
    let (shift, unit) = whole.unwrap_or(&(10, "KiB"));
    format!("{}{unit}", bytes >> shift)
}

fn render_scale_set(page: &mut Page<'_>, scale_set: &ScaleSet) {
    page.section("scale_set");
    page.line(
        "enabled",
        match scale_set.enabled {
            Enabled::Auto => "\"auto\"",
            Enabled::On => "\"on\"",
            Enabled::Off => "\"off\"",
        },
    );
    page.line(
        "protect",
        match scale_set.protect {
            Protect::InUse => "\"in-use\"",
            Protect::ScaleIn => "\"scale-in\"",
            Protect::Off => "\"off\"",
        },
    );
    page.line("metrics", &scale_set.metrics.to_string());
    page.line("client_id", &quoted(&scale_set.client_id));
    page.line("listen", &quoted(&scale_set.listen.map(|address| address.to_string()).unwrap_or_default()));
    page.section("scale_set.endpoints");
    let address = |url: Option<&Url>| quoted(url.map(Url::to_string).unwrap_or_default().trim_end_matches('/'));
    page.line("metadata", &address(Some(&scale_set.metadata)));
    page.line("resource_manager", &address(scale_set.resource_manager.as_ref()));
    page.line("monitor", &address(scale_set.monitor.as_ref()));
}

fn render_share(page: &mut Page<'_>, share: &Share) {
    page.section("share");
    page.line("source", &quoted(&share.source.to_string()));
    page.line("mount_point", &quoted(&share.mount_point.to_string_lossy()));
    match (share.port, share.server()) {
        (Some(port), _) => page.line("port", &port.to_string()),
        // The kind's own port is no setting: written down as one, it would stay when the kind changes.
        (None, Some((_, port))) => page.line("# port", &port.to_string()),
        (None, None) => {}
    }

    // Of the other kinds, only what was given: it is not in force, and not forgotten either.
    let kind = share.kind();
    if kind == Kind::Smb || share.smb != Default::default() {
        page.section("share.smb");
        page.line(
            "isolation",
            match share.smb.isolation {
                Isolation::PerUser => "\"per-user\"",
                Isolation::Open => "\"open\"",
            },
        );
        page.line("options", &list(&share.smb.options));
    }
    if kind == Kind::Nfs || share.nfs != Default::default() {
        page.section("share.nfs");
        page.line("options", &list(&share.nfs.options));
    }
    if kind == Kind::Directory || share.directory != Default::default() {
        page.section("share.directory");
        page.line("local", &share.directory.local.to_string());
    }
    match &share.credentials {
        None => {}
        Some(Credentials::File(file)) => {
            page.section("share.credentials");
            page.line("file", &quoted(&file.to_string_lossy()));
        }
        Some(Credentials::Systemd(name)) => {
            page.section("share.credentials");
            page.line("systemd_credential", &quoted(name));
        }
        Some(Credentials::KeyVault(vault)) => {
            page.section("share.credentials.key_vault");
            page.line("vault", &quoted(&vault.vault));
            page.line("secret", &quoted(&vault.secret));
            page.line("secret2", &quoted(vault.secret2.as_deref().unwrap_or_default()));
            page.line("client_id", &quoted(vault.client_id.as_deref().unwrap_or_default()));
        }
    }
}

/// The text while it grows.
struct Page<'a> {
    text: String,
    /// The section that was opened last.
    section: String,
    places: &'a Places,
}

impl Page<'_> {
    fn section(&mut self, name: &'static str) {
        name.clone_into(&mut self.section);
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}[{name}]");
    }

    /// One of a section that may stand several times.
    fn item(&mut self, name: &str, index: usize) {
        self.section = format!("{name}[{index}]");
        let _ = writeln!(self.text, "\n[[{name}]]");
    }

    /// One key of the open section; a key that begins with `# ` is not in the file.
    fn line(&mut self, key: &str, value: &str) {
        let place = match self.places.get(&format!("{}.{key}", self.section)) {
            Some(place) => place.file_and_line(),
            None => "default".to_owned(),
        };
        let setting = format!("{key:<11} = {value}");
        let _ = writeln!(self.text, "{setting:<59}  # {place}");
    }
}

fn list(items: &[String]) -> String {
    let items: Vec<_> = items.iter().map(|item| quoted(item)).collect();
    format!("[{}]", items.join(", "))
}

/// A TOML string. Rust's own escapes are not TOML's.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if is_hidden(c) => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
