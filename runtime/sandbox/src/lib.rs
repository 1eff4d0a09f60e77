//! drydock-sandbox
pub mod capabilities;
pub mod seccomp;
pub mod fdpass;
pub mod spawn;
