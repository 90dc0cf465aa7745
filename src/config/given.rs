//! What the settings file and the environment say, by key, before it is known what the values mean.
//!
//! Separate because the two sources differ in everything but the keys: here is what a file or a variable may be
//! called, and the rest of the module no longer asks where a value came from.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::key::{EXCHANGE_KEYS, EXCHANGES_PREFIX, KEYS, NO_KEYS, NOT_IN_FILE, PREFIX, STORAGE, variable};
use super::problem::{ConfigError, Origin, Problem, Warning};
use super::value::{Shown, Value, unknown_exchange};
use crate::exchange::{self, EXCHANGES};

/// Largest settings file. A full one has some 10 kB; what is larger is another file, or a device without an end.
const LARGEST_FILE: u64 = 1 << 20;

/// What was said, by key, and what cannot be understood.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// The last word on every key: the environment's, else the file's.
    pub(super) values: BTreeMap<String, (Value, Origin)>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
}

impl Given {
    /// Reads the file and the environment. What cannot be understood is kept as a problem or a warning.
    ///
    /// # Errors
    /// When the file cannot be read at all.
    pub(super) fn read(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, ConfigError> {
        let mut given = Self::default();
        if let Some(path) = file {
            given.read_file(path)?;
        }
        given.read_environment(environment);
        Ok(given)
    }

    fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let unreadable = |reason| ConfigError::NoFile { path: path.to_owned(), reason };
        let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(unreadable(format!("larger than {LARGEST_FILE} bytes")));
        }
        let file = File { path, text: String::from_utf8_lossy(&bytes) };
        if let std::borrow::Cow::Owned(_) = file.text {
            self.refuse(None, file.origin(0), "not UTF-8".to_owned());
            return Ok(());
        }
        match DeTable::parse(&file.text) {
            Ok(table) => self.read_table(&file, table.get_ref()),
            // The message alone: the whole error repeats the line, which may hold a secret.
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                self.refuse(None, file.origin(at), format!("not TOML: {}", error.message()));
            }
        }
        Ok(())
    }

    fn read_table(&mut self, file: &File, table: &DeTable) {
        for (name, value) in table {
            match value.get_ref() {
                DeValue::Table(exchanges) if name.get_ref() == "exchanges" => {
                    self.read_exchanges(file, exchanges);
                }
                DeValue::Table(section) if name.get_ref() == "storage" => self.read_storage(file, section),
                other if ["exchanges", "storage"].contains(&name.get_ref().as_ref()) => {
                    let message = format!("{} where a section belongs", said(other).kind());
                    self.refuse(Some(name.get_ref().to_string()), file.origin_of(name), message);
                }
                _ if NOT_IN_FILE.contains(&name.get_ref().as_ref()) => {
                    self.refuse_secret(name.get_ref().to_string(), file.origin_of(name));
                }
                _ if KEYS.iter().any(|key| key.name == name.get_ref() && !key.name.contains('.')) => {
                    self.values
                        .insert(name.get_ref().to_string(), (said(value.get_ref()), file.origin_of(name)));
                }
                _ => {
                    let message = format!("unknown key (known: {}, exchanges.…)", names(KEYS));
                    self.refuse(Some(name.get_ref().to_string()), file.origin_of(name), message);
                }
            }
        }
    }

    fn read_storage(&mut self, file: &File, section: &DeTable) {
        for (name, value) in section {
            let key = format!("{STORAGE}{}", name.get_ref());
            let origin = file.origin_of(name);
            if KEYS.iter().any(|known| known.name == key) {
                self.values.insert(key, (said(value.get_ref()), origin));
            } else {
                let known: Vec<&str> =
                    KEYS.iter().filter_map(|known| known.name.strip_prefix(STORAGE)).collect();
                self.refuse(Some(key), origin, format!("unknown key (known: {})", known.join(", ")));
            }
        }
    }

    fn read_exchanges(&mut self, file: &File, exchanges: &DeTable) {
        for (name, section) in exchanges {
            let section_key = format!("exchanges.{}", name.get_ref());
            match section.get_ref() {
                _ if exchange::row(name.get_ref()).is_none() => {
                    self.refuse(Some(section_key), file.origin_of(name), unknown_exchange(name.get_ref()));
                }
                DeValue::Table(section) => self.read_section(file, &section_key, section),
                other => {
                    let message = format!("{} where a section belongs", other.type_str());
                    self.refuse(Some(section_key), file.origin_of(name), message);
                }
            }
        }
    }

    fn read_section(&mut self, file: &File, section_key: &str, section: &DeTable) {
        for (name, value) in section {
            let key = format!("{section_key}.{}", name.get_ref());
            let origin = file.origin_of(name);
            if name.get_ref() == "api_key" {
                self.refuse_secret(key, origin);
            } else if EXCHANGE_KEYS.iter().any(|known| known.name == name.get_ref()) {
                self.values.insert(key, (said(value.get_ref()), origin));
            } else {
                self.refuse(Some(key), origin, format!("unknown key (known: {})", names(EXCHANGE_KEYS)));
            }
        }
    }

    fn read_environment(&mut self, environment: impl Iterator<Item = (OsString, OsString)>) {
        let keys: BTreeMap<String, String> = all_keys().map(|key| (variable(&key), key)).collect();
        for (name, value) in environment {
            let name = name.to_string_lossy();
            if !name.starts_with(PREFIX) || NO_KEYS.contains(&name.as_ref()) {
                continue;
            }
            let Some(key) = keys.get(name.as_ref()) else {
                self.meet_unknown_variable(&name);
                continue;
            };
            let origin = Origin::Variable(name.to_string());
            match value.to_str() {
                Some(text) => {
                    self.values.insert(key.clone(), (Value::Plain(text.trim().to_owned()), origin));
                }
                None => self.refuse(Some(key.clone()), origin, "the value is not UTF-8".to_owned()),
            }
        }
    }

    fn meet_unknown_variable(&mut self, name: &str) {
        let Some(rest) = name.strip_prefix(EXCHANGES_PREFIX) else {
            let message = "no such setting, ignored (`ratebook serve --help` lists them)".to_owned();
            self.warnings.push(Warning { key: shown_name(name), message });
            return;
        };
        let (exchange, key) = rest.split_once("__").unwrap_or((rest, ""));
        let message = if EXCHANGES.iter().any(|row| row.name.as_str().to_ascii_uppercase() == exchange) {
            format!("unknown key {} (known: {})", Shown(key), names(EXCHANGE_KEYS).to_ascii_uppercase())
        } else {
            unknown_exchange(&exchange.to_ascii_lowercase())
        };
        let origin = Origin::Variable(shown_name(name));
        self.refuse(
            Some(format!("exchanges.{}", shown_name(&rest.to_ascii_lowercase().replace("__", ".")))),
            origin,
            message,
        );
    }

    fn refuse_secret(&mut self, key: String, origin: Origin) {
        let message =
            format!("a secret in the file (allowed: the environment variable `{}`)", variable(&key));
        self.refuse(Some(key), origin, message);
    }

    fn refuse(&mut self, key: Option<String>, origin: Origin, message: String) {
        self.problems.push(Problem { key, origin, message });
    }
}

/// The settings file, as far as origins need it.
struct File<'a> {
    path: &'a Path,
    text: std::borrow::Cow<'a, str>,
}

impl File<'_> {
    fn origin(&self, at: usize) -> Origin {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        Origin::File { path: self.path.to_owned(), line }
    }

    fn origin_of(&self, name: &Spanned<DeString>) -> Origin {
        self.origin(name.span().start)
    }
}

/// Every key, those of exchanges in full.
pub(super) fn all_keys() -> impl Iterator<Item = String> {
    let of_exchanges = EXCHANGES
        .iter()
        .flat_map(|row| EXCHANGE_KEYS.iter().map(move |key| format!("exchanges.{}.{}", row.name, key.name)));
    KEYS.iter().map(|key| key.name.to_owned()).chain(of_exchanges)
}

fn names(keys: &[super::Key]) -> String {
    keys.iter().map(|key| key.name).collect::<Vec<_>>().join(", ")
}

/// A name that somebody else chose, on one line and of bounded length.
fn shown_name(name: &str) -> String {
    name.chars().take(100).flat_map(char::escape_debug).collect()
}

fn said(value: &DeValue) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Number(number.to_string()),
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Array(items) => {
            let texts = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
            texts.collect::<Option<_>>().map_or(Value::Other("a list of other things"), Value::List)
        }
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a section"),
    }
}

/// The variables of this process. The only place that reads them.
pub fn environment() -> impl Iterator<Item = (OsString, OsString)> {
    std::env::vars_os()
}

/// One variable of this process that is no setting.
pub(super) fn no_key(name: &str) -> Option<OsString> {
    std::env::var_os(OsStr::new(name)).filter(|value| !value.is_empty())
}
