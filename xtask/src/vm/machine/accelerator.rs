//! The choice between KVM and TCG, with a probe of this machine's KVM.

use std::{fs::OpenOptions, path::Path, time::Duration};

use anyhow::{Result, bail};

use super::{
    qemu::{Accelerator, Machine},
    supervise::{End, Limits, UP_PREFIX, supervise},
};
use crate::{
    interrupt::{self, Deferred},
    vm::initramfs::{Initramfs, cpio::Archive, programs},
};

/// Limit of the probe: under a working KVM, a guest is up in less than a second.
const PROBE: Duration = Duration::from_secs(6);

/// First program of the probe.
const INIT: &str = "\
#!/usr/bin/busybox sh
echo 'guest: up and away'
/usr/bin/busybox poweroff -f
";

/// Value of `--accel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum AccelChoice {
    /// KVM if a guest boots with KVM within seconds, else TCG
    #[default]
    Auto,
    /// QEMU's translator, on every machine
    Tcg,
    /// The processor itself, without a probe
    Kvm,
}

impl AccelChoice {
    /// Returns the accelerator; `auto` boots `kernel` as a probe.
    pub(crate) fn decide(self, kernel: &Path) -> Result<Accelerator> {
        match self {
            Self::Tcg => Ok(Accelerator::Tcg),
            Self::Kvm => Ok(Accelerator::Kvm),
            Self::Auto if !may_use_kvm() => Ok(Accelerator::Tcg),
            Self::Auto => {
                let Some(why) = kvm_failure(kernel)? else {
                    return Ok(Accelerator::Kvm);
                };
                eprintln!("/dev/kvm exists but no guest boots under KVM ({why}): using TCG");
                Ok(Accelerator::Tcg)
            }
        }
    }
}

fn may_use_kvm() -> bool {
    let mut open = OpenOptions::new();
    open.read(true).write(true).open("/dev/kvm").is_ok()
}

/// Boots an idle guest under KVM and returns the reason of a failure. Under a KVM in name only,
/// QEMU ends with an error, or the guest hangs.
fn kvm_failure(kernel: &Path) -> Result<Option<String>> {
    let mut archive = Archive::default();
    programs::add_shell(&mut archive)?;
    archive.program("init", INIT.as_bytes());
    let initramfs = Initramfs::new(&[&archive.finish()])?;
    let limits = Limits {
        silence: PROBE,
        total: PROBE,
    };
    let deferred = Deferred::noted();
    let machine = Machine::new(Accelerator::Kvm, kernel.to_owned(), &initramfs);
    let transcript = supervise(&mut machine.command()?, limits, &mut |_| {})?;
    drop(deferred);
    if interrupt::seen() {
        bail!("interrupted");
    }
    if transcript
        .lines
        .iter()
        .any(|line| line.starts_with(UP_PREFIX))
    {
        return Ok(None);
    }
    Ok(Some(match (transcript.end, transcript.lines.last()) {
        (End::Exited(status), Some(line)) => format!("QEMU: {status}: {line}"),
        (End::Exited(status), None) => format!("QEMU: {status}"),
        _ => format!("the guest was not up within {} s", PROBE.as_secs()),
    }))
}
