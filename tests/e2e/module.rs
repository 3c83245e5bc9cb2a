//! The compiled filter alone, in a host that may do anything: what it says to a good and a bad request, that no row of
//! callbacks ends it or lets a refused request go on, and what a large contract costs.
//!
//! Full size of the random rows: `just module-fuzz`.

mod footprint;
mod orders;
mod rows;
mod scene;
mod simple;
