//! The maps, as `layout` describes them. The loader reads and writes the same maps by name.
//!
//! Arrays can be mapped into the loader's memory (`BPF_F_MMAPABLE`, Linux 5.5): writing a policy of
//! 4,096 ports then takes no system call per port.

use core::sync::atomic::AtomicU64;

use aya_ebpf::{
    Global,
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf},
};
use enforcer_ebpf::{
    PeerSet,
    layout::{
        AddressKey, BANKS, BYPASS_ENTRIES, BankEntry, Budget, Cells, EVENT_BYTES, Epoch,
        INTERFACE_ENTRIES, InterfaceEntry, LOCAL_ENTRIES, MAC_ENTRIES, NETWORK_ENTRIES,
        NETWORK_FILTERS as NETWORK_FILTERS_ENTRIES, NetworkEntry, NetworkFilter, ON_ENTRIES, OnKey,
        OriginEntry, PEER_ENTRIES, PORT_ENTRIES, PREFIX_ENTRIES, PeerEntry, PendingConfirm,
        PortBits, PortEntry, PrefixKey, RULE_ENTRIES, RuleEntry, SENT_ENTRIES, SERVICE_ENTRIES,
        SLOTS, SOURCE_ENTRIES, SentKey, ServiceEntry, State,
    },
};

/// linux/bpf.h.
const BPF_F_MMAPABLE: u32 = 1 << 10;
/// linux/bpf.h: memory for the entries that exist, not for the limit.
const BPF_F_NO_PREALLOC: u32 = 1;

#[map]
pub(super) static STATE: Array<State> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(super) static BANK: Array<BankEntry> = Array::with_max_entries(BANKS, BPF_F_MMAPABLE);

#[map]
pub(super) static PORTS: Array<PortEntry> = Array::with_max_entries(PORT_ENTRIES, BPF_F_MMAPABLE);

#[map]
pub(super) static SERVICES: Array<ServiceEntry> =
    Array::with_max_entries(SERVICE_ENTRIES, BPF_F_MMAPABLE);

#[map]
pub(super) static PEERS: Array<PeerEntry> = Array::with_max_entries(PEER_ENTRIES, BPF_F_MMAPABLE);

#[map]
pub(super) static RULES: Array<RuleEntry> = Array::with_max_entries(RULE_ENTRIES, BPF_F_MMAPABLE);

#[map]
pub(super) static RESERVED: Array<PortBits> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(super) static COUNTERS: PerCpuArray<Cells> = PerCpuArray::with_max_entries(SLOTS, 0);

#[map]
pub(super) static INTERFACES: Array<InterfaceEntry> =
    Array::with_max_entries(INTERFACE_ENTRIES, BPF_F_MMAPABLE);

#[map]
pub(super) static PREFIXES: HashMap<PrefixKey, PeerSet> =
    HashMap::with_max_entries(PREFIX_ENTRIES, 0);

/// The bindings of ports at single addresses, [`enforcer_ebpf::layout::Binding::to_bits`].
#[map]
pub(super) static ON: HashMap<OnKey, u32> =
    HashMap::with_max_entries(ON_ENTRIES, BPF_F_NO_PREALLOC);

/// The host's local table: [`enforcer_ebpf::layout::LocalRow::to_bits`].
#[map]
pub(super) static LOCAL: LpmTrie<AddressKey, u32> = LpmTrie::with_max_entries(LOCAL_ENTRIES, 0);

/// The MAC addresses that the host takes, [`enforcer_ebpf::layout::mac_key`]:
/// [`enforcer_ebpf::layout::TAKEN_MAC`] or [`enforcer_ebpf::layout::CHILDS_MAC`].
#[map]
pub(super) static MACS: HashMap<u64, u32> =
    HashMap::with_max_entries(MAC_ENTRIES, BPF_F_NO_PREALLOC);

#[map]
pub(super) static NETWORKS: LpmTrie<AddressKey, NetworkEntry> =
    LpmTrie::with_max_entries(NETWORK_ENTRIES, 0);

#[map]
pub(super) static NETWORK_FILTERS: Array<NetworkFilter> =
    Array::with_max_entries(NETWORK_FILTERS_ENTRIES, BPF_F_MMAPABLE);

/// The prefixes of peers, for later fragments; the value says nothing.
#[map]
pub(super) static SOURCES: LpmTrie<AddressKey, u32> = LpmTrie::with_max_entries(SOURCE_ENTRIES, 0);

/// The datagrams that sockets have sent from ports that rule 6 judges: the time of the last one, in
/// nanoseconds since the boot. No part of a policy, and without banks.
#[map]
pub(super) static SENT: LruHashMap<SentKey, u64> = LruHashMap::with_max_entries(SENT_ENTRIES, 0);

/// Drops of the socket guard, by ifindex: packets that came past a wire guard, as the loader makes
/// entries for the interfaces with a wire guard only.
#[map]
pub(super) static BYPASSED: PerCpuHashMap<u32, u64> =
    PerCpuHashMap::with_max_entries(BYPASS_ENTRIES, 0);

/// Events of drops, for the one consumer.
#[map]
pub(super) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_BYTES, 0);

#[map]
pub(super) static BUDGET: PerCpuArray<Budget> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(super) static EPOCH: Array<Epoch> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// For the commands alone.
#[map]
pub(super) static ORIGIN: Array<OriginEntry> = Array::with_max_entries(BANKS, BPF_F_MMAPABLE);

/// For the commands alone.
#[map]
pub(super) static TRIAL: Array<PendingConfirm> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Zero, in memory that a program could write: for the verifier, a read gives an unknown scalar.
#[unsafe(no_mangle)]
pub(super) static ZERO: AtomicU64 = AtomicU64::new(0);

/// The cookie of the guarded network namespace; the loader sets it before the load.
#[unsafe(no_mangle)]
pub(super) static NETNS_COOKIE: Global<u64> = Global::new(0);

/// Offset in bytes of `skc_net` in `struct sock_common`, from the kernel's BTF.
#[unsafe(no_mangle)]
pub(super) static SKC_NET_OFFSET: Global<u64> = Global::new(0);

/// Offset in bytes of `net_cookie` in `struct net`, from the kernel's BTF.
#[unsafe(no_mangle)]
pub(super) static NET_COOKIE_OFFSET: Global<u64> = Global::new(0);
