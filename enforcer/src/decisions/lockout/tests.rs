//! Dangers.
