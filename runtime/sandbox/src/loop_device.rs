//! Loop devices: loop(4).

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use thiserror::Error;

const CONTROL: &str = "/dev/loop-control";
// <linux/loop.h>; libc lacks them.
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_GET_STATUS64: libc::Ioctl = 0x4C05;
const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
const LO_NAME_SIZE: usize = 64;
/// The longest label.
pub const LABEL_MAX: usize = LO_NAME_SIZE - 1;
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
    #[error("cannot set up loop device {label}: {source}")]
    Configure {
        /// The device's label or path.
        label: String,
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

/// Puts a file on a free loop device, which is cleared when its last user
/// closes it. The device is locked until [`LoopDevice::device`] is closed. `label` stays with the device, cut at [`LABEL_MAX`] bytes; the
/// file's path as the kernel sees it is shown to all.
///
/// Reads and writes bypass the page cache of the file where its filesystem can,
/// so that nothing is cached twice and writes count against whoever makes them.
pub fn attach(file: &File, label: &str) -> Result<LoopDevice, LoopError> {
    let control = open(Path::new(CONTROL), true)?;
    let mut direct = LO_FLAGS_DIRECT_IO;
    for _ in 0..TRIES {
        // SAFETY: the request takes no argument; the descriptor is open.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return Err(LoopError::NoneFree(io::Error::last_os_error()));
        }
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let device = open(&path, true)?;
        lock(&device, libc::LOCK_EX)
            .map_err(|source| LoopError::Configure { label: label.to_string(), source })?;
        match configure(&device, file, label, LO_FLAGS_AUTOCLEAR | direct) {
            Ok(()) => return Ok(LoopDevice { device, path }),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && direct != 0 => direct = 0,
            Err(source) => return Err(LoopError::Configure { label: label.to_string(), source }),
        }
    }
    Err(LoopError::Contended)
}

/// Takes the lock by which programs say that a device is in their hands:
/// flock(2), and systemd's "Locking Block Device Access".
fn lock(device: &File, how: libc::c_int) -> io::Result<()> {
    // SAFETY: the descriptor is open, and the call takes numbers only.
    let result = unsafe { libc::flock(device.as_raw_fd(), how) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Does `work` while the device at `path` is free and can't be taken by
/// [`attach`]; does nothing when it is in use or in somebody's hands.
pub fn while_free<E: From<LoopError>>(path: &Path, work: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
    let failed = |source| LoopError::Open { path: path.to_path_buf(), source };
    let device = open(path, false)?;
    match lock(&device, libc::LOCK_EX | libc::LOCK_NB) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        locked => locked.map_err(failed)?,
    }
    match status(&device) {
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => work(),
        status => status.map(drop).map_err(|error| failed(error).into()),
    }
}

fn open(path: &Path, write: bool) -> Result<File, LoopError> {
    let file = OpenOptions::new().read(true).write(write).open(path);
    file.map_err(|source| LoopError::Open { path: path.to_path_buf(), source })
}

fn configure(device: &File, backing: &File, label: &str, flags: u32) -> io::Result<()> {
    // SAFETY: a plain struct of integers, for which zero is valid.
    let mut config: Config = unsafe { std::mem::zeroed() };
    config.fd = backing.as_raw_fd() as u32;
    config.info.flags = flags;
    for (to, from) in config.info.file_name[..LABEL_MAX].iter_mut().zip(label.bytes()) {
        *to = from;
    }
    // SAFETY: `config` has the layout of the kernel's struct and lives through the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A loop device in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// The device's path.
    pub path: PathBuf,
    /// Its label, see [`attach`].
    pub label: String,
    /// Inode of its file.
    inode: u64,
    /// Filesystem of its file.
    filesystem: u64,
}

impl InUse {
    /// Whether its file is this one.
    pub fn holds(&self, file: &Metadata) -> bool {
        (self.inode, self.filesystem) == (file.ino(), file.dev())
    }
}

/// Every loop device in use.
pub fn list() -> Result<Vec<InUse>, LoopError> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/sys/block").map_err(LoopError::List)? {
        let entry = entry.map_err(LoopError::List)?;
        let name = entry.file_name();
        // Without this directory it is not in use.
        if !name.to_string_lossy().starts_with("loop") || !entry.path().join("loop").exists() {
            continue;
        }
        let path = Path::new("/dev").join(name);
        match status(&open(&path, false)?) {
            Ok(info) => found.push(InUse {
                path,
                label: text(&info.file_name),
                inode: info.inode,
                filesystem: info.device,
            }),
            // No longer.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => {}
            Err(error) => return Err(LoopError::List(error)),
        }
    }
    Ok(found)
}

fn status(device: &File) -> io::Result<Info> {
    // SAFETY: a plain struct of integers, for which zero is valid.
    let mut info: Info = unsafe { std::mem::zeroed() };
    // SAFETY: `info` has the layout of the kernel's struct, which it fills in.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_GET_STATUS64, &raw mut info) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(info) }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Clears the device at `path` as soon as nothing uses it.
pub fn detach(path: &Path) -> Result<(), LoopError> {
    let device = File::open(path).map_err(|source| LoopError::Open { path: path.to_path_buf(), source })?;
    clear(std::os::fd::AsFd::as_fd(&device))
        .map_err(|source| LoopError::Configure { label: path.display().to_string(), source })
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
        let file = File::options().read(true).write(true).create_new(true).open(&backing).unwrap();
        file.set_len(1 << 20).unwrap();
        let metadata = file.metadata().unwrap();
        let device = attach(&file, "drydock test").expect("this test needs root and loop devices");
        let used = list().unwrap().into_iter().find(|used| used.path == device.path).unwrap();
        assert!(used.holds(&metadata));
        assert_eq!(used.label, "drydock test");
        drop(device);
        fs::remove_file(&backing).unwrap();
        // Clearing on the last close happens in the kernel's own time.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while list().unwrap().iter().any(|used| used.holds(&metadata)) {
            assert!(std::time::Instant::now() < until, "the device is still there");
            std::thread::yield_now();
        }
    }
}
