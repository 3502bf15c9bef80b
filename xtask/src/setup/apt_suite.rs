//! Packages of other Debian suites, downloaded and never installed.
//!
//! The download is apt's: apt knows the mirror of this machine, and verifies packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{apt::apt_get, step::Step};
use crate::process;

/// Keys of Debian's archive; newer releases trust the keys only by name.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Mirrors of Debian in the configuration of this machine's apt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mirrors {
    /// Archive with all suites.
    archive: String,
    /// Archive of security updates, with suites named `…-security`.
    security: Option<String>,
}

impl Mirrors {
    /// Asks apt for the mirrors; lists go into `dir` where the machine has none.
    pub(crate) fn find(dir: &Path) -> Result<Self> {
        const HINT: &str =
            "apt's sources name no mirror of Debian: add one to /etc/apt/sources.list";
        let targets = |suite: &Suite| {
            let mut apt = suite.apt_get();
            apt.args(["indextargets", "--format"])
                .args(["$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]);
            process::capture(&mut apt)
        };
        if let Some(mirrors) = Self::parse(&targets(&Suite::machine())?) {
            return Ok(mirrors);
        }
        // apt knows the origin of a mirror by downloaded lists, and a fresh machine has none: fetch
        // them, into a folder of the cache.
        let step = Step::start("apt", "fetching the lists of this machine's mirrors");
        let own = Suite::prepare("this machine's suites", dir, None)?;
        own.update()?;
        step.done();
        Self::parse(&targets(&own)?).context(HINT)
    }

    /// Parses lines such as `Debian Debian-Security URI`: the first line of each label counts.
    fn parse(targets: &str) -> Option<Self> {
        let labelled = |label: &str| {
            targets
                .lines()
                .find_map(|line| line.strip_prefix(label))
                .map(str::to_owned)
        };
        Some(Self {
            archive: labelled("Debian Debian ")?,
            security: labelled("Debian Debian-Security "),
        })
    }

    /// Returns the mirror of `suite`, if the machine knows one.
    pub(crate) fn of(&self, suite: &str) -> Option<&str> {
        if suite.ends_with("-security") {
            self.security.as_deref()
        } else {
            Some(&self.archive)
        }
    }
}

/// Suite of packages: either all suites of the machine, or one suite with lists apart, invisible to
/// the machine's apt.
pub(crate) struct Suite {
    name: String,
    /// Configuration of apt that sets the lists apart.
    settings: Option<PathBuf>,
}

impl Suite {
    /// Returns the suites in the configuration of this machine's apt.
    pub(crate) fn machine() -> Self {
        Self {
            name: "this machine's suites".to_owned(),
            settings: None,
        }
    }

    /// Downloads the lists of the suite `name` into a folder below `dir`.
    pub(crate) fn fetch(mirrors: &Mirrors, name: &str, dir: &Path) -> Result<Self> {
        let Some(mirror) = mirrors.of(name) else {
            bail!("apt's sources name no mirror of the suite {name}");
        };
        let keyring = if Path::new(KEYRING).exists() {
            format!("[signed-by={KEYRING}] ")
        } else {
            String::new()
        };
        let source = format!("deb {keyring}{mirror} {name} main\n");
        let suite = Self::prepare(name, dir, Some(&source))?;
        suite.update()?;
        Ok(suite)
    }

    /// Prepares lists below `dir`, for `source` or else for the machine's sources.
    fn prepare(name: &str, dir: &Path, source: Option<&str>) -> Result<Self> {
        let dir = dir.join(name.replace([' ', '\''], "-"));
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            let folder = dir.join(folder);
            fs::create_dir_all(&folder)
                .with_context(|| format!("failed to create {}", folder.display()))?;
        }
        let mut settings = vec![
            ("Dir::State", dir.join("state")),
            // The machine's configuration may set this key by itself.
            ("Dir::State::lists", dir.join("state/lists")),
            ("Dir::Cache", dir.join("cache")),
            ("Acquire::Languages", "none".into()),
            // A frozen mirror has lists past their date. The signatures still hold, and the wanted
            // release is known.
            ("Acquire::Check-Valid-Until", "false".into()),
            // apt's own user cannot write into a cache below a home.
            ("APT::Sandbox::User", "root".into()),
        ];
        let write = |file: &Path, text: &str| {
            fs::write(file, text).with_context(|| format!("failed to write {}", file.display()))
        };
        if let Some(source) = source {
            let file = dir.join("sources.list");
            write(&file, source)?;
            settings.extend([
                ("Dir::Etc::sourcelist", file),
                ("Dir::Etc::sourceparts", "/dev/null".into()),
                ("Dir::Etc::preferences", "/dev/null".into()),
                ("Dir::Etc::preferencesparts", "/dev/null".into()),
                // By default, a mirror without an answer is a warning.
                ("APT::Update::Error-Mode", "any".into()),
            ]);
        }
        let text: String = settings
            .iter()
            .map(|(key, value)| format!("{key} \"{}\";\n", value.display()))
            .collect();
        let file = dir.join("apt.conf");
        write(&file, &text)?;
        Ok(Self {
            name: name.to_owned(),
            settings: Some(file),
        })
    }

    fn update(&self) -> Result<()> {
        let Err(error) = process::capture(self.apt_get().arg("update")) else {
            return Ok(());
        };
        // apt prints the cause first, and consequences after.
        let text = error.to_string();
        let cause = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("E: "));
        match cause {
            Some(cause) => bail!("{cause}"),
            None => Err(error),
        }
    }

    /// Name of the suite.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the first of `packages` with the upstream `release`, in apt's form
    /// `package=version`.
    pub(crate) fn find(&self, packages: &[&str], release: &str) -> Option<String> {
        let mut madison = self.with_settings(Command::new("apt-cache"));
        madison.arg("madison").args(packages);
        // apt-cache fails if all packages are unknown.
        let table = process::capture(&mut madison).ok()?;
        parse_madison(&table, release)
    }

    /// Returns the index entries of `package`, a paragraph for each version.
    pub(crate) fn describe(&self, package: &str) -> Option<String> {
        let mut show = self.with_settings(Command::new("apt-cache"));
        // apt-cache fails if the package is unknown.
        process::capture(show.args(["show", package])).ok()
    }

    /// Downloads `packages` (verified by apt) into a new folder below `dir`.
    pub(crate) fn download(&self, packages: &[String], dir: &Path) -> Result<Vec<PathBuf>> {
        let dir = dir.join("download");
        fs::create_dir(&dir).with_context(|| format!("failed to create {}", dir.display()))?;
        let mut apt = self.apt_get();
        process::capture(apt.arg("download").args(packages).current_dir(&dir))?;
        let archives: Vec<_> = fs::read_dir(&dir)
            .with_context(|| format!("failed to list {}", dir.display()))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .collect();
        if archives.len() < packages.len() {
            bail!("apt did not download all of {}", packages.join(" "));
        }
        Ok(archives)
    }

    fn apt_get(&self) -> Command {
        self.with_settings(apt_get())
    }

    fn with_settings(&self, mut command: Command) -> Command {
        if let Some(file) = &self.settings {
            command.arg("--config-file").arg(file);
        }
        command
    }
}

/// Finds the release in lines such as `rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://…
/// trixie-backports/main amd64 Packages`.
fn parse_madison(table: &str, release: &str) -> Option<String> {
    table.lines().find_map(|line| {
        let mut columns = line.split('|').map(str::trim);
        let (package, version) = (columns.next()?, columns.next()?);
        (upstream(version) == release).then(|| format!("{package}={version}"))
    })
}

/// Returns the upstream part of a version, `1.95.0` of `1.95.0+dfsg1-2~bpo13+1`.
fn upstream(version: &str) -> &str {
    let version = version
        .split_once(':')
        .map_or(version, |(_epoch, rest)| rest);
    version.split(['+', '-', '~']).next().unwrap_or(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_release_itself_is_found() {
        let table = "
  rust-src | 1.96.1+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages
  rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror/debian trixie-backports/main amd64 Packages
rust-web-src | 1:1.94.1-1 | http://mirror/debian-security bookworm-security/main amd64 Packages
";
        let found = |release| parse_madison(table, release);
        assert_eq!(
            found("1.95.0").as_deref(),
            Some("rust-src=1.95.0+dfsg1-2~bpo13+1")
        );
        assert_eq!(found("1.94.1").as_deref(), Some("rust-web-src=1:1.94.1-1"));
        assert_eq!(found("1.9"), None);
    }

    #[test]
    fn the_mirror_is_the_archive_s_not_another_s() {
        let targets = "
Node.js nodistro https://node.example/node_20.x/
Debian Debian-Security http://mirror/debian-security/
Debian Debian http://mirror/debian/
";
        let mirrors = Mirrors::parse(targets).unwrap();
        assert_eq!(mirrors.of("forky"), Some("http://mirror/debian/"));
        let security = mirrors.of("trixie-security");
        assert_eq!(security, Some("http://mirror/debian-security/"));
        assert_eq!(Mirrors::parse(""), None);
    }
}
