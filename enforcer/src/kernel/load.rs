//! The loader: the object of the guards, and each program at the first use.

#[cfg(test)]
mod tests;

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Ebpf, EbpfLoader,
    programs::{Program, ProgramError},
};

use enforcer_ebpf::{Link, layout::State};

use super::{
    bpf::{self, CgroupHook},
    btf::Btf,
    namespace,
    object::OBJECT,
    pinned_map,
    pins::{MAPS, PinDir},
};
use crate::{
    failpoint::{Call, through},
    interfaces::Hook,
    printable::decode_path,
};

/// Returns the program of a wire guard, for a hook and the kind of a packet's first header.
pub(crate) const fn wire_program(hook: Hook, link: Link) -> &'static str {
    match (hook, link) {
        (Hook::XdpNative | Hook::XdpGeneric, Link::Ethernet) => "wire_xdp_ethernet",
        (Hook::XdpNative | Hook::XdpGeneric, Link::Ip) => "wire_xdp_ip",
        (Hook::Tcx, Link::Ethernet) => "wire_tcx_ethernet",
        (Hook::Tcx, Link::Ip) => "wire_tcx_ip",
    }
}

/// Returns every program of a wire guard.
pub(crate) fn wire_programs() -> [&'static str; 4] {
    [
        wire_program(Hook::XdpNative, Link::Ethernet),
        wire_program(Hook::XdpNative, Link::Ip),
        wire_program(Hook::Tcx, Link::Ethernet),
        wire_program(Hook::Tcx, Link::Ip),
    ]
}

/// The program of the socket guard.
pub(crate) const SOCKET_PROGRAM: &str = "socket_ingress";

/// The second form of the socket guard's program, for kernels that refuse the first form.
const SOCKET_PROGRAM_READING: &str = "socket_ingress_reading";

/// The programs that note what sockets send over UDP, each with its hook.
pub(crate) const SENT_PROGRAMS: [(&str, CgroupHook); 2] = [
    ("udp_sent_v4", CgroupHook::SendV4),
    ("udp_sent_v6", CgroupHook::SendV6),
];

/// Returns the names of all programs of guards.
pub(super) fn program_names() -> [&'static str; 8] {
    let [one, two, three, four] = wire_programs();
    let [(sent_v4, _), (sent_v6, _)] = SENT_PROGRAMS;
    [
        sent_v4,
        sent_v6,
        one,
        two,
        three,
        four,
        SOCKET_PROGRAM,
        SOCKET_PROGRAM_READING,
    ]
}

/// The options of a load.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The cookie of the network namespace whose sockets are judged.
    pub netns_cookie: u64,
    /// Whether the programs log diagnostics.
    pub log: bool,
}

impl Options {
    /// Returns the options that the programs of a pin directory were loaded with.
    pub(crate) const fn of(state: State) -> Self {
        Self {
            netns_cookie: state.netns_cookie,
            log: state.flags & State::LOG != 0,
        }
    }
}

/// The programs of a pin directory, each loaded and pinned at the first use.
///
/// Verifying all programs takes the kernel seconds on a small machine, and a host needs two or
/// three.
pub(crate) struct Programs<'a> {
    pins: &'a PinDir,
    options: Options,
    /// The object with the maps, after the first load.
    object: Option<Ebpf>,
}

impl<'a> Programs<'a> {
    /// Returns the programs of a directory, on the maps pinned there; missing maps are created, with
    /// the map that tells whether this process's network namespace lives.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub(crate) fn with_maps(pins: &'a PinDir, options: Options) -> Result<Self> {
        let mut programs = Self::of(pins, options);
        programs.object()?;
        // A set without this map guards all the same: the set's namespace is taken to live.
        namespace::pin(pins, options.netns_cookie).ok();
        Ok(programs)
    }

    /// Returns the programs of a directory in which every map is pinned.
    pub(crate) const fn of(pins: &'a PinDir, options: Options) -> Self {
        Self {
            pins,
            options,
            object: None,
        }
    }

    /// The directory.
    pub(crate) const fn pins(&self) -> &PinDir {
        self.pins
    }

    fn object(&mut self) -> Result<&mut Ebpf> {
        if self.object.is_none() {
            self.object = Some(load_object(self.options, self.pins)?);
        }
        self.object.as_mut().context("the object was just loaded")
    }

    /// Loads and pins a wire program without a pin, and returns the pin.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub(crate) fn wire(&mut self, hook: Hook, link: Link) -> Result<PathBuf> {
        self.loaded(wire_program(hook, link))
    }

    /// Loads the wire programs without a pin, and returns their names. A refused program is left out:
    /// the first use reports the refusal.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub(crate) fn load_all_wire(&mut self) -> Result<Vec<&'static str>> {
        let missing: Vec<&str> = wire_programs()
            .into_iter()
            .filter(|name| !self.pins.program(name).exists())
            .collect();
        if missing.is_empty() {
            return Ok(missing);
        }
        let object = self.object()?;
        Ok(missing
            .into_iter()
            .filter(|name| load_program(object, name).is_ok())
            .collect())
    }

    /// Pins loaded programs, except for programs pinned by another process in the meantime.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn pin_wire(&mut self, names: &[&str]) -> Result<()> {
        for name in names {
            let pin = self.pins.program(name);
            if !pin.exists() {
                pin_program(self.object()?, name, &pin)?;
            }
        }
        Ok(())
    }

    /// Loads and pins a program of [`SENT_PROGRAMS`] without a pin, and returns the pin.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub(crate) fn sent(&mut self, name: &str) -> Result<PathBuf> {
        self.loaded(name)
    }

    /// Loads and pins a program without a pin, and returns the pin.
    fn loaded(&mut self, name: &str) -> Result<PathBuf> {
        let pin = self.pins.program(name);
        if !pin.try_exists().unwrap_or(false) {
            let object = self.object()?;
            load_program(object, name)?;
            pin_program(object, name, &pin)?;
        }
        Ok(pin)
    }

    /// Loads and pins the socket program, and returns the pin.
    ///
    /// # Errors
    /// The kernel refuses both forms of the program.
    pub(crate) fn socket(&mut self) -> Result<PathBuf> {
        let pin = self.pins.program(SOCKET_PROGRAM);
        let object = self.object()?;
        let name = load_socket(object)?;
        pin_program(object, name, &pin)?;
        Ok(pin)
    }
}

/// Parses the object, sets the constants, and opens the maps pinned in a directory; missing maps are
/// created and pinned.
///
/// # Errors
/// The kernel refuses a map.
pub(super) fn load_object(options: Options, pins: &PinDir) -> Result<Ebpf> {
    // 0 lets the verifier prune every log statement.
    let level: u8 = if options.log { u8::MAX } else { 0 };
    // Without the offsets `load_socket` refuses the form of the program that needs them.
    let (skc_net, net_cookie) = socket_offsets().unwrap_or((0, 0));
    let mut loader = EbpfLoader::new();
    loader
        .override_global("AYA_LOG_LEVEL", &level, true)
        .override_global("NETNS_COOKIE", &options.netns_cookie, true)
        .override_global("SKC_NET_OFFSET", &skc_net, true)
        .override_global("NET_COOKIE_OFFSET", &net_cookie, true);
    for name in MAPS {
        loader.map_pin_path(name, pins.map(name));
    }
    through(Call::LoadObject, || {
        loader
            .load(OBJECT)
            .map_err(|error| anyhow!(describe(&error)))
    })
    .context("failed to create the guards' maps")
}

/// Returns the offsets of a socket's namespace and of a namespace's cookie. The look-up is done
/// once: BTF is megabytes.
fn socket_offsets() -> Result<(u64, u64)> {
    static FOUND: OnceLock<(u64, u64)> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(*found);
    }
    let btf = Btf::of_kernel()?;
    let found = (
        btf.offset("sock_common", "skc_net")?,
        btf.offset("net", "net_cookie")?,
    );
    Ok(*FOUND.get_or_init(|| found))
}

/// Loads the socket program in the first form that the kernel takes, and returns the form's name.
fn load_socket(ebpf: &mut Ebpf) -> Result<&'static str> {
    // The probe is the load: the helper came to cgroup_skb with 6.15, and may be backported.
    let Err(first) = load_program(ebpf, SOCKET_PROGRAM) else {
        return Ok(SOCKET_PROGRAM);
    };
    socket_offsets()
        .and_then(|_| load_program(ebpf, SOCKET_PROGRAM_READING))
        .map_err(|second| anyhow!("{second:#}\nand before that, the other form: {first:#}"))?;
    Ok(SOCKET_PROGRAM_READING)
}

/// Loads a program.
///
/// # Errors
/// The verifier's refusal, with the whole log.
pub(super) fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program {name}"))?;
    let loaded = through(Call::LoadProgram, || match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        _ => Err(ProgramError::UnexpectedProgramType),
    });
    loaded.map_err(|error| match &error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => anyhow!("the kernel refuses the program {name}: {io_error}\n{verifier_log}"),
        _ => anyhow!("failed to load the program {name}: {}", describe(&error)),
    })
}

fn pin_program(ebpf: &mut Ebpf, name: &str, path: &Path) -> Result<()> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program {name}"))?;
    through(Call::PinProgram, || {
        program.pin(path).map_err(|error| anyhow!(describe(&error)))
    })
    .with_context(|| format!("failed to pin {}", decode_path(path)))
}

/// Pins every map of a directory in another directory as well.
///
/// # Errors
/// A map is missing or of another shape than in this build's object, or the kernel's refusal.
pub(crate) fn adopt_maps(from: &PinDir, to: &PinDir) -> Result<()> {
    let mut found = Vec::new();
    for name in MAPS {
        found.push((name, pinned_map::descriptor(from, name)?));
    }
    for (name, map) in found {
        bpf::pin(map.as_fd(), &to.map(name))
            .with_context(|| format!("failed to pin {name} again"))?;
    }
    Ok(())
}

/// Returns an error and the causes in a single line: aya's messages leave the cause to `source()`.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
