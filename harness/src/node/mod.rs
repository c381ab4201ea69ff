//! A node: run a command, read a file, reach a socket.

pub mod containerd;
pub mod cri;
