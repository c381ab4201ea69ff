//! Ownership: who may end a thing in the engine, said by its labels, and what ends it.
//!
//! [Labels](labels) say whose a thing is, and an [`Owner`] whether that one lives. Three remove
//! what nobody owns any more: whoever is done with it, the [`Guard`] of a cluster when its
//! owner dies, and a [`sweep()`] of what all of them left.

pub(super) mod freezer;
mod guard;
mod keep;
pub mod labels;
mod owner;
mod sweep;

pub use self::{
    guard::{Guard, Saving, Ward},
    labels::Labels,
    owner::{Holder, Lease, LeaseId, Liveness, Owner, ProcessId},
    sweep::{Scope, SweepReport, sweep},
};
