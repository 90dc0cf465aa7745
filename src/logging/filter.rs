//! Which records are written.

use log::LevelFilter;

/// Which records are written.
///
/// Items are separated by commas: a level alone is for this program, and for the libraries below it as far as
/// WARNING (their INFO and DEBUG are for their authors, and may repeat what was sent); `target=level` is for one
/// module, of a library too. CRITICAL is always written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// For libraries.
    pub(super) others: LevelFilter,
    /// For modules of this program and for named ones.
    pub(super) targets: Vec<(String, LevelFilter)>,
}

/// What the log would be flooded by from outside: every malformed request is an ERROR of this library.
const SILENCED: &str = "actix_http";

impl Default for Filter {
    fn default() -> Self {
        let targets = [("ratebook", LevelFilter::Info), (SILENCED, LevelFilter::Off)];
        let targets = targets.map(|(target, level)| (target.to_owned(), level));
        Self { others: LevelFilter::Warn, targets: targets.to_vec() }
    }
}

impl Filter {
    /// Reads `info`, `warning,ratebook::exchange=debug`.
    ///
    /// # Errors
    /// With what is wrong and what is allowed, when an item is neither a level nor `target=level`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for item in text.split(',').map(str::trim) {
            let (target, word) =
                item.split_once('=').map_or((None, item), |(target, word)| (Some(target), word));
            let level = level(word).filter(|_| target != Some("")).ok_or_else(|| {
                let shown: String = item.chars().take(60).flat_map(char::escape_debug).collect();
                format!("`{shown}` is no filter (allowed: critical, error, warning, info, debug, off, `target=level`)")
            })?;
            match target {
                Some(target) => filter.set(target.trim(), level),
                None => {
                    filter.others = level.min(LevelFilter::Warn);
                    filter.set("ratebook", level);
                }
            }
        }
        Ok(filter)
    }

    /// Says the level of one target.
    pub(super) fn set(&mut self, target: &str, level: LevelFilter) {
        self.targets.retain(|(earlier, _)| earlier != target);
        self.targets.push((target.to_owned(), level));
    }
}

fn level(word: &str) -> Option<LevelFilter> {
    Some(match word.trim().to_ascii_lowercase().as_str() {
        "off" | "critical" => LevelFilter::Off,
        "error" => LevelFilter::Error,
        "warning" | "warn" => LevelFilter::Warn,
        "info" => LevelFilter::Info,
        "debug" => LevelFilter::Debug,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(text: &str) -> (LevelFilter, Vec<(String, LevelFilter)>) {
        let filter = Filter::parse(text).unwrap();
        (filter.others, filter.targets)
    }

    #[test]
    fn a_level_alone_is_for_this_program_and_for_libraries_as_far_as_warning() {
        for (text, others, ratebook) in [
            ("debug", LevelFilter::Warn, LevelFilter::Debug),
            ("INFO", LevelFilter::Warn, LevelFilter::Info),
            ("warning", LevelFilter::Warn, LevelFilter::Warn),
            ("error", LevelFilter::Error, LevelFilter::Error),
            ("critical", LevelFilter::Off, LevelFilter::Off),
            ("off", LevelFilter::Off, LevelFilter::Off),
        ] {
            let targets = vec![(SILENCED.to_owned(), LevelFilter::Off), ("ratebook".to_owned(), ratebook)];
            assert_eq!(ours(text), (others, targets), "{text}");
        }
    }

    #[test]
    fn a_module_may_have_a_level_of_its_own() {
        let (_, targets) = ours("info, ratebook::exchange=debug,rustls=warn");
        let expected = [
            (SILENCED, LevelFilter::Off),
            ("ratebook", LevelFilter::Info),
            ("ratebook::exchange", LevelFilter::Debug),
            ("rustls", LevelFilter::Warn),
        ];
        assert_eq!(targets, expected.map(|(target, level)| (target.to_owned(), level)));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in ["", "loud", "info,", "trace", "ratebook::exchange", "=info", "a=b=c", "rustls=trace"] {
            let complaint = Filter::parse(text).unwrap_err();
            assert!(complaint.contains("critical, error, warning, info, debug"), "{text}: {complaint}");
        }
    }
}
