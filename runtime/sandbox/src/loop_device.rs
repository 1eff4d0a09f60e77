//! Loop devices: loop(4).

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::fd::{AsRawFd, BorrowedFd},
    path::{Path, PathBuf},
};

use thiserror::Error;

const CONTROL: &str = "/dev/loop-control";
// <linux/loop.h>; libc lacks them.
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
const LO_NAME_SIZE: usize = 64;
/// Others may take the free device between our asking and our taking it.
const TRIES: u32 = 64;

/// A loop device could not be made or removed.
#[derive(Debug, Error)]
pub enum LoopError {
    /// A file or device could not be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No device is free.
    #[error("no free loop device: {0}")]
    NoneFree(io::Error),
    /// The kernel refused the file.
    #[error("cannot put {backing} on a loop device: {source}")]
    Configure {
        /// The file.
        backing: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others took each free device first.
    #[error("other programs took every free loop device, {TRIES} times")]
    Contended,
    /// What is there could not be listed.
    #[error("cannot list loop devices: {0}")]
    List(io::Error),
}

/// A loop device that goes with its last user.
#[derive(Debug)]
pub struct LoopDevice {
    /// Keeps it until it is mounted.
    pub device: File,
    /// Its path, such as `/dev/loop0`.
    pub path: PathBuf,
}

/// `struct loop_info64`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; LO_NAME_SIZE],
    crypt_name: [u8; LO_NAME_SIZE],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// Puts the file `backing` on a free loop device, which is cleared when its
/// last user closes it. `label` is what tools show for it, cut at 63 bytes.
///
/// Reads and writes bypass the page cache of `backing` where its filesystem
/// can, so that nothing is cached twice and writes count against whoever makes
/// them.
pub fn attach(backing: &Path, label: &str) -> Result<LoopDevice, LoopError> {
    let open = |path: &Path| {
        let file = OpenOptions::new().read(true).write(true).open(path);
        file.map_err(|source| LoopError::Open { path: path.to_path_buf(), source })
    };
    let control = open(Path::new(CONTROL))?;
    let file = open(backing)?;
    let mut direct = LO_FLAGS_DIRECT_IO;
    for _ in 0..TRIES {
        // SAFETY: the request takes no argument; the descriptor is open.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(LoopError::NoneFree(io::Error::last_os_error()));
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open(&path)?;
        match configure(&device, &file, label, LO_FLAGS_AUTOCLEAR | direct) {
            Ok(()) => return Ok(LoopDevice { device, path }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && direct != 0 => direct = 0,
            Err(source) => return Err(LoopError::Configure { backing: backing.to_path_buf(), source }),
        }
    }
    Err(LoopError::Contended)
}

fn configure(device: &File, backing: &File, label: &str, flags: u32) -> io::Result<()> {
    // SAFETY: a plain struct of integers, for which zero is valid.
    let mut config: Config = unsafe { std::mem::zeroed() };
    config.fd = backing.as_raw_fd() as u32;
    config.info.flags = flags;
    for (to, from) in config.info.file_name[..LO_NAME_SIZE - 1].iter_mut().zip(label.bytes()) {
        *to = from;
    }
    // SAFETY: `config` has the layout of the kernel's struct and lives through the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Every loop device in use: its path and its file's.
pub fn list() -> Result<Vec<(PathBuf, PathBuf)>, LoopError> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").map_err(LoopError::List)? {
        let name = entry.map_err(LoopError::List)?.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("loop") {
            continue;
        }
        match fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")) {
            Ok(backing) => {
                let backing = backing.trim_end_matches('\n').trim_end_matches(" (deleted)");
                found.push((PathBuf::from(format!("/dev/{name}")), PathBuf::from(backing)));
            }
            // No directory `loop`: not in use, or no longer.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENXIO | libc::ENODEV)) => {
            }
            Err(error) => return Err(LoopError::List(error)),
        }
    }
    Ok(found)
}

/// Clears the device at `path` as soon as nothing uses it.
pub fn detach(path: &Path) -> Result<(), LoopError> {
    let device = File::open(path).map_err(|source| LoopError::Open { path: path.to_path_buf(), source })?;
    clear(std::os::fd::AsFd::as_fd(&device))
        .map_err(|source| LoopError::Configure { backing: path.to_path_buf(), source })
}

fn clear(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the request takes no argument; the descriptor is open.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD, 0) };
    match io::Error::last_os_error() {
        error if result < 0 && error.raw_os_error() != Some(libc::ENXIO) => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_have_the_kernels_size() {
        assert_eq!(size_of::<Info>(), 232);
        assert_eq!(size_of::<Config>(), 304);
    }

    #[test]
    fn a_device_goes_with_its_last_user() {
        let backing = std::env::temp_dir().join(format!("drydock-loop-{}", std::process::id()));
        let file = File::create(&backing).unwrap();
        file.set_len(1 << 20).unwrap();
        let device = attach(&backing, "drydock test").expect("this test needs root and loop devices");
        assert!(list().unwrap().iter().any(|(path, of)| *path == device.path && *of == backing));
        drop(device);
        fs::remove_file(&backing).unwrap();
        // Clearing on the last close happens in the kernel's own time.
        let gone = || !list().unwrap().iter().any(|(_, of)| *of == backing);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !gone() {
            assert!(std::time::Instant::now() < until, "the device is still there");
            std::thread::yield_now();
        }
    }
}
