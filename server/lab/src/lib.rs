//! drydock-lab
