//! This backend's GPU engine: when it is created, when it goes, what it holds, and when it is worth using.
#![expect(unsafe_code, reason = "exit callbacks and signal masks are C interfaces")]

pub(crate) mod calibration;
pub(crate) mod ledger;
pub(crate) mod lifecycle;
pub(crate) mod policy;
pub(crate) mod residency;
pub(crate) mod threads;
