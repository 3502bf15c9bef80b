//! Userspace WireGuard that is not what the socket promises: hung, without end, or another user's.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
use rustix::process::{Signal, Uid};
use rustix::thread::set_thread_uid;

use crate::lab::command::{Daemon, Finished, eventually, finish};
use crate::lab::enforcer::{REGISTRY, SETTLE};
use crate::lab::topology::HOST_WG;
use crate::scenario::host_only::LOADER;
use crate::scenario::{Rig, Scenario, all_host_only};
use crate::scenarios::live::{look_again, most_resident};

use super::hub::{NOBODY, ended, registry, says};
use super::userspace::{LAPTOP, LAPTOP_BASE64, Run, peer};

/// The user of strangers.
const STRANGERS_UID: u32 = 65534;
/// The number of devices with a daemon that hangs: the greatest number of peers.
const DEVICES: usize = 256;
/// The time limit of all questions together.
const LIMIT: Duration = Duration::from_secs(1);
/// For a loaded machine.
const MARGIN: Duration = Duration::from_millis(1500);

pub(super) fn scenarios() -> Vec<Scenario> {
    let mut scenarios = vec![
        Scenario::new("keys::hostile::another_users_socket", strangers),
        Scenario::new("keys::hostile::256_hung_devices", hung),
        Scenario::new(
            "keys::hostile::run_asks_a_hung_device_less_often",
            backs_off,
        ),
    ];
    for manner in [Manner::Endless, Manner::ManyKeys, Manner::Drip] {
        let name = format!("keys::hostile::an_answer_without_end::{}", manner.name());
        scenarios.push(Scenario::new(name, move |rig| without_end(rig, manner)));
    }
    all_host_only(scenarios, LOADER)
}

/// An answer of the laptop's device.
fn answer() -> String {
    peer(&LAPTOP, &["10.10.0.5/32"]).replace("replace_allowed_ips=true\n", "") + "errno=0\n\n"
}

/// The way in which a daemon answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// As WireGuard does.
    Honest,
    /// Never.
    Hung,
    /// 48 MiB of prefixes.
    Endless,
    /// 500,000 keys.
    ManyKeys,
    /// A byte each 0.9 seconds.
    Drip,
}

impl Manner {
    fn name(self) -> &'static str {
        match self {
            Self::Honest => "honest",
            Self::Hung => "hung",
            Self::Endless => "48_mib",
            Self::ManyKeys => "500000_keys",
            Self::Drip => "a_byte_at_a_time",
        }
    }

    /// Answers, until the other side hangs up.
    fn answer(self, stream: &mut UnixStream) -> std::io::Result<()> {
        let _ = stream.read(&mut [0; 64])?;
        match self {
            Self::Honest => stream.write_all(answer().as_bytes()),
            Self::Hung => stream.read_to_end(&mut Vec::new()).map(drop),
            Self::Endless => {
                let block = "allowed_ip=10.10.0.5/32\n".repeat(1 << 12);
                stream.write_all(answer().replace("errno=0\n\n", "").as_bytes())?;
                (0..(48 << 20) / block.len()).try_for_each(|_| stream.write_all(block.as_bytes()))
            }
            Self::ManyKeys => (0..500_000u32).try_for_each(|number| {
                stream.write_all(format!("public_key={number:064x}\n").as_bytes())
            }),
            Self::Drip => answer().bytes().try_for_each(|byte| {
                thread::sleep(Duration::from_millis(900));
                stream.write_all(&[byte])
            }),
        }
    }
}

/// Serves a socket, and counts the questions. The thread ends with this process.
fn serve(listener: UnixListener, manner: Manner) -> Arc<AtomicUsize> {
    let questions = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&questions);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            count.fetch_add(1, Ordering::Relaxed);
            // The other side hangs up in the middle of some answers.
            thread::spawn(move || manner.answer(&mut stream).ok());
        }
    });
    questions
}

/// Prints a figure of a scenario.
fn figure(scenario: &str, text: &str) {
    println!("keys::hostile::{scenario}: {text}");
}

/// A tun device in the place of the lab's wg0.
fn make_tun(rig: &Rig<'_>) -> Result<()> {
    rig.lab.host.ip(&format!(
        "link del wg0
         tuntap add dev wg0 mode tun
         addr add {HOST_WG}/24 dev wg0
         link set wg0 up"
    ))
}

fn call(rig: &Rig<'_>, run: &Run, arguments: &[&str], code: i32) -> Result<Finished> {
    let mut command = rig.enforcer.command(arguments)?;
    run.guide(&mut command);
    ended(finish(command, "")?, code)
}

/// Makes a socket on which a process of another user listens, in a folder that is root's.
fn listen_as_stranger(path: &Path) -> Result<UnixListener> {
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    let listening = thread::spawn(move || {
        // Of this thread alone, which ends.
        // SAFETY: no other code of the process relies on the user of this thread.
        set_thread_uid(Uid::from_raw(STRANGERS_UID))?;
        listen(&socket, 16)?;
        Ok::<_, rustix::io::Errno>(socket)
    });
    let socket = listening
        .join()
        .map_err(|_| anyhow!("a thread panicked"))??;
    Ok(UnixListener::from(socket))
}

/// A socket or folder that others may change, and a process of another user: the peer waits, and
/// `status` shows the cure. The controls: root's daemon, before and after each.
fn strangers(rig: &Rig<'_>) -> Result<()> {
    let run = Run::new(rig.lab)?;
    let (folder, path) = (run.folder(), run.socket("wg0"));
    make_tun(rig)?;
    serve(UnixListener::bind(&path)?, Manner::Honest);
    rig.enforcer.registry(&registry(LAPTOP_BASE64))?;
    call(rig, &run, &["up", "--static-peers"], 0)?;
    let expect = |words: &str| -> Result<()> {
        call(rig, &run, &["reload"], 0)?;
        let status = call(rig, &run, &["status"], 0)?;
        says(
            &status,
            if words.is_empty() {
                "active"
            } else {
                "waiting"
            },
        )?;
        let said = status
            .stdout
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        ensure!(said.contains(words), "expected `{words}`, but {status}");
        Ok(())
    };
    expect("")?;
    let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    mode(&folder, 0o1777)?;
    chown(&path, Some(STRANGERS_UID), None)?;
    expect("chmod go-w /run/wireguard")?;
    mode(&folder, 0o755)?;
    expect("chown -h root /run/wireguard/wg0.sock")?;
    chown(&path, Some(0), None)?;
    mode(&path, 0o666)?;
    expect("chmod go-w /run/wireguard/wg0.sock")?;
    mode(&path, 0o755)?;
    expect("")?;
    // The file is root's at every look; the process decides.
    fs::remove_file(&path)?;
    serve(listen_as_stranger(&path)?, Manner::Honest);
    mode(&path, 0o755)?;
    expect("belongs to user 65534")?;
    fs::remove_file(&path)?;
    serve(UnixListener::bind(&path)?, Manner::Honest);
    mode(&path, 0o755)?;
    expect("")
}

/// All devices together hang for as long as one device.
fn hung(rig: &Rig<'_>) -> Result<()> {
    let run = Run::new(rig.lab)?;
    let (mut tuns, mut peers) = (String::new(), String::new());
    for number in 0..DEVICES {
        // No device is up: the time of an attachment does not count.
        writeln!(tuns, "tuntap add dev tun{number} mode tun")?;
        // No two peers may have the same key on an interface.
        write!(
            peers,
            "[peers.p{number}]\ninterface = \"tun{number}\"\npublic-key = \"{NOBODY}\"\n"
        )?;
    }
    rig.lab.host.ip(&tuns)?;
    let (services, _) = REGISTRY.split_once("[peers.").unwrap_or((REGISTRY, ""));
    let services = services.replace("[\"collector\"]", "[\"p0\"]");
    rig.enforcer.registry(&format!("{services}{peers}"))?;
    let up = || -> Result<(Duration, Duration)> {
        let mut command = rig.enforcer.command(&["up", "--static-peers"])?;
        run.guide(&mut command);
        let start = Instant::now();
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut command = Daemon::spawn(command)?;
        let socket_guard = rig.lab.pin_dir().join("link_socket");
        eventually(SETTLE * 3, || socket_guard.exists().then_some(())).context("no guard")?;
        let guarded = start.elapsed();
        ensure!(command.expect_end(SETTLE)?.success(), "`up` failed");
        Ok((guarded, start.elapsed()))
    };
    let (without, _) = up()?;
    call(rig, &run, &["down"], 0)?;
    let _listeners = (0..DEVICES)
        .map(|number| UnixListener::bind(run.socket(&format!("tun{number}"))))
        .collect::<Result<Vec<_>, _>>()?;
    let (guarded, ended) = up()?;
    figure(
        "256_hung_devices",
        &format!("guards after {guarded:?}, and after {without:?} without sockets; end {ended:?}"),
    );
    // One after another, the devices would take minutes.
    ensure!(
        guarded <= without * 2 + LIMIT + MARGIN,
        "guards after {guarded:?}, and after {without:?} without sockets"
    );
    // `up` closes with a `status`, which asks once more.
    ensure!(
        ended <= guarded * 2 + LIMIT + MARGIN,
        "guards after {guarded:?}, but `up` ended after {ended:?}"
    );
    // The control: the sockets were asked.
    let status = call(rig, &run, &["status"], 0)?;
    let silent = status.stdout.matches("no answer within 1s").count();
    ensure!(silent == DEVICES, "{silent} devices are silent: {status}");
    Ok(())
}

/// `run` lives beside an answer without end: in bounds of memory, and on time.
fn without_end(rig: &Rig<'_>, manner: Manner) -> Result<()> {
    /// In KiB, with the program: 48 MiB of an answer more would be too much.
    const MOST: u64 = 60 << 10;
    let path = Run::new(rig.lab)?;
    make_tun(rig)?;
    let questions = serve(UnixListener::bind(path.socket("wg0"))?, manner);
    rig.enforcer.registry(&registry(LAPTOP_BASE64))?;
    let mut run = rig
        .enforcer
        .run_guided(&[], |command| path.guide(command))?;
    let start = Instant::now();
    while start.elapsed() < SETTLE {
        look_again(rig.lab)?;
    }
    let asked = questions.load(Ordering::Relaxed);
    let most = most_resident(&run)?;
    run.signal(Signal::TERM)?;
    let stop = Instant::now();
    run.expect_end(SETTLE)?;
    let stop = stop.elapsed();
    figure(
        &format!("an_answer_without_end::{}", manner.name()),
        &format!("{asked} questions in {SETTLE:?}, {most} KiB at most, ended within {stop:?}"),
    );
    ensure!(most <= MOST, "`run` took {most} KiB");
    ensure!(stop <= MARGIN, "`run` ended after {stop:?}");
    let why = match manner {
        Manner::Drip | Manner::Hung => "no answer within 1s",
        _ => "longer than 4 MiB",
    };
    let status = call(rig, &path, &["status"], 0)?;
    says(&status, "waiting")?;
    let said = status
        .stdout
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    ensure!(said.contains(why), "expected `{why}`, but {status}");
    Ok(())
}

/// After each failure `run` waits twice as long. The control: an honest daemon is asked each second.
fn backs_off(rig: &Rig<'_>) -> Result<()> {
    const WATCHED: Duration = Duration::from_secs(10);
    let folder = Run::new(rig.lab)?;
    let path = folder.socket("wg0");
    make_tun(rig)?;
    rig.enforcer.registry(&registry(LAPTOP_BASE64))?;
    let asked = |manner| -> Result<usize> {
        let questions = serve(UnixListener::bind(&path)?, manner);
        let _run = rig
            .enforcer
            .run_guided(&[], |command| folder.guide(command))?;
        let first = eventually(SETTLE, || {
            let asked = questions.load(Ordering::Relaxed);
            (asked > 1).then_some(asked)
        });
        let first = first.context("nobody asked the daemon again")?;
        thread::sleep(WATCHED);
        fs::remove_file(&path)?;
        Ok(questions.load(Ordering::Relaxed) - first)
    };
    let (honest, hung) = (asked(Manner::Honest)?, asked(Manner::Hung)?);
    figure(
        "run_asks_a_hung_device_less_often",
        &format!("questions in {WATCHED:?}: {hung}, and {honest} to an honest device"),
    );
    ensure!(honest >= 6, "an honest daemon got {honest} questions");
    // After 1, 2, 4 seconds, each with a second for the answer.
    ensure!(
        (1..=4).contains(&hung),
        "a hung daemon got {hung} questions"
    );
    Ok(())
}
