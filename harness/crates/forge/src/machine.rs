//! How many builds a machine can run at a time, in one process and across processes.

use kubenest_base::machine::Machine;

/// A Go build takes this much memory at most, as that of Kubernetes does.
const HEAVY_MEMORY: u64 = 4 << 30;
/// A Go build makes good use of this many cores.
const HEAVY_CORES: usize = 4;

/// How many pieces are made at a time. A download needs few cores, so there is always room for one
/// beside a build.
pub(crate) fn builds_at_once(machine: Machine) -> usize {
    machine.cores.max(2)
}

/// How many Go builds run at a time; each uses several cores and much memory.
pub(crate) fn heavy_builds_at_once(machine: Machine) -> usize {
    let by_memory = usize::try_from(machine.memory / HEAVY_MEMORY).unwrap_or(usize::MAX);
    (machine.cores / HEAVY_CORES).min(by_memory).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_run_side_by_side_as_far_as_cores_and_memory_go() {
        let most = |cores, gib: u64| {
            let memory = gib << 30;
            heavy_builds_at_once(Machine { cores, memory })
        };
        assert_eq!(most(2, 64), 1);
        assert_eq!(most(16, 64), 4);
        assert_eq!(most(16, 9), 2);
        assert_eq!(most(16, 1), 1, "one there is always");
    }
}
