//! Owners: who may end a resource, and whether that owner lives.
//!
//! The labels of a resource never change, so they name the owner who may end it, not the process
//! that happened to make it.

mod lease;
mod process;

use std::{fmt, str::FromStr, sync::OnceLock};

pub use self::{
    lease::{Holder, Lease, LeaseId, LeaseState},
    process::ProcessId,
};

/// Who may end a thing.
///
/// The text form is the value of the owner label. A process and a lease never look alike: the text
/// of a process has two slashes, that of a lease has more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A process: its resources end with it.
    Process(ProcessId),
    /// A lease: its resources end when nobody holds it.
    Lease(Lease),
}

/// What can be said about an [`Owner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The process runs, or somebody holds the lease.
    Alive,
    /// The process is gone, or nobody holds the lease.
    Dead,
    /// The owner is on another host, in another container or from before the last boot; or this
    /// process may not look at it.
    Unknown,
}

impl Owner {
    /// This process.
    pub fn current() -> &'static Self {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        CURRENT.get_or_init(|| Self::Process(ProcessId::current().clone()))
    }

    /// Whether it lives, if this process can tell.
    pub fn liveness(&self) -> Liveness {
        match self {
            Self::Process(process) => process.liveness(),
            Self::Lease(lease) => lease.liveness(),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process(process) => process.fmt(f),
            Self::Lease(lease) => lease.fmt(f),
        }
    }
}

impl FromStr for Owner {
    type Err = ();

    /// Takes exactly what [`Display`](fmt::Display) writes: a label is anybody's text.
    fn from_str(text: &str) -> Result<Self, ()> {
        let process = text.parse().map(Self::Process);
        process.or_else(|()| text.parse().map(Self::Lease))
    }
}
