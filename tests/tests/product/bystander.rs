//! A learner who works on while things break around them.

use drydock_tests::instance::{Instance, eventually};

const COUNT: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.1; done";

/// A session with a container and a shell's child that count, and must not
/// miss a number.
pub(crate) struct Bystander {
    id: String,
    /// What must stay the same: the counter's PID, and the container's id.
    before: String,
}

impl Bystander {
    /// Makes the session and lets them begin.
    pub(crate) fn start(instance: &Instance) -> Bystander {
        let id = instance.session(&[]).id.clone();
        let mut bystander = Bystander { id, before: String::new() };
        bystander.begin(instance);
        bystander
    }

    /// Begins to count, on a node that is new.
    pub(crate) fn begin(&mut self, instance: &Instance) {
        let start = format!(
            "docker run -d --name keeps busybox sh -c '{COUNT}' || exit
            setsid sh -c 'echo $$ >/root/pid; exec >>/root/counted; {COUNT}' >/dev/null 2>&1 </dev/null &"
        );
        self.sh(instance, &start);
        eventually("both count", || {
            self.sh(instance, "docker logs keeps; cat /root/counted").lines().count() > 2
        });
        self.before = self.sh(instance, LOOK);
        assert!(self.before.contains("keeps running"), "{}", self.before);
    }

    /// The session's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Asserts that it noticed nothing so far.
    pub(crate) fn went_on(&self, instance: &Instance) {
        assert_eq!(self.sh(instance, LOOK), self.before, "what a learner ran is not what it was");
        for file in ["docker logs keeps", "cat /root/counted"] {
            let counted = self.sh(instance, file);
            let gap = counted.lines().enumerate().find(|(index, line)| line.parse() != Ok(index + 1));
            assert_eq!(gap, None, "{file} has a gap");
        }
    }

    /// Asserts that the node does what a learner wants.
    pub(crate) fn works(&self, instance: &Instance) {
        assert_eq!(self.sh(instance, "docker run --rm busybox echo still here"), "still here\n");
    }

    /// Runs a script in the node; the engine may just be started again.
    pub(crate) fn sh(&self, instance: &Instance, script: &str) -> String {
        let mut said = String::new();
        eventually("the bystander's node does what it is told", || {
            let output =
                instance.drydock(&["session", "exec", &self.id, "node1", "--", "bash", "-c", script]);
            said = String::from_utf8_lossy(&output.stdout).into_owned();
            if !output.status.success() {
                eprintln!("{script}: {output:?}");
            }
            output.status.success()
        });
        said
    }
}

const LOOK: &str = "cat /root/pid && kill -0 $(cat /root/pid) &&
    docker ps --no-trunc --format '{{.ID}} {{.Names}} {{.State}}'";
