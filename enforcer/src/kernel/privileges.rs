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
    set_no_new_privs(true)?;
    let has = capabilities(None)?;
    if has.effective.contains(CapabilitySet::SETPCAP) {
        drop_from_bounding_set(kept)?;
    }
    let wanted = reduced(has, kept);
    // A service manager's filter of system calls may refuse capset(2), and has set these before.
    if wanted != has {
        clear_ambient_capability_set()?;
        set_capabilities(None, wanted)?;
    }
    Ok(())
}

/// Returns the sets without the capabilities outside `kept`.
fn reduced(has: CapabilitySets, kept: CapabilitySet) -> CapabilitySets {
    CapabilitySets {
        effective: has.effective & kept,
        permitted: has.permitted & kept,
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
            assert_eq!(reduced(has, kept), left);
        }
    }

    /// In a thread of its own: the sets of the other tests stay.
    #[test]
    fn a_thread_gives_up_what_is_not_kept() {
        std::thread::spawn(|| {
            let before = capabilities(None).unwrap();
            keep_only(GUARD).unwrap();
            let after = capabilities(None).unwrap();
            assert_eq!(after, reduced(before, GUARD));
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
}
