//! What a checker counted, and the violations that it found.

/// Violations that are told in full.
const TOLD: usize = 5;

/// What a checker found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Verdict {
    /// Answers that were looked at, and those of them that were compared with what was published.
    pub(crate) answers: u64,
    pub(crate) exact: u64,
    /// Courses between two prices where the truth was not seen often enough.
    pub(crate) beside_a_gap: u64,
    /// Courses by way of dollars, where an exchange's own book of the direction is not fresh.
    pub(crate) by_dollars: u64,
    pub(crate) not_200: u64,
    /// Where there was no answer at all.
    pub(crate) broken: u64,
    /// How often another exchange answered than before.
    pub(crate) switches: u64,
    pub(crate) num_violations: u64,
    /// The first of them.
    pub(crate) violations: Vec<String>,
}

impl Verdict {
    pub(super) fn violate(&mut self, what: String) {
        self.num_violations += 1;
        if self.violations.len() < TOLD {
            self.violations.push(what);
        }
    }

    pub(crate) fn told(&self) -> String {
        let mut told = format!(
            "{} answers, {} compared",
            self.answers,
            self.exact + self.beside_a_gap + self.by_dollars
        );
        if self.not_200 > 0 {
            told += &format!(", {} not 200", self.not_200);
        }
        if self.broken > 0 {
            told += &format!(", {} without an answer", self.broken);
        }
        told += &format!(", {} violations", self.num_violations);
        for violation in &self.violations {
            told += &format!("; {violation}");
        }
        told
    }

    pub(crate) fn holds(&self) -> bool {
        self.num_violations == 0
    }
}
