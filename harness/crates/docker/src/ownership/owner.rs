//! Owners: who may end a thing, and whether that one lives.
//!
//! A thing's labels never change, so they name who may end it, and not who happened to make it.

mod lease;
mod process;

use std::{fmt, str::FromStr, sync::OnceLock};

pub use self::{
    lease::{Holder, Lease, LeaseId},
    process::ProcessId,
};

/// Who may end a thing.
///
/// As text, which is its label, a process and a lease never look alike: one has two slashes, the
/// other more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// A process: its things end with it.
    Process(ProcessId),
    /// A lease: its things end when nobody holds it.
    Lease(Lease),
}

/// What can be said about an [`Owner`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// The process runs, or somebody holds the lease.
    Alive,
    /// The process is gone, or nobody holds the lease.
    Dead,
    /// It is of another host, of another container or from before the last boot; or this process
    /// may not look at it.
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
