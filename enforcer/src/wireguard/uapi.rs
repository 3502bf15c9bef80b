//! Queries to a userspace WireGuard (wireguard-go, boringtun) over a Unix socket, by the
//! cross-platform userspace protocol, <https://www.wireguard.com/xplatform/>.
//!
//! The socket is a name in the file system, and a daemon may outlive the interface, serve another
//! network namespace, or be no WireGuard at all. So an interface of the same name must exist here
//! and be a tun device, and the duration and length of an answer are limited.
//!
//! An answer decides about grants. So root alone may change the socket and the folders on the way
//! to the socket, and the process behind the socket is root's. The process decides where a socket
//! is replaced between the look at the file and the connection.

use std::{
    net::IpAddr,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use ipnet::IpNet;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

use super::allowed_ips::AllowedIps;
use crate::{interfaces::Interface, printable::decode_path, registry::PublicKey, trust};

/// The directory of the sockets of userspace implementations, as in `wg`.
const SOCKET_DIR: &str = "/var/run/wireguard";
/// The longest answer, in bytes. A peer with one prefix takes some 300, and a prefix at most 61.
pub(super) const MAX_ANSWER: u64 = 4 << 20;
/// The user whose processes are believed.
const ROOT: u32 = 0;
/// linux/if_arp.h: no link-layer header, the link type of tun devices but not of tap devices.
const ARPHRD_NONE: u16 = 0xfffe;

/// Returns the socket of the userspace device behind an interface, if there is one.
pub(super) fn socket_of(interface: &Interface) -> Option<PathBuf> {
    let path = path_of(interface)?;
    let is_socket = |path: &Path| path.metadata().is_ok_and(|it| it.file_type().is_socket());
    is_socket(&path).then_some(path)
}

/// Returns the path of an interface's socket, if this user may not look whether the socket exists.
pub(super) fn hidden_socket_of(interface: &Interface) -> Option<PathBuf> {
    let path = path_of(interface)?;
    let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    path.metadata().is_err_and(denied).then_some(path)
}

/// Returns the path of the socket that a userspace device of this name would have, for a tun
/// device.
fn path_of(interface: &Interface) -> Option<PathBuf> {
    let is_tun = interface.is_kind("tun") && interface.link_type == ARPHRD_NONE;
    is_tun.then(|| Path::new(SOCKET_DIR).join(format!("{}.sock", interface.name)))
}

/// Queries the daemon behind a socket.
///
/// # Errors
/// Others than root may change the socket, no daemon of root listens, or the answer is too long or
/// malformed.
pub(super) async fn ask(socket: &Path) -> Result<AllowedIps> {
    let examined = trust::examine(socket);
    match examined.with_context(|| format!("failed to examine {}", decode_path(socket)))? {
        Some(distrust) => bail!(
            "{distrust}, so the keys behind {} are not believed: {}",
            decode_path(socket),
            distrust.cure()
        ),
        None => ask_process_of(ROOT, socket).await,
    }
}

/// Queries the daemon of a user behind a socket, whoever may change the socket.
///
/// # Errors
/// As for [`ask`].
pub(super) async fn ask_process_of(user: u32, socket: &Path) -> Result<AllowedIps> {
    let answer = exchange(user, socket).await;
    let text = answer.with_context(|| format!("failed to ask {}", decode_path(socket)))?;
    parse(&text).with_context(|| format!("{} gave no answer that can be read", decode_path(socket)))
}

async fn exchange(user: u32, socket: &Path) -> Result<String> {
    let mut stream = UnixStream::connect(socket).await?;
    // SO_PEERCRED (unix(7)): the user at the time of listen(2).
    let owner = stream.peer_cred()?.uid();
    ensure!(
        owner == user,
        "the process behind it belongs to user {owner}, not to {user}: run that WireGuard as user \
         {user}"
    );
    stream.write_all(b"get=1\n\n").await?;
    let mut answer = Vec::new();
    let mut limited = stream.take(MAX_ANSWER);
    while !answer.ends_with(b"\n\n") {
        if limited.read_buf(&mut answer).await? == 0 {
            match limited.limit() {
                0 => bail!("the answer is longer than {} MiB", MAX_ANSWER >> 20),
                _ => bail!("the answer is cut short"),
            }
        }
    }
    String::from_utf8(answer).context("the answer is no text")
}

/// Parses the answer to `get=1`: a line for each key and value, a peer from `public_key` on,
/// `errno` at the end, and an empty line.
///
/// # Errors
/// The answer is cut short, reports an error, or violates the protocol.
pub(super) fn parse(text: &str) -> Result<AllowedIps> {
    let mut allowed = AllowedIps::default();
    let mut peer = None;
    let body = text
        .strip_suffix("\n\n")
        .context("the answer does not end in an empty line")?;
    let mut errno = None;
    for line in body.split('\n') {
        // Errors never quote the line, which may be the device's private key.
        let (key, value) = line.split_once('=').context("a line has no `=`")?;
        ensure!(errno.is_none(), "something follows `errno`");
        match key {
            "public_key" => {
                let key = public_key(value).context("a public key is not 64 hex digits")?;
                allowed.insert(key);
                peer = Some(key);
            }
            "allowed_ip" => {
                let key = peer.context("an AllowedIP comes before the first peer")?;
                let prefix = prefix(value).with_context(|| format!("bad AllowedIP {value:?}"))?;
                allowed.allow(key, prefix)?;
            }
            "errno" => errno = Some(value),
            _ => {}
        }
    }
    match errno {
        Some("0") => Ok(allowed),
        Some(errno) => bail!("the device answers with error {errno:?}"),
        None => bail!("the answer has no `errno`"),
    }
}

fn prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    IpNet::new(address.parse::<IpAddr>().ok()?, length.parse().ok()?).ok()
}

fn public_key(hex: &str) -> Option<PublicKey> {
    let mut key = [0; 32];
    let digits = hex.as_bytes();
    if digits.len() != 2 * key.len() {
        return None;
    }
    for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |index: usize| char::from(pair[index]).to_digit(16);
        *byte = u8::try_from(digit(0)? << 4 | digit(1)?).ok()?;
    }
    Some(PublicKey::from(key))
}
