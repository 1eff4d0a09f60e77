//! A filesystem that never answers, in a node: whoever looks into it waits in
//! the kernel, and no signal ends that.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// FUSE_INIT of <linux/fuse.h>.
const INIT: u32 = 26;
/// Length of `fuse_in_header` and of `fuse_out_header`.
const HEAD_IN: usize = 40;
const HEAD_OUT: usize = 16;
/// Length of `fuse_init_out`.
const INIT_OUT: usize = 64;
/// The shortest buffer that the kernel takes to read a request.
const REQUEST_MAX: usize = 64 * 1024;

/// The filesystem's side that does not answer. When it is dropped, the kernel
/// answers in its place, with an error.
pub struct Hung(File);

impl Hung {
    /// Mounts it at `target` in the mount namespace of a process.
    ///
    /// # Panics
    /// When this kernel has no FUSE, or this is not root.
    pub fn mount(pid: i32, target: &str) -> Hung {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").expect("FUSE is there");
        let options = format!("fd={},rootmode=40755,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let namespace = File::open(format!("/proc/{pid}/ns/mnt")).expect("the process runs");
        let work = || -> nix::Result<()> {
            // A thread may enter another's mounts only when it shares no directory.
            unshare(CloneFlags::CLONE_FS)?;
            setns(&namespace, CloneFlags::CLONE_NEWNS)?;
            mount(Some("hung"), target, Some("fuse"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(&*options))
        };
        let done = std::thread::scope(|scope| scope.spawn(work).join().expect("the thread does not panic"));
        done.expect("a filesystem can be mounted in the node");
        let mut hung = Hung(device);
        hung.greet().expect("the kernel greets a new filesystem");
        hung
    }

    fn greet(&mut self) -> io::Result<()> {
        let request = self.request()?;
        assert_eq!(field(&request, 4), INIT, "the first request is another");
        let mut answer = vec![0; HEAD_OUT + INIT_OUT];
        answer[0..4].copy_from_slice(&((HEAD_OUT + INIT_OUT) as u32).to_ne_bytes());
        answer[8..16].copy_from_slice(&request[8..16]);
        // The version the kernel named, and writes of a page.
        answer[16..24].copy_from_slice(&request[HEAD_IN..HEAD_IN + 8]);
        answer[36..40].copy_from_slice(&4096_u32.to_ne_bytes());
        self.0.write_all(&answer)
    }

    /// Takes the next request, which is never answered: from then on whoever
    /// made it can't be killed.
    pub fn take(&mut self) {
        self.request().expect("somebody looks into the filesystem");
    }

    fn request(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; REQUEST_MAX];
        let length = self.0.read(&mut buffer)?;
        buffer.truncate(length);
        Ok(buffer)
    }
}

fn field(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].try_into().map(u32::from_ne_bytes).expect("four bytes")
}
