//! How long the actor waits, and how much it takes, at most.
//!
//! Separate so that a test can scale the waits down, and because every number stands here with its reason.

use std::time::Duration;

/// How long the actor waits, and how much it takes, at most. The default is what production uses.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Time between two looks at the clock: every deadline below is kept to this precision.
    pub tick: Duration,
    /// From the question for the name to the answered upgrade.
    pub dial_timeout: Duration,
    /// A whole REST answer, however slowly it drips.
    pub request_timeout: Duration,
    /// One write to a socket. A peer that does not read for this long has gone.
    pub write_timeout: Duration,
    /// From a subscribe message to its acknowledgement; not extended by anything that comes meanwhile.
    pub acknowledge_within: Duration,
    /// How long a lost socket may be covered up by a body that is on its way.
    pub rest_takeover: Duration,
    /// How long a new socket that is acknowledged, but has nothing to say yet, waits before it replaces an old one.
    pub settle: Duration,
    /// How long after a body that contradicts the socket the socket may still say the same. Less would call every
    /// change of price during a poll a deaf socket.
    pub contradiction_grace: Duration,
    /// How long data has to flow before the delays between dials begin again at the smallest.
    pub steady_after: Duration,
    /// Ceiling of the first delay between dials, and of the longest.
    pub dial_backoff: (Duration, Duration),
    /// Ceiling of the first delay after a failed poll; the longest is the time between polls, within `poll_cap`.
    pub poll_backoff: Duration,
    /// Least and greatest value of the longest delay after failed polls. The lower one lets a source that is polled
    /// every second or two rest while it is down; the upper one finds an hourly source soon after it is back.
    pub poll_cap: (Duration, Duration),
    /// Ceiling of the first delay after a failed instrument list, and of the longest.
    pub instruments_backoff: (Duration, Duration),
    /// Time between two instrument lists.
    pub instruments_every: Duration,
    /// Delays between replacements of a socket that misses something: a fault that a new socket does not cure must
    /// not become a habit.
    pub replace_backoff: (Duration, Duration),
    /// Failures of the exchange itself (5xx) in a row after which it is only probed.
    pub most_server_failures: u32,
    /// Time between two probes.
    pub probe_every: Duration,
    /// Least delay after a certificate that was refused: it will not be a better one in a second.
    pub certificate_retry: Duration,
    /// Unreadable frames in a row after which the socket is replaced.
    pub most_bad_frames: u32,
    /// Bytes of one frame.
    pub max_frame: usize,
    /// Bytes of one message, in however many frames.
    pub max_message: usize,
    /// Bytes of the body of a poll, before and after decompression.
    pub max_body: usize,
    /// Bytes of an instrument list, before and after decompression. Those of large exchanges have about 10 MiB.
    pub max_instruments: usize,
    /// Longest time from one tick to the next, and greatest disagreement of the two clocks about it. Beyond it the
    /// machine was suspended or the process stopped; a busy machine delays a tick by less.
    pub longest_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            tick: Duration::from_millis(50),
            dial_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            write_timeout: Duration::from_secs(5),
            acknowledge_within: Duration::from_secs(5),
            rest_takeover: Duration::from_millis(500),
            settle: Duration::from_secs(3),
            contradiction_grace: Duration::from_secs(1),
            steady_after: Duration::from_secs(30),
            dial_backoff: (Duration::from_millis(250), Duration::from_secs(30)),
            poll_backoff: Duration::from_secs(1),
            poll_cap: (Duration::from_secs(8), Duration::from_secs(60)),
            instruments_backoff: (Duration::from_secs(2), Duration::from_secs(120)),
            instruments_every: Duration::from_secs(24 * 3600),
            replace_backoff: (Duration::from_secs(60), Duration::from_secs(1800)),
            most_server_failures: 5,
            probe_every: Duration::from_secs(30),
            certificate_retry: Duration::from_secs(30),
            most_bad_frames: 20,
            max_frame: 256 * 1024,
            max_message: 1024 * 1024,
            max_body: 4 * 1024 * 1024,
            max_instruments: 16 * 1024 * 1024,
            longest_pause: Duration::from_secs(2),
        }
    }
}
