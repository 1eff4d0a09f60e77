//! `drydock`: the web app, its gateway services, and the command line.
//!
//! | module | what |
//! | --- | --- |
//! | [`cli`] | the commands |
//! | [`config`] | settings from file, environment and flags |
//! | [`host`] | client of `drydock host` |
//! | [`db`] | learners, progress, classes in SQLite |
//! | [`labs`] | the guides on disk, parsed |
//! | [`sessions`] | learners' sessions: made, found, extended, ended when idle |
//! | [`gateway`] | DNS on the sessions' gateway addresses |
//! | [`egress`] | the forward proxy on the gateway, where the operator allows it |
//! | [`previews`] | what nodes serve, shown from origins of their own |
//! | [`web`] | the HTTP server: routes, cookies, origins, headers |
//! | [`api`] | handlers of `/api`, a file a resource |
//! | [`pages`] | handlers of pages |
//! | [`labtest`] | `drydock lab test` and `drydock lab lint` |

pub mod api;
pub mod assets;
pub mod cli;
pub mod config;
pub mod db;
pub mod egress;
pub mod error;
pub mod gateway;
pub mod host;
pub mod labs;
pub mod labtest;
pub mod learner;
pub mod pages;
pub mod previews;
pub mod sessions;
pub mod state;
pub mod web;
