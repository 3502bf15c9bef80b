//! The machine that a guest runs on.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{vm::initramfs::Initramfs, workspace::find_program};

/// The program.
const PROGRAM: &str = "qemu-system-x86_64";

/// Processors of a guest. With a thread for each of several, QEMU before 8.1 runs now and then into
/// a breakpoint that the guest's kernel has taken out of its own code again ("Oops: int3";
/// linux-kernel, July 2023: "qemu-x86_64 booting with 8.0.0 stil see int3"), and each `up` and
/// `down` makes the kernel change its code. What processors do to each other is tried on the host.
const PROCESSORS: u32 = 1;

/// Memory of a guest, MiB.
const MEMORY: u32 = 1280;

/// What the kernel is told.
///
/// A panic ends the machine at once (`-no-reboot` turns the reboot into an end), and
/// what the kernel survives with a damaged state counts as one. Only that and worse
/// is printed, so that the lab's lines stay whole. The mitigations cost time, and
/// nobody attacks this processor. With random addresses QEMU translates each program
/// anew whenever it is started, which makes the whole a third slower.
const KERNEL_LINE: &str = "console=ttyS0 quiet loglevel=2 panic=-1 oops=panic \
                           mitigations=off norandmaps init_on_alloc=0";

/// What executes a guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accelerator {
    /// The processor itself, through /dev/kvm.
    Kvm,
    /// QEMU's translator, which works everywhere.
    Tcg,
}

impl Accelerator {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        }
    }

    fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            // Room for what was translated, MiB: the default is soon full, and all is thrown
            // away then.
            Self::Tcg => "tcg,tb-size=512",
        }
    }
}

/// A machine without disks and network.
pub(crate) struct Machine<'a> {
    /// What executes its instructions.
    pub(crate) accelerator: Accelerator,
    /// How many processors it has.
    pub(crate) processors: u32,
    /// Its memory, MiB.
    pub(crate) memory: u32,
    kernel: PathBuf,
    initramfs: &'a Initramfs,
    /// What its kernel is told.
    pub(crate) kernel_line: String,
}

impl<'a> Machine<'a> {
    /// One that fits the lab, for the image `kernel`.
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

    /// QEMU, with the serial console on its standard input and output. It dies with
    /// the thread that starts it, and must not outlive the initramfs' value.
    pub(crate) fn command(&self) -> Result<Command> {
        let find =
            |name: &str| find_program(name).with_context(|| format!("{name} is not installed"));
        let mut command = Command::new(find("setpriv")?);
        command
            // Should we be killed, nobody else would end it.
            .args(["--pdeathsig", "KILL", "--"])
            .arg(find(PROGRAM)?)
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-cpu", "max"])
            .args(["-accel", self.accelerator.argument()])
            .args(["-smp", &self.processors.to_string()])
            .args(["-m", &self.memory.to_string()])
            // Ctrl-C on our terminal is the guest's, where a terminal is given to it.
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
