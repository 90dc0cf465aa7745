//! A WebSocket's bytes: frames in and out, under limits.
//!
//! Separate from the actor because it knows no exchange, and from awc's own codec because that one buffers a frame
//! of any announced size before it refuses it, answers no ping, and leaves fragments to the reader.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use actix_http::ws::{CloseCode, CloseReason, OpCode, Parser};
use awc::BoxedSocket;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::coop::has_budget_remaining;
use tokio::time::{sleep, timeout};

use super::trouble::{Trouble, printable};
use crate::clock;
use crate::exchange::{Frame, TIME_OF_SENDING};
use crate::market::Moment;

/// Frames that are handed over at once. The actor's timers and mailbox get their turn between two batches.
const MOST_FRAMES: usize = 64;

/// Messages, and pings and pongs, that may wait to be written. More pongs than one batch of frames can ask for.
const MOST_QUEUED: usize = 2 * MOST_FRAMES;

/// What is said of a peer that has stopped reading.
const UNREAD: &str = "it does not read what we send";

/// Bytes asked of the system at once.
const READ_AHEAD: usize = 16 * 1024;

/// Bytes that are read before anything of them is handed over.
const MOST_READ: usize = 64 * 1024;

/// Time that a goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// What came, after fragments were put together and pings were answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A whole message, text or binary.
    Message(Bytes),
    /// A ping of the protocol.
    Sign,
    /// A pong, with the number of the ping that it answers; `None` if it answers none of ours.
    Pong(Option<u64>),
}

/// Frames that were read together.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) frames: Vec<Incoming>,
    /// The latest moment of which it is known that none of them was here yet. It lies behind where frames come faster
    /// than they are read, and wait in the system.
    pub(super) arrived_at: Moment,
}

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    Message(Frame),
    /// Say goodbye with this code, and end.
    Close(CloseCode),
}

/// What is sent at once, whatever else waits.
#[derive(Debug)]
pub(super) enum Sign {
    /// A ping of this number.
    Ping(u64),
    /// The answer to a ping with this payload.
    Pong(Bytes),
}

/// Takes frames out of a buffer of bytes. Pure.
#[derive(Debug)]
pub(super) struct Decoder {
    max_frame: usize,
    max_message: usize,
    fragments: Option<BytesMut>,
}

/// One step of the decoder.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Incoming(Incoming),
    /// A ping, to be answered with this payload.
    Ping(Bytes),
    /// A fragment, kept.
    Kept,
    /// The rest of the frame has not come yet.
    Starved,
}

impl Decoder {
    pub(super) fn new(max_frame: usize, max_message: usize) -> Self {
        Self { max_frame, max_message, fragments: None }
    }

    fn step(&mut self, buffer: &mut BytesMut) -> Result<Step, Trouble> {
        // The size is judged by the head alone, before the body has come.
        if announced_size(buffer).is_some_and(|size| size > self.max_frame as u64) {
            return Err(Trouble::TooBig { limit: self.max_frame });
        }
        let parsed = Parser::parse(buffer, false, self.max_frame);
        let parsed =
            parsed.map_err(|error| Trouble::Other(printable(&format!("not a WebSocket frame: {error}"))))?;
        let Some((is_last, code, payload)) = parsed else { return Ok(Step::Starved) };
        let payload = payload.unwrap_or_default();
        match (code, is_last) {
            (OpCode::Ping, true) => Ok(Step::Ping(payload.freeze())),
            (OpCode::Pong, true) => {
                let number = payload.as_ref().try_into().ok().map(u64::from_be_bytes);
                Ok(Step::Incoming(Incoming::Pong(number)))
            }
            (OpCode::Close, true) => Err(farewell(&payload)),
            (OpCode::Text | OpCode::Binary, true) if self.fragments.is_none() => {
                Ok(Step::Incoming(Incoming::Message(payload.freeze())))
            }
            (OpCode::Text | OpCode::Binary, false) if self.fragments.is_none() => {
                self.fragments = Some(payload);
                Ok(Step::Kept)
            }
            (OpCode::Continue, _) => self.continued(&payload, is_last),
            _ => Err(Trouble::Other("not a WebSocket frame: out of order".to_owned())),
        }
    }

    fn continued(&mut self, payload: &[u8], is_last: bool) -> Result<Step, Trouble> {
        let Some(mut message) = self.fragments.take() else {
            return Err(Trouble::Other("not a WebSocket frame: continues nothing".to_owned()));
        };
        if message.len() + payload.len() > self.max_message {
            return Err(Trouble::TooBig { limit: self.max_message });
        }
        message.extend_from_slice(payload);
        if is_last {
            return Ok(Step::Incoming(Incoming::Message(message.freeze())));
        }
        self.fragments = Some(message);
        Ok(Step::Kept)
    }
}

/// The size of the payload that the head of the next frame announces; `None` while the head is not whole.
fn announced_size(buffer: &[u8]) -> Option<u64> {
    match buffer.get(1)? & 0x7f {
        126 => Some(u64::from(u16::from_be_bytes(buffer.get(2..4)?.try_into().ok()?))),
        127 => Some(u64::from_be_bytes(buffer.get(2..10)?.try_into().ok()?)),
        size => Some(u64::from(size)),
    }
}

/// What a close frame says.
fn farewell(payload: &[u8]) -> Trouble {
    let Some((code, words)) = payload.split_first_chunk::<2>() else { return Trouble::Closed };
    let code = u16::from_be_bytes(*code);
    let words = printable(&String::from_utf8_lossy(words));
    Trouble::ClosedWith(format!("{code} {words}").trim_end().to_owned())
}

/// The reading half of a socket.
struct Reader {
    socket: ReadHalf<BoxedSocket>,
    buffer: BytesMut,
    decoder: Decoder,
    signs: mpsc::Sender<Sign>,
    /// What ended the socket, while what came before it is on its way to the actor.
    trouble: Option<Trouble>,
    /// When it was seen last that nothing waited in the system.
    emptied_at: Moment,
    /// Before this, nothing of what was read last was here.
    arrived_at: Moment,
    /// Before this, nothing of the message was here whose rest has yet to come.
    begun_at: Moment,
}

/// Everything that comes, in batches; the last item says why no more comes.
pub(super) fn incoming(
    socket: ReadHalf<BoxedSocket>,
    already_read: BytesMut,
    decoder: Decoder,
    signs: mpsc::Sender<Sign>,
) -> impl Stream<Item = Result<Batch, Trouble>> {
    let now = clock::now();
    let reader = Reader {
        socket,
        buffer: already_read,
        decoder,
        signs,
        trouble: None,
        emptied_at: now,
        arrived_at: now,
        begun_at: now,
    };
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next_batch().await {
            Ok(batch) => Some((Ok(batch), Some(reader))),
            Err(trouble) => Some((Err(trouble), None)),
        }
    })
}

impl Reader {
    async fn next_batch(&mut self) -> Result<Batch, Trouble> {
        let mut frames = Vec::new();
        loop {
            match self.decoder.step(&mut self.buffer) {
                Ok(Step::Incoming(incoming)) => frames.push(incoming),
                // A full queue means a peer that pings without reading the answers.
                Ok(Step::Ping(payload)) => {
                    let answered = self.signs.try_send(Sign::Pong(payload));
                    answered.map_err(|_| Trouble::Other("pings faster than it reads pongs".to_owned()))?;
                    frames.push(Incoming::Sign);
                }
                Ok(Step::Kept) => {}
                Ok(Step::Starved) if frames.is_empty() => match self.trouble.take() {
                    Some(trouble) => return Err(trouble),
                    None => self.read_more().await,
                },
                Ok(Step::Starved) => break,
                Err(trouble) if frames.is_empty() => return Err(trouble),
                // What came before the trouble is heard first, and nothing after it.
                Err(trouble) => {
                    self.buffer.clear();
                    self.trouble = Some(trouble);
                    break;
                }
            }
            if frames.len() >= MOST_FRAMES {
                // Lets everything else on this thread have its turn, however much has come.
                tokio::task::yield_now().await;
                break;
            }
        }
        let arrived_at = self.begun_at;
        if self.decoder.fragments.is_none() {
            self.begun_at = self.arrived_at;
        }
        Ok(Batch { frames, arrived_at })
    }

    /// Reads all that waits in the system, up to a limit, so that it shows whether anything is left there.
    async fn read_more(&mut self) {
        let is_inside = !self.buffer.is_empty() || self.decoder.fragments.is_some();
        let (mut num_read, mut has_waited) = (0, false);
        poll_fn(|context| {
            while num_read < MOST_READ {
                self.buffer.reserve(READ_AHEAD);
                match pin!(self.socket.read_buf(&mut self.buffer)).poll(context) {
                    Poll::Ready(Ok(1..)) if num_read == 0 => {
                        num_read = self.buffer.len();
                        self.arrived_at = if has_waited { clock::now() } else { self.emptied_at };
                    }
                    Poll::Ready(Ok(1..)) => num_read = self.buffer.len(),
                    Poll::Ready(ended) => {
                        self.trouble = Some(ended.map_or_else(Trouble::from, |_| Trouble::Closed));
                        break;
                    }
                    Poll::Pending => {
                        // A task that has used up its turn is told the same, although more may wait.
                        if has_budget_remaining() {
                            self.emptied_at = clock::now();
                            has_waited = true;
                        }
                        if num_read == 0 {
                            return Poll::Pending;
                        }
                        break;
                    }
                }
            }
            Poll::Ready(())
        })
        .await;
        if !is_inside {
            self.begun_at = self.arrived_at;
        }
    }
}

/// The queue of messages to one socket. Dropping it says goodbye.
#[derive(Debug)]
pub(super) struct Pen {
    messages: mpsc::Sender<Outgoing>,
    signs: mpsc::Sender<Sign>,
}

impl Pen {
    /// Queues a message.
    ///
    /// # Errors
    /// When so many are waiting that the peer does not read any more, or when the socket has ended.
    pub(super) fn send(&self, frame: Frame) -> Result<(), Trouble> {
        let queued = self.messages.try_send(Outgoing::Message(frame));
        queued.map_err(|_| Trouble::Other(UNREAD.to_owned()))
    }

    /// Queues a ping of this number, before all messages.
    ///
    /// # Errors
    /// As for a message.
    pub(super) fn ping(&self, number: u64) -> Result<(), Trouble> {
        let queued = self.signs.try_send(Sign::Ping(number));
        queued.map_err(|_| Trouble::Other(UNREAD.to_owned()))
    }

    /// Says goodbye with a code of its own; of no use to a peer that does not read, so it may get lost.
    pub(super) fn close(self, code: CloseCode) {
        drop(self.messages.try_send(Outgoing::Close(code)));
    }
}

/// The writing half of a socket.
pub(super) struct Writer {
    socket: WriteHalf<BoxedSocket>,
    messages: mpsc::Receiver<Outgoing>,
    signs: mpsc::Receiver<Sign>,
    min_gap: Duration,
    write_timeout: Duration,
}

/// The writing half, the queue of messages to it, and where pings and pongs go.
pub(super) fn writer(
    socket: WriteHalf<BoxedSocket>,
    min_gap: Duration,
    write_timeout: Duration,
) -> (Writer, Pen, mpsc::Sender<Sign>) {
    let (to_messages, messages) = mpsc::channel(MOST_QUEUED);
    let (to_signs, signs) = mpsc::channel(MOST_QUEUED);
    let pen = Pen { messages: to_messages, signs: to_signs.clone() };
    (Writer { socket, messages, signs, min_gap, write_timeout }, pen, to_signs)
}

impl Writer {
    /// Writes what is queued, messages no closer together than the exchange allows, and pings and pongs at once, until the
    /// [`Pen`] is dropped or writing fails.
    pub(super) async fn run(mut self) -> Trouble {
        let mut gap = Box::pin(sleep(Duration::ZERO));
        let mut may_speak = true;
        loop {
            let mut bytes = BytesMut::new();
            let mut is_ping = false;
            tokio::select! {
                biased;
                Some(sign) = self.signs.recv() => match sign {
                    Sign::Ping(number) => {
                        // A message that waits does not wait longer for it.
                        is_ping = true;
                        Parser::write_message(&mut bytes, number.to_be_bytes(), OpCode::Ping, true, true);
                    }
                    Sign::Pong(payload) => {
                        Parser::write_message(&mut bytes, payload, OpCode::Pong, true, true);
                    }
                },
                () = &mut gap, if !may_speak => {
                    may_speak = true;
                    continue;
                }
                message = self.messages.recv(), if may_speak => match message {
                    Some(Outgoing::Message(Frame::Text(text))) => {
                        Parser::write_message(&mut bytes, text, OpCode::Text, true, true);
                    }
                    Some(Outgoing::Message(Frame::Timed(text))) => {
                        let text = timed(&text, clock::now());
                        Parser::write_message(&mut bytes, text, OpCode::Text, true, true);
                    }
                    Some(Outgoing::Message(Frame::Binary(binary))) => {
                        Parser::write_message(&mut bytes, binary, OpCode::Binary, true, true);
                    }
                    Some(Outgoing::Close(code)) => return self.say_goodbye(code).await,
                    None => return self.say_goodbye(CloseCode::Normal).await,
                },
            }
            match timeout(self.write_timeout, self.write(&bytes)).await {
                Ok(Ok(())) if is_ping => {}
                Ok(Ok(())) => {
                    gap = Box::pin(sleep(self.min_gap));
                    may_speak = self.min_gap.is_zero();
                }
                Ok(Err(error)) => return error.into(),
                Err(_) => return Trouble::Other(UNREAD.to_owned()),
            }
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.socket.write_all(bytes).await?;
        self.socket.flush().await
    }

    async fn say_goodbye(mut self, code: CloseCode) -> Trouble {
        let mut bytes = BytesMut::new();
        Parser::write_close(&mut bytes, Some(CloseReason::from(code)), true);
        let goodbye = async {
            self.write(&bytes).await?;
            self.socket.shutdown().await
        };
        // Nobody waits for this socket any more, so it does not matter whether the goodbye got through.
        drop(timeout(GOODBYE, goodbye).await);
        Trouble::Closed
    }
}

/// What a message that tells when it is sent says now.
fn timed(text: &str, now: Moment) -> String {
    text.replace(TIME_OF_SENDING, &now.wall.timestamp().to_string())
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;

    /// A frame as a server sends it.
    fn frame(code: OpCode, is_last: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        Parser::write_message(&mut bytes, payload, code, is_last, false);
        bytes.to_vec()
    }

    fn decode(frames: &[Vec<u8>]) -> Result<Vec<Incoming>, Trouble> {
        let mut decoder = Decoder::new(1000, 2500);
        let mut buffer = BytesMut::from(frames.concat().as_slice());
        let mut heard = Vec::new();
        loop {
            match decoder.step(&mut buffer)? {
                Step::Incoming(incoming) => heard.push(incoming),
                Step::Ping(_) | Step::Kept => {}
                Step::Starved => return Ok(heard),
            }
        }
    }

    #[test]
    fn fragments_are_put_together_and_other_frames_may_stand_between_them() {
        let frames = [
            frame(OpCode::Text, false, b"one "),
            frame(OpCode::Ping, true, b"?"),
            frame(OpCode::Continue, false, b"two "),
            frame(OpCode::Continue, true, b"three"),
            frame(OpCode::Binary, true, b"next"),
        ];
        let message = |text: &'static str| Incoming::Message(Bytes::from(text));
        assert_eq!(decode(&frames), Ok(vec![message("one two three"), message("next")]));
    }

    #[test]
    fn what_is_too_big_is_refused_before_it_has_come() {
        let mut head_only = frame(OpCode::Text, true, &[b'x'; 1001]);
        head_only.truncate(4);
        assert_eq!(decode(&[head_only]), Err(Trouble::TooBig { limit: 1000 }));
        assert_eq!(decode(&[vec![0x81, 127, 0, 0, 0, 0, 4, 0, 0, 0]]), Err(Trouble::TooBig { limit: 1000 }));

        let mut fragments = vec![frame(OpCode::Text, false, &[b'x'; 900])];
        fragments.extend((0..100_000).map(|_| frame(OpCode::Continue, false, b"x")));
        assert_eq!(decode(&fragments), Err(Trouble::TooBig { limit: 2500 }));
    }

    #[test]
    fn frames_out_of_order_and_frames_that_are_none_are_refused() {
        for frames in [
            vec![frame(OpCode::Continue, true, b"x")],
            vec![frame(OpCode::Text, false, b"x"), frame(OpCode::Text, true, b"y")],
            vec![frame(OpCode::Ping, false, b"x")],
            vec![vec![0x83, 0x00]],
            vec![vec![0xf1, 0x00]],
            vec![vec![0x81, 0x80, 0, 0, 0, 0]],
        ] {
            assert!(matches!(decode(&frames), Err(Trouble::Other(_))), "{frames:?}");
        }
    }

    #[test]
    fn a_timed_message_tells_the_seconds_of_its_sending() {
        let now = clock::now();
        let seconds = now.wall.timestamp();
        assert_eq!(timed(r#"{"time":{time},"id":7}"#, now), format!(r#"{{"time":{seconds},"id":7}}"#));
    }

    #[test]
    fn a_goodbye_is_told_in_its_own_words() {
        let told = |payload: &[u8]| decode(&[frame(OpCode::Close, true, payload)]).unwrap_err().to_string();
        assert_eq!(told(b""), "closed by peer");
        assert_eq!(told(&[0x03, 0xe9]), "closed by peer: 1001");
        assert_eq!(told(b"\x03\xf0too\nslow"), "closed by peer: 1008 too\u{fffd}slow");
    }

    /// A reader, and the peer's end of its socket.
    fn reader() -> (impl Stream<Item = Result<Batch, Trouble>>, tokio::io::DuplexStream) {
        let (peer, ours) = tokio::io::duplex(1 << 20);
        let (socket, _) = tokio::io::split(Box::new(ours) as BoxedSocket);
        let (signs, _) = mpsc::channel(1);
        (incoming(socket, BytesMut::new(), Decoder::new(1000, 2500), signs), peer)
    }

    fn texts(num: usize) -> Vec<u8> {
        (0..num).flat_map(|_| frame(OpCode::Text, true, b"a price")).collect()
    }

    #[actix::test]
    async fn frames_that_waited_unread_count_from_when_nothing_waited() {
        let (reader, mut peer) = reader();
        let mut reader = pin!(reader);
        let empty_at = clock::now();
        // More than is read at once, and that is more than is handed over at once.
        let num = MOST_READ / texts(1).len() + 3 * MOST_FRAMES;
        peer.write_all(&texts(num)).await.unwrap();
        sleep(Duration::from_millis(30)).await;
        let mut num_read = 0;
        while num_read < num {
            let batch = reader.next().await.unwrap().unwrap();
            num_read += batch.frames.len();
            assert!(batch.arrived_at.monotonic <= empty_at.monotonic, "{num_read}");
            sleep(Duration::from_millis(1)).await;
        }

        let caught_up_at = clock::now();
        let later = async {
            sleep(Duration::from_millis(30)).await;
            peer.write_all(&texts(1)).await.unwrap();
        };
        let (batch, ()) = futures_util::join!(reader.next(), later);
        let batch = batch.unwrap().unwrap();
        assert!(batch.arrived_at.since(caught_up_at) >= Duration::from_millis(30));
        // What came while nobody looked may have come at any time since somebody did.
        let looked_at = clock::now();
        sleep(Duration::from_millis(30)).await;
        peer.write_all(&texts(1)).await.unwrap();
        let batch = reader.next().await.unwrap().unwrap();
        assert!(batch.arrived_at.monotonic <= looked_at.monotonic);
        assert!(batch.arrived_at.monotonic > caught_up_at.monotonic);
    }

    #[actix::test]
    async fn a_message_counts_from_its_first_byte() {
        let whole = frame(OpCode::Text, true, b"a price");
        let fragments = [frame(OpCode::Text, false, b"a pr"), frame(OpCode::Continue, true, b"ice")].concat();
        for (first, message) in [(3, whole), (6, fragments)] {
            let (reader, mut peer) = reader();
            let mut reader = pin!(reader);
            let drip = async {
                sleep(Duration::from_millis(10)).await;
                peer.write_all(&message[..first]).await.unwrap();
                sleep(Duration::from_millis(10)).await;
                let continued_at = clock::now();
                for byte in &message[first..] {
                    peer.write_all(&[*byte]).await.unwrap();
                    sleep(Duration::from_millis(10)).await;
                }
                continued_at
            };
            let (batch, continued_at) = futures_util::join!(reader.next(), drip);
            let arrived_at = batch.unwrap().unwrap().arrived_at;
            assert!(arrived_at.monotonic <= continued_at.monotonic, "{message:?}");

            let ended_at = clock::now();
            let next = async {
                sleep(Duration::from_millis(10)).await;
                peer.write_all(&texts(1)).await.unwrap();
            };
            let (batch, ()) = futures_util::join!(reader.next(), next);
            assert!(batch.unwrap().unwrap().arrived_at.monotonic > ended_at.monotonic, "{message:?}");
        }
    }
}
