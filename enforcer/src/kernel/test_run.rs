//! One run of a program through BPF_PROG_TEST_RUN.

use std::fmt;

use anyhow::{Context, Result, bail};
use aya::programs::{Program, ProgramError, TestRun as _};
use aya::{TestRunOptions, TestRunResult};
use enforcer_ebpf::Link;

use super::{load::wire_program, sandbox::Sandbox};
use crate::{
    failpoint::{Call, through},
    interfaces,
};

/// The hook of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP.
    Xdp,
    /// tcx.
    Tcx,
}

impl Hook {
    /// Both hooks.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tcx];

    /// Returns the name of the wire guard's program.
    pub const fn program(self, link: Link) -> &'static str {
        match self {
            Self::Xdp => wire_program(interfaces::Hook::XdpNative, link),
            Self::Tcx => wire_program(interfaces::Hook::Tcx, link),
        }
    }

    /// Returns the number by which a program passes a packet on, or drops the packet.
    pub const fn verdict(self, passes: bool) -> u32 {
        match (self, passes) {
            // linux/bpf.h: enum xdp_action, XDP_PASS and XDP_DROP.
            (Self::Xdp, true) => 2,
            (Self::Xdp, false) => 1,
            // linux/bpf.h: enum tcx_action_base, TCX_NEXT (-1) and TCX_DROP.
            (Self::Tcx, true) => u32::MAX,
            (Self::Tcx, false) => 2,
        }
    }

    /// Whether the program passed the packet on, by the number that the program returned.
    fn passes(self, returned: u32) -> Result<bool> {
        match returned {
            _ if returned == self.verdict(true) => Ok(true),
            _ if returned == self.verdict(false) => Ok(false),
            other => bail!("the program for {self} returned {other}, which is no verdict"),
        }
    }
}

impl From<interfaces::Hook> for Hook {
    fn from(hook: interfaces::Hook) -> Self {
        match hook {
            interfaces::Hook::XdpNative | interfaces::Hook::XdpGeneric => Self::Xdp,
            interfaces::Hook::Tcx => Self::Tcx,
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
        })
    }
}

/// A frame and the circumstances of its arrival at a program.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The bytes, at least 14.
    pub bytes: &'a [u8],
    /// The ifindex in the namespace of the calling thread.
    pub ifindex: u32,
    /// The number of bytes in the linear part of the buffer: XDP alone, since Linux 6.18.
    pub linear: usize,
}

impl<'a> Arrival<'a> {
    /// Returns the arrival of a frame in a buffer that is linear as far as the kernel allows.
    pub const fn new(bytes: &'a [u8], ifindex: u32) -> Self {
        Self {
            bytes,
            ifindex,
            linear: bytes.len(),
        }
    }

    /// Returns the context of a program of this hook.
    fn context(&self, hook: Hook) -> Result<Vec<u8>> {
        let words: Vec<u32> = match hook {
            // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
            // egress_ifindex.
            Hook::Xdp => vec![0, u32::try_from(self.linear)?, 0, self.ifindex, 0, 0],
            // struct __sk_buff up to ifindex, with zeros before ifindex; the kernel takes the rest as
            // zeros.
            Hook::Tcx => {
                let mut words = vec![0; 11];
                words[10] = self.ifindex;
                words
            }
        };
        Ok(words.into_iter().flat_map(u32::to_ne_bytes).collect())
    }

    /// Whether a test run on this hook refuses the frame before any program sees the frame.
    ///
    /// Every test run needs an Ethernet header. For an skb the kernel also needs the whole IP header
    /// that the ethertype promises, and answers EINVAL (seen on Linux 6.18), except behind a
    /// priority tag.
    pub fn is_refused(&self, hook: Hook) -> bool {
        let least = match (hook, self.bytes.get(12..14)) {
            (Hook::Tcx, Some([0x08, 0x00])) => 14 + 20,
            (Hook::Tcx, Some([0x86, 0xdd])) => 14 + 40,
            _ => 14,
        };
        self.bytes.len() < least
    }

    /// Runs a loaded program `repeat` times.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn run(&self, program: &Program, repeat: u32) -> Result<TestRunResult> {
        let options = |context| TestRunOptions {
            data_in: Some(self.bytes),
            ctx_in: Some(context),
            repeat,
            ..TestRunOptions::default()
        };
        let context = match program {
            Program::Xdp(_) => self.context(Hook::Xdp)?,
            Program::SchedClassifier(_) => self.context(Hook::Tcx)?,
            other => bail!(
                "no test run is possible for a program of the type {:?}",
                other.prog_type()
            ),
        };
        let result = through(Call::TestRun, || match program {
            Program::Xdp(program) => program.test_run(options(&context)),
            Program::SchedClassifier(program) => program.test_run(options(&context)),
            _ => Err(ProgramError::UnexpectedProgramType),
        });
        result.context("BPF_PROG_TEST_RUN failed")
    }
}

/// Runs a wire guard once, and returns whether the guard passes the packet on.
///
/// # Errors
/// The program is not loaded, the kernel's refusal, or a number that is no verdict.
pub fn passes(sandbox: &Sandbox, hook: Hook, link: Link, arrival: Arrival<'_>) -> Result<bool> {
    let program = sandbox.program(hook.program(link))?;
    hook.passes(arrival.run(program, 1)?.return_value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_come_back_and_other_numbers_are_errors() {
        for hook in Hook::ALL {
            for passes in [true, false] {
                assert_eq!(hook.passes(hook.verdict(passes)).ok(), Some(passes));
            }
            // XDP_ABORTED and TC_ACT_OK; XDP_TX; XDP_REDIRECT.
            for other in [0, 3, 4] {
                assert!(hook.passes(other).is_err(), "{hook} {other}");
            }
        }
        assert_ne!(Hook::Xdp.verdict(true), Hook::Tcx.verdict(true));
    }

    #[test]
    fn an_skb_needs_the_header_that_the_ethertype_promises() {
        for (ethertype, length, xdp, tcx) in [
            ([0x08, 0x00], 13, true, true),
            ([0x08, 0x00], 14, false, true),
            ([0x08, 0x00], 33, false, true),
            ([0x08, 0x00], 34, false, false),
            ([0x86, 0xdd], 53, false, true),
            ([0x86, 0xdd], 54, false, false),
            ([0x81, 0x00], 14, false, false),
        ] {
            let mut bytes = vec![0; length];
            bytes.splice(12..length.min(14), ethertype.into_iter().take(length - 12));
            let arrival = Arrival::new(&bytes, 1);
            let refused = Hook::ALL.map(|hook| arrival.is_refused(hook));
            assert_eq!(refused, [xdp, tcx], "{ethertype:x?} {length}");
        }
    }

    #[test]
    fn contexts_have_the_ifindex_in_their_place() {
        let arrival = Arrival {
            bytes: &[0; 60],
            ifindex: 7,
            linear: 32,
        };
        let words = |hook| -> Vec<u32> {
            let context = arrival.context(hook).unwrap();
            let words = context.chunks_exact(4);
            words
                .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
                .collect()
        };
        assert_eq!(words(Hook::Xdp), [0, 32, 0, 7, 0, 0]);
        assert_eq!(words(Hook::Tcx), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7]);
    }

    #[test]
    fn both_kinds_of_xdp_are_one_hook() {
        use interfaces::Hook::{Tcx, XdpGeneric, XdpNative};
        let hooks = [XdpNative, XdpGeneric, Tcx].map(Hook::from);
        assert_eq!(hooks, [Hook::Xdp, Hook::Xdp, Hook::Tcx]);
        let names = Hook::ALL.map(|hook| hook.to_string());
        assert_eq!(names, ["xdp", "tcx"]);
    }
}
