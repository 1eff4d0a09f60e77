//! drydock-sandbox
