//! What a soak has found: which tests did not end as they had to, and what is told of the rest.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    time::Duration,
};

use crate::schedule::{Kind, Test};

/// How a test ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    Passed,
    /// With this error.
    Failed(String),
    /// The cluster that it held was gone.
    Lost(String),
    /// By the fault of this kind.
    Killed(Kind),
    /// Not at all, until its time was up.
    Hung(String),
}

/// A test that has ended.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    pub(crate) test: Test,
    pub(crate) how: How,
    pub(crate) seconds: f64,
    /// Whether it booted its cluster.
    pub(crate) booted: bool,
    /// What it used was broken meanwhile.
    pub(crate) disturbed: Option<Kind>,
    /// The case that it was in when it was killed.
    pub(crate) case: Option<String>,
}

impl Ended {
    /// Others on this machine have used up what its nodes share.
    fn lacked_room(&self) -> bool {
        match &self.how {
            How::Failed(why) => ["too many open files", "room for cluster"]
                .iter()
                .any(|sign| why.contains(sign)),
            _ => false,
        }
    }

    /// Why it must not have ended so; `None` where it may.
    fn wrong(&self) -> Option<String> {
        let number = self.test.number;
        if self.lacked_room() {
            return None;
        }
        match (&self.how, self.disturbed) {
            (How::Passed | How::Killed(_), _) | (How::Failed(_), Some(_)) => None,
            // Its nodes are processes of the engine, and end with it.
            (How::Lost(_), Some(Kind::Engine)) => None,
            (How::Failed(why), None) => Some(format!(
                "test {number} failed, although nothing of its own was broken: {why}"
            )),
            (How::Lost(why), _) => Some(format!("test {number} lost its cluster: {why}")),
            (How::Hung(seen), _) => Some(format!("test {number} hung: {seen}")),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Test {
            number,
            cache,
            alone,
            ..
        } = self.test;
        let whose = if alone { "alone" } else { "shared" };
        write!(
            f,
            "test {number} ({whose}, cache {cache}) after {:.1} s: ",
            self.seconds
        )?;
        match (&self.how, self.disturbed) {
            (How::Passed, _) => f.write_str("passed"),
            (How::Killed(kind), _) => write!(f, "{kind}"),
            (How::Failed(why), Some(kind)) => write!(f, "failed, {kind}: {why}"),
            (How::Failed(why), None) => write!(f, "FAILED: {why}"),
            (How::Lost(why), _) => write!(f, "LOST its cluster: {why}"),
            (How::Hung(seen), _) => write!(f, "HUNG: {seen}"),
        }
    }
}

/// All that a soak has seen.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) tests: Vec<Ended>,
    /// How often each kind of fault has landed.
    pub(crate) landed: BTreeMap<Kind, u32>,
    /// Cases whose test was killed in them, and whether evidence tells of them.
    pub(crate) evidence: Vec<(String, bool)>,
    /// What nobody has removed.
    pub(crate) remains: Vec<String>,
    /// How many things a sweep had to remove at the end.
    pub(crate) swept: usize,
    pub(crate) took: Duration,
}

impl Findings {
    pub(crate) fn land(&mut self, kind: Kind) {
        *self.landed.entry(kind).or_default() += 1;
    }

    /// The kinds of faults that have not landed yet.
    pub(crate) fn missing(&self) -> Vec<Kind> {
        let mut all = Kind::ALL.to_vec();
        all.retain(|kind| !self.landed.contains_key(kind));
        all
    }

    /// What must not be.
    pub(crate) fn wrong(&self) -> Vec<String> {
        let tests = self.tests.iter().filter_map(Ended::wrong);
        let kinds = self.missing().into_iter();
        let kinds = kinds.map(|kind| format!("this fault has never landed: {kind}"));
        let silent = self.evidence.iter().filter(|(_, told)| !told);
        let silent = silent.map(|(case, _)| format!("no evidence of the killed case {case}"));
        let remains = self.remains.iter().map(|one| format!("left over: {one}"));
        tests.chain(kinds).chain(silent).chain(remains).collect()
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&Ended) -> bool| self.tests.iter().filter(|test| is(test)).count();
        writeln!(
            f,
            "{} tests in {:.1} min: {} passed, {} killed, {} failed with what they used, {} booted a \
             cluster",
            self.tests.len(),
            self.took.as_secs_f64() / 60.0,
            count(|test| test.how == How::Passed),
            count(|test| matches!(test.how, How::Killed(_))),
            count(|test| matches!(test.how, How::Failed(_) | How::Lost(_))
                && test.disturbed.is_some()),
            count(|test| test.booted),
        )?;
        writeln!(
            f,
            "for {} the machine had no room",
            count(Ended::lacked_room)
        )?;
        let longest = self
            .tests
            .iter()
            .map(|test| test.seconds)
            .fold(0.0, f64::max);
        writeln!(f, "the longest test took {longest:.1} s")?;
        let mut landed = String::new();
        for (kind, times) in &self.landed {
            write!(landed, "\n  {times} x {kind}")?;
        }
        writeln!(f, "faults that landed:{landed}")?;
        let told = self.evidence.iter().filter(|(_, told)| *told).count();
        writeln!(
            f,
            "evidence of {told} of {} killed cases; a sweep had to remove {} things",
            self.evidence.len(),
            self.swept
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Item, Schedule};

    fn ended(number: u32, how: How, disturbed: Option<Kind>) -> Ended {
        let Some(Item::Test(test)) = Schedule::new(1).next() else {
            unreachable!("a schedule begins with a test")
        };
        Ended {
            test: Test { number, ..test },
            how,
            seconds: f64::from(number),
            booted: number == 1,
            disturbed,
            case: None,
        }
    }

    #[test]
    fn only_what_a_fault_explains_is_forgiven() {
        let why = || "no answer".to_owned();
        let mut findings = Findings {
            tests: vec![
                ended(1, How::Passed, None),
                ended(2, How::Killed(Kind::Sharing), None),
                ended(3, How::Failed(why()), Some(Kind::Engine)),
                ended(4, How::Failed(why()), None),
                ended(5, How::Lost(why()), Some(Kind::Containerd)),
                ended(6, How::Hung(why()), Some(Kind::Engine)),
                ended(8, How::Lost(why()), Some(Kind::Engine)),
                ended(
                    7,
                    How::Failed("inotify_init: too many open files".into()),
                    None,
                ),
            ],
            evidence: vec![("case-a".into(), true), ("case-b".into(), false)],
            remains: vec!["volume v".into()],
            swept: 2,
            took: Duration::from_secs(90),
            ..Findings::default()
        };
        Kind::ALL[1..].iter().for_each(|kind| findings.land(*kind));
        insta::assert_snapshot!(findings.wrong().join("\n"), @r"
        test 4 failed, although nothing of its own was broken: no answer
        test 5 lost its cluster: no answer
        test 6 hung: no answer
        this fault has never landed: test killed while it starts
        no evidence of the killed case case-b
        left over: volume v
        ");
        insta::assert_snapshot!(findings.to_string(), @r"
        8 tests in 1.5 min: 1 passed, 1 killed, 3 failed with what they used, 1 booted a cluster
        for 1 the machine had no room
        the longest test took 8.0 s
        faults that landed:
          1 x test killed on a shared cluster
          1 x test killed on a cluster of its own
          1 x test frozen
          1 x test frozen, then killed
          1 x guard killed
          1 x node's containerd killed
          1 x engine's disk full
          1 x engine killed
        evidence of 1 of 2 killed cases; a sweep had to remove 2 things
        ");
    }
}
