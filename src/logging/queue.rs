//! The bounded queue between those who log and the one thread that writes.
//!
//! Separate because a write to standard error can block for as long as nobody reads it, and the threads that log
//! are those that carry prices.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Records that wait to be written. A burst of a start or of a failure is some hundreds; 4096 of the longest are
/// 8 MB.
const LONGEST_QUEUE: usize = 4096;

/// The records that wait to be written.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    lost: u64,
    is_writing: bool,
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a record, or counts it as lost where too many wait.
    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() < LONGEST_QUEUE {
            state.lines.push_back(line.to_vec());
            self.wake.notify_one();
        } else {
            state.lost += 1;
        }
    }

    /// Waits for the next records, and takes all of them.
    fn take(&self) -> (VecDeque<Vec<u8>>, u64) {
        let mut state = self.state();
        state.is_writing = false;
        self.idle.notify_all();
        let mut state = self
            .wake
            .wait_while(state, |state| state.lines.is_empty())
            .unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        (std::mem::take(&mut state.lines), std::mem::take(&mut state.lost))
    }

    /// Writes records to `output` as they come; `loss` makes the record that tells how many were lost.
    pub(super) fn write_for_ever(&self, output: &mut dyn Write, loss: &dyn Fn(u64) -> String) {
        loop {
            let (mut lines, lost) = self.take();
            if lost > 0 {
                lines.push_back(loss(lost).into_bytes());
            }
            for line in lines {
                // Where standard error cannot be written, nothing is left to say so with.
                drop(output.write_all(&line));
            }
        }
    }

    /// Waits until every record is written, at most for `limit`.
    pub(super) fn flush(&self, limit: Duration) {
        let is_busy = |state: &mut State| !state.lines.is_empty() || state.is_writing;
        drop(self.idle.wait_timeout_while(self.state(), limit, is_busy));
    }
}

/// The log's end of the queue.
pub(super) struct Writer(pub(super) Arc<Queue>);

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A reader of standard error that takes its time: each write waits for a permit.
    struct Slow {
        permits: mpsc::Receiver<()>,
        written: mpsc::Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.permits.recv().map_err(io::Error::other)?;
            self.written.send(String::from_utf8_lossy(line).into_owned()).map_err(io::Error::other)?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_reading_costs_records_and_no_time_and_the_loss_is_told() {
        let queue = Arc::new(Queue::default());
        let (permit, permits) = mpsc::channel();
        let (written, lines) = mpsc::channel();
        let writer = Arc::clone(&queue);
        std::thread::spawn(move || {
            writer.write_for_ever(&mut Slow { permits, written }, &|lost| format!("lost {lost}\n"));
        });
        for number in 0..3 * LONGEST_QUEUE {
            queue.push(format!("{number}\n").as_bytes());
        }
        queue.flush(Duration::from_millis(1));
        for _ in 0..3 * LONGEST_QUEUE {
            permit.send(()).unwrap();
        }
        queue.flush(Duration::from_secs(20));
        let lines: Vec<String> = lines.try_iter().collect();
        let lost: usize =
            lines.iter().filter_map(|line| line.strip_prefix("lost ")?.trim().parse::<usize>().ok()).sum();
        let kept = lines.iter().filter(|line| !line.starts_with("lost ")).count();
        assert!(lost >= LONGEST_QUEUE, "{lost}");
        assert_eq!(kept + lost, 3 * LONGEST_QUEUE);
        assert_eq!(lines[0], "0\n");
    }
}
