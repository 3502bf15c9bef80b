//! The socket of `run` for followers of drops.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{Notify, mpsc},
};

use super::{record::Record, stream::Stream};
use crate::control::{Instance, RUNTIME};

/// The length of a follower's queue; further drops are merged.
const BACKLOG: usize = 1024;

/// A listening socket and the followers.
///
/// Without followers the ring buffer is left alone, and a drop wakes no process.
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
    /// The socket's inode, as a later `run` may replace the socket.
    inode: Option<u64>,
    followers: Vec<Follower>,
    /// Signals the end of a follower.
    left: Arc<Notify>,
}

struct Follower {
    lines: mpsc::Sender<Bytes>,
    missed: u64,
}

impl Server {
    /// Listens; the socket of an ended `run` is replaced.
    ///
    /// # Errors
    /// The folder or the socket cannot be made.
    pub fn bind(instance: &Instance) -> Result<Self> {
        let path = instance.events_socket()?;
        let what = || format!("failed to listen on {}", path.display());
        let made = fs::DirBuilder::new().mode(0o700).create(RUNTIME);
        if let Err(error) = made
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error).with_context(|| format!("failed to make {RUNTIME}"));
        }
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
            followers: Vec::new(),
            left: Arc::new(Notify::new()),
        })
    }

    /// Sends every drop to every follower, while the pins stay the same. Ends with an error alone;
    /// cancellation loses no follower.
    ///
    /// # Errors
    /// The events cannot be read.
    pub async fn serve(&mut self, instance: &Instance) -> Result<std::convert::Infallible> {
        loop {
            if self.followers.is_empty() {
                let (stream, _) = self.accept().await?;
                self.add(stream);
            }
            let mut drops = Stream::wait(instance).await?;
            while !self.followers.is_empty() {
                let left = Arc::clone(&self.left);
                tokio::select! {
                    accepted = self.accept() => {
                        let (stream, _) = accepted?;
                        self.add(stream);
                    }
                    records = drops.next() => self.tell(&records?),
                    () = left.notified() => {}
                }
                self.followers
                    .retain(|follower| !follower.lines.is_closed());
            }
        }
    }

    async fn accept(&self) -> Result<(UnixStream, tokio::net::unix::SocketAddr)> {
        let accepted = self.listener.accept().await;
        accepted.with_context(|| format!("failed to accept on {}", self.path.display()))
    }

    fn add(&mut self, mut stream: UnixStream) {
        let (lines, mut queue) = mpsc::channel::<Bytes>(BACKLOG);
        self.followers.push(Follower { lines, missed: 0 });
        let left = Arc::clone(&self.left);
        tokio::spawn(async move {
            let mut byte = [0; 1];
            loop {
                let (mut reading, mut writing) = stream.split();
                let line = tokio::select! {
                    line = queue.recv() => line,
                    // Followers send nothing: a readable connection has ended.
                    _ = reading.read(&mut byte) => None,
                };
                let Some(line) = line else { break };
                if writing.write_all(&line).await.is_err() {
                    break;
                }
            }
            drop(queue);
            left.notify_one();
        });
    }

    fn tell(&mut self, records: &[Record]) {
        for record in records {
            let Ok(shared) = line(record) else { continue };
            for follower in &mut self.followers {
                // Followers up to date share the bytes of one line.
                let own = match follower.missed {
                    0 => Ok(shared.clone()),
                    missed => line(&Record {
                        merged: record.merged + missed,
                        ..record.clone()
                    }),
                };
                let Ok(own) = own else { continue };
                match follower.lines.try_send(own) {
                    Ok(()) => follower.missed = 0,
                    Err(_) => {
                        follower.missed += record.merged + u64::from(record.reason.is_some());
                    }
                }
            }
        }
    }
}

/// The line of a drop, as followers read it.
fn line(record: &Record) -> serde_json::Result<Bytes> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line.into())
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

/// Removes the sockets of killed processes, of any network namespace.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let refused = std::os::unix::net::UnixStream::connect(&path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if refused {
            fs::remove_file(&path).ok();
        }
    }
}
