//! What RateBook is told of the connection.
//!
//! Pure. Separate because failover hangs on it: the verdict is a function of how the two ways do, not of the order
//! in which things went wrong.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::market::{Moment, Transport};
use crate::rate_book::{Link, LinkFailure};

/// How the two ways do, and what was told of it last.
#[derive(Debug)]
pub(super) struct LinkState {
    socket: SocketWay,
    rest: RestWay,
    rest_takeover: Duration,
    told: Option<Link>,
    told_down_at: Option<Moment>,
}

#[derive(Debug)]
enum SocketWay {
    /// This exchange has none.
    Absent,
    /// Dialled, or about to be, for the first time.
    Pending,
    /// Data flows.
    Up,
    /// It stands, but bodies contradict it.
    Deaf,
    Lost {
        at: Moment,
        failure: LinkFailure,
    },
}

#[derive(Debug)]
enum RestWay {
    /// No answer since the start, or since the socket was lost.
    Awaited,
    Good,
    Failed(LinkFailure),
}

impl LinkState {
    /// Nothing is known yet. A lost socket is covered up for `rest_takeover`.
    pub(super) fn new(rest_takeover: Duration) -> Self {
        Self {
            socket: SocketWay::Absent,
            rest: RestWay::Awaited,
            rest_takeover,
            told: None,
            told_down_at: None,
        }
    }

    /// The exchange has a socket.
    pub(super) fn expect_socket(&mut self) {
        if let SocketWay::Absent = self.socket {
            self.socket = SocketWay::Pending;
        }
    }

    pub(super) fn on_socket_up(&mut self) {
        self.socket = SocketWay::Up;
    }

    /// Bodies contradict the socket.
    pub(super) fn on_socket_deaf(&mut self) {
        if let SocketWay::Up = self.socket {
            self.socket = SocketWay::Deaf;
        }
    }

    /// The deaf socket speaks again.
    pub(super) fn on_socket_heard(&mut self) {
        if let SocketWay::Deaf = self.socket {
            self.socket = SocketWay::Up;
        }
    }

    /// The socket, or the attempt to open one, failed.
    pub(super) fn on_socket_lost(&mut self, failure: LinkFailure, now: Moment) {
        match &mut self.socket {
            SocketWay::Lost { failure: last, .. } => *last = failure,
            SocketWay::Pending => self.socket = SocketWay::Lost { at: now, failure },
            SocketWay::Absent | SocketWay::Up | SocketWay::Deaf => {
                self.socket = SocketWay::Lost { at: now, failure };
                // Only an answer from now on shows that the other way still works.
                self.rest = RestWay::Awaited;
            }
        }
    }

    pub(super) fn on_poll_good(&mut self) {
        self.rest = RestWay::Good;
    }

    pub(super) fn on_poll_failed(&mut self, failure: LinkFailure) {
        self.rest = RestWay::Failed(failure);
    }

    /// Whether the socket delivers, so that REST only has to fill its gaps.
    pub(super) fn is_socket_up(&self) -> bool {
        matches!(self.socket, SocketWay::Up | SocketWay::Deaf)
    }

    /// Whether polls failed last time.
    pub(super) fn is_rest_failing(&self) -> bool {
        matches!(self.rest, RestWay::Failed(_))
    }

    /// Whether polls failed last time, and in the same way.
    pub(super) fn is_rest_failing_with(&self, failure: &LinkFailure) -> bool {
        matches!(&self.rest, RestWay::Failed(last) if last == failure)
    }

    /// Whether it was told since `moment` that neither way works.
    pub(super) fn was_down_since(&self, moment: Moment) -> bool {
        self.told_down_at.is_some_and(|at| at.monotonic >= moment.monotonic)
    }

    /// What has to be told; `None` if nothing has changed.
    pub(super) fn news(&mut self, now: Moment) -> Option<Link> {
        let verdict = self.verdict(now)?;
        if self.told.as_ref() == Some(&verdict) {
            return None;
        }
        if let Link::Down(_) = verdict {
            self.told_down_at = Some(now);
        }
        self.told = Some(verdict.clone());
        Some(verdict)
    }

    fn verdict(&self, now: Moment) -> Option<Link> {
        match (&self.socket, &self.rest) {
            // A ban is worth telling although the socket goes on.
            (SocketWay::Up | SocketWay::Deaf, RestWay::Failed(failure))
                if failure.banned_until.is_some_and(|until| until > now.wall) =>
            {
                Some(Link::PollFailed(LinkFailure { forbidden: false, ..failure.clone() }))
            }
            (SocketWay::Up, _) => Some(Link::Up(Transport::WebSocket)),
            (_, RestWay::Good) => Some(Link::Up(Transport::Rest)),
            (SocketWay::Absent, RestWay::Failed(failure)) => Some(Link::PollFailed(failure.clone())),
            (SocketWay::Lost { failure, .. }, RestWay::Failed(other)) => {
                Some(Link::Down(both(failure, other)))
            }
            (SocketWay::Lost { at, failure }, RestWay::Awaited) if now.since(*at) >= self.rest_takeover => {
                Some(Link::Down(failure.clone()))
            }
            _ => None,
        }
    }
}

/// Two failures as one.
fn both(socket: &LinkFailure, rest: &LinkFailure) -> LinkFailure {
    let later = |a: Option<DateTime<Utc>>, b: Option<DateTime<Utc>>| a.max(b);
    let detail = if socket.detail == rest.detail {
        socket.detail.clone()
    } else {
        format!("{}; REST: {}", socket.detail, rest.detail)
    };
    LinkFailure {
        detail,
        forbidden: socket.forbidden || rest.forbidden,
        banned_until: later(socket.banned_until, rest.banned_until),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB_SOCKET: Link = Link::Up(Transport::WebSocket);
    const REST: Link = Link::Up(Transport::Rest);

    fn failure(detail: &str) -> LinkFailure {
        LinkFailure { detail: detail.to_owned(), forbidden: false, banned_until: None }
    }

    fn down(detail: &str) -> Link {
        Link::Down(failure(detail))
    }

    fn at(start: Moment, ms: u64) -> Moment {
        start.after(Duration::from_millis(ms))
    }

    fn with_socket() -> LinkState {
        let mut link = LinkState::new(Duration::from_millis(500));
        link.expect_socket();
        link
    }

    fn up(start: Moment) -> LinkState {
        let mut link = with_socket();
        link.on_poll_good();
        link.on_socket_up();
        assert_eq!(link.news(start), Some(WEB_SOCKET));
        link
    }

    #[test]
    fn rest_takes_over_from_a_lost_socket_if_it_answers_in_time() {
        let start = crate::clock::now();
        let mut link = up(start);
        link.on_socket_lost(failure("closed by peer"), at(start, 0));
        assert_eq!(link.news(at(start, 499)), None);
        link.on_poll_good();
        assert_eq!(link.news(at(start, 499)), Some(REST));
        assert_eq!(link.news(at(start, 9999)), None);
        link.on_socket_lost(failure("connection refused"), at(start, 9999));
        assert_eq!(link.news(at(start, 9999)), None);
        link.on_socket_up();
        assert_eq!(link.news(at(start, 9999)), Some(WEB_SOCKET));
    }

    #[test]
    fn an_exchange_is_down_when_the_socket_is_lost_and_no_body_comes_in_time() {
        let start = crate::clock::now();
        let mut link = up(start);
        link.on_socket_lost(failure("closed by peer"), at(start, 0));
        assert_eq!(link.news(at(start, 500)), Some(down("closed by peer")));
        link.on_poll_good();
        assert_eq!(link.news(at(start, 700)), Some(REST));
    }

    #[test]
    fn an_exchange_is_down_at_once_when_the_socket_is_lost_and_the_poll_fails() {
        let start = crate::clock::now();
        let mut link = up(start);
        link.on_socket_lost(failure("closed by peer"), at(start, 0));
        link.on_poll_failed(failure("connection refused"));
        assert_eq!(link.news(at(start, 1)), Some(down("closed by peer; REST: connection refused")));
        link.on_socket_lost(failure("connection refused"), at(start, 100));
        assert_eq!(link.news(at(start, 100)), Some(down("connection refused")));
    }

    #[test]
    fn on_rest_only_because_the_socket_is_lost_a_failed_poll_is_the_end() {
        let start = crate::clock::now();
        let mut link = up(start);
        link.on_socket_lost(failure("closed by peer"), at(start, 0));
        link.on_poll_good();
        assert_eq!(link.news(at(start, 100)), Some(REST));
        link.on_poll_failed(failure("answered 500"));
        assert!(matches!(link.news(at(start, 2000)), Some(Link::Down(_))));
    }

    #[test]
    fn at_the_start_nothing_is_said_until_one_way_works_or_both_failed() {
        let start = crate::clock::now();
        let mut link = with_socket();
        link.on_poll_failed(failure("connection refused"));
        assert_eq!(link.news(at(start, 3000)), None);
        link.on_socket_lost(failure("connection refused"), at(start, 3000));
        assert_eq!(link.news(at(start, 3000)), Some(down("connection refused")));

        let mut link = with_socket();
        link.on_poll_good();
        assert_eq!(link.news(start), Some(REST));
    }

    #[test]
    fn a_source_without_a_socket_is_never_down_for_a_failed_poll() {
        let start = crate::clock::now();
        let mut link = LinkState::new(Duration::from_millis(500));
        assert_eq!(link.news(at(start, 9999)), None);
        link.on_poll_good();
        assert_eq!(link.news(start), Some(REST));
        link.on_poll_failed(failure("answered 500"));
        assert_eq!(link.news(start), Some(Link::PollFailed(failure("answered 500"))));
        link.on_poll_good();
        assert_eq!(link.news(start), Some(REST));
    }

    #[test]
    fn a_failed_poll_beside_a_socket_is_told_only_if_it_is_a_ban() {
        let start = crate::clock::now();
        let mut link = up(start);
        link.on_poll_failed(failure("answered 500"));
        assert_eq!(link.news(start), None);
        let banned = LinkFailure { banned_until: Some(at(start, 2000).wall), ..failure("answered 418") };
        link.on_poll_failed(banned.clone());
        assert_eq!(link.news(start), Some(Link::PollFailed(banned)));
        assert_eq!(link.news(at(start, 2000)), Some(WEB_SOCKET));
    }

    #[test]
    fn a_deaf_socket_leaves_the_word_to_rest_until_it_speaks_again() {
        let start = crate::clock::now();
        let mut link = up(start);
        link.on_socket_deaf();
        assert_eq!(link.news(start), Some(REST));
        assert!(link.is_socket_up());
        link.on_socket_heard();
        assert_eq!(link.news(start), Some(WEB_SOCKET));
    }

    #[test]
    fn two_failures_are_told_as_one_with_the_graver_consequence() {
        let until = crate::clock::now().wall;
        let forbidden = LinkFailure { forbidden: true, banned_until: Some(until), ..failure("answered 451") };
        let told = both(&failure("closed by peer"), &forbidden);
        assert_eq!(told.detail, "closed by peer; REST: answered 451");
        assert!(told.forbidden);
        assert_eq!(told.banned_until, Some(until));
    }
}
