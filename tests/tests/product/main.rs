//! Tests of the whole product, in the rig, each with an instance of its own.
//!
//! A test that stands for a row of the project's list of attacks and faults
//! begins with the row's name: `e01_…`.

mod admission;
mod bad_input;
mod clients;
mod docker;
mod docker_containers;
mod egress;
mod escape;
mod events;
mod exhaustion;
mod groups;
mod hostile_output;
mod images;
mod leaks;
mod network;
mod networks;
mod previews;
mod restarts;
mod rows;
mod sessions;
mod slow;
mod tenants;
mod unkillable;
mod volumes;
mod web;
mod web_abuse;
