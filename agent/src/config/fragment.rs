//! One file's worth of configuration: every key that can be written, all of them optional, each with its place.
//!
//! The table below is the only list of keys. A key is added with one line there and its meaning in `check`; reading,
//! merging, the places, and the help with misspelt keys follow from it.
//!
//! The reader walks the parsed document itself instead of letting `serde` build the struct: a deserializer stops at
//! the first wrong key or type, and people are told of all their mistakes at once.

use super::place::{Given, Mistake, Place, Places, Text};
use super::settings::{Enabled, Isolation, MountWhen, Protect};
pub use super::shared::Entry;
use super::value::{Size, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

macro_rules! keys {
    ($($(#[$doc:meta])+ $key:literal => $field:ident: $type:ty,)+) => {
        /// What one file says, or several, after [`Fragment::or`].
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct Fragment {
            $($(#[$doc])+ pub $field: Option<Given<$type>>,)+
            /// `[[shared]]`, if any: a later file's take the place of an earlier one's, as lists do.
            pub shared: Option<Vec<Entry>>,
            /// The tables that were opened, by full name, even when nothing stands in them.
            pub tables: BTreeMap<String, Place>,
            /// Keys that were given, or most likely meant, but whose value could not be used. They have a mistake
            /// already, so nobody needs to be told that they are missing.
            pub spoilt: BTreeSet<String>,
            /// A file was not TOML or could not be read: what seems to be missing may stand there.
            pub incomplete: bool,
        }

        /// Every key, by its full name.
        pub const KEYS: &[&str] = &[
            $($key,)+
            "shared.directory",
            "shared.link",
            "shared.group",
            "shared.read_only",
        ];

        impl Fragment {
            /// This fragment, and where it is silent, `earlier`. A list replaces the earlier list; nothing is appended,
            /// so that what stands in the last file is what is in force.
            pub fn or(mut self, earlier: Fragment) -> Self {
                $(self.$field = self.$field.or(earlier.$field);)+
                self.shared = self.shared.or(earlier.shared);
                let mut tables = earlier.tables;
                tables.extend(self.tables);
                self.tables = tables;
                self.spoilt.extend(earlier.spoilt);
                self.incomplete |= earlier.incomplete;
                self
            }

            /// Where each key was given.
            pub fn places(&self) -> Places {
                let mut places = Places::default();
                $(if let Some(given) = &self.$field {
                    places.insert($key, given.place.clone());
                })+
                super::shared::places(self.shared.as_deref().unwrap_or_default(), &mut places);
                places
            }

            /// Reads the value of a known `key`. Whether it is known is the answer.
            fn take(&mut self, key: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader<'_>) -> bool {
                match key {
                    $($key => match <$type>::read(key, value, reader.text, &mut reader.mistakes) {
                        Some(read) => {
                            let place = reader.text.place(value.span().start);
                            self.$field = Some(Given { value: read, place });
                        }
                        None => { self.spoilt.insert(key.to_owned()); }
                    },)+
                    _ => return false,
                }
                true
            }
        }
    };
}

keys! {
    /// What is mounted, as the portal shows it.
    "share.source" => share_source: String,
    /// Where users see the share.
    "share.mount_point" => share_mount_point: String,
    /// TCP port of the server, when it is not the kind's own.
    "share.port" => share_port: u16,
    /// Who sees what on an SMB share.
    "share.smb.isolation" => smb_isolation: Isolation,
    /// Mount options for SMB, appended to the agent's own.
    "share.smb.options" => smb_options: Vec<Given<String>>,
    /// Mount options for NFS, appended to the agent's own.
    "share.nfs.options" => nfs_options: Vec<Given<String>>,
    /// The directory that stands for the share is meant to be on this machine's own disk.
    "share.directory.local" => directory_local: bool,
    /// The file with the account's name and keys.
    "share.credentials.file" => credentials_file: String,
    /// The credential of the service's that holds the same.
    "share.credentials.systemd_credential" => credentials_systemd: String,
    /// The vault that holds the key.
    "share.credentials.key_vault.vault" => key_vault: String,
    /// Its secret.
    "share.credentials.key_vault.secret" => key_vault_secret: String,
    /// Its second secret.
    "share.credentials.key_vault.secret2" => key_vault_secret2: String,
    /// The identity that may read them.
    "share.credentials.key_vault.client_id" => key_vault_client_id: String,
    /// A user's directory on the share.
    "workspace.directory" => workspace_directory: String,
    /// The link in the home.
    "workspace.link" => workspace_link: String,
    /// Who is served; empty: everyone.
    "workspace.include" => workspace_include: Vec<Given<String>>,
    /// Who is left out.
    "workspace.exclude" => workspace_exclude: Vec<Given<String>>,
    /// When a user's directory is mounted.
    "workspace.mount" => workspace_mount: MountWhen,
    /// How long it stays mounted after they are gone.
    "workspace.linger" => workspace_linger: Duration,
    /// How long nobody may have used the VM.
    "idle.after" => idle_after: Duration,
    /// How long before anything acts on that it is announced.
    "idle.announce" => idle_announce: Duration,
    /// How long after boot nothing is said.
    "idle.boot_grace" => idle_boot_grace: Duration,
    /// The longest that a user may keep the VM.
    "idle.keep_max" => idle_keep_max: Duration,
    /// The hub's API on this VM.
    "idle.jupyterhub.url" => hub_url: String,
    /// The file with the token for it.
    "idle.jupyterhub.token_file" => hub_token_file: String,
    /// How often a look is taken.
    "idle.tuning.sample" => idle_sample: Duration,
    /// What is averaged is averaged over this.
    "idle.tuning.window" => idle_window: Duration,
    /// From so much CPU on programs count as work, in cores.
    "idle.tuning.cpu_cores" => idle_cpu_cores: f64,
    /// From so much memory on quiet must last longer.
    "idle.tuning.memory.above" => idle_memory_above: Size,
    /// How long then.
    "idle.tuning.memory.after" => idle_memory_after: Duration,
    /// Whether the agent deals with the scale set.
    "scale_set.enabled" => scale_set_enabled: Enabled,
    /// What the VM is protected from while it is in use.
    "scale_set.protect" => scale_set_protect: Protect,
    /// Whether metrics go to Azure Monitor.
    "scale_set.metrics" => scale_set_metrics: bool,
    /// The user-assigned identity to use.
    "scale_set.client_id" => scale_set_client_id: String,
    /// Where to answer probes.
    "scale_set.listen" => scale_set_listen: String,
    /// Instance metadata.
    "scale_set.endpoints.metadata" => endpoints_metadata: String,
    /// Resource Manager.
    "scale_set.endpoints.resource_manager" => endpoints_resource_manager: String,
    /// Monitor's ingestion of metrics.
    "scale_set.endpoints.monitor" => endpoints_monitor: String,
    /// Where metrics are written.
    "status.textfile" => status_textfile: String,
}

/// What is needed and gathered while one file is read.
pub(super) struct Reader<'a> {
    pub(super) text: &'a Text<'a>,
    pub(super) mistakes: Vec<Mistake>,
    /// Where the text stops being TOML for the first time, in bytes.
    broken_at: Option<usize>,
    /// Byte ranges of the lines that are not TOML. What the parser made of them is a guess.
    broken: Vec<std::ops::Range<usize>>,
}

/// The most mistakes that are reported of one file that is not TOML: behind a missing quote or bracket everything
/// looks wrong.
const MOST_SYNTAX_MISTAKES: usize = 8;

/// Reads one file's text. The fragment has everything that could be understood; the mistakes are the rest.
pub(super) fn read(text: &Text<'_>) -> (Fragment, Vec<Mistake>) {
    let (document, errors) = DeTable::parse_recoverable(text.as_str());
    let mut reader = Reader { text, mistakes: Vec::new(), broken_at: None, broken: Vec::new() };
    let mut fragment = Fragment { incomplete: !errors.is_empty(), ..Fragment::default() };

    // The parser's own display quotes the line, and a line may hold a secret in a place where none belongs: only what
    // is wrong is passed on. One mistake for each line is enough.
    let mut errors: Vec<_> = errors.iter().map(|error| (error.span().map_or(0, |s| s.start), error)).collect();
    errors.sort_by_key(|(at, _)| *at);
    let mut last_line = None;
    for (at, error) in errors {
        let place = text.place(at);
        let line = place.position().map(|position| position.line);
        if line == last_line {
            continue;
        }
        last_line = line;
        reader.broken_at.get_or_insert(at);
        reader.broken.push(line_around(text.as_str(), at));
        if reader.mistakes.len() < MOST_SYNTAX_MISTAKES {
            reader.mistakes.push(Mistake::new(place, format!("this is not TOML: {}", error.message())));
        }
    }

    reader.table("", document.get_ref(), &mut fragment);
    (fragment, reader.mistakes)
}

/// The byte range of the line that holds the byte `at`.
fn line_around(text: &str, at: usize) -> std::ops::Range<usize> {
    let bytes = text.as_bytes();
    let at = at.min(bytes.len());
    let begin = bytes[..at].iter().rposition(|b| *b == b'\n').map_or(0, |newline| newline + 1);
    let end = bytes[at..].iter().position(|b| *b == b'\n').map_or(bytes.len(), |newline| at + newline);
    begin..end
}

impl Reader<'_> {
    fn table(&mut self, name: &str, table: &DeTable<'_>, fragment: &mut Fragment) {
        // In the order of the file, so that mistakes come as a person reads it.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in entries {
            let full = if name.is_empty() { key.get_ref().to_string() } else { format!("{name}.{}", key.get_ref()) };
            let at = self.text.place(key.span().start);
            let is_table = KEYS.iter().any(|known| known.strip_prefix(&full).is_some_and(|rest| rest.starts_with('.')));
            match value.get_ref() {
                DeValue::Array(items) if full == super::shared::NAME => {
                    fragment.shared = Some(self.entries(items, fragment));
                }
                DeValue::Table(_) if full == super::shared::NAME => {
                    let message = "`shared` may stand several times: open each with `[[shared]]`";
                    self.mistakes.push(Mistake::new(at, message));
                }
                DeValue::Table(inner) if is_table => {
                    fragment.tables.insert(full.clone(), at);
                    self.table(&full, inner, fragment);
                }
                other if is_table => {
                    let message = format!("`{full}` is a section, not {}: open it with `[{full}]`", describe(other));
                    self.mistakes.push(Mistake::new(at, message));
                }
                _ if self.is_guess(key.span().start..value.span().end) => {
                    fragment.spoilt.insert(full);
                }
                _ => {
                    if !fragment.take(&full, value, self) {
                        self.unknown(&full, value.get_ref(), at, key.span().start, fragment);
                    }
                }
            }
        }
    }

    /// Whether the parser had to guess what stands at `span`.
    pub(super) fn is_guess(&self, span: std::ops::Range<usize>) -> bool {
        self.broken.iter().any(|line| line.start <= span.end && span.start <= line.end)
    }

    pub(super) fn unknown(
        &mut self,
        key: &str,
        value: &DeValue<'_>,
        at: Place,
        offset: usize,
        fragment: &mut Fragment,
    ) {
        // Behind a line that is no TOML, a key may have landed in the wrong section.
        if self.broken_at.is_some_and(|broken| broken < offset) {
            return;
        }
        let what = if matches!(value, DeValue::Table(_)) { "section" } else { "key" };
        let message = match super::spelling::meant(key, KEYS) {
            Some(meant) => {
                fragment.spoilt.insert(meant.clone());
                format!("unknown {what} `{key}`: did you mean `{meant}`?")
            }
            None => format!("unknown {what} `{key}`"),
        };
        self.mistakes.push(Mistake::new(at, message));
    }
}

/// What a TOML value is, for a person.
pub(super) fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}
