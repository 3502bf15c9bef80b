//! The capabilities of this process (capabilities(7)), given up where no call needs them.

use std::io;

use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// Loads and attaches programs, and reads their maps.
pub(crate) const GUARD: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::PERFMON);

/// Gives up every capability outside `kept`, for this process and each program started from here:
/// the permitted, effective, inheritable, ambient and bounding sets lose the rest, and no set-user-ID
/// program gains anything (PR_SET_NO_NEW_PRIVS). The sets belong to the calling thread and to
/// threads started later (capabilities(7)): the caller has no other thread yet.
///
/// The bounding set stays as found without CAP_SETPCAP (prctl(2), PR_CAPBSET_DROP).
///
/// # Errors
/// The kernel's refusal, or the refusal of a system call filter.
pub(crate) fn keep_only(kept: CapabilitySet) -> io::Result<()> {
    keep(kept, CapabilitySet::empty())
}

/// As [`keep_only`], with capabilities in reserve: permitted, and effective in [`with_reserve`]
/// alone.
///
/// # Errors
/// As for [`keep_only`].
pub(crate) fn keep(kept: CapabilitySet, reserve: CapabilitySet) -> io::Result<()> {
    set_no_new_privs(true)?;
    let has = capabilities(None)?;
    if has.effective.contains(CapabilitySet::SETPCAP) {
        drop_from_bounding_set(kept)?;
    }
    let wanted = reduced(has, kept, reserve);
    // A service manager's filter of system calls may refuse capset(2), and has set these before.
    if wanted != has {
        clear_ambient_capability_set()?;
        set_capabilities(None, wanted)?;
    }
    Ok(())
}

/// Gives up the reserve of this thread, and of threads started later.
pub(crate) fn give_up_reserve() {
    if let Ok(has) = capabilities(None) {
        let wanted = CapabilitySets {
            permitted: has.effective,
            ..has
        };
        // A filter of system calls may refuse; the unit has no reserve.
        set_capabilities(None, wanted).ok();
    }
}

/// Makes a call with capabilities of the reserve, as far as this thread has any.
pub(crate) fn with_reserve<T>(reserve: CapabilitySet, call: impl FnOnce() -> T) -> T {
    let Ok(has) = capabilities(None) else {
        return call();
    };
    let raised = CapabilitySets {
        effective: has.effective | (has.permitted & reserve),
        ..has
    };
    let is_raised = raised != has && set_capabilities(None, raised).is_ok();
    let result = call();
    if is_raised {
        // The sets from before are subsets of the raised sets, so that the kernel has no reason to
        // refuse.
        set_capabilities(None, has).ok();
    }
    result
}

/// Returns the sets without the capabilities outside `kept`, and with the permitted ones in reserve.
fn reduced(has: CapabilitySets, kept: CapabilitySet, reserve: CapabilitySet) -> CapabilitySets {
    CapabilitySets {
        effective: has.effective & kept,
        permitted: has.permitted & (kept | reserve),
        inheritable: has.inheritable & kept,
    }
}

/// Removes each capability that this kernel knows and `kept` lacks.
fn drop_from_bounding_set(kept: CapabilitySet) -> io::Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(one) {
            Ok(true) if !kept.contains(one) => remove_capability_from_bounding_set(one)?,
            Ok(_) => {}
            // Beyond the kernel's last capability.
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_gained_and_the_rest_goes() {
        let sets = |effective, permitted, inheritable| CapabilitySets {
            effective,
            permitted,
            inheritable,
        };
        let (none, all) = (CapabilitySet::empty(), CapabilitySet::all());
        let (bpf, chown) = (CapabilitySet::BPF, CapabilitySet::CHOWN);
        for (has, kept, left) in [
            (sets(all, all, none), GUARD, sets(GUARD, GUARD, none)),
            (sets(none, all, all), bpf, sets(none, bpf, bpf)),
            (sets(bpf, bpf, none), GUARD, sets(bpf, bpf, none)),
            (sets(chown, chown, chown), GUARD, sets(none, none, none)),
            (sets(all, all, none), none, sets(none, none, none)),
        ] {
            assert_eq!(reduced(has, kept, none), left);
        }
        let reserved = reduced(sets(all, all, all), bpf, chown);
        assert_eq!(reserved, sets(bpf, bpf | chown, bpf));
    }

    /// In a thread of its own: the sets of the other tests stay.
    #[test]
    fn a_thread_gives_up_what_is_not_kept() {
        std::thread::spawn(|| {
            let before = capabilities(None).unwrap();
            keep_only(GUARD).unwrap();
            let after = capabilities(None).unwrap();
            assert_eq!(after, reduced(before, GUARD, CapabilitySet::empty()));
            let bounding = |one| capability_is_in_bounding_set(one).unwrap();
            if before.effective.contains(CapabilitySet::SETPCAP) {
                assert!(bounding(CapabilitySet::BPF));
                assert!(!bounding(CapabilitySet::CHOWN));
            }
            // A second call has nothing left to do.
            keep_only(GUARD).unwrap();
        })
        .join()
        .unwrap();
    }

    /// In a thread of its own, as above.
    #[test]
    fn a_capability_in_reserve_is_effective_in_its_call_alone() {
        std::thread::spawn(|| {
            let has = |one| capabilities(None).unwrap().effective.contains(one);
            let chown = CapabilitySet::CHOWN;
            let had = capabilities(None).unwrap().permitted.contains(chown);
            keep(GUARD, chown).unwrap();
            assert!(!has(chown));
            assert_eq!(with_reserve(chown, || has(chown)), had);
            assert!(!has(chown));
        })
        .join()
        .unwrap();
    }
}
