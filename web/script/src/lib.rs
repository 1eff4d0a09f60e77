//! drydock-script
