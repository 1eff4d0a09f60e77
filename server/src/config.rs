//! Settings: one TOML file, environment variables over it, flags over both.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, parser::ValueSource};
use drydock_host::{admission::Policy, config::Rates};
use drydock_protocol::host::Limits;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{egress::allow::AllowList, web::address::Proxies};

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
    /// Ports that nodes' own pages are shown on where there is no such domain, as FIRST-LAST
    #[arg(long, env = "DRYDOCK_PREVIEW_PORTS", value_name = "PORTS")]
    pub preview_ports: Option<String>,
    /// Hosts that labs with `egress` may reach, with commas between: deb.debian.org, *.pypi.org, mirror.lan:8080
    #[arg(long, env = "DRYDOCK_EGRESS_ALLOW", value_name = "HOSTS", value_delimiter = ',')]
    pub egress_allow: Option<Vec<String>>,
    /// Most that one session may move to and from such hosts, in MiB
    #[arg(long, env = "DRYDOCK_EGRESS_MB", value_name = "N")]
    pub egress_mb: Option<u64>,
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
    /// How fast a node reads and writes its disk, in MiB a second [default: 100]
    #[arg(long, env = "DRYDOCK_DISK_MB_S", value_name = "N")]
    pub disk_mb_s: Option<u64>,
    /// How fast a node sends and receives, in MiB a second [default: 100]
    #[arg(long, env = "DRYDOCK_NETWORK_MB_S", value_name = "N")]
    pub network_mb_s: Option<u64>,
    /// Most sessions at once
    #[arg(long, env = "DRYDOCK_SESSIONS_MAX", value_name = "N")]
    pub sessions_max: Option<u32>,
    /// Most nodes at once, over all sessions
    #[arg(long, env = "DRYDOCK_NODES_MAX", value_name = "N")]
    pub nodes_max: Option<u32>,
    /// How many times over memory may be promised to nodes
    #[arg(long, env = "DRYDOCK_MEMORY_FACTOR", value_name = "N")]
    pub memory_factor: Option<f64>,
    /// How many times over disk space may be promised to nodes
    #[arg(long, env = "DRYDOCK_DISK_FACTOR", value_name = "N")]
    pub disk_factor: Option<f64>,
    /// How many times over CPU time may be promised to nodes
    #[arg(long, env = "DRYDOCK_CPU_FACTOR", value_name = "N")]
    pub cpu_factor: Option<f64>,
    /// Memory that nodes leave to the machine, in MiB [default: an eighth, 1024 at most]
    #[arg(long, env = "DRYDOCK_MEMORY_RESERVE_MB", value_name = "N")]
    pub memory_reserve_mb: Option<u64>,
    /// Disk space that nodes leave free, in MiB [default: a twentieth, 2048 at most]
    #[arg(long, env = "DRYDOCK_DISK_RESERVE_MB", value_name = "N")]
    pub disk_reserve_mb: Option<u64>,
    /// Most sessions a learner may have at once
    #[arg(long, env = "DRYDOCK_LEARNER_SESSIONS_MAX", value_name = "N")]
    pub learner_sessions_max: Option<u32>,
    /// Most sessions begun from one network address at once; 0 is no limit
    #[arg(long, env = "DRYDOCK_ADDRESS_SESSIONS_MAX", value_name = "N")]
    pub address_sessions_max: Option<u32>,
    /// Sessions that one network address may begin in a minute, after 20 at once; 0 is no limit
    #[arg(long, env = "DRYDOCK_ADDRESS_SESSIONS_PER_MINUTE", value_name = "N")]
    pub address_sessions_per_minute: Option<u32>,
    /// Proxies whose X-Forwarded-For is believed: addresses or networks, with commas between
    #[arg(long, env = "DRYDOCK_TRUSTED_PROXIES", value_name = "ADDRESS", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<String>>,
    /// Most learners who may wait in line when the room is full
    #[arg(long, env = "DRYDOCK_LINE_MAX", value_name = "N")]
    pub line_max: Option<u32>,
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
    /// Ports that nodes' own pages are shown on, where there is no domain.
    pub preview_ports: Option<PortRange>,
    /// Hosts that labs may reach, where they ask for it.
    pub egress_allow: AllowList,
    /// Most that one session may move to and from such hosts, in MiB.
    pub egress_mb: u64,
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
    /// How fast each node's disk and link are.
    pub rates: Rates,
    /// Most sessions at once.
    pub sessions_max: u32,
    /// Most nodes at once, over all sessions.
    pub nodes_max: u32,
    /// How much of the machine may be promised to nodes.
    pub policy: Policy,
    /// Most sessions a learner may have at once.
    pub learner_sessions_max: u32,
    /// What one network address may take.
    pub address_limits: AddressLimits,
    /// Proxies whose word about addresses is believed.
    pub trusted_proxies: Proxies,
    /// Most learners in line.
    pub line_max: u32,
    /// Longest time a session may still have, in minutes.
    pub session_minutes: u64,
    /// Minutes that Extend adds.
    pub extend_minutes: u64,
    /// Minutes without typing after which a learner's session ends.
    pub idle_minutes: u64,
}

/// What one network address may take; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressLimits {
    /// Sessions at once.
    pub sessions_max: u32,
    /// Sessions begun in a minute.
    pub sessions_per_minute: u32,
}

/// Ports from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; not before the first.
    pub last: u16,
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
            tls,
            preview_domain: preview_domain(layer, &url)?,
            egress_allow: AllowList::parse(layer.egress_allow.as_deref().unwrap_or_default())
                .map_err(|reason| bad("egress_allow", reason))?,
            egress_mb: at_least("egress_mb", layer.egress_mb, 1)?,
            preview_ports: layer.preview_ports.as_deref().map(port_range).transpose()?,
            url,
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
            rates: Rates {
                disk_mb_s: at_least("disk_mb_s", layer.disk_mb_s, 1)?,
                network_mb_s: at_least("network_mb_s", layer.network_mb_s, 1)?,
            },
            sessions_max: layer.sessions_max.expect("has a default"),
            nodes_max: layer.nodes_max.expect("has a default"),
            policy: Policy {
                memory_factor: factor("memory_factor", layer.memory_factor)?,
                disk_factor: factor("disk_factor", layer.disk_factor)?,
                cpu_factor: factor("cpu_factor", layer.cpu_factor)?,
                memory_reserve_mb: layer.memory_reserve_mb,
                disk_reserve_mb: layer.disk_reserve_mb,
            },
            learner_sessions_max: layer.learner_sessions_max.expect("has a default"),
            address_limits: AddressLimits {
                sessions_max: layer.address_sessions_max.expect("has a default"),
                sessions_per_minute: layer.address_sessions_per_minute.expect("has a default"),
            },
            trusted_proxies: Proxies::parse(layer.trusted_proxies.as_deref().unwrap_or_default())
                .map_err(|reason| bad("trusted_proxies", reason))?,
            line_max: layer.line_max.expect("has a default"),
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

fn factor(key: &'static str, value: Option<f64>) -> Result<f64, ConfigError> {
    let value = value.expect("has a default");
    if (0.1..=1e6).contains(&value) {
        Ok(value)
    } else {
        Err(bad(key, format!("{value} is not between 0.1 and 1,000,000")))
    }
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

/// Names under localhost lead to this machine without anybody's doing.
fn preview_domain(layer: &Layer, url: &str) -> Result<Option<String>, ConfigError> {
    let Some(given) = &layer.preview_domain else {
        let local = url
            .split_once("://")
            .is_some_and(|(_, host)| host == "localhost" || host.starts_with("localhost:"));
        return Ok((local && layer.preview_ports.is_none()).then(|| "localhost".to_owned()));
    };
    let domain = given.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    // The last label of an address is a number, and no name goes before one.
    let named = domain.rsplit('.').next().is_some_and(|last| last.bytes().any(|b| b.is_ascii_lowercase()));
    if named && domain.split('.').all(is_label) {
        Ok(Some(domain))
    } else {
        Err(bad("preview_domain", format!("{given:?} is no domain, such as preview.example.org")))
    }
}

fn port_range(text: &str) -> Result<PortRange, ConfigError> {
    let wrong = || bad("preview_ports", format!("{text:?} is not FIRST-LAST, two ports from 1024 on"));
    let (first, last) = text.split_once('-').ok_or_else(wrong)?;
    let (Ok(first), Ok(last)) = (first.trim().parse(), last.trim().parse()) else { return Err(wrong()) };
    // Web is not root, and may not listen on lower ones.
    if first < 1024 || last < first { Err(wrong()) } else { Ok(PortRange { first, last }) }
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
    let (limits, rates) = (Limits::default(), Rates::default());
    let policy = Policy::default();
    let beside = |name: &str| {
        let program = std::env::current_exe().ok()?;
        Some(program.parent()?.join(name))
    };
    let labs = [PathBuf::from("labs")].into_iter().chain(beside("labs")).find(|path| path.is_dir());
    Layer {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
        egress_mb: Some(1024),
        insecure_http: Some(false),
        web_user: Some("drydock".into()),
        labs: Some(labs.unwrap_or_else(|| state_dir.join("labs"))),
        node_binary: beside("drydock-node"),
        memory_mb: Some(limits.memory_mb),
        disk_mb: Some(limits.disk_mb),
        inodes: Some(limits.inodes),
        pids: Some(limits.pids),
        cpus: Some(limits.cpu_milli as f64 / 1000.0),
        disk_mb_s: Some(rates.disk_mb_s),
        network_mb_s: Some(rates.network_mb_s),
        sessions_max: Some(300),
        nodes_max: Some(300),
        memory_factor: Some(policy.memory_factor),
        disk_factor: Some(policy.disk_factor),
        cpu_factor: Some(policy.cpu_factor),
        learner_sessions_max: Some(3),
        address_sessions_max: Some(100),
        address_sessions_per_minute: Some(60),
        line_max: Some(300),
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
    fn previews_have_a_domain_or_ports() {
        let domain = |flags: &[&str]| settings(flags).unwrap().preview_domain;
        assert_eq!(domain(&[]).as_deref(), Some("localhost"));
        assert_eq!(domain(&["--url", "https://labs.example"]), None);
        assert_eq!(domain(&["--preview-domain", "*.Apps.Example."]).as_deref(), Some("apps.example"));
        for wrong in ["", "10.0.0.1", "a b.example", "*."] {
            assert!(
                settings(&["--preview-domain", wrong]).unwrap_err().contains("preview_domain"),
                "{wrong}"
            );
        }
        let ports = settings(&["--preview-ports", "8100-8199"]).unwrap();
        assert_eq!(ports.preview_ports, Some(PortRange { first: 8100, last: 8199 }));
        assert_eq!(ports.preview_domain, None);
        for wrong in ["8100", "80-90", "8199-8100", "8100-99999", "a-b"] {
            assert!(settings(&["--preview-ports", wrong]).unwrap_err().contains("preview_ports"), "{wrong}");
        }
    }

    #[test]
    fn a_certificate_needs_its_key() {
        assert!(settings(&["--tls-cert", "x.pem"]).unwrap_err().contains("tls_key"));
        assert!(settings(&["--tls-cert", "x.pem", "--tls-key", "y.pem"]).unwrap().tls.is_some());
    }
}
