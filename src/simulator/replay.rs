//! Recordings of real frames, played in their own time.
//!
//! Separate from the exchanges: they only recognise a frame and say who subscribed to it. Nothing is queued: every
//! connection has a place of its own in the recording and reads on from there, so a slow client loses nothing and
//! costs nothing.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use base64::Engine as _;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use tokio::time::Instant;

use super::book::{Book, Price};
use super::protocol::scaled;
use super::recorded::{Received, Recogniser, Recorded, Told};

/// Largest recording that is read, unpacked. The largest real one here has 8 MB; a day of a busy symbol has 2 GB and
/// belongs cut into parts.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Time without a further subscription after which a play begins, so that a client that subscribes to one symbol at a
/// time (KuCoin's limits ask for a tenth of a second between two) hears each of them from the first frame on.
const SETTLE: Duration = Duration::from_millis(500);

/// A recording that cannot be played.
#[derive(Debug, thiserror::Error)]
#[error("cannot replay `{}`: {reason}", path.display())]
pub(super) struct ReplayError {
    /// The file.
    pub path: PathBuf,
    /// Why, and what is allowed.
    pub reason: String,
}

/// A recording of one exchange, and how far it has been played.
#[derive(Debug)]
pub(super) struct Recording {
    frames: Vec<(Duration, Rc<Recorded>)>,
    speed: f64,
    started_at: Option<Instant>,
    /// How many frames have gone into `books`.
    told: usize,
    books: HashMap<Rc<str>, Book>,
    /// The symbols of which a frame has been played.
    begun: HashSet<Rc<str>>,
}

impl Recording {
    fn new(frames: Vec<(Duration, Rc<Recorded>)>, speed: f64) -> Self {
        let mut recording =
            Self { frames, speed, started_at: None, told: 0, books: HashMap::new(), begun: HashSet::new() };
        recording.open();
        recording
    }

    /// Puts the first recorded prices of every symbol there, for those who ask before the play begins.
    fn open(&mut self) {
        let mut lasts = HashMap::new();
        for (_, frame) in &self.frames {
            match &frame.told {
                Some(Told::Best(book)) => {
                    self.books.entry(Rc::clone(&frame.symbol)).or_insert_with(|| (**book).clone());
                }
                Some(Told::Last(last)) => {
                    lasts.entry(Rc::clone(&frame.symbol)).or_insert_with(|| last.clone());
                }
                None => {}
            }
        }
        for (symbol, book) in &mut self.books {
            if let Some(last) = lasts.remove(symbol) {
                book.last = last;
            }
            if let (Price::Missing, Some(bid)) = (&book.last, &book.bid) {
                book.last = bid.clone();
            }
        }
    }

    /// Whether it holds prices of this symbol.
    pub(super) fn covers(&self, symbol: &str) -> bool {
        self.books.contains_key(symbol)
    }

    /// Whether it holds prices of this symbol, and none of them has been played.
    pub(super) fn is_to_come(&self, symbol: &str) -> bool {
        self.covers(symbol) && !self.begun.contains(symbol)
    }

    /// The symbols that it holds prices of.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &str> {
        self.books.keys().map(|symbol| &**symbol)
    }

    /// The book of this symbol as far as it has been played.
    pub(super) fn book(&self, symbol: &str) -> Option<Book> {
        self.books.get(symbol).cloned()
    }

    /// Begins to play as soon as nobody has subscribed for a moment, unless it has begun before.
    pub(super) fn start(&mut self, now: Instant) {
        if self.started_at.is_none_or(|started_at| started_at > now) {
            self.started_at = Some(now + SETTLE);
        }
    }

    /// When a frame is due; `None` past the end, and while the play has not begun.
    pub(super) fn due_at(&self, index: usize) -> Option<Instant> {
        let (offset, _) = self.frames.get(index)?;
        self.started_at.map(|started_at| started_at + scaled(*offset, self.speed))
    }

    /// The frame of this index; `None` past the end.
    pub(super) fn frame(&self, index: usize) -> Option<&Rc<Recorded>> {
        self.frames.get(index).map(|(_, frame)| frame)
    }

    /// The index of the first frame that is not due yet: where a new connection begins.
    pub(super) fn place(&self, now: Instant) -> usize {
        match self.started_at {
            None => 0,
            Some(started_at) => {
                self.frames.partition_point(|(offset, _)| started_at + scaled(*offset, self.speed) <= now)
            }
        }
    }

    /// Brings the books up to `now`.
    pub(super) fn advance(&mut self, now: Instant) {
        while self.due_at(self.told).is_some_and(|due_at| due_at <= now) {
            let (_, frame) = &self.frames[self.told];
            match &frame.told {
                Some(Told::Best(told)) => {
                    let mut book = (**told).clone();
                    if let (Price::Missing, Some(known)) = (&book.last, self.books.get(&frame.symbol)) {
                        book.last = known.last.clone();
                    }
                    self.books.insert(Rc::clone(&frame.symbol), book);
                    self.begun.insert(Rc::clone(&frame.symbol));
                }
                Some(Told::Last(last)) => {
                    if let Some(book) = self.books.get_mut(&frame.symbol) {
                        book.last = last.clone();
                    }
                }
                None => {}
            }
            self.told += 1;
        }
    }
}

/// Reads a recording of one of the exchanges with these names, and tells of which: the one whose name the file's begins
/// with, else the first that recognises a price in it. `recogniser` is how the exchange of that index reads frames.
///
/// # Errors
/// When the file cannot be read, or holds no price that one of them recognises.
pub(super) fn read(
    path: &Path,
    speed: f64,
    names: &[&str],
    recogniser: impl Fn(usize, &[Received]) -> Option<Recogniser>,
) -> Result<(usize, Recording), ReplayError> {
    let refuse = |reason: String| ReplayError { path: path.to_owned(), reason };
    let received = lines(path).map_err(|error| refuse(error.to_string()))?;
    let file_name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_named = |index: usize| file_name.starts_with(names[index]);
    let mut candidates: Vec<usize> = (0..names.len()).collect();
    candidates.sort_by_key(|index| !is_named(*index));
    let mut replayable = Vec::new();
    for index in candidates {
        let Some(recogniser) = recogniser(index, &received) else { continue };
        let mut frames: Vec<(Duration, Rc<Recorded>)> = Vec::new();
        let mut first_at = None;
        // Recorders write frames in the order of receipt; a clock that was set back must not stall the play.
        let mut latest = Duration::ZERO;
        for (at, frame) in &received {
            if let Some(mut recorded) = (recogniser.read)(frame) {
                latest = latest.max(at.saturating_sub(*first_at.get_or_insert(*at)));
                if let Some(Told::Best(book)) = &mut recorded.told
                    && book.sequence == 0
                {
                    book.sequence = frames.len() as u64 + 1;
                }
                frames.push((latest, Rc::new(recorded)));
            }
        }
        let has_prices = frames.iter().any(|(_, frame)| matches!(frame.told, Some(Told::Best(_))));
        if has_prices {
            return Ok((index, Recording::new(frames, speed)));
        }
        replayable.push((index, format!("{} ({})", names[index], recogniser.frames)));
    }
    let is_known = (0..names.len()).any(is_named);
    let tried = replayable.into_iter().filter(|(index, _)| !is_known || is_named(*index));
    let tried: Vec<String> = tried.map(|(_, words)| words).collect();
    Err(refuse(format!(
        "none of its {} frames is one that is replayed: {}. Frames of other channels and of retired formats tell no \
         best prices that a client of today understands",
        received.len(),
        if tried.is_empty() { "that exchange is not".to_owned() } else { tried.join(", ") }
    )))
}

/// The received frames of a file with their times since 1970.
fn lines(path: &Path) -> std::io::Result<Vec<Received>> {
    let bad = |line: usize, what: &str| {
        let message = format!(
            "line {line}: {what} (allowed: `<nanoseconds> <frame>`, or JSON objects with dir, ts and data)"
        );
        std::io::Error::new(std::io::ErrorKind::InvalidData, message)
    };
    let mut file = BufReader::new(File::open(path)?);
    let is_gzip = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let plain: Box<dyn Read> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut frames = Vec::new();
    for (index, line) in BufReader::new(plain.take(MAX_BYTES)).lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let frame = match line.starts_with('{') {
            true => object(&line).map_err(|reason| bad(index + 1, &reason))?,
            false => {
                let (at, frame) = line.split_once(' ').ok_or_else(|| bad(index + 1, "no time and frame"))?;
                let nanoseconds: u64 = at.parse().map_err(|_| bad(index + 1, "no time in nanoseconds"))?;
                Some((Duration::from_nanos(nanoseconds), frame.as_bytes().to_vec()))
            }
        };
        frames.extend(frame);
    }
    Ok(frames)
}

#[derive(Deserialize)]
struct Line {
    dir: String,
    #[serde(default)]
    ts: String,
    data: Option<String>,
    b64: Option<String>,
}

/// A line that is an object; `None` if it is not a received frame.
fn object(line: &str) -> Result<Option<Received>, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if line.dir != "recv" {
        return Ok(None);
    }
    let seconds: f64 = line.ts.parse().map_err(|_| "no time in seconds".to_owned())?;
    let at = Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?;
    match (line.data, line.b64) {
        (Some(text), _) => Ok(Some((at, text.into_bytes()))),
        (None, Some(base64)) => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(base64)
                .map_err(|error| error.to_string())?;
            Ok(Some((at, bytes)))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use rust_decimal::Decimal;

    /// A protocol of one line per frame, `SYMBOL PRICE`.
    fn recognise(frame: &str) -> Option<Recorded> {
        let (symbol, price) = frame.split_once(' ')?;
        let price: Decimal = price.parse().ok()?;
        let told = Told::Best(Box::new(Book { last: Price::Missing, ..Book::around(price, 2, 10) }));
        Some(Recorded::new(symbol, symbol, Some(told), ""))
    }

    /// The second exchange speaks it.
    fn recogniser(index: usize, _: &[Received]) -> Option<Recogniser> {
        (index == 1).then(|| Recogniser::of_text("lines of a symbol and a price", recognise))
    }

    fn file(text: &str) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn recording(text: &str) -> Result<Recording, ReplayError> {
        let file = file(text);
        read(file.path(), 2.0, &["nobody", "lines"], recogniser).map(|(index, recording)| {
            assert_eq!(index, 1);
            recording
        })
    }

    #[test]
    fn frames_are_due_at_their_recorded_times_divided_by_the_speed() {
        let mut recording = recording("1000000000 A 5\n3000000000 A 7\n2000000000 B 1\n").unwrap();
        let now = Instant::now();
        assert_eq!(recording.due_at(0), None);
        assert_eq!(recording.place(now), 0);
        recording.start(now - SETTLE);
        let due: Vec<_> = (0..4).map(|index| recording.due_at(index)).collect();
        let second = Some(now + Duration::from_secs(1));
        assert_eq!(due, [Some(now), second, second, None]);
        assert_eq!(recording.place(now + Duration::from_millis(999)), 1);
        assert_eq!(recording.place(now + Duration::from_secs(1)), 3);
    }

    #[test]
    fn a_play_begins_a_moment_after_the_last_subscription_and_then_waits_for_nobody() {
        let mut recording = recording("1000000000 A 5\n").unwrap();
        let now = Instant::now();
        recording.start(now);
        recording.start(now + SETTLE / 2);
        assert_eq!(recording.due_at(0), Some(now + SETTLE / 2 + SETTLE));
        recording.start(now + SETTLE * 2);
        assert_eq!(recording.due_at(0), Some(now + SETTLE / 2 + SETTLE));
    }

    #[test]
    fn books_start_at_the_first_recorded_price_and_stay_at_the_last() {
        let mut recording = recording("1000000000 A 5\n3000000000 A 7\n3000000000 B 1\n").unwrap();
        let now = Instant::now();
        let bid = |recording: &Recording, symbol| recording.book(symbol).unwrap().bid.unwrap().fixed(2);
        assert_eq!((bid(&recording, "A"), bid(&recording, "B")), ("4.99".to_owned(), "0.99".to_owned()));
        recording.start(now - SETTLE);
        recording.advance(now);
        assert_eq!(bid(&recording, "A"), "4.99");
        recording.advance(now + Duration::from_secs(60));
        assert_eq!(bid(&recording, "A"), "6.99");
        assert!(recording.covers("B") && !recording.covers("C"));
        assert_eq!(recording.book("A").unwrap().last, Price::Number(Decimal::new(499, 2)));
    }

    #[test]
    fn files_that_hold_no_frames_are_refused_with_the_line() {
        for (text, said) in [
            ("", "none of its 0 frames"),
            ("1000000000 nonsense\n", "none of its 1 frames"),
            ("1000000000 A 5\nnonsense\n", "line 2: no time and frame"),
            ("x A 5\n", "line 1: no time in nanoseconds"),
            ("{\"dir\":\"recv\",\"ts\":\"x\"}\n", "line 1: no time in seconds"),
            ("{\"dir\"\n", "line 1: EOF"),
        ] {
            let error = recording(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text:?}: {error}");
        }
        let absent = read(Path::new("/nonexistent/file"), 1.0, &[], recogniser).unwrap_err().to_string();
        assert!(absent.contains("cannot replay `/nonexistent/file`"), "{absent}");
    }

    #[test]
    fn objects_give_their_received_frames_text_or_binary() {
        let text = concat!(
            "{\"dir\":\"send\",\"ts\":\"1\",\"data\":\"A 1\"}\n",
            "{\"dir\":\"recv\",\"ts\":\"10.5\",\"data\":\"A 2\"}\n",
            "{\"dir\":\"recv\",\"ts\":\"11.5\",\"b64\":\"QSAz\"}\n",
        );
        let recording = recording(text).unwrap();
        assert_eq!(recording.frames.len(), 2);
        assert_eq!(recording.frames[1].0, Duration::from_secs(1));
    }
}
