//! Images: what they are called, how the machine keeps them, and how they get there.
//!
//! | module | what |
//! | --- | --- |
//! | [`reference`] | what people type: `busybox`, `user/app:2`, `…@sha256:…` |
//! | [`digest`] | `sha256:…`, always of the right form |
//! | [`config`] | the OCI image configuration and manifest |
//! | [`store`] | the machine's layer store: its form on disk, and reading it |
//! | [`import`] | an OCI or `docker save` archive into the store |
//! | [`layer`] | one layer's tar into a directory, confined by the kernel |
//! | [`sandboxed`] | the throw-away process that `import` runs in |
//! | [`unpack`] | that process's `main`, `drydock-node unpack` |
//! | [`pack`] | a root's tar and a configuration into an OCI archive |
//!
//! The privileged host never parses an archive: [`sandboxed::import`] starts
//! [`unpack::main`], which gives up everything but the store first.

pub mod config;
pub mod digest;
pub mod reference;
pub mod store;
