//! The parsers over bytes, and the socket and the requests over a live kernel. Tests
//! that need root have names that begin with `root_`.

mod framing;
mod fuzz;
mod kernel;
mod link;
mod local;
mod messages;
pub(crate) mod namespace;

/// `struct nlattr`, the value and the padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}
