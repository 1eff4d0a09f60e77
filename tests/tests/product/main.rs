//! Tests of the whole product, in the rig, each with an instance of its own.
//!
//! A test that stands for a row of the project's list of attacks and faults
//! begins with the row's name: `e01_…`.

mod docker;
mod escape;
mod events;
mod exhaustion;
mod groups;
mod leaks;
mod network;
mod restarts;
mod sessions;
mod slow;
mod tenants;
mod web;
