//! The kernel modules of a guest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use crate::setup::kernels::Kernel;

/// Folders with modules for the lab.
pub(crate) const LAB_FOLDERS: &[&str] = &[
    "kernel/arch/x86/crypto/",
    "kernel/crypto/",
    "kernel/drivers/net/",
    "kernel/lib/",
    "kernel/net/",
];

/// Returns an archive with the modules below `folders`, their dependencies, and modprobe's tables.
pub(crate) fn archive(kernel: &Kernel, folders: &[&str]) -> Result<Vec<u8>> {
    let folder = kernel.modules();
    let table = read_table(kernel, "modules.dep")?;
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let mut archive = Archive::default();
    let place = |name: &str| format!("usr/lib/modules/{}/{name}", kernel.release);
    for module in closure(&table, |path| {
        folders.iter().any(|folder| path.starts_with(folder))
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

/// Returns the paths, below the kernel's folder of modules, of the files to load for the modules
/// `names`, each after the modules with the symbols that the file needs. A module built into the
/// kernel has no file.
///
/// # Errors
/// The kernel has a module neither as a file nor built in, or a table is unreadable.
pub(crate) fn load_order(kernel: &Kernel, names: &[&str]) -> Result<Vec<String>> {
    let table = read_table(kernel, "modules.dep")?;
    let builtin = read_table(kernel, "modules.builtin")?;
    let order = sort(&table, &builtin, names)
        .with_context(|| format!("the kernel {} cannot boot from a disk", kernel.release))?;
    Ok(order.into_iter().map(str::to_owned).collect())
}

/// Reads a table of depmod.
fn read_table(kernel: &Kernel, name: &str) -> Result<String> {
    let path = kernel.modules().join(name);
    fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}

/// Returns the files of `names` and of all modules needed, each after its needs. The tables are
/// depmod's modules.dep, and modules.builtin with one path a line.
fn sort<'a>(table: &'a str, builtin: &str, names: &[&str]) -> Result<Vec<&'a str>> {
    let needs = needs(table);
    let mut order = Vec::new();
    for &name in names {
        match needs.keys().find(|path| module_name(path) == name) {
            Some(module) => add_after_needs(&needs, module, &mut BTreeSet::new(), &mut order),
            None if builtin.lines().any(|path| module_name(path) == name) => {}
            None => bail!(
                "the module {name} stands neither in modules.dep nor in modules.builtin: give \
                 another kernel line with --kernel"
            ),
        }
    }
    Ok(order)
}

/// Appends `module` to `order`, after the modules needed. `open` holds the modules whose needs are
/// being added: a cycle ends there.
fn add_after_needs<'a>(
    needs: &BTreeMap<&'a str, &'a str>,
    module: &'a str,
    open: &mut BTreeSet<&'a str>,
    order: &mut Vec<&'a str>,
) {
    if order.contains(&module) || !open.insert(module) {
        return;
    }
    let needed = needs.get(module).copied().unwrap_or_default();
    for module in needed.split_whitespace() {
        add_after_needs(needs, module, open, order);
    }
    order.push(module);
}

/// Returns the name of the module in the file `path`, such as `ext4` for `kernel/fs/ext4.ko.xz`.
fn module_name(path: &str) -> &str {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").map_or(file, |(name, _)| name)
}

/// Returns the needs of each module in depmod's modules.dep: `module: dependency …`.
fn needs(table: &str) -> BTreeMap<&str, &str> {
    table
        .lines()
        .filter_map(|line| line.split_once(':'))
        .collect()
}

/// Returns the modules of `table` that are `wanted`, and their dependencies. The table is depmod's
/// modules.dep.
fn closure(table: &str, wanted: impl Fn(&str) -> bool) -> BTreeSet<&str> {
    let needs = needs(table);
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
    /// Lines of the modules.dep of Linux 6.1 in Debian 12.
    const VIRTIO_6_1: &str = "\
kernel/drivers/virtio/virtio.ko: kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio_pci_legacy_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_legacy_dev.ko \
kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko \
kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko \
kernel/drivers/virtio/virtio_ring.ko
";

    #[test]
    fn a_module_is_loaded_after_its_needs() {
        let names = ["virtio_pci", "virtio_blk", "ext4"];
        let order = sort(VIRTIO_6_1, "kernel/fs/ext4/ext4.ko\n", &names).unwrap();
        let expected = [
            "kernel/drivers/virtio/virtio_pci_legacy_dev.ko",
            "kernel/drivers/virtio/virtio_pci_modern_dev.ko",
            "kernel/drivers/virtio/virtio_ring.ko",
            "kernel/drivers/virtio/virtio.ko",
            "kernel/drivers/virtio/virtio_pci.ko",
            "kernel/drivers/block/virtio_blk.ko",
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn a_built_in_module_has_no_file() {
        // Linux 6.12 in Debian 13.
        let table = "kernel/drivers/block/virtio_blk.ko.xz:\n";
        let builtin = "kernel/drivers/virtio/virtio_pci.ko\n";
        let order = sort(table, builtin, &["virtio_pci", "virtio_blk"]).unwrap();
        assert_eq!(order, ["kernel/drivers/block/virtio_blk.ko.xz"]);
    }

    #[test]
    fn a_cycle_of_needs_ends() {
        let table = "kernel/a.ko: kernel/b.ko\nkernel/b.ko: kernel/a.ko\n";
        let order = sort(table, "", &["a"]).unwrap();
        assert_eq!(order, ["kernel/b.ko", "kernel/a.ko"]);
    }

    #[test]
    fn an_absent_module_is_named() {
        let error = sort(VIRTIO_6_1, "", &["virtio_blk", "ext4"]).unwrap_err();
        assert!(error.to_string().contains("module ext4 stands"), "{error}");
    }
}
