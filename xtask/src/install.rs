//! `cargo xtask install`: the program, its unit, its udev rules, its manual and examples.

use std::{
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{process, setup, workspace::Workspace};

const UNIT: &str = include_str!("../files/enforcer.service");

/// Delays the udev event of a NIC until the NIC is guarded.
const UDEV_RULES: &str = include_str!("../files/90-enforcer.rules");

/// Makes another unit wait for the policy.
const DROP_IN: &str = include_str!("../files/require-enforcer.conf");

/// Placeholder in the unit for the folder of the program.
const BINDIR: &str = "@bindir@";

/// Pages of `man enforcer` and `man enforcer.toml`.
const MANUAL: [(&str, &str); 2] = [
    ("man8/enforcer.8", include_str!("../../docs/man/enforcer.8")),
    (
        "man5/enforcer.toml.5",
        include_str!("../../docs/man/enforcer.toml.5"),
    ),
];

/// Registry for hosts without a registry by the administrator.
const DEFAULT_REGISTRY: &str = "enforcer/src/registry/default.toml";

/// Arguments of `cargo xtask install`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write below this folder: the root of a package or an image
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Folder of the installation on the installed system
    #[arg(long, value_name = "DIR", default_value = "/usr/local")]
    prefix: PathBuf,
    /// Start this unit, the network manager, only while the policy is in force; may be repeated
    #[arg(long, value_name = "UNIT")]
    require: Vec<String>,
}

/// A file of the installation.
pub(crate) struct InstalledFile {
    /// Path on the installed system.
    pub(crate) path: PathBuf,
    /// Bytes of the file.
    pub(crate) content: Vec<u8>,
    /// Permissions of the file.
    pub(crate) mode: u32,
}

/// Builds the enforcer and installs its files. /etc/enforcer stays the administrator's.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    // Wrong arguments fail before the build.
    units(&args.prefix, &args.require)?;
    setup::provide_ebpf_tools(workspace)?;
    process::run(&mut workspace.cargo(["build", "--release", "--package", "enforcer"]))?;
    for file in files(workspace, &args.prefix, &args.require)? {
        let path = under_root(&args.root, &file.path);
        let state = if replace_file(&path, &file.content, file.mode)? {
            "written"
        } else {
            "unchanged"
        };
        println!("  {state:<9}  {}", path.display());
    }
    if args.root == Path::new("/") {
        println!(
            "next: systemctl daemon-reload && udevadm control --reload && \
             systemctl enable --now enforcer.service"
        );
    }
    Ok(())
}

/// Returns all files of an installation below `prefix`, with the enforcer as last built.
pub(crate) fn files(
    workspace: &Workspace,
    prefix: &Path,
    require: &[String],
) -> Result<Vec<InstalledFile>> {
    let read = |path: PathBuf| {
        fs::read(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let program = read(workspace.release_binary("enforcer"))?;
    let registry = read(workspace.path(DEFAULT_REGISTRY))?;
    let file = |path: PathBuf, content: Vec<u8>, mode| InstalledFile {
        path,
        content,
        mode,
    };
    let units = units(prefix, require)?;
    let mut files = vec![file(prefix.join("bin/enforcer"), program, 0o755)];
    files.extend(
        units
            .into_iter()
            .map(|(path, text)| file(path, text.into_bytes(), 0o644)),
    );
    let rules = rules_dir(prefix).join("90-enforcer.rules");
    files.push(file(rules, UDEV_RULES.into(), 0o644));
    let example = prefix.join("share/doc/enforcer/enforcer.toml");
    files.push(file(example, registry, 0o644));
    files.extend(
        MANUAL.map(|(place, page)| file(prefix.join("share/man").join(place), page.into(), 0o644)),
    );
    Ok(files)
}

/// Returns the enforcer's unit, the example of a drop-in, and that drop-in for each unit of
/// `require`.
fn units(prefix: &Path, require: &[String]) -> Result<Vec<(PathBuf, String)>> {
    if !prefix.is_absolute() {
        bail!(
            "--prefix {} is not an absolute path: begin with /",
            prefix.display()
        );
    }
    let (bindir, dir) = (prefix.join("bin"), unit_dir(prefix));
    let drop_in = with_bindir(DROP_IN, &bindir)?;
    let example = prefix.join("share/doc/enforcer/require-enforcer.conf");
    let mut units = vec![
        (dir.join("enforcer.service"), with_bindir(UNIT, &bindir)?),
        (example, drop_in.clone()),
    ];
    for unit in require {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
        if !unit.ends_with(".service") || !unit.chars().all(known) {
            bail!("--require {unit}: name a service, such as systemd-networkd.service");
        }
        let path = dir.join(format!("{unit}.d/enforcer.conf"));
        units.push((path, drop_in.clone()));
    }
    Ok(units)
}

/// Returns `text` with the placeholder replaced by the folder of the program.
fn with_bindir(text: &str, bindir: &Path) -> Result<String> {
    let bindir = bindir.to_str().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if bindir.is_empty() || !bindir.chars().all(plain) {
        bail!(
            "--prefix {bindir} cannot be named in a unit: use letters, digits and any of / . _ - +"
        );
    }
    Ok(text.replace(BINDIR, bindir))
}

/// Returns the unit folder of software below `prefix`. systemd knows two prefixes; any other prefix
/// gets the administrator's folder.
fn unit_dir(prefix: &Path) -> PathBuf {
    if [Path::new("/usr"), Path::new("/usr/local")].contains(&prefix) {
        prefix.join("lib/systemd/system")
    } else {
        PathBuf::from("/etc/systemd/system")
    }
}

/// Returns udev's rules folder of software below `prefix` (udev(7)).
fn rules_dir(prefix: &Path) -> PathBuf {
    if [Path::new("/usr"), Path::new("/usr/local")].contains(&prefix) {
        prefix.join("lib/udev/rules.d")
    } else {
        PathBuf::from("/etc/udev/rules.d")
    }
}

fn under_root(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Replaces the file at `path` in one step, so that neither a running program nor a crash meets
/// half a file. Returns whether the file changed.
fn replace_file(path: &Path, content: &[u8], mode: u32) -> Result<bool> {
    let same = fs::read(path).is_ok_and(|old| old == content)
        && fs::metadata(path).is_ok_and(|old| old.permissions().mode() & 0o7777 == mode);
    if same {
        return Ok(false);
    }
    let failed = |error: io::Error| {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => ": run it as root, or give a --root of your own",
            _ => "",
        };
        anyhow::Error::from(error).context(format!("failed to write {}{hint}", path.display()))
    };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    let new = PathBuf::from(name);
    let written = write_synced(&new, content, mode).and_then(|()| fs::rename(&new, path));
    if let Err(error) = written {
        fs::remove_file(&new).ok();
        return Err(failed(error));
    }
    Ok(true)
}

fn write_synced(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(content)?;
    // The umask may have cleared bits of the mode given to `open`.
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_names_the_installed_program() {
        let unit = with_bindir(UNIT, Path::new("/usr/local/bin")).unwrap();
        assert!(unit.contains("\nExecStart=/usr/local/bin/enforcer run\n"));
        assert!(!unit.contains("@bindir@"), "{unit}");
    }

    #[test]
    fn the_unit_has_three_capabilities_and_no_internet_socket() {
        let has = |line: &str| UNIT.lines().any(|has| has == line);
        for line in [
            "CapabilityBoundingSet=CAP_BPF CAP_NET_ADMIN CAP_PERFMON",
            "RestrictAddressFamilies=AF_NETLINK AF_UNIX",
            "RuntimeDirectoryPreserve=yes",
        ] {
            assert!(has(line), "{line}");
        }
        // Both would take the pins of other processes away.
        let settings = |name: &str| UNIT.lines().any(|line| line.starts_with(name));
        assert!(!settings("PrivateBPF=") && !settings("ProtectKernelTunables="));
    }

    #[test]
    fn a_prefix_that_a_unit_would_read_otherwise_is_refused() {
        with_bindir(UNIT, Path::new("/opt/a b")).unwrap_err();
        with_bindir(UNIT, Path::new("/opt/%h")).unwrap_err();
    }

    #[test]
    fn the_network_manager_waits_only_where_asked() {
        let prefix = Path::new("/usr/local");
        let places = |require: &[&str]| {
            let require: Vec<_> = require.iter().map(|&unit| unit.to_owned()).collect();
            units(prefix, &require).map(|units| {
                let place = |(path, _): (PathBuf, _)| path.display().to_string();
                units.into_iter().map(place).collect::<Vec<_>>()
            })
        };
        assert!(!places(&[]).unwrap().join(" ").contains(".d/"));
        assert!(
            places(&["NetworkManager.service"])
                .unwrap()
                .contains(&format!(
                    "/usr/local/lib/systemd/system/{}.d/enforcer.conf",
                    "NetworkManager.service"
                ))
        );
        places(&["../evil.service"]).unwrap_err();
        places(&["networking"]).unwrap_err();
    }

    #[test]
    fn units_go_where_systemd_looks() {
        let dir = |prefix| unit_dir(Path::new(prefix));
        assert_eq!(
            dir("/usr/local"),
            Path::new("/usr/local/lib/systemd/system")
        );
        assert_eq!(dir("/usr/"), Path::new("/usr/lib/systemd/system"));
        assert_eq!(dir("/opt/enforcer"), Path::new("/etc/systemd/system"));
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let dir = std::env::temp_dir().join(format!("xtask-install-{}", std::process::id()));
        let file = dir.join("a/b");
        let result = (
            replace_file(&file, b"x", 0o644),
            replace_file(&file, b"x", 0o644),
        );
        let entries = fs::read_dir(dir.join("a")).unwrap().count();
        fs::remove_dir_all(&dir).unwrap();
        assert_eq!((result.0.unwrap(), result.1.unwrap()), (true, false));
        assert_eq!(entries, 1, "no temporary file is left");
    }
}
