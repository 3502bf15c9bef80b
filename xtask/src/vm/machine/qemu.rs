//! QEMU's command line.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{vm::initramfs::Initramfs, workspace::find_program};

/// QEMU's program.
const PROGRAM: &str = "qemu-system-x86_64";

/// Processors of a guest. With a thread for each of several processors, QEMU before 8.1 now and
/// then executes a breakpoint that the guest's kernel has already removed from its own code ("Oops:
/// int3"; linux-kernel, July 2023: "qemu-x86_64 booting with 8.0.0 stil see int3"), and each `up`
/// and `down` makes the kernel change its code. Races between processors are tested on the host.
const PROCESSORS: u32 = 1;

/// Memory of a guest, MiB.
const MEMORY: u32 = 1280;

/// Command line of the kernel.
///
/// A panic ends the machine at once (`-no-reboot` turns the reboot into an end), and an oops counts
/// as a panic. The kernel prints nothing below that level, so that the lab's lines stay whole. The
/// mitigations cost time, and a guest has no attacker on its processor. With random addresses, QEMU
/// would translate each program anew at each start, a third slower in all.
const KERNEL_LINE: &str = "console=ttyS0 quiet loglevel=2 panic=-1 oops=panic \
                           mitigations=off norandmaps init_on_alloc=0";

/// Executor of a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor itself, through /dev/kvm.
    Kvm,
    /// QEMU's translator, on every machine.
    Tcg,
}

impl Accelerator {
    /// Name for users.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            // Size of the translation cache, MiB: the default fills soon, and a full cache is
            // dropped whole.
            Self::Tcg => "tcg,tb-size=512",
        }
    }
}

/// Machine without disks and network.
pub(crate) struct Machine<'a> {
    /// Executor of the instructions.
    pub(crate) accelerator: Accelerator,
    /// Number of processors.
    pub(crate) processors: u32,
    /// Memory in MiB.
    pub(crate) memory: u32,
    kernel: PathBuf,
    initramfs: &'a Initramfs,
    /// Command line of the kernel.
    pub(crate) kernel_line: String,
}

impl<'a> Machine<'a> {
    /// Returns a machine for the lab with the image `kernel`.
    pub(crate) fn new(accelerator: Accelerator, kernel: PathBuf, initramfs: &'a Initramfs) -> Self {
        Self {
            accelerator,
            processors: PROCESSORS,
            memory: MEMORY,
            kernel,
            initramfs,
            kernel_line: KERNEL_LINE.to_owned(),
        }
    }

    /// Returns QEMU's command, with the serial console on standard input and output. QEMU dies with
    /// the thread that starts the command, and must not outlive the initramfs' value.
    pub(crate) fn command(&self) -> Result<Command> {
        let find = |name: &str| {
            find_program(name)
                .with_context(|| format!("{name} is not installed: run `cargo xtask setup`"))
        };
        let mut command = Command::new(find("setpriv")?);
        command
            // After a SIGKILL of xtask, nothing else would end QEMU.
            .args(["--pdeathsig", "KILL", "--"])
            .arg(find(PROGRAM)?)
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-cpu", "max"])
            .args(["-accel", self.accelerator.argument()])
            .args(["-smp", &self.processors.to_string()])
            .args(["-m", &self.memory.to_string()])
            // With a terminal, Ctrl-C belongs to the guest.
            .args(["-chardev", "stdio,id=console,signal=off"])
            .args(["-serial", "chardev:console"])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(self.initramfs.path())
            .args(["-append", &self.kernel_line]);
        Ok(command)
    }
}
