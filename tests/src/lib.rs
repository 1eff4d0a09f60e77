//! drydock-tests
