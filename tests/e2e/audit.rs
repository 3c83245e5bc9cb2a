//! Calls are found again by what a person would ask, on a real proxy.
