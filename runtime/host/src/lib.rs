//! drydock-host
