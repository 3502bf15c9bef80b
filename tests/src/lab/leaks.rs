//! Detection of objects that a run leaves behind.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::bpf::{self, Hook};
use super::cleanup;
use super::command::eventually;
use super::kernel::Feature;
use super::netns::Netns;

/// State of the machine before anything was made.
#[derive(Debug)]
pub struct MachineState {
    mounts: Vec<String>,
    namespaces: usize,
    cgroup: Option<PathBuf>,
    cgroup_programs: u32,
    interfaces: Vec<(String, u32)>,
    reserved_ports: String,
}

impl MachineState {
    /// Takes stock of the machine.
    pub fn look() -> Result<Self> {
        let cgroup = cleanup::cgroup2_root();
        Ok(Self {
            mounts: mounts()?,
            namespaces: namespaces()?,
            cgroup_programs: cgroup_programs(cgroup.as_deref())?,
            cgroup,
            interfaces: interfaces()?,
            reserved_ports: reserved_ports()?,
        })
    }

    /// Every object that was made since, after a moment for the kernel to let go.
    pub fn leaked(&self) -> Result<Vec<String>> {
        cleanup::release_bpffs()?;
        let mut found = Ok(Vec::new());
        eventually(Duration::from_secs(5), || {
            found = self.leaked_now();
            matches!(&found, Ok(leaks) if leaks.is_empty()).then_some(())
        });
        found
    }

    fn leaked_now(&self) -> Result<Vec<String>> {
        let mut leaks = cleanup::leftovers();
        // Attachments and mounts of others meanwhile are no leak of ours.
        let alone = !cleanup::others_at_work();
        for mount in mounts()? {
            if !self.mounts.contains(&mount) && alone {
                leaks.push(format!("mount {mount}"));
            }
        }
        let namespaces = namespaces()?;
        if namespaces > self.namespaces {
            leaks.push(format!(
                "{} network namespaces",
                namespaces - self.namespaces
            ));
        }
        let programs = cgroup_programs(self.cgroup.as_deref())?;
        if programs > self.cgroup_programs && alone {
            leaks.push(format!(
                "{} cgroup programs",
                programs - self.cgroup_programs
            ));
        }
        for child in children()? {
            leaks.push(format!("process {child}"));
        }
        leaks.extend(cleanup::stale_sockets());
        let reserved_ports = reserved_ports()?;
        if reserved_ports != self.reserved_ports {
            leaks.push(format!(
                "reserved ports `{reserved_ports}` on the machine itself"
            ));
        }
        for (interface, index) in &self.interfaces {
            let programs = programs_on_interface(*index)
                .with_context(|| format!("failed to ask what sits on {interface}"))?;
            if programs > 0 {
                leaks.push(format!(
                    "{programs} programs on the machine's own {interface}"
                ));
            }
        }
        Ok(leaks)
    }
}

/// The machine's own interfaces; none may ever carry a program of ours.
fn interfaces() -> Result<Vec<(String, u32)>> {
    let own = Netns::own()?;
    let listed = std::fs::read_dir("/sys/class/net").context("failed to list interfaces")?;
    let mut found = Vec::new();
    for entry in listed {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Ok(index) = own.ifindex(&name)
            && programs_on_interface(index)
                .with_context(|| format!("failed to ask what sits on {name}"))?
                == 0
        {
            found.push((name, index));
        }
    }
    Ok(found)
}

fn reserved_ports() -> Result<String> {
    Netns::own()?.read_sysctl("net/ipv4/ip_local_reserved_ports")
}

fn programs_on_interface(index: u32) -> Result<u32> {
    // Linux before 6.6 has no tcx, and calls the query itself invalid.
    let tcx = if Feature::Tcx.is_here() {
        bpf::programs_on(index, Hook::Tcx)?
    } else {
        0
    };
    let listing = std::process::Command::new("ip")
        .args(["-o", "link", "show"])
        .output()
        .context("failed to run ip")?;
    let listing = String::from_utf8_lossy(&listing.stdout).into_owned();
    let xdp = listing
        .lines()
        .filter(|line| line.starts_with(&format!("{index}: ")) && line.contains("prog/xdp"))
        .count();
    Ok(tcx + u32::try_from(xdp)?)
}

fn cgroup_programs(cgroup: Option<&std::path::Path>) -> Result<u32> {
    cgroup.map_or(Ok(0), |root| {
        bpf::programs_on_cgroup(root).context("failed to ask what sits on the root cgroup")
    })
}

fn mounts() -> Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").context("failed to read mounts")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(4).map(str::to_owned))
        .collect())
}

/// Number of namespaces held by this process, and of named namespaces.
fn namespaces() -> Result<usize> {
    let held = std::fs::read_dir("/proc/self/fd")
        .context("failed to list descriptors")?
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("net:["))
        .count();
    Ok(held)
}

fn children() -> Result<Vec<String>> {
    let threads = std::fs::read_dir("/proc/self/task").context("failed to list threads")?;
    let listed = threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .collect::<String>();
    Ok(listed.split_whitespace().map(str::to_owned).collect())
}
