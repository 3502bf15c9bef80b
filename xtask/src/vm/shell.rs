//! `cargo xtask vm --shell`: a prompt in a guest.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use super::{
    initramfs,
    machine::qemu::{Accelerator, Machine},
};
use crate::{lab::Lab, process, setup::kernels::Kernel, workspace::Workspace};

/// Makes the console a controlling terminal, with Ctrl-C and the size of the user's terminal.
const COMMAND: &str = "\
echo 'The enforcer, enforcer-tests, ip, nft, wg and busybox are here; exit powers off.'
stty rows ROWS cols COLUMNS
export PS1='guest:\\w# '
if command -v bash >/dev/null; then
    setsid cttyhack bash --norc
else
    setsid cttyhack sh
fi
exit 0
";

/// Gives the terminal to a guest with a shell.
pub(crate) fn run(
    workspace: &Workspace,
    lab: &Lab,
    kernel: &Kernel,
    accelerator: Accelerator,
) -> Result<()> {
    let (rows, columns) = terminal_size();
    let command = COMMAND.replace("ROWS", &rows).replace("COLUMNS", &columns);
    let common = initramfs::lab::archive(workspace, lab)?;
    let initramfs = initramfs::lab::initramfs(&common, &command, kernel)?;
    eprintln!("booting {} under {}", kernel.release, accelerator.name());
    let mut qemu = Machine::new(accelerator, kernel.image(), &initramfs).command()?;
    let status = process::run_to_end(&mut qemu)?;
    if !status.success() {
        bail!("QEMU failed ({status})");
    }
    Ok(())
}

/// Returns rows and columns of the user's terminal, by default 24 and 80.
fn terminal_size() -> (String, String) {
    let output = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .stderr(Stdio::null())
        .output();
    let text = output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let mut numbers = text.split_whitespace().map(str::to_owned);
    match (numbers.next(), numbers.next()) {
        (Some(rows), Some(columns)) if rows != "0" => (rows, columns),
        _ => ("24".to_owned(), "80".to_owned()),
    }
}
