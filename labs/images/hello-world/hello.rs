//! The program of the `hello-world` image: it writes a text and ends.
//!
//! Without the standard library and without a C library, so that the image is
//! as small as an image can be.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const TEXT: &str = include_str!("hello.txt");

const SYS_WRITE: usize = 1;
const SYS_EXIT: usize = 60;

// The kernel enters here, with a stack that is aligned as `call` expects.
global_asm!(".globl _start", "_start:", "xor ebp, ebp", "call {hello}", "ud2", hello = sym hello);

extern "C" fn hello() -> ! {
    let mut rest = TEXT.as_bytes();
    while !rest.is_empty() {
        match write(1, rest) {
            written if written > 0 => rest = &rest[(written as usize).min(rest.len())..],
            // Nobody reads.
            _ => exit(1),
        }
    }
    exit(0)
}

fn write(descriptor: usize, bytes: &[u8]) -> isize {
    let result: isize;
    // SAFETY: write(2) reads `bytes`, which live as long as the call, and
    // changes no memory; the kernel clobbers rcx and r11.
    unsafe {
        asm!("syscall", inlateout("rax") SYS_WRITE => result, in("rdi") descriptor, in("rsi") bytes.as_ptr(),
            in("rdx") bytes.len(), out("rcx") _, out("r11") _, options(nostack, readonly));
    }
    result
}

fn exit(status: usize) -> ! {
    // SAFETY: exit(2) does not return.
    unsafe { asm!("syscall", in("rax") SYS_EXIT, in("rdi") status, options(noreturn, nostack)) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    exit(1)
}
