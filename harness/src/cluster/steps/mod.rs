//! The steps of a boot, in order.

pub(super) mod containers;
pub(super) mod dns;
pub(super) mod init;
pub(super) mod join;
pub(super) mod network;
mod parts;
pub(super) mod usable;
