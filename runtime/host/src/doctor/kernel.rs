//! Whether the kernel that runs has the calls, and the fixes, that nodes rely on.

use super::{Feature, needed, useful};

/// The oldest kernel that has all calls: overlays over id-mapped layers.
const OLDEST: Version = Version(5, 19, 0);

/// The first release of each series with the fixes for four holes of 2026 that
/// a node's root could use: CVE-2026-31431, -43284, -46300 and -53362.
const FIXED: [Version; 5] =
    [Version(6, 1, 177), Version(6, 6, 144), Version(6, 12, 95), Version(6, 18, 38), Version(7, 1, 3)];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl Version {
    /// Of `uname -r`; what distributions add is not read.
    fn of(release: &str) -> Option<Version> {
        let mut numbers =
            release.trim().split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse().ok());
        Some(Version(numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
    }

    fn has_fixes(self) -> bool {
        let Version(major, minor, _) = self;
        match FIXED.iter().find(|fixed| (fixed.0, fixed.1) == (major, minor)) {
            Some(fixed) => self >= *fixed,
            // A series without long support either ended before, or came after.
            None => FIXED.iter().all(|fixed| self > *fixed),
        }
    }
}

/// Rows about a kernel with this release.
pub(super) fn features(release: &str) -> [Feature; 2] {
    let version = Version::of(release);
    let Version(major, minor, _) = OLDEST;
    let calls = needed(
        format!("Linux {major}.{minor} or newer"),
        version.is_some_and(|version| version >= OLDEST),
        "nodes share image layers",
        "install a newer kernel (Debian 12 has 6.1)",
    );
    let fixes: Vec<_> = FIXED.iter().map(|Version(a, b, c)| format!("{a}.{b}.{c}")).collect();
    let what_to_do = format!(
        "this is {}; install the newest of your series (fixed in {}); distributions also mend older \
         numbers, so ask your distribution about CVE-2026-31431, -43284, -46300 and -53362",
        release.trim(),
        fixes.join(", ")
    );
    let fixed = useful(
        "kernel with the fixes of 2026",
        version.is_some_and(Version::has_fixes),
        "known holes through which a node's root may reach the machine are closed",
        &what_to_do,
    );
    [calls, fixed.without("don't open this server to strangers")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_has_its_own_floor() {
        let fixed = |release: &str| features(release)[1].ok;
        for release in ["6.1.177-cloud-amd64", "6.12.95", "6.18.44", "7.1.3", "7.2.0-rc1", "8.0"] {
            assert!(fixed(release), "{release}");
        }
        for release in ["6.1.0-35-amd64", "6.12.94", "6.13.99", "7.0.9", "7.1.2", "5.15.200", "nonsense"] {
            assert!(!fixed(release), "{release}");
        }
        assert!(features("5.19.0")[0].ok && !features("5.15.200")[0].ok && !features("")[0].ok);
    }
}
