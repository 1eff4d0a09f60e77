//! `drydock session`: sessions for people and programs without a browser.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use drydock_protocol::host::{AddNode, CreateSession, Features, NodeState, Session, Verb};
use serde::Serialize;

use super::{Context, events, exec, output};
use crate::{
    labs::Labs,
    sessions::{OWNER_CLI, seconds_left},
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a session and start its nodes
    Create(CreateArgs),
    /// List all sessions
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a command in a node, with its output and exit status
    Exec(exec::ExecArgs),
    /// Print what happens in nodes, as it happens
    Events(events::EventsArgs),
    /// End a node in an orderly way; its disk is kept
    Stop(NodeArgs),
    /// Start a stopped or failed node
    Start(NodeArgs),
    /// Start a node anew, on a new disk
    Reset(NodeArgs),
    /// End a node as if its plug was pulled; its disk is kept
    Kill(NodeArgs),
    /// Take a node from the session's network
    Cut(NodeArgs),
    /// Put a node back on the session's network
    Join(NodeArgs),
    /// Add a node to a session
    Add {
        /// The session
        id: String,
        /// The node's name [default: the next free nodeN]
        #[arg(long)]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove a node and its disk from a session
    Remove(NodeArgs),
    /// Let a session end so many minutes from now
    Extend {
        /// The session
        id: String,
        /// Minutes from now
        minutes: u64,
    },
    /// End sessions and remove all of them
    Rm {
        /// The sessions
        #[arg(required_unless_present = "all")]
        ids: Vec<String>,
        /// All sessions of this instance, learners' too
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct NodeArgs {
    /// The session
    id: String,
    /// The node
    node: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct CreateArgs {
    /// How many nodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    nodes: Option<u32>,
    /// As this lab wants it: its nodes, limits, features and files
    #[arg(long, value_name = "SLUG")]
    lab: Option<String>,
    /// Nested user namespaces (`unshare -U`) work in the nodes
    #[arg(long)]
    userns: bool,
    /// `iptables` and `nft` work in the nodes
    #[arg(long)]
    netfilter: bool,
    /// The forward proxy to the hosts that egress_allow names
    #[arg(long)]
    egress: bool,
    /// Memory of each node, in MiB
    #[arg(long, value_name = "N")]
    memory_mb: Option<u64>,
    /// Minutes until it ends [default: the server's session_minutes]
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A session as `--json` prints it.
#[derive(Serialize)]
struct View {
    id: String,
    url: String,
    lab: String,
    learner: bool,
    created: u64,
    deadline: u64,
    nodes: Vec<NodeView>,
}

#[derive(Serialize)]
struct NodeView {
    name: String,
    address: std::net::Ipv4Addr,
    state: NodeState,
    cut: bool,
    docker_host: String,
}

pub(super) fn run(context: &Context, command: Command) -> Result<ExitCode> {
    let runtime = super::small_runtime()?;
    let result = runtime.block_on(dispatch(context, command));
    // A read of stdin may still be under way; nobody waits for it.
    runtime.shutdown_background();
    result
}

async fn dispatch(context: &Context, command: Command) -> Result<ExitCode> {
    match command {
        Command::Create(args) => create(context, &args).await?,
        Command::List { json } => list(context, json).await?,
        Command::Exec(args) => return Ok(exec::run_or_complain(context, args).await),
        Command::Events(args) => events::run(context, &args).await?,
        Command::Stop(args) => verb(context, &args, Verb::Stop).await?,
        Command::Start(args) => verb(context, &args, Verb::Start).await?,
        Command::Reset(args) => verb(context, &args, Verb::Reset).await?,
        Command::Kill(args) => verb(context, &args, Verb::Kill).await?,
        Command::Cut(args) => verb(context, &args, Verb::Cut).await?,
        Command::Join(args) => verb(context, &args, Verb::Join).await?,
        Command::Add { id, name, json } => {
            let session = context.host.add_node(&id, &AddNode { name }).await?;
            print(context, &session, json)?;
        }
        Command::Remove(args) => drop(context.host.remove_node(&args.id, &args.node).await?),
        Command::Extend { id, minutes } => drop(context.host.extend(&id, minutes.saturating_mul(60)).await?),
        Command::Rm { ids, all } => remove(context, ids, all).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(context: &Context, args: &CreateArgs) -> Result<()> {
    let settings = context.config.settings()?;
    let mut create = CreateSession {
        owner: OWNER_CLI.into(),
        purpose: args.lab.clone().unwrap_or_default(),
        nodes: Vec::new(),
        limits: settings.limits,
        features: Features { userns: args.userns, netfilter: args.netfilter, egress: false },
        seconds: args.minutes.unwrap_or(settings.session_minutes).saturating_mul(60),
        nodes_max: None,
    };
    if args.egress && settings.egress_allow.is_empty() {
        bail!("--egress: no host is allowed; name some with the setting egress_allow");
    }
    let lab = match &args.lab {
        Some(slug) => {
            let lab = Labs::new(&settings.labs).get(slug).await;
            Some(lab.with_context(|| format!("there is no lab {slug} in {}", settings.labs.display()))?)
        }
        None => None,
    };
    if let Some(lab) = &lab {
        create.limits = crate::sessions::limits_of(lab, &settings.limits);
        create.features.userns |= lab.front.userns;
        create.features.netfilter |= lab.front.netfilter;
        create.features.egress = lab.front.egress && !settings.egress_allow.is_empty();
        create.nodes = lab.front.nodes.clone();
    }
    create.features.egress |= args.egress;
    if let Some(memory_mb) = args.memory_mb {
        create.limits.memory_mb = memory_mb;
    }
    if args.nodes.is_some() || create.nodes.is_empty() {
        create.nodes = (1..=args.nodes.unwrap_or(1)).map(|number| format!("node{number}")).collect();
    }
    let session = context.host.create(&create).await?;
    match &lab {
        Some(lab) => crate::sessions::copy_files(lab, &session, None).await?,
        None => crate::sessions::furnish(&session, None).await?,
    }
    print(context, &session, args.json)
}

async fn list(context: &Context, json: bool) -> Result<()> {
    let sessions = context.host.sessions().await?;
    if json {
        let url = context.url()?;
        let views: Vec<_> = sessions.iter().map(|session| View::new(&url, session)).collect();
        return output::json(&views);
    }
    let rows = sessions.iter().map(|session| {
        let nodes: Vec<_> = session.nodes.iter().map(describe).collect();
        let who = if session.owner == OWNER_CLI { "command line" } else { "learner" };
        let left = seconds_left(session) / 60;
        vec![session.id.clone(), who.into(), session.purpose.clone(), format!("{left} min"), nodes.join(", ")]
    });
    output::table(&["ID", "MADE BY", "LAB", "LEFT", "NODES"], rows)
}

fn describe(node: &drydock_protocol::host::Node) -> String {
    let mut words = node.name.clone();
    if node.state != NodeState::Running {
        words += match node.state {
            NodeState::Creating => " (being made)",
            NodeState::Stopped => " (stopped)",
            NodeState::Failed => " (failed)",
            NodeState::Foreign => " (from another version)",
            NodeState::Running => "",
        };
    }
    if node.cut {
        words += " (cut off)";
    }
    words
}

async fn verb(context: &Context, args: &NodeArgs, verb: Verb) -> Result<()> {
    let session = context.host.verb(&args.id, &args.node, verb).await?;
    if verb == Verb::Reset {
        match Labs::new(&context.config.settings()?.labs).get(&session.purpose).await {
            Some(lab) => crate::sessions::copy_files(&lab, &session, Some(&args.node)).await?,
            None => crate::sessions::furnish(&session, Some(&args.node)).await?,
        }
    }
    Ok(())
}

async fn remove(context: &Context, ids: Vec<String>, all: bool) -> Result<()> {
    let ids = match all {
        true => context.host.sessions().await?.into_iter().map(|session| session.id).collect(),
        false => ids,
    };
    let mut failed = Vec::new();
    for id in ids {
        match context.host.remove(&id).await {
            Ok(()) => println!("{id}"),
            Err(error) => failed.push(format!("{id}: {error}")),
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("not removed: {}", failed.join("; ")) }
}

fn print(context: &Context, session: &Session, json: bool) -> Result<()> {
    let view = View::new(&context.url()?, session);
    if json {
        return output::json(&view);
    }
    println!("Session {} is ready: {}", view.id, view.url);
    for node in &view.nodes {
        println!("  {}  {}  DOCKER_HOST={}", node.name, node.address, node.docker_host);
    }
    println!("Run something there: drydock session exec {} {} -- uname -a", view.id, view.nodes[0].name);
    Ok(())
}

impl View {
    fn new(url: &str, session: &Session) -> View {
        View {
            id: session.id.clone(),
            url: format!("{url}/sessions/{}?key={}", session.id, session.key),
            lab: session.purpose.clone(),
            learner: session.owner != OWNER_CLI,
            created: session.created,
            deadline: session.deadline,
            nodes: session.nodes.iter().map(NodeView::new).collect(),
        }
    }
}

impl NodeView {
    fn new(node: &drydock_protocol::host::Node) -> NodeView {
        NodeView {
            name: node.name.clone(),
            address: node.address,
            state: node.state,
            cut: node.cut,
            docker_host: format!("unix://{}", node.docker.display()),
        }
    }
}

/// A running node's agent socket.
pub(super) async fn agent_socket(context: &Context, id: &str, node: &str) -> Result<PathBuf> {
    let session = context.host.session(id).await?;
    let Some(found) = session.nodes.iter().find(|found| found.name == node) else {
        let names: Vec<_> = session.nodes.iter().map(|node| node.name.as_str()).collect();
        bail!("session {id} has no node {node}; it has {}", names.join(", "));
    };
    if found.state != NodeState::Running {
        bail!("{} does not run; start it with `drydock session start {id} {node}`", describe(found));
    }
    Ok(found.agent.clone())
}
