//! The HTTP server: what stands between the socket and the handlers.

pub mod address;
pub mod cookies;
pub mod headers;
pub mod hops;
pub mod origin;
pub mod router;
pub mod serve;
pub mod tls;
