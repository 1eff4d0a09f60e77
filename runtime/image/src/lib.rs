//! Images: what they are called, how the machine keeps them, and how they get there.
//!
//! | module | what |
//! | --- | --- |
//! | [`reference`] | what people type: `busybox`, `user/app:2`, `…@sha256:…` |
//! | [`digest`] | `sha256:…`, always of the right form |
//! | [`config`] | the OCI image configuration and manifest |
//! | [`store`] | the machine's layer store: its form on disk, and reading it |
//! | [`archive`], [`compression`] | reading tars and compressed streams in bounded memory |
//! | [`import`] | an OCI or `docker save` archive into the store |
//! | [`layer`] | one layer's tar into a directory, confined by the kernel |
//! | [`upper`] | an overlay's upper directory as a layer's tar |
//! | [`compose`] | a new image from an older one and one more layer |
//! | [`save`] | images as an archive that `docker load` reads |
//! | [`limits`] | how much an archive may ask of us |
//! | [`sandboxed`] | the throw-away process that `import` runs in |
//! | [`unpack`] | that process's `main`, `drydock-node unpack` |
//! | [`pack`] | a root's tar and a configuration into an OCI archive |
//!
//! The privileged host never parses an archive: [`sandboxed::import`] starts
//! [`unpack::main`], which gives up everything but the store first.

pub mod archive;
pub mod compose;
pub mod compression;
pub mod config;
pub mod digest;
pub mod import;
pub mod layer;
pub mod limits;
pub mod pack;
pub mod reference;
mod remove;
pub mod sandboxed;
pub mod save;
pub mod store;
pub mod unpack;
pub mod upper;
