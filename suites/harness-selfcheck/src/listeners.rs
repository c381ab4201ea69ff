//! The TCP listeners on this machine.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result};

/// A TCP listener, from the kernel's tables.
#[derive(Debug)]
pub struct Listener {
    /// Address and port.
    pub at: SocketAddr,
    /// Command line of the process; empty if this user may not see it.
    pub command: String,
}

/// All TCP listeners on this machine.
///
/// # Errors
/// The kernel's table cannot be read.
pub fn listeners() -> Result<Vec<Listener>> {
    let commands = commands_by_socket();
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // The kernel may have no IPv6.
        for line in fs::read_to_string(table)
            .unwrap_or_default()
            .lines()
            .skip(1)
        {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (at, state, inode) = (fields[1], fields[3], fields[9]);
            if state == "0A" {
                let command = commands.get(&format!("socket:[{inode}]"));
                found.push(Listener {
                    at: parse_address(at).with_context(|| format!("{table}: {line}"))?,
                    command: command.cloned().unwrap_or_default(),
                });
            }
        }
    }
    Ok(found)
}

/// Parses an address such as `0100007F:1F90`, whose words are in the machine's byte order.
fn parse_address(text: &str) -> Result<SocketAddr> {
    let (address, port) = text.split_once(':').context("no port")?;
    let mut bytes = Vec::new();
    for word in address.as_bytes().chunks(8) {
        let word = u32::from_str_radix(std::str::from_utf8(word)?, 16)?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(&bytes[..])?).to_canonical(),
    };
    Ok(SocketAddr::new(ip, u16::from_str_radix(port, 16)?))
}

/// Command lines of processes, by their open files, such as `socket:[1234]`.
fn commands_by_socket() -> BTreeMap<String, String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found = BTreeMap::new();
    for process in processes {
        let command = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        // The files of other users' processes, and of those that have just ended, cannot be listed.
        let files = fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten();
        for link in files
            .flatten()
            .filter_map(|file| fs::read_link(file.path()).ok())
        {
            found.insert(link.to_string_lossy().into_owned(), command.clone());
        }
    }
    found
}
