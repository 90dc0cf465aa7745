//! What was answered a moment ago, kept for whoever asks the same: no message, no arithmetic, no serialisation.
//!
//! Each worker keeps its own, by the text of the question. What is kept counts while the book is in the state that it
//! was computed from, every leg is within its limit, and not for longer than [`KEPT_FOR`]; ages are told as they are
//! now. RateBook stays the only source: nothing is kept that it did not answer.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use quick_cache::unsync::Cache;

use super::v1::courses::Rendered;
use crate::market::Moment;
use crate::rate_book::BookVersion;

/// Answers that one worker keeps; the least asked for go first.
const CAPACITY: usize = 256;

/// Longest question that is kept, in bytes: with the capacity it bounds the memory of a worker to some megabytes.
const LONGEST_QUESTION: usize = 1024;

/// Longest time that an answer is kept. Who answers may change by time alone, when an exchange has been fresh for long
/// enough to get its place back; this is by how much that may be late.
const KEPT_FOR: Duration = Duration::from_millis(50);

/// How far the wall clock may have gone while an answer was kept. A machine that slept wakes up with what it kept, and its
/// monotonic clock does not know.
const LONGEST_BY_THE_WALL: Duration = Duration::from_secs(2);

/// The answers that one worker keeps.
pub(super) struct Answers {
    book: BookVersion,
    kept: RefCell<Cache<Box<str>, Rc<Kept>>>,
}

/// One answer.
pub(super) struct Kept {
    pub(super) rendered: Rendered,
    /// Until when it counts, by the monotonic clock.
    until: Duration,
}

impl Answers {
    /// None so far; `book` tells when one no longer counts.
    pub(super) fn new(book: BookVersion) -> Self {
        Self { book, kept: RefCell::new(Cache::new(CAPACITY)) }
    }

    /// The answer to this question, if one is kept that counts now.
    pub(super) fn get(&self, question: &str, now: Moment) -> Option<Rc<Kept>> {
        let kept = self.kept.borrow().get(question)?.clone();
        let is_awake = now.wall_since(kept.rendered.at().wall) <= LONGEST_BY_THE_WALL;
        let counts = is_awake && kept.rendered.version() == self.book.get() && now.monotonic < kept.until;
        counts.then_some(kept)
    }

    /// Keeps an answer.
    pub(super) fn keep(&self, question: &str, rendered: Rendered) {
        let until = rendered.at().monotonic.saturating_add(KEPT_FOR.min(rendered.fresh_for()));
        if question.len() <= LONGEST_QUESTION {
            self.kept.borrow_mut().insert(question.into(), Rc::new(Kept { rendered, until }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::ExchangeName;
    use crate::rate_book::Answer;

    const QUESTION: &str = "/v1/courses?directions=BTC-USD";

    fn at(ms: u64) -> Moment {
        Moment { monotonic: Duration::from_millis(ms), wall: chrono::DateTime::UNIX_EPOCH }
    }

    fn rendered(version: u64, fresh_for: u64, computed_at: u64) -> Rendered {
        Rendered::new(Answer {
            exchanger: ExchangeName::new("binance"),
            courses: Vec::new(),
            age: Duration::from_millis(30),
            legs: Vec::new(),
            missing: Vec::new(),
            sequence: 256,
            at: at(computed_at),
            version,
            fresh_for: Duration::from_millis(fresh_for),
        })
    }

    #[test]
    fn an_answer_is_kept_for_its_question_until_the_book_changes_or_a_leg_goes_stale() {
        let book = BookVersion::default();
        for (fresh_for, version, question, asked_at, expected) in [
            (5_000, 7, QUESTION, 1_000, true),
            (5_000, 7, QUESTION, 1_049, true),
            (5_000, 7, QUESTION, 1_050, false),
            (20, 7, QUESTION, 1_019, true),
            (20, 7, QUESTION, 1_020, false),
            (0, 7, QUESTION, 1_000, false),
            (5_000, 8, QUESTION, 1_000, false),
            (5_000, 7, "/v1/courses?directions=BTC-RUB", 1_000, false),
        ] {
            let answers = Answers::new(book.clone());
            book.set(7);
            answers.keep(QUESTION, rendered(7, fresh_for, 1_000));
            book.set(version);
            let kept = answers.get(question, at(asked_at));
            assert_eq!(kept.is_some(), expected, "{fresh_for} {version} {question} {asked_at}");
        }
    }

    #[test]
    fn an_answer_does_not_outlast_the_sleep_of_the_machine() {
        let answers = Answers::new(BookVersion::default());
        answers.keep(QUESTION, rendered(0, 5_000, 1_000));
        let awake = at(1_010);
        assert!(answers.get(QUESTION, awake).is_some());
        let slept = Moment { wall: awake.wall + chrono::TimeDelta::hours(1), ..awake };
        assert!(answers.get(QUESTION, slept).is_none());
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_length() {
        let answers = Answers::new(BookVersion::default());
        let long = "x".repeat(LONGEST_QUESTION + 1);
        answers.keep(&long, rendered(0, 5_000, 0));
        assert!(answers.get(&long, at(0)).is_none());
        for number in 0..10 * CAPACITY {
            answers.keep(&number.to_string(), rendered(0, 5_000, 0));
        }
        assert!(answers.kept.borrow().len() <= CAPACITY);
    }
}
