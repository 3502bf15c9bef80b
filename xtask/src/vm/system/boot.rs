//! What is put onto a system guest's disk at each boot, and the machine around it.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::disk::Disk;
use crate::{
    install,
    lab::Lab,
    vm::{
        initramfs::{Initramfs, cpio::Archive, programs},
        machine::qemu::{Accelerator, Machine},
    },
    workspace::Workspace,
};

/// Podman and firewalld are large.
const MEMORY: u32 = 2048;

/// As in tests/src/system/neighbour.rs.
const MAC: &str = "52:54:00:00:78:01";

/// Of a NIC that no configuration in the guest matches, so that nobody brings it up.
const SPARE_MAC: &str = "52:54:00:00:78:03";

/// The network manager of the guest.
const MANAGER: &str = "systemd-networkd.service";

/// Where the administrator's units are.
const UNITS: &str = "payload/etc/systemd/system";

/// How a guest is booted.
pub(super) struct Boot<'a> {
    /// What `enforcer-tests system` is to do.
    pub(super) command: String,
    /// Whether services listen on every address from early on.
    pub(super) listening: bool,
    /// Whether the enforcer is masked.
    pub(super) masked: bool,
    /// Whether the network manager is told to wait for the policy.
    pub(super) require: bool,
    /// The socket of the neighbour, if there is one.
    pub(super) neighbour: Option<&'a Path>,
}

impl Boot<'_> {
    /// The guest's initramfs: what it runs, and `cargo xtask install`'s files.
    pub(super) fn initramfs(
        &self,
        workspace: &Workspace,
        lab: &Lab,
        disk: &Disk,
    ) -> Result<Initramfs> {
        let read = |path: &Path| {
            fs::read(path).with_context(|| format!("failed to read {}", path.display()))
        };
        let ours = |name: &str| read(&workspace.path("xtask/files/system").join(name));
        let mut archive = Archive::default();
        programs::add_shell(&mut archive)?;
        for folder in ["dev", "proc", "sys", "sysroot"] {
            archive.folder(folder);
        }
        archive.program("init", &ours("init")?);
        archive.file("virtio_blk.ko", &read(&disk.module())?);

        let manager = self.require.then(|| MANAGER.to_owned());
        let require: Vec<_> = manager.into_iter().collect();
        for file in install::files(workspace, Path::new("/usr/local"), &require)? {
            let place = format!("payload{}", file.path.display());
            if file.mode & 0o111 == 0 {
                archive.file(&place, &file.content);
            } else {
                archive.program(&place, &file.content);
            }
        }
        let [tests, _] = lab.binaries();
        archive.program("payload/usr/local/bin/enforcer-tests", &read(tests)?);
        // As `systemctl enable` does.
        archive.link(
            &format!("{UNITS}/sysinit.target.wants/enforcer.service"),
            "/usr/local/lib/systemd/system/enforcer.service",
        );
        let mut unit = |name: &str, target: &str| -> Result<()> {
            archive.file(&format!("{UNITS}/{name}"), &ours(name)?);
            archive.link(
                &format!("{UNITS}/{target}.wants/{name}"),
                &format!("../{name}"),
            );
            Ok(())
        };
        unit("enforcer-guest.service", "default.target")?;
        if self.listening {
            unit("enforcer-listener.service", "sysinit.target")?;
        }
        archive.file(
            "payload/etc/systemd/network/lan.network",
            &ours("lan.network")?,
        );
        let script = String::from_utf8_lossy(&ours("enforcer-guest.sh")?)
            .replace("@command@", &self.command);
        archive.file("payload/etc/enforcer-guest.sh", script.as_bytes());
        archive.file("payload/etc/enforcer-guest", disk.debian.as_bytes());
        Initramfs::new(&[&archive.finish()])
    }

    /// QEMU.
    pub(super) fn qemu(
        &self,
        accelerator: Accelerator,
        disk: &Disk,
        initramfs: &Initramfs,
    ) -> Result<Command> {
        let mut machine = Machine::new(accelerator, disk.kernel(), initramfs);
        machine.memory = MEMORY;
        machine.kernel_line += " systemd.show_status=no audit=0";
        if self.masked {
            machine.kernel_line += " systemd.mask=enforcer.service";
        }
        let mut command = machine.command()?;
        command.args(["-drive", &drive(&disk.path())]);
        let (wire, mac) = match self.neighbour {
            Some(socket) => {
                let socket = socket.display();
                let wire = format!("stream,id=lan,server=off,addr.type=unix,addr.path={socket}");
                (wire, MAC)
            }
            // On a hub with nothing else, for the trial that plugs a NIC in.
            None => ("hubport,id=lan,hubid=0".to_owned(), SPARE_MAC),
        };
        let device = format!("virtio-net-pci,netdev=lan,mac={mac}");
        command.args(["-netdev", &wire, "-device", &device]);
        Ok(command)
    }
}

/// The disk, with what is written to it kept in a file without a name.
fn drive(disk: &Path) -> String {
    // QEMU reads two commas as one.
    let disk = disk.display().to_string().replace(',', ",,");
    format!("file={disk},format=raw,if=virtio,snapshot=on")
}
