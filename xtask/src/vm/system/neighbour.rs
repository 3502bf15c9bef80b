//! The process at the other end of a guest's wire: `enforcer-tests system neighbour`.

use std::{
    fmt,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

/// Neighbour of one guest; the process ends with this value.
pub(super) struct Neighbour {
    child: Child,
    output: BufReader<ChildStdout>,
    dir: TempDir,
}

/// Counts of sent and received traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// SYNs sent.
    pub(super) syns: u64,
    /// Frames of all kinds from the guest.
    pub(super) frames: u64,
    /// SYN-ACKs among the frames.
    pub(super) syn_acks: u64,
    /// Bytes received from services.
    pub(super) bytes: u64,
}

/// Kind of boot beside a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BootKind {
    /// Boot with the enforcer.
    Guarded,
    /// Boot with the enforcer, and obstacles of this kind in the way of the guards.
    Obstructed(&'static str),
    /// Boot without the enforcer: the control.
    Unguarded,
    /// Boot without the enforcer, with a network manager that waits for the policy.
    Withheld,
}

impl BootKind {
    /// Returns the sub-command of `enforcer-tests system`.
    pub(super) fn command(self) -> &'static str {
        match self {
            Self::Guarded => "boot",
            Self::Obstructed(_) => "obstructed-boot",
            Self::Unguarded => "open-boot",
            Self::Withheld => "shut-boot",
        }
    }

    /// Returns the number of SYNs that proves a neighbour at work during the whole boot.
    fn min_syns(self) -> u64 {
        match self {
            Self::Guarded | Self::Obstructed(_) | Self::Unguarded => 1000,
            // This guest's NIC stays down: the wire takes the buffers of QEMU and of the socket,
            // and is full from then on.
            Self::Withheld => 100,
        }
    }
}

impl Neighbour {
    /// Starts a neighbour, and returns when the neighbour is ready for the guest.
    pub(super) fn start(program: &Path) -> Result<Self> {
        let dir =
            tempfile::tempdir().context("failed to create a folder for the neighbour's socket")?;
        let mut child = Command::new(program)
            .args(["system", "neighbour"])
            .arg(socket(&dir))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the neighbour, `enforcer-tests system neighbour`")?;
        let output = child
            .stdout
            .take()
            .context("the neighbour has no standard output")?;
        let mut neighbour = Self {
            child,
            output: BufReader::new(output),
            dir,
        };
        let line = neighbour.line()?;
        if line != "neighbour: waiting" {
            bail!("the neighbour did not start, and wrote `{line}`");
        }
        Ok(neighbour)
    }

    /// Returns the socket for QEMU.
    pub(super) fn socket(&self) -> PathBuf {
        socket(&self.dir)
    }

    /// Returns the counts, after the end of the guest.
    pub(super) fn tally(mut self) -> Result<Tally> {
        let line = self.line()?;
        Tally::parse(&line).with_context(|| format!("the neighbour wrote no counts but `{line}`"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .context("failed to read the neighbour's output")?;
        Ok(line.trim().to_owned())
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        // By its handle; after its end, nothing happens.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Tally {
    fn parse(line: &str) -> Option<Self> {
        let number = |name: &str| {
            line.strip_prefix("neighbour: ")?
                .split(' ')
                .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some(Self {
            syns: number("syns")?,
            frames: number("frames")?,
            syn_acks: number("syn-acks")?,
            bytes: number("bytes")?,
        })
    }

    /// Returns the reason to fail such a boot.
    pub(super) fn fault(self, boot: BootKind) -> Option<&'static str> {
        let reached = self.syn_acks > 0 || self.bytes > 0;
        match boot {
            _ if self.syns < boot.min_syns() => {
                Some("the neighbour sent too few SYNs to prove anything")
            }
            BootKind::Guarded | BootKind::Obstructed(_) | BootKind::Unguarded
                if self.frames == 0 =>
            {
                Some("the guest sent no frame")
            }
            BootKind::Unguarded if self.syn_acks == 0 || self.bytes == 0 => {
                Some("the neighbour reached no service though the enforcer was off")
            }
            BootKind::Guarded | BootKind::Obstructed(_) | BootKind::Withheld if reached => {
                Some("the neighbour reached a service")
            }
            _ => None,
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the neighbour sent {} SYNs and received {} frames, {} SYN-ACKs, {} bytes of services",
            self.syns, self.frames, self.syn_acks, self.bytes
        )
    }
}

fn socket(dir: &TempDir) -> PathBuf {
    dir.path().join("wire")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_is_read() {
        let line = "neighbour: syns=2000 frames=7 resolved=1 syn-acks=3 bytes=4";
        let tally = Tally::parse(line).unwrap();
        assert_eq!((tally.syns, tally.frames), (2000, 7));
        assert_eq!((tally.syn_acks, tally.bytes), (3, 4));
        assert_eq!(Tally::parse("neighbour: waiting"), None);
    }

    #[test]
    fn one_syn_ack_is_one_too_many() {
        let quiet = Tally {
            syns: 2000,
            frames: 3,
            ..Tally::default()
        };
        assert_eq!(quiet.fault(BootKind::Guarded), None);
        assert!(quiet.fault(BootKind::Unguarded).is_some());
        let reached = Tally {
            syn_acks: 1,
            ..quiet
        };
        assert!(reached.fault(BootKind::Guarded).is_some());
        assert!(reached.fault(BootKind::Withheld).is_some());
        assert!(reached.fault(BootKind::Obstructed("files")).is_some());
        assert_eq!(quiet.fault(BootKind::Obstructed("files")), None);
        assert!(
            reached.fault(BootKind::Unguarded).is_some(),
            "no byte of a service"
        );
        let served = Tally {
            bytes: 7,
            ..reached
        };
        assert_eq!(served.fault(BootKind::Unguarded), None);
        let idle = Tally { syns: 9, ..quiet };
        assert!(idle.fault(BootKind::Guarded).is_some());
        let absent = Tally { frames: 0, ..quiet };
        assert!(absent.fault(BootKind::Guarded).is_some());
        assert_eq!(absent.fault(BootKind::Withheld), None);
    }
}
