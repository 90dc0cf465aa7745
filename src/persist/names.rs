//! Names of exchanges as they come back from a disk.
//!
//! Separate because such a name may be one that this version does not know any more, and its quotes are kept all the
//! same.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::market::ExchangeName;

/// Most names that are made up of what a disk says. There are some twenty exchanges; more is a damaged disk.
const MAX_NAMES: usize = 256;

/// Names that were read. A name lives as long as the process, so each is remembered once.
static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

/// The name that is written so; `unknown` if there are far too many.
pub(super) fn known(text: &str) -> ExchangeName {
    name_in(&mut NAMES.lock().unwrap_or_else(PoisonError::into_inner), text)
}

fn name_in(names: &mut BTreeSet<&'static str>, text: &str) -> ExchangeName {
    if let Some(name) = names.get(text) {
        return ExchangeName::new(name);
    }
    if names.len() >= MAX_NAMES {
        return ExchangeName::new("unknown");
    }
    let name: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(name);
    ExchangeName::new(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_remembered_once_and_far_too_many_are_not() {
        let mut names = BTreeSet::new();
        let name = |number: usize| format!("exchange{number}");
        for number in 0..MAX_NAMES {
            assert_eq!(name_in(&mut names, &name(number)).as_str(), name(number));
        }
        let first = name_in(&mut names, &name(7)).as_str();
        assert!(std::ptr::eq(first, name_in(&mut names, &name(7)).as_str()), "it was made up twice");
        assert_eq!(name_in(&mut names, "one more").as_str(), "unknown");
        assert_eq!(names.len(), MAX_NAMES);
        assert_eq!(name_in(&mut names, &name(0)).as_str(), name(0));
    }
}
