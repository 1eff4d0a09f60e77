//! Tests of the whole product, in the rig, each with an instance of its own.
//!
//! A test that stands for a row of the project's list of attacks and faults
//! begins with the row's name: `e01_…`.

mod admission;
mod bad_input;
mod bystander;
mod clients;
mod dns;
mod docker;
mod docker_containers;
mod egress;
mod engine_kills;
mod escape;
mod events;
mod exhaustion;
mod faults;
mod flood;
mod full_disk;
mod groups;
mod hostile_output;
mod images;
mod kills;
mod leaks;
mod network;
mod network_drop;
mod networks;
mod previews;
mod restarts;
mod rows;
mod sessions;
mod slow;
mod tenants;
mod unkillable;
mod upgrade;
mod volumes;
mod web;
mod web_abuse;
