//! Programs of this machine for a guest, with their libraries.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::cpio::Archive;
use crate::workspace::find_program;

/// Adds `program` as `/usr/bin/NAME`, and every library of the program under its path on this
/// machine.
///
/// Program and libraries are this machine's: only the kernel is the guest's own.
pub(crate) fn add(archive: &mut Archive, name: &str, program: &Path) -> Result<()> {
    archive.program(&format!("usr/bin/{name}"), &read(program)?);
    for library in libraries(program)? {
        archive.program(&place(&library)?, &read(&library)?);
    }
    Ok(())
}

/// Adds busybox, after the links that lead to its folder.
pub(crate) fn add_shell(archive: &mut Archive) -> Result<()> {
    for folder in ["usr/bin", "usr/lib", "usr/lib64"] {
        archive.folder(folder);
    }
    for (name, target) in LINKS {
        archive.link(name, target);
    }
    let busybox =
        find_program("busybox").context("busybox is not installed: run `cargo xtask setup`")?;
    add(archive, "busybox", &busybox)
}

/// Links from `/bin` and similar folders: a guest has one folder for all programs.
const LINKS: [(&str, &str); 5] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/bin"),
    ("usr/sbin", "bin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
];

/// Returns the path of a library in an archive, with [`LINKS`] resolved: an archive cannot write
/// through its own link.
fn place(library: &Path) -> Result<String> {
    let path = library
        .to_str()
        .with_context(|| format!("the path of the library {} is not UTF-8", library.display()))?
        .trim_start_matches('/');
    let merged = ["lib/", "lib64/"].iter().any(|top| path.starts_with(top));
    Ok(if merged {
        format!("usr/{path}")
    } else {
        path.to_owned()
    })
}

/// Returns the libraries of a program by the loader's answer, the loader included.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let failed = || {
        format!(
            "failed to list the libraries of {} with ldd",
            program.display()
        )
    };
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .with_context(failed)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !errors.contains("not a dynamic executable") {
        bail!("{}: {}", failed(), errors.trim());
    }
    parse(&text).with_context(failed)
}

/// Parses lines such as `libmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x7f…)` and
/// `/lib64/ld-linux-x86-64.so.2 (0x7f…)`; the kernel's own page has no path.
fn parse(text: &str) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for line in text.lines() {
        let path = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        if path == "not found" {
            bail!("{}", line.trim());
        }
        if let Some((path, _address)) = path.split_once(" (").filter(|_| path.starts_with('/')) {
            found.insert(path.into());
        }
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_s_answer_is_understood() {
        let text = "\
\tlinux-vdso.so.1 (0x00007ffd2b1c4000)
\tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f4d8f0a0000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f4d8f2c1000)
";
        let found = parse(text).unwrap();
        let expected = [
            "/lib/x86_64-linux-gnu/libmnl.so.0",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(found, expected.iter().map(PathBuf::from).collect());
        assert_eq!(parse("\tstatically linked\n").unwrap(), BTreeSet::new());
        let error = parse("\tlibgone.so.1 => not found\n").unwrap_err();
        assert!(error.to_string().contains("libgone.so.1"), "{error}");
    }

    #[test]
    fn libraries_lie_below_usr() {
        let place = |path: &str| place(Path::new(path)).unwrap();
        assert_eq!(place("/lib64/ld.so"), "usr/lib64/ld.so");
        assert_eq!(place("/lib/x/libc.so"), "usr/lib/x/libc.so");
        assert_eq!(place("/usr/lib/libz.so"), "usr/lib/libz.so");
        assert_eq!(place("/opt/lib/libz.so"), "opt/lib/libz.so");
    }
}
