//! How many builds this machine can run at a time, in one process and across processes.

/// A Go build takes this much memory at most, as that of Kubernetes does.
const HEAVY_MEMORY: u64 = 4 << 30;
/// A Go build makes good use of this many cores.
const HEAVY_CORES: usize = 4;

/// The resources of the machine on which pieces are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory: u64,
}

impl Machine {
    /// The resources of this machine.
    pub(crate) fn this() -> Self {
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

    /// How many pieces are made at a time. A download needs few cores, so there is always room for
    /// one beside a build.
    pub(crate) fn most(self) -> usize {
        self.cores.max(2)
    }

    /// How many Go builds run at a time; each uses several cores and much memory.
    pub(crate) fn most_heavy(self) -> usize {
        let by_memory = usize::try_from(self.memory / HEAVY_MEMORY).unwrap_or(usize::MAX);
        (self.cores / HEAVY_CORES).min(by_memory).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_run_side_by_side_as_far_as_cores_and_memory_go() {
        let most = |cores, gib: u64| {
            let memory = gib << 30;
            let machine = Machine { cores, memory };
            machine.most_heavy()
        };
        assert_eq!(most(2, 64), 1);
        assert_eq!(most(16, 64), 4);
        assert_eq!(most(16, 9), 2);
        assert_eq!(most(16, 1), 1, "one there is always");
        assert!(Machine::this().memory > 0);
    }
}
