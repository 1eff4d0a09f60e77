//! Parts of the product are killed at random moments of whatever goes on.

use std::process::{Child, Stdio};
use std::time::Duration;

use drydock_tests::agree::assert_agrees;
use drydock_tests::instance::{Instance, eventually};
use drydock_tests::random::{Random, cycles};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::bystander::Bystander;
use super::restarts::engines_of;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Host,
    Web,
    /// `drydock up`, and with it both.
    All,
    /// Of every node, the bystander's too.
    Engines,
    /// The first process of the busy session's first node.
    First,
}

const VICTIMS: [Victim; 5] = [Victim::Host, Victim::Web, Victim::All, Victim::Engines, Victim::First];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Create,
    Exec,
    Pull,
    Run,
    Reset,
    Destroy,
}

const WORKS: [Work; 6] = [Work::Create, Work::Exec, Work::Pull, Work::Run, Work::Reset, Work::Destroy];

/// The longest that anything takes until it is killed, in milliseconds.
const LATEST: u64 = 400;

#[test]
fn k04_parts_are_killed_at_random_moments() {
    let mut random = Random::new();
    let mut instance = Instance::start();
    let bystander = Bystander::start(&instance);
    let mut busy = instance.session(&["--nodes", "2"]).id.clone();
    for cycle in 0..cycles(50, 500) {
        let (victim, work) = (*random.choose(&VICTIMS), *random.choose(&WORKS));
        let moment = Duration::from_millis(random.below(LATEST));
        eprintln!("{cycle}: {victim:?} is killed {moment:?} after {work:?}");
        let going_on = begin(&instance, &busy, work);
        std::thread::sleep(moment);
        strike(&mut instance, &busy, victim);
        // It may fail, but it must come to an end.
        going_on.wait_with_output().expect("drydock ends");
        instance.wait_until_up();
        // What ended on its own account is noted in its own time.
        if victim == Victim::First {
            eventually("the node is known to have ended", || has_settled(&instance, &busy));
        }
        assert_agrees(&instance);
        bystander.went_on(&instance);
        bystander.works(&instance);
        busy = go_on(&instance, &bystander, busy);
        assert_agrees(&instance);
        // The pauses before a part is started again grow: begin anew.
        if cycle % 4 == 3 {
            instance.kill_and_restart_what_is_left();
        }
    }
    bystander.works(&instance);
}

fn begin(instance: &Instance, busy: &str, work: Work) -> Child {
    let exec = |script| vec!["session", "exec", busy, "node1", "--", "bash", "-c", script];
    let words = match work {
        Work::Create => vec!["session", "create", "--nodes", "2"],
        Work::Exec => exec("for i in 1 2 3 4 5 6 7 8 9; do echo $i; sleep 0.05; done"),
        Work::Pull => exec("docker rmi -f busybox debian; docker pull busybox; docker pull debian"),
        Work::Run => {
            exec("for i in 1 2 3; do docker run --rm busybox true; docker run -d busybox sleep 9; done")
        }
        Work::Reset => vec!["session", "reset", busy, "node1"],
        Work::Destroy => vec!["session", "rm", busy],
    };
    let mut command = instance.command(&words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("drydock can be run")
}

fn strike(instance: &mut Instance, busy: &str, victim: Victim) {
    let struck = match victim {
        Victim::Host => vec![instance.part("host")],
        Victim::Web => vec![instance.part("web")],
        Victim::All => return instance.kill_and_restart_what_is_left(),
        Victim::Engines => engines_of(&instance.name()),
        Victim::First => instance.first_process(busy, "node1").into_iter().collect(),
    };
    for pid in struck {
        // A node may just be ending.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Whether each node of a session is in a state that it stays in.
fn has_settled(instance: &Instance, id: &str) -> bool {
    let alive = |name| instance.first_process(id, name).is_some();
    ["node1", "node2"].iter().all(|name| match instance.node_state(id, name).as_deref() {
        Some("running") => alive(name),
        Some("creating") => false,
        _ => true,
    })
}

/// Brings the busy session back to work, or makes a new one; ends all others
/// but the bystander's.
fn go_on(instance: &Instance, bystander: &Bystander, busy: String) -> String {
    let run = |words: &[&str]| {
        let output = instance.drydock(&[&["session"], words].concat());
        assert!(output.status.success(), "{words:?}: {output:?}\n{}", instance.log());
    };
    let mut there = false;
    for session in instance.sessions() {
        let id = session["id"].as_str().expect("a session has an id");
        if id == busy {
            there = true;
        } else if id != bystander.id() {
            run(&["rm", id]);
        }
    }
    if !there {
        return instance.session(&["--nodes", "2"]).id.clone();
    }
    for name in ["node1", "node2"] {
        run(&["start", &busy, name]);
    }
    let tidy = "docker ps -aq | xargs -r docker rm -f >/dev/null && docker run --rm busybox echo works";
    eventually("the busy session's node works again", || {
        let output = instance.drydock(&["session", "exec", &busy, "node1", "--", "bash", "-c", tidy]);
        output.stdout == b"works\n"
    });
    busy
}
