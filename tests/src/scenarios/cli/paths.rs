//! Paths that somebody else chose: a registry, a fragment, a pin directory and a cgroup folder. Each
//! command shows the names with escapes, and no two alike.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::lab::command::{Daemon, eventually};
use crate::lab::netns::Netns;
use crate::scenario::{Rig, Scenario};

/// Names with ESC, a line feed and a byte outside UTF-8, and the forms in every output. The second
/// differs in one byte from the first, and the third is the escaped form of the first.
const NAMES: [(&[u8], &str); 4] = [
    (b"\x1b[2Ja\xff\nb", r"\x1b[2Ja\xff\x0ab"),
    (b"\x1b[2Ja\xfe\nb", r"\x1b[2Ja\xfe\x0ab"),
    (br"\x1b[2Ja\xff\x0ab", r"\\x1b[2Ja\\xff\\x0ab"),
    (b"\x1b[2Ja\nb", r"\x1b[2Ja\x0ab"),
];

const GOOD: &str = "[services.own]\nports = [15000]\n";
const BAD: &str = "[services.own]\nports = [0]\n";

/// The question of a packet to the port of [`GOOD`].
const QUESTION: [&str; 7] = [
    "explain",
    "--interface",
    "eth0",
    "--source",
    "192.0.2.7",
    "--port",
    "15000",
];

/// The limit of a command, and of the wait for words of `run` and `events`.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("names::of_a_registry_in_every_command", |rig| {
            each(rig, registry)
        }),
        Scenario::new("names::of_a_fragment_in_every_command", |rig| {
            each(rig, fragment)
        }),
        Scenario::new("names::of_a_pin_directory_in_every_command", |rig| {
            each(rig, pin_directory)
        }),
        Scenario::new("names::of_a_cgroup_in_every_command", |rig| {
            each(rig, cgroup)
        }),
    ]
}

/// The paths of a command.
struct Paths<'rig, 'lab> {
    rig: &'rig Rig<'lab>,
    config: PathBuf,
    pins: PathBuf,
    cgroup: Option<PathBuf>,
    /// The form of the name in an output.
    shown: &'static str,
}

/// Tries each name.
fn each(rig: &Rig<'_>, attempt: fn(&mut Paths<'_, '_>, &Path) -> Result<()>) -> Result<()> {
    for (bytes, shown) in NAMES {
        let name = Path::new(OsStr::from_bytes(bytes));
        let mut paths = Paths {
            rig,
            config: rig.enforcer.config_path()?.to_owned(),
            pins: rig.lab.pin_dir(),
            cgroup: None,
            shown,
        };
        attempt(&mut paths, name).with_context(|| format!("of the name {shown}"))?;
        paths.call(&rig.lab.host, &["down"])?;
    }
    Ok(())
}

impl Paths<'_, '_> {
    /// Runs a command up to the end, or up to the name in the output. Returns both streams.
    fn call(&self, namespace: &Netns, arguments: &[&str]) -> Result<String> {
        let log = self.rig.lab.scratch().join("output");
        let file = File::create(&log)?;
        let mut command = namespace.command(self.rig.enforcer.binary());
        command.arg("--pin-dir").arg(&self.pins);
        command.arg("--config").arg(&self.config);
        if let Some(cgroup) = &self.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        command.args(arguments).env_remove("NOTIFY_SOCKET");
        command.stdin(Stdio::null());
        command.stdout(file.try_clone()?).stderr(file);
        let mut process = Daemon::spawn(command)?;
        let text = || fs::read(&log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if ["run", "events"].contains(&arguments[0]) {
            let is_told = || {
                let is_over = process.wait(Duration::ZERO).is_ok_and(|end| end.is_some());
                (is_over || text().is_ok_and(|text| text.contains(self.shown))).then_some(())
            };
            eventually(LIMIT, is_told).with_context(|| {
                let seen = text().unwrap_or_default();
                format!("no word of {} in {arguments:?}: {seen}", self.shown)
            })?;
        } else {
            process.expect_end(LIMIT)?;
        }
        drop(process);
        Ok(text()?)
    }

    /// Insists that commands in a namespace show the name, and no other.
    fn expect_shown(&self, namespace: &Netns, commands: &[&[&str]]) -> Result<()> {
        for arguments in commands {
            let output = self.call(namespace, arguments)?;
            let output = check_plain(&output).with_context(|| format!("{arguments:?}"))?;
            for (_, form) in NAMES {
                ensure!(
                    output.contains(form) == (form == self.shown),
                    "{arguments:?} must show {} and no other name: {output}",
                    self.shown
                );
            }
        }
        Ok(())
    }

    /// Puts the registry in force.
    fn up(&self) -> Result<()> {
        let output = self.call(&self.rig.lab.host, &["up"])?;
        ensure!(!output.contains("error"), "`up` failed: {output}");
        Ok(())
    }
}

/// Insists on an output without characters that a terminal obeys, and without U+FFFD, which many
/// bytes share.
fn check_plain(output: &str) -> Result<&str> {
    let is_odd = |c: char| c != '\n' && (c.is_control() || c == char::REPLACEMENT_CHARACTER);
    ensure!(!output.contains(is_odd), "raw characters in {output:?}");
    Ok(output)
}

fn registry(paths: &mut Paths<'_, '_>, name: &Path) -> Result<()> {
    let host = &paths.rig.lab.host;
    paths.config = paths.rig.lab.scratch().join(name);
    paths.config.as_mut_os_string().push(".toml");
    // An absent file.
    let readers: [&[&str]; 5] = [&["check"], &["up"], &["reload"], &QUESTION, &["run"]];
    paths.expect_shown(host, &readers)?;
    paths.call(host, &["down"])?;
    fs::write(&paths.config, GOOD)?;
    paths.expect_shown(host, &[&["check"]])?;
    paths.up()?;
    paths.expect_shown(host, &[&QUESTION])?;
    fs::write(&paths.config, BAD)?;
    let again: [&[&str]; 5] = [
        &["check"],
        &["up"],
        &["reload"],
        &["reload", "--dry-run"],
        &["run"],
    ];
    paths.expect_shown(host, &again)
}

fn fragment(paths: &mut Paths<'_, '_>, name: &Path) -> Result<()> {
    let host = &paths.rig.lab.host;
    let folder = paths.config.with_extension("d");
    fs::create_dir_all(&folder)?;
    let mut fragment = folder.join(name);
    fragment.as_mut_os_string().push(".toml");
    fs::write(&fragment, GOOD)?;
    paths.expect_shown(host, &[&["check"]])?;
    paths.up()?;
    paths.expect_shown(host, &[&QUESTION])?;
    fs::write(&fragment, BAD)?;
    let readers: [&[&str]; 5] = [
        &["check"],
        &["up"],
        &["reload"],
        &["reload", "--dry-run"],
        &["run"],
    ];
    paths.expect_shown(host, &readers)?;
    fs::remove_file(&fragment)?;
    Ok(())
}

/// Another network namespace refuses the pins by name, and every command a name outside UTF-8.
fn pin_directory(paths: &mut Paths<'_, '_>, name: &Path) -> Result<()> {
    let rig = paths.rig;
    paths.pins = paths.pins.with_file_name(name);
    let users: [&[&str]; 9] = [
        &["up"],
        &["run"],
        &["reload"],
        &["reload", "--confirm", "60"],
        &["down"],
        &["status"],
        &["counters"],
        &["events"],
        &QUESTION,
    ];
    if name.to_str().is_none() {
        paths.expect_shown(&rig.lab.host, &users)?;
        return paths.expect_shown(&rig.lab.host, &[&["check"], &["confirm"]]);
    }
    paths.up()?;
    paths.expect_shown(&rig.lab.lan, &users)?;
    // The control: at home nobody refuses.
    let status = paths.call(&rig.lab.host, &["status"])?;
    ensure!(
        check_plain(&status)?.starts_with("enforcing"),
        "the pins are in force: {status}"
    );
    Ok(())
}

/// A folder that is no cgroup2: the wire guards hold alone.
fn cgroup(paths: &mut Paths<'_, '_>, name: &Path) -> Result<()> {
    let host = &paths.rig.lab.host;
    let folder = paths.rig.lab.scratch().join(name);
    let users: [&[&str]; 4] = [&["up"], &["status"], &["reload"], &["run"]];
    paths.cgroup = Some(folder.clone());
    paths.expect_shown(host, &users)?;
    fs::create_dir(&folder)?;
    paths.expect_shown(host, &users)
}
