//! What the parameters of requests mean: from the text of a query to a question.
//!
//! Separate because it is pure and faces the public: whatever the bytes are, the outcome is a question or a
//! refusal that names the parameter and what it accepts. A parameter that is not understood is refused, never
//! skipped, because a price for another question than the one that was meant is a wrong price.

mod chart;
mod courses;
mod cursor;
mod events;
mod history;
mod parameter;
mod time;
mod values;

pub(super) use self::chart::ChartQuestion;
pub(super) use self::courses::{PastTime, Question};
pub(super) use self::events::EventsQuestion;
pub(super) use self::history::{HistoryQuestion, Kind};
pub(super) use self::parameter::Offer;
pub(super) use self::time::written;
