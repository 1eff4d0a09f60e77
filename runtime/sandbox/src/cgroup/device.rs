//! Block devices, as control groups name them.

use std::{fmt, fs::File, io, os::unix::fs::MetadataExt, str::FromStr};

/// A device's two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// Which driver's.
    pub major: u32,
    /// Which of the driver's.
    pub minor: u32,
}

impl Device {
    /// The device whose file this is.
    pub fn of(file: &File) -> io::Result<Device> {
        let number = file.metadata()?.rdev();
        Ok(Device { major: libc::major(number), minor: libc::minor(number) })
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl FromStr for Device {
    type Err = ();

    fn from_str(text: &str) -> Result<Device, ()> {
        let (major, minor) = text.split_once(':').ok_or(())?;
        Ok(Device { major: major.parse().map_err(drop)?, minor: minor.parse().map_err(drop)? })
    }
}
