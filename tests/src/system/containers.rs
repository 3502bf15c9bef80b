//! Podman's images, containers and quadlets.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use super::host::Host;
use crate::lab::Outcome;
use crate::lab::command::eventually;
use crate::lab::enforcer::SETTLE;

/// The image made here: busybox and a page.
pub(super) const IMAGE: &str = "localhost/web:latest";

/// The user with rootless containers, part of the guest's image.
const USER: &str = "app";
const HOME: &str = "/home/app";
const RUNTIME: &str = "XDG_RUNTIME_DIR=/run/user/1000";

/// Quadlets in the style of a host with services published on 127.0.0.1, on their own networks and
/// on ct-net; Vault and Grafana have the accident of another address.
const QUADLETS: [(&str, &str); 5] = [
    (
        "redis.container",
        "[Container]\nImage=localhost/web:latest\nPublishPort=127.0.0.1:6379:80\n",
    ),
    (
        "mattermost.container",
        "[Container]\nImage=localhost/web:latest\nPublishPort=127.0.0.1:8065:80\n\
         Network=ct-net.network\n",
    ),
    (
        "hashivault.container",
        "[Container]\nImage=localhost/web:latest\nPublishPort=0.0.0.0:8200:80\n",
    ),
    (
        "grafana.container",
        "[Container]\nImage=localhost/web:latest\nPublishPort=3000:80\nNetwork=ct-net.network\n",
    ),
    ("ct-net.network", "[Network]\nNetworkName=ct-net\n"),
];

/// Makes the image for root and for the user, and starts the user's quadlets.
pub(super) fn prepare(host: &Host) -> Result<()> {
    let root = Path::new("/tmp/web");
    fs::create_dir_all(root.join("bin"))?;
    fs::create_dir_all(root.join("www"))?;
    fs::copy("/bin/busybox", root.join("bin/busybox")).context("the guest has no busybox")?;
    for name in ["httpd", "nc", "sh", "sleep", "wget"] {
        symlink("busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("www/index.html"), "a page\n")?;
    host.run(&["tar", "-C", "/tmp/web", "-cf", "/tmp/web.tar", "."])?;
    let import =
        "import --quiet --change CMD=[\"/bin/httpd\",\"-f\",\"-p\",\"80\",\"-h\",\"/www\"]";
    let import: Vec<_> = import.split(' ').chain(["/tmp/web.tar", IMAGE]).collect();
    host.run(&[&["podman"], &import[..]].concat())?;
    as_user(host, &[&["podman"], &import[..]].concat())?;

    let quadlets = Path::new(HOME).join(".config/containers/systemd");
    fs::create_dir_all(&quadlets)?;
    for (name, text) in QUADLETS {
        fs::write(quadlets.join(name), text)?;
    }
    host.run(&["chown", "-R", "app:", "/home/app/.config"])?;
    // A user's quadlets wait for this target.
    host.run(&["systemctl", "start", "network-online.target"])?;
    as_user(host, &["systemctl", "--user", "daemon-reload"])?;
    let units = ["redis", "mattermost", "hashivault", "grafana"];
    as_user(
        host,
        &[&["systemctl", "--user", "start"], &units[..]].concat(),
    )
    .map(drop)
}

/// Runs a program as the user with rootless containers.
pub(super) fn as_user(host: &Host, words: &[&str]) -> Result<String> {
    let home = format!("HOME={HOME}");
    let prefix = [
        "setpriv",
        "--reuid",
        USER,
        "--regid",
        USER,
        "--init-groups",
        "env",
        "-C",
        HOME,
        RUNTIME,
        &home,
    ];
    host.run(&[&prefix, words].concat())
}

/// A rootful container, removed when this value is dropped.
pub(super) struct Container<'a> {
    host: &'a Host,
    name: &'static str,
}

impl<'a> Container<'a> {
    /// `podman run` with these options; the web server listens on `port` inside.
    pub(super) fn start(
        host: &'a Host,
        name: &'static str,
        options: &[&str],
        port: &str,
    ) -> Result<Self> {
        let command = ["/bin/httpd", "-f", "-p", port, "-h", "/www"];
        let run = ["podman", "run", "--detach", "--name", name];
        host.run(&[&run[..], options, &[IMAGE], &command[..]].concat())?;
        let container = Self { host, name };
        container.await_listener(port)?;
        Ok(container)
    }

    /// Waits for the web server: `podman run` returns before the server listens.
    fn await_listener(&self, port: &str) -> Result<()> {
        let pid = ["podman", "inspect", "--format", "{{.State.Pid}}", self.name];
        let pid = self.host.run(&pid)?;
        let port: u16 = port.parse()?;
        eventually(SETTLE, || {
            let is_there = ["tcp", "tcp6"].iter().any(|table| {
                let path = format!("/proc/{}/net/{table}", pid.trim());
                let sockets = fs::read_to_string(path).unwrap_or_default();
                sockets.lines().any(|line| is_listener(line, port))
            });
            is_there.then_some(())
        })
        .with_context(|| format!("{} never listened on port {port}", self.name))
    }

    /// The container's address on the network.
    pub(super) fn address(&self) -> Result<String> {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        self.host
            .run(&["podman", "inspect", "--format", format, self.name])
    }

    /// The container's IPv6 address on the network.
    pub(super) fn address6(&self) -> Result<String> {
        let format = "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}";
        self.host
            .run(&["podman", "inspect", "--format", format, self.name])
    }

    /// Runs a program inside; any output is an answer.
    pub(super) fn exec(&self, words: &[&str]) -> Result<Outcome> {
        let exec = ["podman", "exec", self.name];
        let finished = self.host.call(&[&exec[..], words].concat())?;
        Ok(outcome(&finished.stdout))
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let gone = self
            .host
            .run(&["podman", "rm", "--force", "--time", "0", self.name]);
        if let Err(error) = gone {
            eprintln!("a container stays: {error:#}");
        }
    }
}

/// Whether a line of /proc/PID/net/tcp or tcp6 (proc_pid_net(5)) is a listener on a port: local
/// address and port in hexadecimal, then the remote end, then the state TCP_LISTEN.
fn is_listener(line: &str, port: u16) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let &[_, local, _, state, ..] = words.as_slice() else {
        return false;
    };
    local.ends_with(&format!(":{port:04X}")) && state == "0A"
}

/// The outcome of a client, from the printed input.
pub(super) fn outcome(heard: &str) -> Outcome {
    if heard.is_empty() {
        Outcome::Silent
    } else {
        Outcome::Answered(heard.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::is_listener;

    #[test]
    fn a_listener_is_told_by_port_and_state() {
        let line = "   0: 00000000000000000000000000000000:0050 \
                    00000000000000000000000000000000:0000 0A 00000000:00000000";
        assert!(is_listener(line, 80));
        assert!(!is_listener(line, 8080));
        assert!(!is_listener(&line.replace(" 0A ", " 01 "), 80));
        assert!(!is_listener("  sl  local_address rem_address   st", 80));
        assert!(!is_listener("", 80));
    }
}
