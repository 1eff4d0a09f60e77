//! Blocks typed into a real bash, with the marks and the prompt of a node.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use drydock_script::{Action, Answer, Block, Capture, End, Exit, Names, Outcome, Refusal, Script, look};
use drydock_terminal::Terminal;
use nix::pty::{Winsize, openpty};

/// Long enough for a machine that does a lot else; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(15);

const RCFILE: &str = "../../runtime/node/files/etc/drydock/bashrc";

struct Shell {
    terminal: Terminal,
    input: File,
    output: Receiver<Vec<u8>>,
    child: Child,
    began: Instant,
}

impl Shell {
    fn start() -> Shell {
        let size = Winsize { ws_row: 30, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(&size, None).unwrap();
        let rcfile = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(RCFILE);
        let stdio = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let mut command = Command::new("setsid");
        command.args(["--ctty", "bash", "--noprofile", "--rcfile"]).arg(rcfile).arg("-i");
        command.stdin(stdio(&pty.slave)).stdout(stdio(&pty.slave)).stderr(stdio(&pty.slave));
        command.env("TERM", "xterm-256color").env("HOME", "/tmp").env("INPUTRC", "/etc/inputrc");
        let child = command.spawn().unwrap();
        drop(pty.slave);
        let mut reader = File::from(pty.master.try_clone().unwrap());
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Shell {
            terminal: Terminal::new(60, 30, 1000),
            input: File::from(pty.master),
            output,
            child,
            began: Instant::now(),
        }
    }

    fn type_bytes(&mut self, bytes: &[u8]) {
        self.input.write_all(bytes).unwrap();
    }

    /// Takes in what is printed until `until`, or until something was.
    fn take_in(&mut self, until: Option<u64>) {
        let now = self.now();
        let wait = until.map_or(PATIENCE, |until| Duration::from_millis(until.saturating_sub(now)));
        match self.output.recv_timeout(wait) {
            Ok(bytes) => self.terminal.feed(&bytes),
            Err(RecvTimeoutError::Timeout) => assert!(until.is_some(), "nothing came: {:?}", self.terminal),
            Err(RecvTimeoutError::Disconnected) => panic!("bash ended: {:?}", self.terminal),
        }
    }

    fn now(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    fn run(&mut self, block: &Block) -> Outcome {
        let mut script = Script::new(block, &Names::new()).unwrap();
        loop {
            assert!(self.began.elapsed() < PATIENCE, "stuck in {script:?}\n{:?}", self.terminal);
            let now = self.now();
            match look(&self.terminal, |view| script.advance(view, now)) {
                Action::Type(bytes) => self.type_bytes(&bytes),
                Action::Wait { until } => self.take_in(until),
                Action::Done(outcome) => return outcome,
                Action::Refused(why) => panic!("refused: {why:?}\n{:?}", self.terminal),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn block(text: &str) -> Block {
    Block { text: text.into(), ..Block::default() }
}

#[test]
fn lines_run_one_by_one_and_their_outputs_are_joined() {
    let outcome = Shell::start().run(&block("echo one\n# nothing\n\nprintf 'two\\n'\ncd /tmp && pwd"));
    assert_eq!((outcome.end, outcome.exit, outcome.as_wanted), (End::Exit, Some(0), true));
    assert_eq!(outcome.output, "one\ntwo\n/tmp");
}

#[test]
fn the_first_wrong_status_ends_the_block() {
    let mut shell = Shell::start();
    let outcome = shell.run(&block("echo a\nfalse\necho b"));
    assert_eq!((outcome.exit, outcome.as_wanted, outcome.output.as_str()), (Some(1), false, "a"));
    let outcome = shell.run(&Block { exit: Exit::Status(3), ..block("true\n(exit 3)") });
    assert_eq!((outcome.exit, outcome.as_wanted), (Some(3), true));
    let outcome = shell.run(&Block { exit: Exit::Any, ..block("(exit 4)\necho on") });
    assert_eq!((outcome.exit, outcome.output.as_str()), (Some(0), "on"));
}

#[test]
fn what_belongs_together_is_typed_together() {
    let mut shell = Shell::start();
    let outcome = shell.run(&block("echo a \\\n  b\necho 'c\nd'\ncat <<EOF\n# e\n\n  f\nEOF\necho g"));
    assert_eq!(outcome.output, "a b\nc\nd\n# e\n\n  f\ng");
}

#[test]
fn a_long_line_and_long_output_are_whole() {
    let mut shell = Shell::start();
    let words: Vec<String> = (0..60).map(|n| format!("word{n}")).collect();
    let outcome = shell.run(&block(&format!("echo {}\nseq 200", words.join(" "))));
    let wanted: Vec<String> =
        std::iter::once(words.join(" ")).chain((1..=200).map(|n| n.to_string())).collect();
    assert_eq!(outcome.output, wanted.join("\n"));
}

#[test]
fn what_was_half_typed_is_deleted_first() {
    let mut shell = Shell::start();
    shell.run(&block("true"));
    shell.type_bytes(b"echo half \x1b[D");
    while !look(&shell.terminal, |view| view.cursor_line.ends_with("half")) {
        shell.take_in(None);
    }
    assert_eq!(shell.run(&block("echo whole")).output, "whole");
}

#[test]
fn a_background_job_may_print_over_the_prompt() {
    let mut shell = Shell::start();
    shell.run(&block("(sleep 0.2; echo over the prompt) &"));
    while !look(&shell.terminal, |view| (view.screen)().contains("# over the prompt")) {
        shell.take_in(None);
    }
    assert_eq!(shell.run(&block("echo whole")).output, "whole");
}

#[test]
fn an_inner_block_types_into_what_was_left_running() {
    let mut shell = Shell::start();
    let prompt = Some("^inner> $".to_owned());
    let start = Block { prompt: prompt.clone(), ..block("env PS1='inner> ' bash --norc") };
    let outcome = shell.run(&start);
    assert_eq!((outcome.end, outcome.exit), (End::Prompt, None));
    let inner = Block {
        inner: true,
        resumes: prompt.clone(),
        prompt: prompt.clone(),
        ..block("echo $((6*7))\necho 'x\ny'")
    };
    let outcome = shell.run(&inner);
    assert_eq!((outcome.end, outcome.output.as_str()), (End::Prompt, "42\nx\ny"));
    let outcome = shell.run(&Block { inner: true, resumes: prompt.clone(), ..block("echo bye\nexit 3") });
    assert_eq!((outcome.end, outcome.exit, outcome.as_wanted), (End::Exit, None, true));
    assert_eq!(outcome.output, "bye\nexit");
    let outcome = shell.run(&Block { prompt, exit: Exit::Any, ..block("(exit 9)") });
    assert_eq!((outcome.end, outcome.exit, outcome.as_wanted), (End::Early, Some(9), false));
}

/// In a node, a bash inside the bash prints marks too.
#[test]
fn a_shell_with_marks_inside_the_shell_takes_inner_and_run_blocks() {
    let mut shell = Shell::start();
    let rcfile = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(RCFILE);
    let nested = format!("bash --noprofile --rcfile {}", rcfile.display());
    let prompt = Some("[#$] $".to_owned());
    let start = Block { prompt: prompt.clone(), ..block(&nested) };
    assert_eq!(shell.run(&start).end, End::Prompt);
    let inner =
        Block { inner: true, resumes: prompt.clone(), prompt: prompt.clone(), ..block("echo a\necho b") };
    let outcome = shell.run(&inner);
    assert_eq!((outcome.end, outcome.as_wanted, outcome.output.as_str()), (End::Prompt, true, "a\nb"));
    let outcome = shell.run(&Block { inner: true, resumes: prompt.clone(), ..block("echo c\nexit") });
    assert_eq!((outcome.end, outcome.as_wanted, outcome.output.as_str()), (End::Exit, true, "c\nexit"));
    assert_eq!(shell.run(&start).end, End::Prompt);
    let outcome = shell.run(&block("(exit 5)"));
    assert_eq!((outcome.exit, outcome.as_wanted), (Some(5), false));
    let outcome = shell.run(&Block { exit: Exit::Status(6), ..block("exit 6") });
    assert_eq!((outcome.exit, outcome.as_wanted), (Some(6), true));
    assert_eq!(shell.run(&start).end, End::Prompt);
    let leave = Block { inner: true, resumes: prompt, keys: vec!["ctrl-d".into()], ..Block::default() };
    assert_eq!(shell.run(&leave).end, End::Exit);
    assert_eq!(shell.run(&block("echo back")).output, "back");
}

#[test]
fn keys_are_pressed_and_a_prompt_is_found_on_the_whole_screen() {
    let mut shell = Shell::start();
    let start = Block { prompt: Some("PID USER".into()), ..block("top") };
    let outcome = shell.run(&start);
    assert_eq!(outcome.end, End::Prompt);
    assert!(outcome.output.contains("PID USER"), "{}", outcome.output);
    let quit = Block { inner: true, resumes: start.prompt, keys: vec!["q".into()], ..Block::default() };
    assert_eq!(shell.run(&quit).end, End::Exit);
}

#[test]
fn questions_are_answered() {
    let mut shell = Shell::start();
    let answers = ["y", "secret"].map(|text| Answer { text: text.into(), hidden: text == "secret" });
    let ask = "read -p 'Go on? ' a; read -s -p 'Word: ' b; echo; echo $a-$b";
    let outcome = shell.run(&Block { answers: answers.into(), ..block(ask) });
    assert_eq!(outcome.output, "Go on? y\nWord: \ny-secret".replace("Word: \n", "Word:\n"));
}

#[test]
fn an_endless_command_is_interrupted() {
    let mut shell = Shell::start();
    let outcome =
        shell.run(&Block { interrupt_ms: Some(300), exit: Exit::Any, ..block("echo on; sleep 1000") });
    assert_eq!((outcome.end, outcome.exit, outcome.output.as_str()), (End::Exit, Some(130), "on"));
}

#[test]
fn values_are_captured() {
    let capture = |name: &str, pattern: &str| Capture { name: name.into(), pattern: pattern.into() };
    let captures = vec![capture("ID", "^id: ([0-9]+)$"), capture("NO", "no (such)")];
    let outcome = Shell::start().run(&Block { captures, ..block("echo start; echo id: 42") });
    assert_eq!(outcome.captured, [("ID".to_owned(), "42".to_owned())]);
    assert_eq!((outcome.uncaptured, outcome.as_wanted), (vec!["NO".to_owned()], false));
}

#[test]
fn a_program_with_the_screen_is_not_typed_into() {
    let mut shell = Shell::start();
    shell.run(&block("true"));
    shell.type_bytes(b"less /etc/passwd\r");
    while !shell.terminal.is_alternate() {
        shell.take_in(None);
    }
    let mut script = Script::new(&block("ls"), &Names::new()).unwrap();
    assert_eq!(look(&shell.terminal, |view| script.advance(view, 0)), Action::Refused(Refusal::Screen));
    shell.type_bytes(b"q");
    let mut inner = Script::new(&Block { inner: true, ..block("x") }, &Names::new()).unwrap();
    while !look(&shell.terminal, |view| view.at_prompt) {
        shell.take_in(None);
    }
    assert_eq!(look(&shell.terminal, |view| inner.advance(view, 0)), Action::Refused(Refusal::NothingRuns));
}
