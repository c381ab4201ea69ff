//! The steps of a boot, in order.

pub(super) mod containers;
pub(super) mod dns;
pub(super) mod init;
pub(super) mod join;
pub(super) mod network;
pub(super) mod usable;
