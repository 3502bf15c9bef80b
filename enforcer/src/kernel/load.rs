//! The object of the guards: loaded into the kernel, and pinned in a directory.

use std::{
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
    btf::Btf,
    maps,
    object::{OBJECT, check_shape},
    pins::{MAPS, PinDir},
};
use crate::{
    failpoint::{Call, through},
    interfaces::Hook,
};

/// The program of a wire guard, for a hook and what stands at the first byte of a packet.
pub(crate) const fn wire_program(hook: Hook, link: Link) -> &'static str {
    match (hook, link) {
        (Hook::XdpNative | Hook::XdpGeneric, Link::Ethernet) => "wire_xdp_ethernet",
        (Hook::XdpNative | Hook::XdpGeneric, Link::Ip) => "wire_xdp_ip",
        (Hook::Tcx, Link::Ethernet) => "wire_tcx_ethernet",
        (Hook::Tcx, Link::Ip) => "wire_tcx_ip",
    }
}

/// Every program of a wire guard.
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

/// The socket guard for kernels that refuse its first form.
const SOCKET_PROGRAM_READING: &str = "socket_ingress_reading";

/// How to load.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The namespace whose sockets are judged.
    pub netns_cookie: u64,
    /// Let the programs' own diagnostics through.
    pub log: bool,
}

impl Options {
    /// As the programs of a directory were loaded.
    pub(crate) const fn of(state: State) -> Self {
        Self {
            netns_cookie: state.netns_cookie,
            log: state.flags & State::LOG != 0,
        }
    }
}

/// The programs of a pin directory: loaded and pinned when one is first needed.
///
/// Verifying all of them takes the kernel seconds on a small machine, and a host needs two or three.
pub(crate) struct Programs<'a> {
    pins: &'a PinDir,
    options: Options,
    /// The object with its maps, once something had to be loaded.
    object: Option<Ebpf>,
}

impl<'a> Programs<'a> {
    /// Those of a directory, whose pinned maps they use; maps that are missing are made.
    ///
    /// # Errors
    /// The kernel refuses a map.
    pub(crate) fn with_maps(pins: &'a PinDir, options: Options) -> Result<Self> {
        let mut programs = Self::of(pins, options);
        programs.object()?;
        Ok(programs)
    }

    /// Those of a directory in which every map is pinned.
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
            let paths = MAPS.map(|name| self.pins.map(name));
            let maps: Vec<(&str, &Path)> = MAPS
                .into_iter()
                .zip(paths.iter().map(AsRef::as_ref))
                .collect();
            self.object = Some(load_object(self.options, &maps)?);
        }
        self.object.as_mut().context("the object was just loaded")
    }

    /// Loads and pins a wire program, if it is not pinned yet; returns its pin.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub(crate) fn wire(&mut self, hook: Hook, link: Link) -> Result<PathBuf> {
        let name = wire_program(hook, link);
        let pin = self.pins.program(name);
        if !pin.try_exists().unwrap_or(false) {
            let object = self.object()?;
            load_program(object, name)?;
            pin_program(object, name, &pin)?;
        }
        Ok(pin)
    }

    /// Loads the wire programs that are not pinned yet and returns their names; what the kernel
    /// refuses is left out, for whoever needs it to hear why.
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

    /// Pins programs that were loaded, but for those that somebody has pinned by now.
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

    /// Loads and pins the socket program; returns its pin.
    ///
    /// # Errors
    /// The kernel refuses the program in every form.
    pub(crate) fn socket(&mut self) -> Result<PathBuf> {
        let pin = self.pins.program(SOCKET_PROGRAM);
        let object = self.object()?;
        let name = load_socket(object)?;
        pin_program(object, name, &pin)?;
        Ok(pin)
    }
}

/// Parses the object, sets its constants and creates its maps, or opens those pinned at the paths.
///
/// # Errors
/// The kernel refuses a map.
pub fn load_object(options: Options, pinned: &[(&str, &Path)]) -> Result<Ebpf> {
    // 0 lets the verifier prune every log statement.
    let level: u8 = if options.log { u8::MAX } else { 0 };
    // Without them `load_socket` refuses the one form that needs them.
    let (skc_net, net_cookie) = socket_offsets().unwrap_or((0, 0));
    let mut loader = EbpfLoader::new();
    loader
        .override_global("AYA_LOG_LEVEL", &level, true)
        .override_global("NETNS_COOKIE", &options.netns_cookie, true)
        .override_global("SKC_NET_OFFSET", &skc_net, true)
        .override_global("NET_COOKIE_OFFSET", &net_cookie, true);
    for (name, path) in pinned {
        loader.map_pin_path(name, *path);
    }
    through(Call::LoadObject, || {
        loader
            .load(OBJECT)
            .map_err(|error| anyhow!(describe(&error)))
    })
    .context("failed to create the guards' maps")
}

/// Where a socket's namespace and its cookie are to be read. Looked for once: BTF is megabytes.
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

/// Loads the socket program in the first form that the kernel takes, and returns its name.
fn load_socket(ebpf: &mut Ebpf) -> Result<&'static str> {
    // Probed by loading: the helper came to cgroup_skb with 6.15, and may be backported.
    let Err(first) = load_program(ebpf, SOCKET_PROGRAM) else {
        return Ok(SOCKET_PROGRAM);
    };
    socket_offsets()
        .and_then(|_| load_program(ebpf, SOCKET_PROGRAM_READING))
        .map_err(|second| anyhow!("{second:#}\nand before that, of its other form: {first:#}"))?;
    Ok(SOCKET_PROGRAM_READING)
}

/// Loads one program.
///
/// # Errors
/// The verifier's refusal, with its whole log.
pub fn load_program(ebpf: &mut Ebpf, name: &str) -> Result<()> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the object has no program {name}"))?;
    let loaded = through(Call::LoadProgram, || match program {
        Program::Xdp(program) => program.load(),
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSkb(program) => program.load(),
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
    .with_context(|| format!("failed to pin {}", path.display()))
}

/// Opens a pinned map and pins it among the new ones as well, if it has the shape that this
/// build's object gives it.
///
/// # Errors
/// The map is missing or of another shape, named in the error.
pub(crate) fn adopt_maps(from: &PinDir, to: &PinDir) -> Result<()> {
    let mut found = Vec::new();
    for name in MAPS {
        let map =
            maps::open(&from.map(name)).with_context(|| format!("no map is pinned as {name}"))?;
        check_shape(name, &map)?;
        found.push((name, map));
    }
    for (name, map) in found {
        through(Call::PinMap, || {
            map.pin(to.map(name))
                .map_err(|error| anyhow!(describe(&error)))
        })
        .with_context(|| format!("failed to pin {name} again"))?;
    }
    Ok(())
}

/// An error with its causes in one line: aya's own messages leave the cause to `source()`.
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
