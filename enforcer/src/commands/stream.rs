//! An output stream with a thread of its own: a full disk, a terminal that hung up or a pipe that
//! nobody reads stops no command.

use std::{
    cell::Cell,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use crate::{kernel::privileges::give_up_reserve, threads};

/// The number of texts that wait for a slow reader; further texts are lost, and counted.
const BACKLOG: usize = 256;

/// The time in which the last texts are written at the end.
const LAST: Duration = Duration::from_secs(1);

/// A stream. Texts are written in their order.
pub(super) struct Stream {
    texts: SyncSender<String>,
    lost: Arc<AtomicU64>,
    end: Receiver<()>,
    /// The work of a thread that the kernel refused.
    unstarted: Cell<Option<Work>>,
}

/// The work of the thread.
type Work = Box<dyn FnOnce() + Send>;

impl Stream {
    /// Starts the thread of a stream. A thread that the kernel refuses is started by a later text.
    pub(super) fn start(write: impl FnMut(&str) -> io::Result<()> + Send + 'static) -> Self {
        let (texts, queue) = mpsc::sync_channel(BACKLOG);
        let (ended, end) = mpsc::channel();
        let lost = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&lost);
        let work: Work = Box::new(move || {
            give_up_reserve();
            write_all(&queue, &counter, write);
            ended.send(()).ok();
        });
        let stream = Self {
            texts,
            lost,
            end,
            unstarted: Cell::new(Some(work)),
        };
        stream.start_thread(thread::Builder::new());
        stream
    }

    /// Starts the thread, unless it is started.
    fn start_thread(&self, thread: thread::Builder) {
        if let Some(work) = self.unstarted.take() {
            let thread = thread.name("output".to_owned());
            let refused = threads::start(thread, work, |work| work()).err();
            self.unstarted.set(refused.map(|(work, _)| work));
        }
    }

    /// Has a text written. Never blocks.
    pub(super) fn print(&self, text: String) {
        if let Err(TrySendError::Full(_)) = self.texts.try_send(text) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.start_thread(thread::Builder::new());
    }

    /// Waits a second at most for the last texts.
    pub(super) fn finish(self) {
        let Self { texts, end, .. } = self;
        drop(texts);
        match end.recv_timeout(LAST) {
            Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
}

/// Writes texts until no sender is left. A text that cannot be written counts as lost; the number
/// of lost texts stands before the next text.
fn write_all(
    texts: &Receiver<String>,
    lost: &AtomicU64,
    mut write: impl FnMut(&str) -> io::Result<()>,
) {
    while let Ok(text) = texts.recv() {
        let number = lost.swap(0, Ordering::Relaxed);
        let told = match number {
            0 => Ok(()),
            1 => write("1 message before this one is lost: this stream failed or was full"),
            _ => write(&format!(
                "{number} messages before this one are lost: this stream failed or was full"
            )),
        };
        if told.and_then(|()| write(&text)).is_err() {
            lost.fetch_add(number + 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn texts_are_written_in_their_order_before_the_end() {
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&written);
        let stream = Stream::start(move |text| {
            sink.lock().unwrap().push(text.to_owned());
            Ok(())
        });
        (0..100).for_each(|number| stream.print(number.to_string()));
        stream.finish();
        let expected: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(*written.lock().unwrap(), expected);
    }

    #[test]
    fn texts_wait_for_a_thread_that_the_kernel_refuses() {
        let (texts, queue) = mpsc::sync_channel(BACKLOG);
        let (ended, end) = mpsc::channel();
        let (sink, written) = mpsc::channel();
        let stream = Stream {
            texts,
            lost: Arc::default(),
            end,
            unstarted: Cell::new(Some(Box::new(move || {
                write_all(&queue, &AtomicU64::new(0), |text| {
                    sink.send(text.to_owned()).map_err(io::Error::other)
                });
                ended.send(()).ok();
            }))),
        };
        stream.texts.send("first".to_owned()).unwrap();
        stream.start_thread(thread::Builder::new().stack_size(1 << 60));
        assert!(written.try_recv().is_err(), "the kernel gave the thread");
        stream.print("second".to_owned());
        stream.finish();
        assert_eq!(written.iter().collect::<Vec<_>>(), ["first", "second"]);
    }

    #[test]
    fn a_stream_that_nobody_reads_blocks_no_command() {
        let (release, blocked) = mpsc::channel::<()>();
        let stream = Stream::start(move |_| {
            blocked.recv().ok();
            Ok(())
        });
        (0..3 * BACKLOG).for_each(|number| stream.print(number.to_string()));
        let lost = stream.lost.load(Ordering::Relaxed);
        assert!(lost + 1 >= 2 * BACKLOG as u64, "{lost}");
        drop(release);
        stream.finish();
    }

    #[test]
    fn a_text_that_cannot_be_written_is_lost() {
        let lost = AtomicU64::new(0);
        let (texts, queue) = mpsc::channel();
        for text in ["first", "second"] {
            texts.send(text.to_owned()).unwrap();
        }
        drop(texts);
        write_all(&queue, &lost, |_| {
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        });
        assert_eq!(lost.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_count_of_lost_texts_is_told_once() {
        let lost = AtomicU64::new(2);
        let (texts, queue) = mpsc::channel();
        for text in ["third", "fourth"] {
            texts.send(text.to_owned()).unwrap();
        }
        drop(texts);
        let mut written = Vec::new();
        write_all(&queue, &lost, |text| {
            written.push(text.to_owned());
            Ok(())
        });
        let told = "2 messages before this one are lost: this stream failed or was full";
        assert_eq!(written, [told, "third", "fourth"]);
    }
}
