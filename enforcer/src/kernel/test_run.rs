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

/// The hook that a program is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// XDP.
    Xdp,
    /// tcx.
    Tcx,
}

impl Hook {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Xdp, Self::Tcx];

    /// The wire guard's program.
    pub const fn program(self, link: Link) -> &'static str {
        match self {
            Self::Xdp => wire_program(interfaces::Hook::XdpNative, link),
            Self::Tcx => wire_program(interfaces::Hook::Tcx, link),
        }
    }

    /// The number that a program returns for a packet that goes on, or ends.
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

    /// Whether a packet goes on, by the number that its program returned.
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

/// How a frame comes to a program.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The bytes, at least 14.
    pub bytes: &'a [u8],
    /// The ifindex in the namespace of the calling thread.
    pub ifindex: u32,
    /// How many bytes the linear part of the buffer may hold: XDP alone, since Linux 6.18.
    pub linear: usize,
}

impl<'a> Arrival<'a> {
    /// A frame, linear as far as the kernel can have it so.
    pub const fn new(bytes: &'a [u8], ifindex: u32) -> Self {
        Self {
            bytes,
            ifindex,
            linear: bytes.len(),
        }
    }

    /// The context in the form that the program's type wants.
    fn context(&self, hook: Hook) -> Result<Vec<u8>> {
        let words: Vec<u32> = match hook {
            // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index,
            // egress_ifindex.
            Hook::Xdp => vec![0, u32::try_from(self.linear)?, 0, self.ifindex, 0, 0],
            // struct __sk_buff up to ifindex, before which nothing may be set; the kernel takes the
            // rest as zeros.
            Hook::Tcx => {
                let mut words = vec![0; 11];
                words[10] = self.ifindex;
                words
            }
        };
        Ok(words.into_iter().flat_map(u32::to_ne_bytes).collect())
    }

    /// Whether a test run on this hook refuses the frame before any program sees it.
    ///
    /// It always wants an Ethernet header. For an skb it wants the whole IP header that the ethertype promises, and answers EINVAL (seen
    /// on Linux 6.18). Behind a priority tag it does not look.
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
            other => bail!("there is no test run here for {:?}", other.prog_type()),
        };
        let result = through(Call::TestRun, || match program {
            Program::Xdp(program) => program.test_run(options(&context)),
            Program::SchedClassifier(program) => program.test_run(options(&context)),
            _ => Err(ProgramError::UnexpectedProgramType),
        });
        result.context("BPF_PROG_TEST_RUN failed")
    }
}

/// Runs a wire guard once; whether the packet goes on.
///
/// # Errors
/// The program is not loaded, the kernel's refusal, or a number that is no verdict.
pub fn passes(bench: &Sandbox, hook: Hook, link: Link, arrival: Arrival<'_>) -> Result<bool> {
    let program = bench.program(hook.program(link))?;
    hook.passes(arrival.run(program, 1)?.return_value)
}
