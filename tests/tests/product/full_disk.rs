//! The disk that the state directory lies on is full: what runs goes on, new
//! work is refused with words, and all is well again when there is room.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use drydock_tests::agree::differences;
use drydock_tests::http::request;
use drydock_tests::instance::{Instance, eventually};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// All there is, and gone with the value.
struct Filler(PathBuf);

impl Filler {
    fn fill(directory: &Path) -> Filler {
        let path = directory.join("filler");
        let mut file = File::create(&path).expect("a file can be made");
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![b'x'; size];
            while file.write_all(&piece).is_ok() {}
        }
        Filler(path)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).expect("the filler is there");
    }
}

/// Whether an error's words name the disk.
fn names_the_disk(words: &str) -> bool {
    words.contains("No space left") || words.contains("disk")
}

#[test]
fn k06_a_full_disk_of_the_host_is_got_over() {
    let mut instance = Instance::start_on(|state| {
        let size = "size=600m,mode=711";
        mount(Some("state"), state, Some("tmpfs"), MsFlags::empty(), Some(size))
            .expect("a tmpfs can be mounted");
        let settings = "disk_reserve_mb = 1\ndisk_factor = 100.0\n";
        std::fs::write(state.join("drydock.toml"), settings).expect("settings can be written");
    });
    let (kept, lost) = (instance.session(&[]).id.clone(), instance.session(&[]).id.clone());
    let sh = |instance: &Instance, id: &str, script: &str| {
        let output = instance.drydock(&["session", "exec", id, "node1", "--", "bash", "-c", script]);
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // In memory, since the node's disk has no more room than the host's.
    let count = "setsid sh -c 'i=0; while :; do i=$((i+1)); echo $i >>/dev/shm/counted; sleep 0.1; done' \
        >/dev/null 2>&1 & echo $!";
    assert!(sh(&instance, &kept, count).0);
    let cookie = request(instance.port, "GET", "/", &[], "").cookie().expect("a learner gets a cookie");

    let filler = Filler::fill(instance.state_dir());
    let refused = instance.drydock(&["session", "create"]);
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && names_the_disk(&words), "a session on a full disk: {refused:?}");
    let origin = format!("http://localhost:{}", instance.port);
    let headers = [
        ("Cookie", cookie.as_str()),
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
        ("Content-Type", "application/json"),
    ];
    let answer = request(instance.port, "POST", "/api/sessions", &headers, r#"{"lab":"namespaces"}"#);
    assert!([503, 507].contains(&answer.status), "the API on a full disk: {answer:?}");
    let reset = instance.drydock(&["session", "reset", &kept, "node1"]);
    assert!(!reset.status.success() && names_the_disk(&String::from_utf8_lossy(&reset.stderr)), "{reset:?}");
    assert!(sh(&instance, &kept, "test -s /dev/shm/counted").0, "a refused reset ended the node");

    // What happens is known though it can't be written down.
    let first = instance.first_process(&lost, "node1").expect("the node runs");
    kill(Pid::from_raw(first), Signal::SIGKILL).expect("it runs");
    eventually("the node is failed", || instance.node_state(&lost, "node1").as_deref() == Some("failed"));
    assert_eq!(whole_records(&instance), 2);
    drop(filler);

    // What was noted is written down without anybody asking.
    agrees(&instance);
    let started = instance.drydock(&["session", "start", &lost, "node1"]);
    assert!(started.status.success(), "{started:?}");
    let again = instance.session(&[]).id.clone();
    assert!(sh(&instance, &again, "docker run --rm busybox true").0);
    agrees(&instance);

    // A start on a full disk takes up what lives, and ends what is to end.
    let filler = Filler::fill(instance.state_dir());
    instance.kill_and_restart();
    assert!(sh(&instance, &again, "true").0);
    let ended = instance.drydock(&["session", "rm", &again]);
    assert!(ended.status.success(), "a session can't be ended on a full disk: {ended:?}");
    drop(filler);
    agrees(&instance);
    instance.session(&[]).works("node1");
}

/// Waits until all agrees but the leases: instances that run beside this one, in
/// other mount namespaces, don't see its state directory and take them for void.
fn agrees(instance: &Instance) {
    let mut left = Vec::new();
    eventually("all agrees", || {
        left = differences(instance);
        left.retain(|line| !line.contains("lease"));
        if !left.is_empty() {
            eprintln!("{left:?}");
        }
        left.is_empty()
    });
}

/// How many session files there are, each whole.
fn whole_records(instance: &Instance) -> usize {
    let entries = std::fs::read_dir(instance.state_dir().join("sessions")).expect("sessions can be listed");
    let texts = entries.flatten().map(|entry| std::fs::read_to_string(entry.path()).expect("it can be read"));
    let whole: Vec<serde_json::Value> =
        texts.map(|text| serde_json::from_str(&text).expect("it is whole")).collect();
    whole.len()
}
