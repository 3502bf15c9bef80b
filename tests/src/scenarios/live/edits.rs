//! The registry's file under a living `run`, with every way of editing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::lab::Enforcer;
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario};

use super::timing::{expect_generation, figure, service_of, spread, within};

pub(super) fn scenarios() -> Vec<Scenario> {
    let edit = |name, body: fn(&Rig<'_>, &Path) -> Result<()>| {
        Scenario::new(name, move |rig| in_a_folder(rig, body)).host_only(LOADER)
    };
    vec![
        edit("live::edits::good_ones_are_applied", good),
        edit("live::edits::bad_ones_change_nothing", bad),
        edit("live::edits::a_folder_is_replaced", folder),
        edit("live::edits::a_link_is_followed", link),
        edit(
            "live::edits::the_file_of_another_reload_is_followed",
            foreign,
        ),
    ]
}

/// The port of the first edit; each edit has another port.
const FIRST: u16 = 15_000;

/// The registry, with a service on `port`.
fn marked(port: u16) -> String {
    format!("{REGISTRY}\n{}", mark(port))
}

fn mark(port: u16) -> String {
    format!("[services.mark-{port}]\nports = [{port}]\n")
}

/// Waits until the service of a port is part of the policy, or not.
fn expect_mark(rig: &Rig<'_>, port: u16, there: bool) -> Result<std::time::Duration> {
    let what = if there { "in force" } else { "gone" };
    within(SETTLE, &format!("mark-{port} {what}"), || {
        Ok(service_of(rig, port)?.is_some() == there)
    })
    .with_context(|| format!("`run` said\n{}", rig.enforcer.run_log()))
}

/// Runs `body` with a registry in a separate folder, where nothing but edits happens.
fn in_a_folder(rig: &Rig<'_>, body: fn(&Rig<'_>, &Path) -> Result<()>) -> Result<()> {
    let folder = rig.lab.scratch().join("etc");
    fs::create_dir(&folder)?;
    let enforcer = Enforcer::at(rig.enforcer.binary(), rig.lab, folder.join("enforcer.toml"))?;
    let rig = Rig {
        lab: rig.lab,
        enforcer: &enforcer,
    };
    body(&rig, &folder)
}

/// Replaces a file by rename, as vim and `sed -i` do.
fn rename_over(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("toml.swp");
    fs::write(&new, text)?;
    fs::rename(new, path).context("failed to rename")
}

fn good(rig: &Rig<'_>, folder: &Path) -> Result<()> {
    let file = folder.join("enforcer.toml");
    let fragments = folder.join("enforcer.d");
    let _run = rig.enforcer.run(&[])?;
    let mut took = Vec::new();
    // The control: an edit makes the difference.
    ensure!(service_of(rig, FIRST)?.is_none(), "there before the edit");

    for port in FIRST..FIRST + 3 {
        rig.enforcer.registry(&marked(port))?;
        took.push(expect_mark(rig, port, true).context("in place")?);
    }
    for port in FIRST + 3..FIRST + 6 {
        rename_over(&file, &marked(port))?;
        took.push(expect_mark(rig, port, true).context("renamed")?);
        ensure!(
            service_of(rig, port - 1)?.is_none(),
            "the old one is in force"
        );
    }
    // In place again, in the file that replaced the first; and away with a backup left behind, as
    // vim does with `backupcopy=no`.
    rig.enforcer.registry(&marked(FIRST + 6))?;
    took.push(expect_mark(rig, FIRST + 6, true).context("in place, after a rename")?);
    fs::rename(&file, folder.join("enforcer.toml~"))?;
    fs::write(&file, marked(FIRST + 7))?;
    took.push(expect_mark(rig, FIRST + 7, true).context("with a backup")?);

    // Fragments: the folder comes, then a first file, a second, a changed file; and they go.
    fs::create_dir(&fragments)?;
    let one = fragments.join("one.toml");
    fs::write(&one, mark(FIRST + 20))?;
    took.push(expect_mark(rig, FIRST + 20, true).context("a fragment")?);
    fs::write(fragments.join("two.toml"), mark(FIRST + 21))?;
    took.push(expect_mark(rig, FIRST + 21, true).context("a second fragment")?);
    rename_over(&one, &mark(FIRST + 22))?;
    took.push(expect_mark(rig, FIRST + 22, true).context("a renamed fragment")?);
    expect_mark(rig, FIRST + 20, false)?;
    fs::remove_file(&one)?;
    took.push(expect_mark(rig, FIRST + 22, false).context("a fragment that left")?);
    ensure!(
        service_of(rig, FIRST + 21)?.is_some() && service_of(rig, FIRST + 7)?.is_some(),
        "the rest has left too"
    );
    figure("edits", &format!("in force after {}", spread(took)));
    Ok(())
}

/// Insists on the words of `run`, and on the unchanged policy.
fn refused(rig: &Rig<'_>, words: &[&str]) -> Result<()> {
    let said = || {
        let log = rig.enforcer.run_log();
        Ok(words.iter().all(|word| log.contains(word)))
    };
    within(SETTLE, &format!("{words:?} in the log"), said)
        .with_context(|| format!("`run` said\n{}", rig.enforcer.run_log()))
        .map(drop)
}

fn bad(rig: &Rig<'_>, folder: &Path) -> Result<()> {
    let file = folder.join("enforcer.toml");
    let mut run = rig.enforcer.run(&[])?;
    let (_, before) = rig.enforcer.status()?;
    let unchanged = || expect_generation(rig, before.generation);

    rig.enforcer
        .registry("[services.elasticsearch]\nports = [0]\n")?;
    refused(rig, &["enforcer.toml:2:10"])?;
    unchanged().context("a bad port")?;
    rename_over(&file, "[services.elasticsearch\n")?;
    refused(rig, &["enforcer.toml:1:"])?;
    unchanged().context("a bad table")?;
    // An editor's truncated file: no services are no policy.
    rig.enforcer.registry("")?;
    refused(rig, &["the registry has no services"])?;
    unchanged().context("an empty file")?;
    // A bad fragment beside a good file.
    fs::create_dir(folder.join("enforcer.d"))?;
    let fragment = folder.join("enforcer.d/broken.toml");
    fs::write(&fragment, "\n\n[services.broken]\nports = [70000]\n")?;
    rig.enforcer.registry(&marked(FIRST))?;
    refused(rig, &["broken.toml:4:10"])?;
    unchanged().context("a bad fragment")?;
    // Without the fragment, the good file that was kept out is taken at once.
    fs::remove_file(&fragment)?;
    expect_mark(rig, FIRST, true)?;

    // Vanished: the policy stays, and a new file is taken.
    let (_, now) = rig.enforcer.status()?;
    let refusals = || {
        rig.enforcer
            .run_log()
            .matches("the registry is bad")
            .count()
    };
    let before = refusals();
    fs::remove_file(&file)?;
    within(SETTLE, "a word about the file", || Ok(refusals() > before))?;
    expect_generation(rig, now.generation).context("a file that vanished")?;
    ensure!(
        run.wait(std::time::Duration::ZERO)?.is_none(),
        "`run` has ended"
    );
    fs::write(&file, marked(FIRST + 1))?;
    expect_mark(rig, FIRST + 1, true).context("a file that came back")?;
    Ok(())
}

/// Configuration management replaces a whole folder with another.
fn folder(rig: &Rig<'_>, folder: &Path) -> Result<()> {
    let _run = rig.enforcer.run(&[])?;
    for (round, port) in (FIRST..FIRST + 3).enumerate() {
        let (new, old) = (
            beside(folder, "new"),
            beside(folder, &format!("old{round}")),
        );
        fs::create_dir(&new)?;
        fs::write(new.join("enforcer.toml"), marked(port))?;
        fs::rename(folder, &old)?;
        fs::rename(&new, folder)?;
        let took = expect_mark(rig, port, true).with_context(|| format!("round {round}"))?;
        figure("edits::a_folder_is_replaced", &format!("{took:.1?}"));
        // Changes of the old folder have no effect.
        fs::write(old.join("enforcer.toml"), marked(FIRST + 50))?;
    }
    rig.enforcer.registry(&marked(FIRST + 10))?;
    expect_mark(rig, FIRST + 10, true).context("in place, in the new folder")?;
    ensure!(
        service_of(rig, FIRST + 50)?.is_none(),
        "a folder that was put away is still followed"
    );
    Ok(())
}

fn beside(folder: &Path, name: &str) -> PathBuf {
    folder.with_file_name(name)
}

/// The file may be a link into some store: the target is edited, or the link made anew.
fn link(rig: &Rig<'_>, folder: &Path) -> Result<()> {
    let file = folder.join("enforcer.toml");
    let store = beside(folder, "store");
    fs::create_dir(&store)?;
    let target = |name: &str, port| -> Result<PathBuf> {
        let path = store.join(name);
        fs::write(&path, marked(port))?;
        Ok(path)
    };
    fs::remove_file(&file)?;
    symlink(target("one", FIRST)?, &file)?;
    let _run = rig.enforcer.run(&[])?;
    expect_mark(rig, FIRST, true)?;
    target("one", FIRST + 1)?;
    expect_mark(rig, FIRST + 1, true).context("its target was edited")?;
    let new = folder.join("new-link");
    symlink(target("two", FIRST + 2)?, &new)?;
    fs::rename(&new, &file)?;
    expect_mark(rig, FIRST + 2, true).context("it names another")?;
    target("two", FIRST + 3)?;
    expect_mark(rig, FIRST + 3, true).context("that one was edited")?;
    Ok(())
}

/// A reload with another file chooses that file for `run` as well.
fn foreign(rig: &Rig<'_>, folder: &Path) -> Result<()> {
    let _run = rig.enforcer.run(&[])?;
    let other = beside(folder, "other.toml");
    let by_hand = Enforcer::at(rig.enforcer.binary(), rig.lab, other.clone())?;
    by_hand.registry(&marked(FIRST))?;
    by_hand.reload()?;
    expect_mark(rig, FIRST, true)?;
    // `run` may need a moment to hear of the reload; from then on this is the file.
    within(SETTLE, "the other file is followed", || {
        by_hand.registry(&marked(FIRST + 1))?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        Ok(service_of(rig, FIRST + 1)?.is_some())
    })
    .with_context(|| format!("`run` said\n{}", rig.enforcer.run_log()))?;
    // A policy with a service more than any other here: `run` would have reported this policy
    // before any report on later edits.
    let usual = rig.enforcer.status()?.1.services;
    let more = format!("{}{}", marked(FIRST + 2), mark(FIRST + 9));
    rig.enforcer.registry(&more)?;
    for port in [FIRST + 4, FIRST + 5] {
        by_hand.registry(&marked(port))?;
        expect_mark(rig, port, true).context("a later edit of the other file")?;
    }
    let log = rig.enforcer.run_log();
    let said = |services: u64| log.contains(&format!("{services} services"));
    ensure!(
        said(usual) && !said(usual + 1) && service_of(rig, FIRST + 2)?.is_none(),
        "the first file is followed still:\n{log}"
    );
    // The tried file is moved into place, and is the file from there on.
    fs::rename(&other, folder.join("enforcer.toml")).context("failed to move it into place")?;
    within(SETTLE, "the first file is followed again", || {
        rig.enforcer.registry(&marked(FIRST + 3))?;
        std::thread::sleep(std::time::Duration::from_millis(500));
        Ok(service_of(rig, FIRST + 3)?.is_some())
    })
    .with_context(|| format!("`run` said\n{}", rig.enforcer.run_log()))
    .map(drop)
}
