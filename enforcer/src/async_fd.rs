//! Readiness of descriptors, as tokio reports them.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    pin::pin,
    task::{Context, Poll, Waker},
};

use tokio::io::{
    Interest,
    unix::{AsyncFd, AsyncFdReadyGuard},
};

/// Registers a descriptor with tokio's reactor, for reads.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn readable<T: AsRawFd + AsFd>(inner: T) -> io::Result<AsyncFd<T>> {
    register(inner, Interest::READABLE)
}

/// Registers a descriptor with tokio's reactor, for POLLPRI.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn exceptional<T: AsRawFd + AsFd>(inner: T) -> io::Result<AsyncFd<T>> {
    register(inner, Interest::PRIORITY)
}

fn register<T: AsRawFd + AsFd>(inner: T, interest: Interest) -> io::Result<AsyncFd<T>> {
    // SAFETY: `AsFd` promises one open descriptor for the life of the value, and `as_raw_fd` shows
    // the same descriptor: the callers pass an OwnedFd (alone, or in an Arc, which is never taken
    // apart), a File, aya's ring buffer or aya's logger.
    let registered = unsafe { AsyncFd::register_with_interest(inner, interest) };
    registered.map_err(io::Error::from)
}

/// Returns the guard of a descriptor that tokio takes for readable at this moment.
pub(crate) fn ready_now<T: AsRawFd>(fd: &AsyncFd<T>) -> Option<AsyncFdReadyGuard<'_, T>> {
    match pin!(fd.readable()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ready) => ready.ok(),
        Poll::Pending => None,
    }
}
