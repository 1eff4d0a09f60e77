//! Settings: one TOML file, environment variables over it, flags over both.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, parser::ValueSource};
use drydock_protocol::host::Limits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// One source's settings; what it doesn't say is `None`.
///
/// The same names serve as keys of the TOML file, as flags (`--memory-mb`) and
/// as environment variables (`DRYDOCK_MEMORY_MB`).
#[derive(Debug, Clone, Default, clap::Args, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Layer {
    /// Address and port that the web server listens on [default: 127.0.0.1:8080]
    #[arg(long, env = "DRYDOCK_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// What people type to reach it, such as https://labs.example.org
    #[arg(long, env = "DRYDOCK_URL")]
    pub url: Option<String>,
    /// Certificate chain (PEM)
    #[arg(long, env = "DRYDOCK_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, env = "DRYDOCK_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Domain under which nodes' own pages are shown
    #[arg(long, env = "DRYDOCK_PREVIEW_DOMAIN", value_name = "DOMAIN")]
    pub preview_domain: Option<String>,
    /// Serve plain HTTP beyond this machine
    #[arg(long, env = "DRYDOCK_INSECURE_HTTP", value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub insecure_http: Option<bool>,
    /// User that the web server runs as [default: drydock]
    #[arg(long, env = "DRYDOCK_WEB_USER", value_name = "USER")]
    pub web_user: Option<String>,
    /// Directory with the labs
    #[arg(long, env = "DRYDOCK_LABS", value_name = "DIR")]
    pub labs: Option<PathBuf>,
    /// The node's program (static, musl) [default: drydock-node beside this program]
    #[arg(long, env = "DRYDOCK_NODE_BINARY", value_name = "FILE")]
    pub node_binary: Option<PathBuf>,
    /// Most memory a node may have, in MiB
    #[arg(long, env = "DRYDOCK_MEMORY_MB", value_name = "N")]
    pub memory_mb: Option<u64>,
    /// Largest disk a node may have, in MiB
    #[arg(long, env = "DRYDOCK_DISK_MB", value_name = "N")]
    pub disk_mb: Option<u64>,
    /// Most inodes a node's disk may have
    #[arg(long, env = "DRYDOCK_INODES", value_name = "N")]
    pub inodes: Option<u64>,
    /// Most processes a node may have
    #[arg(long, env = "DRYDOCK_PIDS", value_name = "N")]
    pub pids: Option<u64>,
    /// CPU cores a node may use, such as 1.5
    #[arg(long, env = "DRYDOCK_CPUS", value_name = "N")]
    pub cpus: Option<f64>,
    /// Most sessions at once
    #[arg(long, env = "DRYDOCK_SESSIONS_MAX", value_name = "N")]
    pub sessions_max: Option<u32>,
    /// Most nodes at once, over all sessions
    #[arg(long, env = "DRYDOCK_NODES_MAX", value_name = "N")]
    pub nodes_max: Option<u32>,
    /// Longest time a session may still have, in minutes
    #[arg(long, env = "DRYDOCK_SESSION_MINUTES", value_name = "N")]
    pub session_minutes: Option<u64>,
    /// Minutes that Extend adds
    #[arg(long, env = "DRYDOCK_EXTEND_MINUTES", value_name = "N")]
    pub extend_minutes: Option<u64>,
    /// Minutes without typing after which a learner's session ends
    #[arg(long, env = "DRYDOCK_IDLE_MINUTES", value_name = "N")]
    pub idle_minutes: Option<u64>,
}

/// What holds, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Address and port that the web server listens on.
    pub listen: SocketAddr,
    /// What people type to reach it: scheme, host and port, no path.
    pub url: String,
    /// Certificate and key, when it speaks TLS itself.
    pub tls: Option<TlsFiles>,
    /// Domain under which nodes' own pages are shown.
    pub preview_domain: Option<String>,
    /// Whether plain HTTP is served beyond this machine.
    pub insecure_http: bool,
    /// User that the web server runs as.
    pub web_user: String,
    /// Directory with the labs.
    pub labs: PathBuf,
    /// The node's program.
    pub node_binary: PathBuf,
    /// The most that a node may have.
    pub limits: Limits,
    /// Most sessions at once.
    pub sessions_max: u32,
    /// Most nodes at once, over all sessions.
    pub nodes_max: u32,
    /// Longest time a session may still have, in minutes.
    pub session_minutes: u64,
    /// Minutes that Extend adds.
    pub extend_minutes: u64,
    /// Minutes without typing after which a learner's session ends.
    pub idle_minutes: u64,
}

/// What TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, in PEM.
    pub cert: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Built in.
    Default,
    /// The TOML file.
    File,
    /// An environment variable.
    Environment,
    /// A flag of the command.
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::File => "file",
            Source::Environment => "environment",
            Source::Flag => "flag",
        })
    }
}

/// One setting that holds, and where it came from.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Its name in the file.
    pub key: String,
    /// Its value.
    pub value: Value,
    /// Where the value came from.
    pub source: Source,
}

/// Settings that can't hold.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the settings file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what a settings file may be.
    #[error("settings file {}: {message}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        message: String,
    },
    /// A value that can't be used.
    #[error("setting {key}: {reason}")]
    Value {
        /// The setting's name.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn bad(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, reason: reason.into() }
}

/// All settings of a command, in layers and merged.
#[derive(Debug, Clone)]
pub struct Config {
    /// What holds, with where each value came from, in the file's order of keys.
    pub entries: Vec<Entry>,
    merged: Layer,
}

impl Config {
    /// Puts the layers over each other: defaults, file, environment, flags.
    ///
    /// `typed` is what clap made of environment and flags; `matches` says which
    /// of the two each value is from. A missing file counts as an empty one
    /// unless `named` says that somebody asked for it.
    pub fn load(
        state_dir: &Path,
        file: &Path,
        named: bool,
        typed: &Layer,
        matches: &ArgMatches,
    ) -> Result<Config, ConfigError> {
        let in_file = read_file(file, named)?;
        let layers = [(Source::Default, object(&defaults(state_dir))), (Source::File, object(&in_file))];
        let typed = object(typed);
        let mut entries = Vec::new();
        let mut merged = Map::new();
        for (key, _) in &layers[0].1 {
            let mut entry = Entry { key: key.clone(), value: Value::Null, source: Source::Default };
            for (source, layer) in &layers {
                if !layer[key].is_null() {
                    entry = Entry { key: key.clone(), value: layer[key].clone(), source: *source };
                }
            }
            if !typed[key].is_null() {
                let source = match matches.value_source(key) {
                    Some(ValueSource::EnvVariable) => Source::Environment,
                    _ => Source::Flag,
                };
                entry = Entry { key: key.clone(), value: typed[key].clone(), source };
            }
            merged.insert(key.clone(), entry.value.clone());
            entries.push(entry);
        }
        let merged = serde_json::from_value(Value::Object(merged)).expect("each value came from a Layer");
        Ok(Config { entries, merged })
    }

    /// Checks the values and gives them their meaning.
    pub fn settings(&self) -> Result<Settings, ConfigError> {
        let layer = &self.merged;
        let listen = layer.listen.expect("has a default");
        let insecure_http = layer.insecure_http.unwrap_or(false);
        let tls = tls(layer)?;
        let url = match &layer.url {
            Some(url) => origin_of(url)?,
            None if listen.ip().is_loopback() => {
                let scheme = if tls.is_some() { "https" } else { "http" };
                format!("{scheme}://localhost:{}", listen.port())
            }
            None => return Err(bad("url", format!("must say what people type to reach {listen}"))),
        };
        if tls.is_some() && url.starts_with("http:") {
            return Err(bad("url", format!("{url} is plain HTTP, and a certificate is given")));
        }
        if tls.is_none() && url.starts_with("http:") && !listen.ip().is_loopback() && !insecure_http {
            return Err(bad(
                "listen",
                format!(
                    "{listen} is reached from other machines, and plain HTTP lets everyone on the way read \
                     and change what learners do; give it a certificate with --tls-cert and --tls-key, or put a \
                     TLS proxy before it and set url to https://…, or allow it with --insecure-http"
                ),
            ));
        }
        let cpus = layer.cpus.expect("has a default");
        if !(0.01..=1024.0).contains(&cpus) {
            return Err(bad("cpus", format!("{cpus} is not between 0.01 and 1024")));
        }
        Ok(Settings {
            listen,
            url,
            tls,
            preview_domain: layer.preview_domain.clone(),
            insecure_http,
            web_user: layer.web_user.clone().expect("has a default"),
            labs: layer.labs.clone().expect("has a default"),
            node_binary: layer.node_binary.clone().expect("has a default"),
            limits: Limits {
                memory_mb: at_least("memory_mb", layer.memory_mb, 64)?,
                disk_mb: at_least("disk_mb", layer.disk_mb, 64)?,
                inodes: at_least("inodes", layer.inodes, 4096)?,
                pids: at_least("pids", layer.pids, 32)?,
                cpu_milli: (cpus * 1000.0).round() as u64,
            },
            sessions_max: layer.sessions_max.expect("has a default"),
            nodes_max: layer.nodes_max.expect("has a default"),
            session_minutes: at_least("session_minutes", layer.session_minutes, 1)?,
            extend_minutes: at_least("extend_minutes", layer.extend_minutes, 1)?,
            idle_minutes: at_least("idle_minutes", layer.idle_minutes, 1)?,
        })
    }
}

fn at_least(key: &'static str, value: Option<u64>, least: u64) -> Result<u64, ConfigError> {
    let value = value.expect("has a default");
    if value < least { Err(bad(key, format!("{value} is under {least}"))) } else { Ok(value) }
}

/// Certificate and key: both or neither.
fn tls(layer: &Layer) -> Result<Option<TlsFiles>, ConfigError> {
    match (&layer.tls_cert, &layer.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert: cert.clone(), key: key.clone() })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(bad("tls_key", "is missing, and tls_cert is given")),
        (None, Some(_)) => Err(bad("tls_cert", "is missing, and tls_key is given")),
    }
}

/// The origin part of a URL that has nothing else.
fn origin_of(url: &str) -> Result<String, ConfigError> {
    let parsed: axum::http::Uri = url.parse().map_err(|error| bad("url", format!("{url:?}: {error}")))?;
    let scheme = parsed.scheme_str().unwrap_or_default();
    let authority = parsed.authority().map(|a| a.as_str()).unwrap_or_default();
    if !matches!(scheme, "http" | "https") || authority.is_empty() || authority.contains('@') {
        return Err(bad("url", format!("{url:?} is not http://HOST or https://HOST")));
    }
    if !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
        return Err(bad("url", format!("{url:?} has a path; only scheme, host and port are possible")));
    }
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let authority = authority.strip_suffix(default_port).unwrap_or(authority);
    Ok(format!("{scheme}://{}", authority.to_ascii_lowercase()))
}

fn defaults(state_dir: &Path) -> Layer {
    let limits = Limits::default();
    let beside = |name: &str| {
        let program = std::env::current_exe().ok()?;
        Some(program.parent()?.join(name))
    };
    let labs = [PathBuf::from("labs")].into_iter().chain(beside("labs")).find(|path| path.is_dir());
    Layer {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
        insecure_http: Some(false),
        web_user: Some("drydock".into()),
        labs: Some(labs.unwrap_or_else(|| state_dir.join("labs"))),
        node_binary: beside("drydock-node"),
        memory_mb: Some(limits.memory_mb),
        disk_mb: Some(limits.disk_mb),
        inodes: Some(limits.inodes),
        pids: Some(limits.pids),
        cpus: Some(limits.cpu_milli as f64 / 1000.0),
        sessions_max: Some(200),
        nodes_max: Some(300),
        session_minutes: Some(240),
        extend_minutes: Some(30),
        idle_minutes: Some(30),
        ..Layer::default()
    }
}

fn read_file(path: &Path, named: bool) -> Result<Layer, ConfigError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(Layer::default()),
        Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
    };
    toml::from_str(&text).map_err(|error| ConfigError::Parse {
        path: path.into(),
        message: error.to_string().trim_end().into(),
    })
}

fn object(layer: &Layer) -> Map<String, Value> {
    match serde_json::to_value(layer) {
        Ok(Value::Object(map)) => map,
        _ => unreachable!("a struct of plain values is a JSON object"),
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    /// Settings from this file and these flags.
    fn load(file: &str, flags: &[&str]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drydock.toml");
        std::fs::write(&path, file).unwrap();
        let matches =
            Layer::augment_args(Command::new("drydock")).get_matches_from([&["drydock"], flags].concat());
        let layer = Layer::from_arg_matches(&matches).unwrap();
        Config::load(dir.path(), &path, true, &layer, &matches)
    }

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        load("", flags).unwrap().settings().map_err(|error| error.to_string())
    }

    fn entry<'a>(config: &'a Config, key: &str) -> &'a Entry {
        config.entries.iter().find(|entry| entry.key == key).unwrap()
    }

    #[test]
    fn flags_are_over_the_file_and_the_file_over_defaults() {
        let config = load("pids = 300\nmemory_mb = 300\n", &["--memory-mb", "400"]).unwrap();
        assert_eq!(entry(&config, "memory_mb").source, Source::Flag);
        assert_eq!(entry(&config, "pids").source, Source::File);
        assert_eq!(entry(&config, "disk_mb").source, Source::Default);
        let limits = config.settings().unwrap().limits;
        assert_eq!((limits.memory_mb, limits.pids, limits.disk_mb), (400, 300, 2048));
    }

    #[test]
    fn a_mistake_in_the_file_is_told_with_its_line() {
        let error = load("pids = 300\nmemori_mb = 1\n", &[]).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("drydock.toml"), "{error}");
    }

    #[test]
    fn the_url_follows_from_the_address_on_this_machine_only() {
        assert_eq!(settings(&["--listen", "127.0.0.1:9000"]).unwrap().url, "http://localhost:9000");
        assert!(settings(&["--listen", "0.0.0.0:9000"]).unwrap_err().contains("url"));
    }

    #[test]
    fn plain_http_beyond_this_machine_must_be_asked_for() {
        let flags = ["--listen", "0.0.0.0:80", "--url", "http://labs.example"];
        assert!(settings(&flags).unwrap_err().contains("--insecure-http"));
        assert!(settings(&[&flags[..], &["--insecure-http"]].concat()).unwrap().insecure_http);
        let behind_proxy = ["--listen", "0.0.0.0:80", "--url", "https://labs.example/"];
        assert_eq!(settings(&behind_proxy).unwrap().url, "https://labs.example");
    }

    #[test]
    fn a_url_is_an_origin() {
        for url in
            ["labs.example", "ftp://labs.example", "https://labs.example/path", "https://me@labs.example"]
        {
            assert!(settings(&["--url", url]).unwrap_err().starts_with("setting url"), "{url}");
        }
        let spelled_out = settings(&["--url", "https://Labs.Example:443"]).unwrap();
        assert_eq!(spelled_out.url, "https://labs.example");
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(settings(&["--tls-cert", "x.pem"]).unwrap_err().contains("tls_key"));
        assert!(settings(&["--tls-cert", "x.pem", "--tls-key", "y.pem"]).unwrap().tls.is_some());
    }
}
