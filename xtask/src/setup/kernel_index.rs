//! The kernels in the index of a suite, and the packages of a kernel.

/// Package that depends on the newest kernel of a suite, in the flavour for virtual machines:
/// small, with every network module. Its kernels are signed; unsigned kernels have another name.
pub(crate) const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// Kernel offered by a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// Output of `uname -r`, such as `6.1.0-56-cloud-amd64`.
    pub(crate) release: String,
    /// Version of the packages, such as `6.1.192-2`.
    pub(crate) version: String,
}

impl Candidate {
    /// Returns the newest kernel in apt-cache's output about [`META_PACKAGE`].
    pub(crate) fn parse(index: &str) -> Option<Self> {
        let of = |paragraph: &str| {
            let release = dependencies(paragraph)
                .find_map(|name| name.strip_prefix("linux-image-"))?
                .to_owned();
            let version = field(paragraph, "Version")?.to_owned();
            Some(Self { release, version })
        };
        newest(index.split("\n\n").filter_map(of), |candidate| candidate)
    }

    /// Name of the package with the kernel's image.
    pub(crate) fn image(&self) -> String {
        format!("linux-image-{}", self.release)
    }

    /// Returns the packages to download, by apt-cache's output about [`Self::image`].
    ///
    /// Since 6.19 the image package is empty, and its dependencies of the same release have the
    /// content: linux-base, linux-binary and linux-modules.
    pub(crate) fn packages(&self, index: &str) -> Vec<String> {
        let suffix = format!("-{}", self.release);
        let version = Some(self.version.as_str());
        let paragraph = index
            .split("\n\n")
            .find(|paragraph| field(paragraph, "Version") == version);
        let parts = paragraph.into_iter().flat_map(dependencies);
        let mut names = vec![self.image()];
        names.extend(
            parts
                .filter(|name| name.ends_with(&suffix))
                .map(str::to_owned),
        );
        names
            .into_iter()
            .map(|name| format!("{name}={}", self.version))
            .collect()
    }

    /// Returns the numbers of the version without the suffix of a backport (`~bpo13+1`): a backport
    /// is as new as the original.
    fn version_numbers(&self) -> Vec<u64> {
        let (version, _backport) = self.version.split_once('~').unwrap_or((&self.version, ""));
        version
            .split(|character: char| !character.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    }
}

/// Returns the item with the newest candidate; of equally new items, the first.
pub(crate) fn newest<T>(
    items: impl Iterator<Item = T>,
    candidate: impl Fn(&T) -> &Candidate,
) -> Option<T> {
    items.reduce(|best, item| {
        if candidate(&item).version_numbers() > candidate(&best).version_numbers() {
            item
        } else {
            best
        }
    })
}

/// Returns the names in a paragraph's `Depends`; of alternatives, the first.
fn dependencies(paragraph: &str) -> impl Iterator<Item = &str> {
    field(paragraph, "Depends")
        .unwrap_or_default()
        .split(',')
        .filter_map(|dependency| dependency.split_whitespace().next())
}

fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    paragraph.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key == name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two versions of the package, as in a suite that keeps an older version.
    const BOOKWORM: &str = "\
Package: linux-image-cloud-amd64
Version: 6.1.176-1
Depends: linux-image-6.1.0-50-cloud-amd64 (= 6.1.176-1)

Package: linux-image-cloud-amd64
Source: linux-signed-amd64 (6.1.192+2)
Version: 6.1.192-2
Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)
Description: Linux for x86-64 cloud (meta-package)
";

    const BACKPORTS: &str = "\
Package: linux-image-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: linux-base-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-image-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-modules-cloud-amd64 (= 7.3.4-1~bpo13+1)
";

    fn candidate(release: &str, version: &str) -> Candidate {
        Candidate {
            release: release.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn the_newest_version_of_a_suite_is_taken() {
        let found = Candidate::parse(BOOKWORM);
        assert_eq!(found, Some(candidate("6.1.0-56-cloud-amd64", "6.1.192-2")));
        let found = Candidate::parse(BACKPORTS);
        let backport = candidate("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1");
        assert_eq!(found, Some(backport));
        assert_eq!(Candidate::parse("Package: x\nVersion: 1\n"), None);
    }

    #[test]
    fn the_newest_of_several_suites_is_taken() {
        let backports = candidate("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1");
        let forky = candidate("7.2.12+deb14-cloud-amd64", "7.2.12-1");
        let sid = candidate("7.3.4+deb14-cloud-amd64", "7.3.4-1");
        let next = candidate("7.10.1+deb14-cloud-amd64", "7.10.1-1");
        let of =
            |candidates: &[Candidate]| newest(candidates.iter().cloned(), |candidate| candidate);
        let mut all = vec![backports.clone(), forky, sid];
        assert_eq!(of(&all), Some(backports), "the first of two equally new");
        all.push(next.clone());
        assert_eq!(of(&all), Some(next));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn an_image_with_content_is_one_package() {
        let index = "\
Package: linux-image-6.1.0-56-cloud-amd64
Version: 6.1.192-2
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool
";
        let packages = candidate("6.1.0-56-cloud-amd64", "6.1.192-2").packages(index);
        assert_eq!(packages, ["linux-image-6.1.0-56-cloud-amd64=6.1.192-2"]);
    }

    #[test]
    fn an_empty_image_brings_what_it_depends_on() {
        let index = "\
Package: linux-image-7.3.4+deb13-cloud-amd64
Version: 7.3.4-1~bpo13+1
Depends: dracut | initramfs-tools, linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-binary-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), linux-modules-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1)
Pre-Depends: linux-base (>= 4.17~)
";
        let found = candidate("7.3.4+deb13-cloud-amd64", "7.3.4-1~bpo13+1").packages(index);
        let expected = ["image", "base", "binary", "modules"]
            .map(|part| format!("linux-{part}-7.3.4+deb13-cloud-amd64=7.3.4-1~bpo13+1"));
        assert_eq!(found, expected);
    }
}
