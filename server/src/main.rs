//! The `drydock` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A stage enters namespaces and must therefore be single-threaded: it goes
    // first, before anything that could start a thread.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == "node-stage") {
        drydock_host::stage::main();
    }
    drydock::cli::main()
}
