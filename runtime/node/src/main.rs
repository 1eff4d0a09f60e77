//! The one program that Drydock runs inside a node.
//!
//! | first argument | what it is |
//! | --- | --- |
//! | none or `init` | PID 1: reaper, terminals, commands, files, keeper |
//! | `engine` | the Docker API; PID 1 restarts it when it ends |
//! | `container` | the stage that becomes a container's process |
//! | `shell` | the stage that becomes a learner's shell or command |
//! | `unpack` | unpacks image layers in a throw-away node |

mod agent;
mod clock;
mod descriptor;
mod dial;
mod engine;
mod events;
mod exec;
mod files;
mod init;
mod keeper;
mod launch;
mod log;
mod memory;
mod ports;
mod pty;
mod reaper;
mod relay;
mod session;
mod setup;
mod shell;
mod shutdown;
mod stage;
mod terminals;
mod usage;

use std::process::ExitCode;

/// musl's own is slow for what the engine does.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        None | Some("init") => match init::main() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{error:#}");
                ExitCode::FAILURE
            }
        },
        Some("engine") => {
            log::Log::install();
            drydock_engine::run()
        }
        Some("container") => drydock_engine::container::stage(),
        Some("shell") => shell::main(),
        Some("unpack") => drydock_image::unpack::main(),
        Some(other) => {
            eprintln!("drydock-node has no part called {other:?}");
            ExitCode::from(2)
        }
    }
}
