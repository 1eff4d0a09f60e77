//! drydock-page
