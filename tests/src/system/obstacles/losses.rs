//! What goes away while the unit lives: the fragments, the pins, their file system.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::mount::{UnmountFlags, unmount};

use super::{BPFFS, FRAGMENTS, PINS, REGISTRY, Undo, lose};
use crate::system::host::Host;
use crate::system::scenario::SystemScenario;

pub(super) fn scenarios() -> Vec<SystemScenario> {
    vec![
        SystemScenario {
            name: "losses::the_folder_of_the_fragments",
            body: |host| lose(host, linked_fragments, |_| Ok(fs::rename(SHARE, GONE)?)),
        },
        SystemScenario {
            name: "losses::the_pins",
            body: |host| lose(host, nothing, |_| Ok(fs::remove_dir_all(PINS)?)),
        },
        SystemScenario {
            name: "losses::the_file_system_of_the_pins",
            body: |host| {
                lose(host, nothing, |_| {
                    unmount(BPFFS, UnmountFlags::DETACH).context("failed to unmount the bpffs")
                })
            },
        },
    ]
}

/// A share that goes away.
const SHARE: &str = "/root/fragments";
const GONE: &str = "/root/gone";

fn nothing(_: &Host, _: &mut Undo) -> Result<()> {
    Ok(())
}

/// The attacked port is registered by a fragment alone, in a folder behind a link.
fn linked_fragments(_: &Host, undo: &mut Undo) -> Result<()> {
    fs::create_dir_all(SHARE)?;
    undo.later(|| {
        for folder in [SHARE, GONE] {
            fs::remove_dir_all(folder).ok();
        }
    });
    fs::create_dir_all("/etc/enforcer")?;
    fs::write(REGISTRY, "[services.other]\nports = [15001]\n")?;
    let fragment = Path::new(SHARE).join("elastic.toml");
    fs::write(fragment, "[services.elastic]\nports = [9200]\n")?;
    Ok(std::os::unix::fs::symlink(SHARE, FRAGMENTS)?)
}
