//! The cores and the memory of this machine.

/// What a machine has for what runs on it.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// How many cores this process may use.
    pub cores: usize,
    /// Bytes of memory that nobody uses; none where it is not known.
    pub memory: u64,
}

impl Machine {
    /// What this machine has now.
    pub fn this() -> Self {
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = memory.lines().find_map(|line| {
            let text = line.strip_prefix("MemAvailable:")?.trim();
            text.strip_suffix("kB")?.trim().parse::<u64>().ok()
        });
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory: available.unwrap_or_default() << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_cores_and_memory() {
        let this = Machine::this();
        assert!(this.cores > 0 && this.memory > 0, "{this:?}");
    }
}
