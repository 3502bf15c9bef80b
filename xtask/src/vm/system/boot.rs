//! One boot of a system guest: the files added to its disk, and its machine.

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

/// Memory in MiB: Podman and firewalld are large.
const MEMORY: u32 = 2048;

/// MAC address of the guest's NIC, as in tests/src/system/neighbour.rs.
const MAC: &str = "52:54:00:00:78:01";

/// MAC address of a NIC without a configuration in the guest: the NIC stays down.
const SPARE_MAC: &str = "52:54:00:00:78:03";

/// Network manager of the guest.
const MANAGER: &str = "systemd-networkd.service";

/// Folder of the administrator's units.
const UNITS: &str = "payload/etc/systemd/system";

/// Settings of a boot.
pub(super) struct Boot<'a> {
    /// Arguments of `enforcer-tests system`.
    pub(super) command: String,
    /// Whether services listen on every address from early in the boot.
    pub(super) listening: bool,
    /// Kind of the obstacles in the way of the guards, if any.
    pub(super) obstacles: Option<&'static str>,
    /// Whether the enforcer's unit is masked.
    pub(super) masked: bool,
    /// Whether the network manager waits for the policy.
    pub(super) require: bool,
    /// Socket of the neighbour, if any.
    pub(super) neighbour: Option<&'a Path>,
}

impl Boot<'_> {
    /// Returns the guest's initramfs: the tests, their units, and the files of `cargo xtask
    /// install`.
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
        add_drivers(&mut archive, disk)?;
        let require: Vec<_> = self
            .require
            .then(|| MANAGER.to_owned())
            .into_iter()
            .collect();
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
        // The link of `systemctl enable`.
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
        if let Some(kind) = self.obstacles {
            add_obstacles(&mut archive, kind, &ours)?;
        }
        let network = "payload/etc/systemd/network/lan.network";
        archive.file(network, &ours("lan.network")?);
        let script = String::from_utf8_lossy(&ours("enforcer-guest.sh")?)
            .replace("@command@", &self.command);
        archive.file("payload/etc/enforcer-guest.sh", script.as_bytes());
        archive.file("payload/etc/enforcer-guest", disk.debian.as_bytes());
        Initramfs::new(&[&archive.finish(), &disk.modules()?])
    }

    /// Returns QEMU's command.
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
            // A hub with nothing else, for the scenario that plugs a NIC in.
            None => ("hubport,id=lan,hubid=0".to_owned(), SPARE_MAC),
        };
        let device = format!("virtio-net-pci,netdev=lan,mac={mac}");
        command.args(["-netdev", &wire, "-device", &device]);
        Ok(command)
    }
}

/// Adds the disk's drivers for the first program, which loads the files in the order of their names.
fn add_drivers(archive: &mut Archive, disk: &Disk) -> Result<()> {
    for (number, driver) in disk.drivers()?.iter().enumerate() {
        let name = format!("driver-{number:02}-{}", driver.name);
        archive.file(&name, &driver.content);
    }
    Ok(())
}

/// Adds the unit that puts obstacles in place before the enforcer starts.
fn add_obstacles(
    archive: &mut Archive,
    kind: &str,
    ours: &dyn Fn(&str) -> Result<Vec<u8>>,
) -> Result<()> {
    let name = "enforcer-obstacles.service";
    let unit = String::from_utf8_lossy(&ours(name)?).replace("@kind@", kind);
    archive.file(&format!("{UNITS}/{name}"), unit.as_bytes());
    archive.link(
        &format!("{UNITS}/sysinit.target.wants/{name}"),
        &format!("../{name}"),
    );
    if kind == "files" {
        let place = format!("{UNITS}/enforcer.service.d/full-disk.conf");
        archive.file(&place, &ours("full-disk.conf")?);
    }
    Ok(())
}

/// Returns QEMU's description of the disk; writes go to an unnamed file.
fn drive(disk: &Path) -> String {
    // QEMU reads two commas as one comma.
    let disk = disk.display().to_string().replace(',', ",,");
    format!("file={disk},format=raw,if=virtio,snapshot=on")
}
