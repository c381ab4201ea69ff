//! Ownership: labels say who may end a resource of the engine, and three mechanisms remove
//! abandoned resources.
//!
//! [Labels](labels) name the owner of a resource, and an [`Owner`] tells whether that owner lives.
//! Resources are removed by the user who needs them no longer, by the [`Guard`] of a cluster when
//! the owner dies, and by a [`sweep()`] of everything that the other two left.

pub(super) mod freezer;
mod guard;
mod keep;
pub mod labels;
mod owner;
mod sweep;

pub use self::{
    guard::{Guard, Saving, Ward},
    labels::Labels,
    owner::{Holder, Lease, LeaseId, LeaseState, Liveness, Owner, ProcessId},
    sweep::{Scope, SweepReport, sweep},
};
