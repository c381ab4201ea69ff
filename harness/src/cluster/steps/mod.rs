//! The steps that the stages of a boot are made of.

pub(super) mod addons;
pub(super) mod api_server;
pub(super) mod containers;
mod creation;
pub(super) mod door;
pub(super) mod early_rights;
pub(super) mod init;
pub(super) mod join;
pub(super) mod network;
mod parts;
mod pod_cgroups;
mod pod_logs;
pub(super) mod registries;
pub(super) mod serving;
pub(super) mod usable;
pub(super) mod volumes;
