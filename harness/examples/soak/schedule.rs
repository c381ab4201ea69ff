//! What a soak does, in which order: a pure function of its seed.

use std::{fmt, time::Duration};

/// How many tests without a fault begin before each fault.
const BETWEEN: usize = 3;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A test's process is killed before it has a cluster.
    Starting,
    /// A test's process is killed while it uses a cluster beside others.
    Sharing,
    /// A test's process is killed while it has a cluster alone.
    Alone,
    /// A test's process stands still for a while.
    Frozen,
    /// A test's process stands still for a while and is then killed.
    FrozenKilled,
    /// The guard of a cluster in use is killed.
    Guard,
    /// containerd is killed in the node of a cluster in use.
    Containerd,
    /// The engine's disk is full for a while.
    Disk,
    /// The engine is killed and started again.
    Engine,
}

impl Kind {
    /// All kinds, the gravest last.
    pub(crate) const ALL: [Self; 9] = [
        Self::Starting,
        Self::Sharing,
        Self::Alone,
        Self::Frozen,
        Self::FrozenKilled,
        Self::Guard,
        Self::Containerd,
        Self::Disk,
        Self::Engine,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "test killed while it starts",
            Self::Sharing => "test killed on a shared cluster",
            Self::Alone => "test killed on a cluster of its own",
            Self::Frozen => "test frozen",
            Self::FrozenKilled => "test frozen, then killed",
            Self::Guard => "guard killed",
            Self::Containerd => "node's containerd killed",
            Self::Disk => "engine's disk full",
            Self::Engine => "engine killed",
        })
    }
}

/// One thing that a soak does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Test(Test),
    /// A fault of what tests use. `pick` chooses one of the clusters in use.
    Fault {
        kind: Kind,
        pick: usize,
    },
}

/// A test: a process that leases a cluster and runs a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Test {
    pub(crate) number: u32,
    /// Which of the two caches it uses.
    pub(crate) cache: usize,
    /// Whether it has its cluster alone.
    pub(crate) alone: bool,
    /// Whether it runs a pod.
    pub(crate) pod: bool,
    /// How long its body is at work.
    pub(crate) work: Duration,
    pub(crate) fate: Option<Fate>,
}

/// What happens to a test's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) kind: Kind,
    /// After its start, or after the begin of its body.
    pub(crate) after: Duration,
    /// How long it stands still.
    pub(crate) frozen: Duration,
}

/// The items of a seed, without end.
pub(crate) struct Schedule {
    random: Random,
    tests: u32,
    /// The kinds of faults that are still to come before all come again, the next one last.
    deck: Vec<Kind>,
    plain: usize,
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            random: Random::of(seed),
            tests: 0,
            deck: Vec::new(),
            plain: 0,
        }
    }

    fn test(&mut self, fate: Option<Kind>) -> Test {
        self.tests += 1;
        let random = &mut self.random;
        let alone = match fate {
            Some(Kind::Sharing) => false,
            Some(Kind::Alone) => true,
            _ => random.below(4) == 0,
        };
        let fate = fate.map(|kind| Fate {
            kind,
            after: Duration::from_millis(match kind {
                Kind::Starting => 20 + random.below(2_000),
                _ => 100 + random.below(1_500),
            }),
            frozen: match kind {
                Kind::Frozen | Kind::FrozenKilled => {
                    Duration::from_millis(2_000 + random.below(8_000))
                }
                _ => Duration::ZERO,
            },
        });
        Test {
            number: self.tests,
            // A third node beside the shared one and those of lone tests.
            cache: usize::from(!alone && random.below(4) == 0),
            alone,
            pod: random.below(3) == 0,
            work: Duration::from_millis(2_000 + random.below(4_000)),
            fate,
        }
    }
}

impl Iterator for Schedule {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        if self.plain < BETWEEN {
            self.plain += 1;
            return Some(Item::Test(self.test(None)));
        }
        self.plain = 0;
        if self.deck.is_empty() {
            self.deck = Kind::ALL.to_vec();
            self.random.shuffle(&mut self.deck);
        }
        let kind = self.deck.pop()?;
        Some(match kind {
            Kind::Guard | Kind::Containerd | Kind::Disk | Kind::Engine => {
                let pick = self.random.below(1 << 16).try_into().unwrap_or_default();
                Item::Fault { kind, pick }
            }
            kind => Item::Test(self.test(Some(kind))),
        })
    }
}

/// SplitMix64: numbers that look random, the same for the same seed on every machine.
pub(crate) struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed that nobody has chosen.
    pub(crate) fn seed() -> u64 {
        u64::from_str_radix(&kubenest_base::random::hex(4), 16).unwrap_or(1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1);
            items.swap(last, usize::try_from(other).unwrap_or_default());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(seed: u64, count: usize) -> Vec<Item> {
        Schedule::new(seed).take(count).collect()
    }

    #[test]
    fn a_seed_gives_the_same_schedule_and_another_seed_another() {
        assert_eq!(of(7, 200), of(7, 200));
        assert_ne!(of(7, 200), of(8, 200));
        let first = of(7, 4);
        let faults = |items: &[Item]| items.iter().filter(|item| kind(item).is_some()).count();
        assert_eq!((faults(&first), faults(&first[..3])), (1, 0), "{first:?}");
    }

    #[test]
    fn every_kind_of_fault_comes_before_one_comes_again() {
        for seed in 0..50 {
            let round = (BETWEEN + 1) * Kind::ALL.len();
            let items = of(seed, 2 * round);
            for round in items.chunks(round) {
                let kinds: BTreeSet<Kind> = round.iter().filter_map(kind).collect();
                assert_eq!(kinds.len(), Kind::ALL.len(), "seed {seed}: {kinds:?}");
            }
        }
    }

    #[test]
    fn a_fate_finds_its_test_at_work() {
        for item in of(3, 2_000) {
            let Item::Test(test) = item else { continue };
            let Some(fate) = test.fate else { continue };
            assert!(fate.kind == Kind::Starting || fate.after < test.work);
            let freezes = matches!(fate.kind, Kind::Frozen | Kind::FrozenKilled);
            assert_eq!(freezes, !fate.frozen.is_zero());
            assert!(fate.kind != Kind::Alone || test.alone);
            assert!(fate.kind != Kind::Sharing || !test.alone);
        }
    }

    fn kind(item: &Item) -> Option<Kind> {
        match item {
            Item::Test(test) => test.fate.as_ref().map(|fate| fate.kind),
            Item::Fault { kind, .. } => Some(*kind),
        }
    }
}
