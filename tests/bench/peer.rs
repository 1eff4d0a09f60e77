//! Real Docker as the peer: Debian's dockerd, on a socket and a data directory
//! of its own, gone with the benchmark.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use drydock_tests::instance::eventually;
use drydock_tests::setting;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A running dockerd that has our busybox.
pub(crate) struct Dockerd {
    /// Where it answers, as in DOCKER_HOST.
    pub(crate) host: String,
    daemon: Child,
    _directory: TempDir,
}

impl Dockerd {
    /// Starts it if it is installed; the image comes from the engine at `ours`.
    pub(crate) fn start(ours: &str) -> Result<Option<Dockerd>> {
        if !Path::new("/usr/sbin/dockerd").exists() {
            return Ok(None);
        }
        let directory = tempfile::Builder::new().prefix("dockerd").tempdir()?;
        let path = |name: &str| directory.path().join(name).display().to_string();
        let host = format!("unix://{}", path("docker.sock"));
        let log = std::fs::File::create(directory.path().join("log"))?;
        let daemon = Command::new("/usr/sbin/dockerd")
            .args(["-H", &host, "--data-root", &path("data"), "--exec-root", &path("exec")])
            .args(["--pidfile", &path("pid"), "--storage-driver", "overlay2"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start dockerd")?;
        let dockerd = Dockerd { host, daemon, _directory: directory };
        eventually("dockerd answers", || crate::docker(&dockerd.host, &["version"]).is_ok());
        dockerd.import_busybox(ours)?;
        Ok(Some(dockerd))
    }

    fn import_busybox(&self, ours: &str) -> Result<()> {
        crate::docker(ours, &["create", "--name", "for-the-peer", "busybox"])?;
        let root = crate::docker(ours, &["export", "for-the-peer"])?;
        crate::docker(ours, &["rm", "for-the-peer"])?;
        let mut import = Command::new(setting("DOCKER_CLI"))
            .args(["import", "-c", "CMD [\"sh\"]", "-", "busybox:latest"])
            .env("DOCKER_HOST", &self.host)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot run the Docker CLI")?;
        import.stdin.take().context("import has no stdin")?.write_all(&root).context("import ended early")?;
        if !import.wait()?.success() {
            bail!("docker import failed");
        }
        Ok(())
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // SIGTERM lets it unmount; it may have ended by itself.
        let _ = kill(Pid::from_raw(self.daemon.id() as i32), Signal::SIGTERM);
        let _ = self.daemon.wait();
    }
}
