//! The ports of sshd, by sshd_config(5).

use std::{collections::BTreeSet, fs, path::PathBuf};

use super::logins::read;

const FILE: &str = "/etc/ssh/sshd_config";
/// The folder that distributions include in the file.
const FOLDER: &str = "/etc/ssh/sshd_config.d";
/// The default port, which a socket unit may have as well.
const DEFAULT: u16 = 22;
/// Limits, in files, and in bytes for each file.
const MAX_FILES: usize = 256;
const MAX_FILE: u64 = 1 << 20;

/// Returns port 22 and the ports in sshd's configuration. A file that cannot be read has none.
pub(super) fn ports() -> BTreeSet<u16> {
    let fragments = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let fragments = fragments.map(|entry| entry.path()).take(MAX_FILES);
    let mut ports = BTreeSet::from([DEFAULT]);
    for file in std::iter::once(PathBuf::from(FILE)).chain(fragments) {
        if let Ok(Some(bytes)) = read(&file, MAX_FILE) {
            ports.extend(ports_in(&String::from_utf8_lossy(&bytes)));
        }
    }
    ports
}

/// Returns the ports in a configuration: `Port 2222`, `ListenAddress HOST:2222`.
fn ports_in(text: &str) -> impl Iterator<Item = u16> {
    text.lines().filter_map(|line| {
        let is_between = |c: char| c.is_whitespace() || c == '=';
        let mut words = line.split(is_between).filter(|word| !word.is_empty());
        let keyword = words.next()?;
        let value = words.next()?.trim_matches('"');
        if keyword.eq_ignore_ascii_case("port") {
            return value.parse().ok();
        }
        let has_one_colon = value.matches(':').count() == 1;
        let is_address = keyword.eq_ignore_ascii_case("listenaddress");
        let (host, port) = value.rsplit_once(':')?;
        (is_address && (has_one_colon || host.ends_with(']')))
            .then(|| port.parse().ok())
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_from_the_configuration() {
        for (text, expected) in [
            ("", &[][..]),
            ("Port 2222", &[2222]),
            ("  port=2222\nPORT \"2200\"\n", &[2222, 2200]),
            ("#Port 2222\n# Port 1\nPermitRootLogin no", &[]),
            ("Port 99999\nPort\nPort x", &[]),
            ("ListenAddress 192.0.2.1:2222", &[2222]),
            ("ListenAddress [2001:db8::1]:2222", &[2222]),
            ("ListenAddress host:2222 rdomain x", &[2222]),
            ("ListenAddress 2001:db8::2222\nListenAddress 0.0.0.0", &[]),
            ("GatewayPorts 2222\nX 1:2222", &[]),
        ] {
            assert_eq!(ports_in(text).collect::<Vec<_>>(), expected, "{text}");
        }
        assert!(ports().contains(&22));
    }
}
