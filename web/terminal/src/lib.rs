//! drydock-terminal
