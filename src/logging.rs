//! Log records: levels, text or JSON lines, to standard error.
