//! From verdicts to a BPF program.
//!
//! The program finds the call's number by binary search over ranges with the
//! same verdict, so that a call costs some eight comparisons and the kernel,
//! which tries every number once when a filter is installed, is done quickly.

use std::collections::BTreeMap;

use libc::{
    BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter,
};

/// A filter as the kernel takes it.
pub type BpfProgram = Vec<sock_filter>;

/// `AUDIT_ARCH_X86_64`: 64 bits, little endian, machine 62.
const ARCH: u32 = 0xC000_003E;

const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ARGS_AT: u32 = 16;

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// It fails with this error.
    Errno(i32),
    /// It depends on its arguments.
    Check(Check),
}

/// A test of a call's arguments. Only their lower 32 bits matter to the calls
/// that are tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Check {
    /// Allowed if none of these bits is set in the argument, else EPERM.
    NoBits { arg: u32, bits: u32 },
    /// Allowed if the argument is one of these, else EPERM.
    OneOf { arg: u32, values: &'static [u32] },
    /// Allowed unless the argument is one of these, then EPERM.
    NoneOf { arg: u32, values: &'static [u32] },
    /// Allowed if the address family is one of these and, for netlink, the
    /// protocol too; else EAFNOSUPPORT, which programs take for a kernel
    /// without it.
    Socket { families: &'static [u32], netlink: &'static [u32] },
    /// Allowed unless these arguments (level and option of a socket) are one of
    /// these pairs, then ENOPROTOOPT, as where the kernel has no such option.
    NoOptions { options: &'static [(u32, u32)] },
}

/// Calls, each with what becomes of it, and what becomes of the rest.
pub(super) struct Verdicts {
    calls: BTreeMap<u32, Verdict>,
    last: u32,
}

impl Verdicts {
    /// Nothing is allowed yet: calls up to `last` fail with EPERM, later ones
    /// with ENOSYS.
    pub(super) fn new(last: u32) -> Verdicts {
        Verdicts { calls: BTreeMap::new(), last }
    }

    pub(super) fn set(&mut self, call: libc::c_long, verdict: Verdict) {
        self.calls.insert(call as u32, verdict);
    }

    pub(super) fn allow(&mut self, calls: &[libc::c_long]) {
        for call in calls {
            self.set(*call, Verdict::Allow);
        }
    }

    /// Ranges of numbers with the same verdict: their first number each, in
    /// order, beginning with 0.
    fn ranges(&self) -> Vec<(u32, Verdict)> {
        let mut ranges: Vec<(u32, Verdict)> = Vec::new();
        let mut push = |start: u32, verdict: Verdict| {
            if ranges.last().is_none_or(|(_, last)| *last != verdict) {
                ranges.push((start, verdict));
            }
        };
        for number in 0..=self.last {
            push(number, self.calls.get(&number).cloned().unwrap_or(Verdict::Errno(libc::EPERM)));
        }
        push(self.last + 1, Verdict::Errno(libc::ENOSYS));
        ranges
    }

    /// The program for the kernel. Other ABIs than x86_64's are killed; x32
    /// has numbers over [`Verdicts::last`].
    pub(super) fn compile(&self) -> BpfProgram {
        let mut program = vec![
            load(ARCH_AT),
            jump(BPF_JEQ, ARCH, 1, 0),
            ret(libc::SECCOMP_RET_KILL_PROCESS),
            load(NUMBER_AT),
        ];
        search(&self.ranges(), &mut program);
        program
    }
}

fn search(ranges: &[(u32, Verdict)], program: &mut BpfProgram) {
    let middle = ranges.len() / 2;
    if middle == 0 {
        return leaf(&ranges[0].1, program);
    }
    let (low, high) = ranges.split_at(middle);
    program.push(jump(BPF_JGE, high[0].0, 0, 1));
    let over_low = program.len();
    program.push(statement(BPF_JMP | BPF_JA, 0));
    search(low, program);
    program[over_low].k = (program.len() - over_low - 1) as u32;
    search(high, program);
}

fn leaf(verdict: &Verdict, program: &mut BpfProgram) {
    match verdict {
        Verdict::Allow => program.push(ret(libc::SECCOMP_RET_ALLOW)),
        Verdict::Errno(errno) => program.push(fail(*errno)),
        Verdict::Check(check) => check_leaf(check, program),
    }
}

fn check_leaf(check: &Check, program: &mut BpfProgram) {
    let allow = ret(libc::SECCOMP_RET_ALLOW);
    match *check {
        Check::NoBits { arg, bits } => program.extend([
            load(argument(arg)),
            statement(BPF_ALU | BPF_AND | BPF_K, bits),
            jump(BPF_JEQ, 0, 0, 1),
            allow,
            fail(libc::EPERM),
        ]),
        Check::OneOf { arg, values } => one_of(arg, values, allow, fail(libc::EPERM), program),
        Check::NoneOf { arg, values } => one_of(arg, values, fail(libc::EPERM), allow, program),
        Check::NoOptions { options } => {
            for (level, option) in options {
                program.extend([
                    load(argument(1)),
                    jump(BPF_JEQ, *level, 0, 3),
                    load(argument(2)),
                    jump(BPF_JEQ, *option, 0, 1),
                    fail(libc::ENOPROTOOPT),
                ]);
            }
            program.push(allow);
        }
        Check::Socket { families, netlink } => {
            let refuse = fail(libc::EAFNOSUPPORT);
            // Netlink first: its protocol decides. 0 is the family's place.
            program.push(load(argument(0)));
            program.push(jump(BPF_JEQ, libc::AF_NETLINK as u32, 0, 2 * netlink.len() as u8 + 2));
            one_of(2, netlink, allow, refuse, program);
            one_of(0, families, allow, refuse, program);
        }
    }
}

/// `found` if the argument is one of `values`, else `missing`: always
/// `2 * values.len() + 2` instructions.
fn one_of(arg: u32, values: &[u32], found: sock_filter, missing: sock_filter, program: &mut BpfProgram) {
    program.push(load(argument(arg)));
    for value in values {
        program.push(jump(BPF_JEQ, *value, 0, 1));
        program.push(found);
    }
    program.push(missing);
}

fn argument(index: u32) -> u32 {
    ARGS_AT + 8 * index
}

fn load(at: u32) -> sock_filter {
    statement(BPF_LD | BPF_W | BPF_ABS, at)
}

fn ret(action: u32) -> sock_filter {
    statement(BPF_RET | BPF_K, action)
}

fn fail(errno: i32) -> sock_filter {
    ret(libc::SECCOMP_RET_ERRNO | errno as u32)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn jump(test: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: (BPF_JMP | test | BPF_K) as u16, jt, jf, k }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    pub(in super::super) fn run(program: &[sock_filter], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let (mut at, mut acc) = (0usize, 0u32);
        loop {
            let insn = program[at];
            at += 1;
            let code = u32::from(insn.code);
            let skip = |taken: bool| usize::from(if taken { insn.jt } else { insn.jf });
            match code {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    acc = match insn.k {
                        NUMBER_AT => number,
                        ARCH_AT => arch,
                        at => args[((at - ARGS_AT) / 8) as usize] as u32,
                    }
                }
                c if c == BPF_ALU | BPF_AND | BPF_K => acc &= insn.k,
                c if c == BPF_RET | BPF_K => return insn.k,
                c if c == BPF_JMP | BPF_JA => at += insn.k as usize,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => at += skip(acc == insn.k),
                c if c == BPF_JMP | BPF_JGE | BPF_K => at += skip(acc >= insn.k),
                other => panic!("no such instruction: {other:#x}"),
            }
        }
    }

    #[test]
    fn each_number_gets_its_own_verdict() {
        let mut verdicts = Verdicts::new(20);
        verdicts.allow(&[0, 1, 2, 7, 9, 20]);
        verdicts.set(5, Verdict::Check(Check::OneOf { arg: 1, values: &[3, 4] }));
        verdicts.set(6, Verdict::Check(Check::NoneOf { arg: 0, values: &[8] }));
        let program = verdicts.compile();
        let errno = |e: i32| libc::SECCOMP_RET_ERRNO | e as u32;
        for number in 0..40u32 {
            let expected = match number {
                0 | 1 | 2 | 7 | 9 | 20 | 5 => libc::SECCOMP_RET_ALLOW,
                6 => errno(libc::EPERM),
                0..=20 => errno(libc::EPERM),
                _ => errno(libc::ENOSYS),
            };
            assert_eq!(run(&program, ARCH, number, [8, 4, 0, 0, 0, 0]), expected, "call {number}");
        }
        assert_eq!(run(&program, ARCH, 5, [0, 5, 0, 0, 0, 0]), errno(libc::EPERM));
        assert_eq!(run(&program, 0x4000_0003, 0, [0; 6]), libc::SECCOMP_RET_KILL_PROCESS);
    }
}
