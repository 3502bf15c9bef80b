//! The state of a pin directory, the registry behind it, and the pending policy.

/// `STATE[0]`: the identity of the pin directory, and the word that a reload switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    /// [`LAYOUT_VERSION`](super::LAYOUT_VERSION) of the directory's creator.
    pub layout: u32,
    /// The generation in force; its lowest bit is the active bank. 0 before the first policy.
    pub generation: u32,
    /// The cookie of the guarded network namespace (linux/net_namespace.h: net_cookie).
    pub netns_cookie: u64,
    /// Bits of [`State::WANT_WIRE`] and so on.
    pub flags: u32,
    /// No padding.
    pub zero: u32,
}

impl State {
    /// Wire guards were asked for.
    pub const WANT_WIRE: u32 = 1;
    /// The socket guard was asked for.
    pub const WANT_SOCKET: u32 = 2;
    /// The registry was bad when `run` started: the embedded default is in force.
    pub const FALLBACK: u32 = 8;
    /// The programs were loaded with their diagnostics.
    pub const LOG: u32 = 16;
    /// The registry is the embedded one, as there is no file.
    pub const EMBEDDED: u32 = 32;
    /// The operator set `--static-peers`: only commands resolve peers by key.
    pub const STATIC_PEERS: u32 = 64;
}

/// The size of a registry file's path in `ORIGIN`, in bytes with the NUL: PATH_MAX.
pub const PATH_LENGTH: usize = 4096;

/// `ORIGIN[bank]`: the registry behind a bank, for the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct OriginEntry {
    /// A digest of the registry's files; 0 without files, or without files to read again.
    pub digest: u64,
    /// The files: [`OriginEntry::MAIN`], [`OriginEntry::FRAGMENTS`], and the folder of the fragments.
    pub parts: u64,
    /// The path of the main file, padded with zeros; empty for the embedded registry.
    pub path: [u8; PATH_LENGTH],
}

impl OriginEntry {
    /// There was a main file.
    pub const MAIN: u64 = 1;
    /// There were fragments. The upper half of the word is a digest of their folder's device and
    /// inode.
    pub const FRAGMENTS: u64 = 2;
    /// The place of the folder's digest in the word, in bits.
    pub const FOLDER_SHIFT: u32 = 32;
}

/// `TRIAL[0]`: the pending policy, in force until a deadline unless the operator confirms it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PendingConfirm {
    /// [`PendingConfirm::NONE`], [`PendingConfirm::ARMED`] or [`PendingConfirm::ROLLED_BACK`].
    pub state: u32,
    /// The generation of the pending policy.
    pub generation: u32,
    /// Time of the rollback: nanoseconds of CLOCK_BOOTTIME, which runs while the host sleeps.
    pub deadline: u64,
    /// [`OriginEntry::digest`] of the pending registry: `run` never loads it again by itself.
    pub digest: u64,
    /// [`State::flags`] before the pending policy, restored by a rollback.
    pub previous_flags: u32,
    /// No padding.
    pub zero: u32,
}

impl PendingConfirm {
    /// No policy is pending.
    pub const NONE: u32 = 0;
    /// The generation in force awaits confirmation; the idle bank holds the policy before it.
    pub const ARMED: u32 = 1;
    /// The last pending policy was rolled back: the policy before it is in force again.
    pub const ROLLED_BACK: u32 = 2;
}
