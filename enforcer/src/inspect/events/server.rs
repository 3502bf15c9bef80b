//! The socket of `run` for followers of drops.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep_until},
};

use super::{
    record::Record,
    ring::{Cursor, Ring},
    stream::Stream,
};
use crate::{
    control::{Instance, RUNTIME, SocketState, socket_state},
    kernel::runtime::make_folder,
    printable::decode_path,
};

/// The followers at most.
pub const FOLLOWERS: usize = 32;

/// The wait after a failure to accept: the process is out of descriptors, say.
const BACK_OFF: Duration = Duration::from_secs(1);

/// The answer to a connection beyond [`FOLLOWERS`], as a line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refused {
    /// The reason, in words.
    pub refused: String,
}

/// A listening socket and the followers.
///
/// Without followers the ring buffer is left alone, and a drop wakes no process.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// The socket's inode, as a later `run` may replace the socket.
    inode: Option<u64>,
    shared: Arc<Shared>,
    /// Signals new lines, and with its end the end of the server.
    grown: watch::Sender<()>,
    /// The time of the next accept.
    resume: Instant,
}

/// The state that the server shares with the tasks of followers.
struct Shared {
    ring: Mutex<Ring>,
    /// A permit for each follower.
    places: Arc<Semaphore>,
    /// Signals the end of a follower.
    left: Notify,
}

impl Server {
    /// Listens; the socket of an ended `run` is replaced.
    ///
    /// # Errors
    /// The folder or the socket cannot be made.
    pub fn bind(instance: &Instance) -> Result<Self> {
        let path = instance.events_socket()?;
        let what = || format!("failed to listen on {}", decode_path(&path));
        make_folder()?;
        sweep(Path::new(RUNTIME));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(what);
            }
            _ => {}
        }
        Ok(Self {
            listener: UnixListener::bind(&path).with_context(what)?,
            inode: inode(&path),
            path,
            shared: Arc::new(Shared {
                ring: Mutex::default(),
                places: Arc::new(Semaphore::new(FOLLOWERS)),
                left: Notify::new(),
            }),
            grown: watch::Sender::new(()),
            resume: Instant::now(),
        })
    }

    /// Sends every drop to every follower, while the pins stay the same. Ends with an error alone;
    /// cancellation loses no follower.
    ///
    /// # Errors
    /// The events cannot be read.
    pub async fn serve(&mut self, instance: &Instance) -> Result<std::convert::Infallible> {
        let shared = Arc::clone(&self.shared);
        loop {
            while shared.has_none() {
                let stream = self.accept().await;
                self.admit(stream);
            }
            let mut drops = tokio::select! {
                drops = Stream::wait(instance) => drops?,
                never = self.admit_all() => match never {},
            };
            while !shared.has_none() {
                tokio::select! {
                    never = self.admit_all() => match never {},
                    records = drops.next() => self.tell(&records?),
                    () = shared.left.notified() => {}
                }
            }
            shared.ring().clear();
        }
    }

    /// Admits whoever connects.
    async fn admit_all(&mut self) -> std::convert::Infallible {
        loop {
            let stream = self.accept().await;
            self.admit(stream);
        }
    }

    /// Makes a connection a follower of the drops from now on, or refuses the connection in words.
    fn admit(&self, stream: UnixStream) {
        let Ok(place) = Arc::clone(&self.shared.places).try_acquire_owned() else {
            refuse(&stream);
            return;
        };
        // Before the end is known: no line in between is lost.
        let grown = self.grown.subscribe();
        let cursor = self.shared.ring().end();
        let shared = Arc::clone(&self.shared);
        tokio::spawn(shared.follow(stream, cursor, grown, place));
    }

    fn tell(&self, records: &[Record]) {
        let mut ring = self.shared.ring();
        records.iter().for_each(|record| ring.push(record));
        drop(ring);
        self.grown.send_replace(());
    }

    /// Accepts a connection of root. A failure is followed by a wait: followers that are connected
    /// go on, and so does `run`.
    async fn accept(&mut self) -> UnixStream {
        loop {
            sleep_until(self.resume).await;
            match self.listener.accept().await {
                Ok((stream, _)) if is_root(&stream) => return stream,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => self.resume = Instant::now() + BACK_OFF,
            }
        }
    }
}

impl Shared {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        // A panic within leaves a ring of whole lines.
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_none(&self) -> bool {
        self.places.available_permits() == FOLLOWERS
    }

    /// Sends lines until the follower leaves. A follower that does not read holds one line.
    async fn follow(
        self: Arc<Self>,
        mut stream: UnixStream,
        mut cursor: Cursor,
        mut grown: watch::Receiver<()>,
        place: OwnedSemaphorePermit,
    ) {
        let mut byte = [0; 1];
        loop {
            let (mut reading, mut writing) = stream.split();
            let line = self.ring().next(&mut cursor);
            let written = async {
                match &line {
                    Some(line) => writing.write_all(line).await.is_ok(),
                    None => grown.changed().await.is_ok(),
                }
            };
            tokio::select! {
                is_open = written => if !is_open { break },
                // Followers send nothing: a readable connection has ended.
                _ = reading.read(&mut byte) => break,
            }
        }
        drop(place);
        self.left.notify_one();
    }
}

/// Whether root is at the other end of a connection (SO_PEERCRED, unix(7)).
fn is_root(stream: &UnixStream) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0)
}

/// Tells a connection that all places are taken.
fn refuse(stream: &UnixStream) {
    let refused = Refused {
        refused: format!("{FOLLOWERS} followers are connected already"),
    };
    let Ok(mut line) = serde_json::to_vec(&refused) else {
        return;
    };
    line.push(b'\n');
    // The buffer of a new connection has room for a line.
    stream.try_write(&line).ok();
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.inode.is_some() && inode(&self.path) == self.inode {
            fs::remove_file(&self.path).ok();
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path)
        .ok()
        .map(|metadata| metadata.ino())
}

/// Removes the sockets of killed processes, of any network namespace. No living `run` is woken.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if is_socket && socket_state(&entry.path()) == SocketState::Abandoned {
            fs::remove_file(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net;

    use rustix::{
        io::Errno,
        net::{
            AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen,
            socket_with,
        },
    };

    use super::*;

    #[test]
    fn a_sweep_removes_sockets_without_a_process_and_wakes_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let living = net::UnixListener::bind(path("living.sock")).unwrap();
        living.set_nonblocking(true).unwrap();
        drop(net::UnixListener::bind(path("dead.sock")).unwrap());
        fs::write(path("1-pins.lock"), "").unwrap();
        fs::create_dir(path("folder")).unwrap();
        sweep(folder.path());
        let left = fs::read_dir(folder.path()).unwrap().flatten();
        let mut left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        left.sort();
        assert_eq!(left, ["1-pins.lock", "folder", "living.sock"]);
        let woken = living.accept().map(drop).map_err(|error| error.kind());
        assert_eq!(woken, Err(io::ErrorKind::WouldBlock));
    }

    #[test]
    fn a_full_backlog_counts_as_a_living_process_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full.sock");
        let stream = || {
            let flags = SocketFlags::NONBLOCK;
            socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
        };
        let (listener, address) = (stream(), SocketAddrUnix::new(&path).unwrap());
        bind(&listener, &address).unwrap();
        listen(&listener, 1).unwrap();
        let mut waiting = Vec::new();
        let refused = loop {
            let connection = stream();
            match connect(&connection, &address) {
                Ok(()) => waiting.push(connection),
                Err(error) => break error,
            }
        };
        assert_eq!(refused, Errno::AGAIN, "after {} connections", waiting.len());
        assert_eq!(socket_state(&path), SocketState::Served);
        drop((listener, waiting));
        assert_eq!(socket_state(&path), SocketState::Abandoned);
        fs::remove_file(&path).unwrap();
        assert_eq!(socket_state(&path), SocketState::Unknown);
    }
}
