//! The kernel modules of a guest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use crate::setup::kernels::Kernel;

/// Folders with modules for the lab.
const FOLDERS: [&str; 5] = [
    "kernel/arch/x86/crypto/",
    "kernel/crypto/",
    "kernel/drivers/net/",
    "kernel/lib/",
    "kernel/net/",
];

/// Returns an archive with the modules for the lab, their dependencies, and modprobe's tables.
pub(crate) fn archive(kernel: &Kernel) -> Result<Vec<u8>> {
    let folder = kernel.modules();
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let table = String::from_utf8_lossy(&read("modules.dep")?).into_owned();
    let mut archive = Archive::default();
    let place = |name: &str| format!("usr/lib/modules/{}/{name}", kernel.release);
    for module in closure(&table, |path| {
        FOLDERS.iter().any(|folder| path.starts_with(folder))
    }) {
        archive.file(&place(module), &read(module)?);
    }
    let entries =
        fs::read_dir(&folder).with_context(|| format!("failed to list {}", folder.display()))?;
    for name in entries.flatten().map(|entry| entry.file_name()) {
        if let Some(name) = name.to_str().filter(|name| name.starts_with("modules.")) {
            archive.file(&place(name), &read(name)?);
        }
    }
    Ok(archive.finish())
}

/// Returns the modules of `table` that are `wanted`, and their dependencies. The table is depmod's
/// modules.dep: `module: dependency …`.
fn closure(table: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    let needs: BTreeMap<_, _> = table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let mut open: Vec<_> = needs.keys().copied().filter(|path| wanted(path)).collect();
    let mut all = BTreeSet::new();
    while let Some(module) = open.pop() {
        if all.insert(module) {
            let needed = needs.get(module).copied().unwrap_or_default();
            open.extend(needed.split_whitespace());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_along() {
        let table = "\
kernel/drivers/ptp/ptp.ko: kernel/drivers/pps/pps_core.ko
kernel/drivers/pps/pps_core.ko:
kernel/drivers/net/ena.ko.xz: kernel/drivers/ptp/ptp.ko
kernel/fs/ext4.ko: kernel/lib/crc16.ko
kernel/lib/crc16.ko:
kernel/net/one.ko: kernel/net/two.ko
kernel/net/two.ko: kernel/net/one.ko
";
        let found = closure(table, |path| {
            path.starts_with("kernel/drivers/net/") || path.starts_with("kernel/net/")
        });
        let expected = [
            "kernel/drivers/net/ena.ko.xz",
            "kernel/drivers/pps/pps_core.ko",
            "kernel/drivers/ptp/ptp.ko",
            "kernel/net/one.ko",
            "kernel/net/two.ko",
        ];
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    }
}
