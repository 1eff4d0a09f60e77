//! The node's PID 1, driven over its agent socket. Needs root.

mod commands;
mod support;
mod terminals;
