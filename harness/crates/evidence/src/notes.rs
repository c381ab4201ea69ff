//! What is known of a cluster and of each running case, and the part of it that a bundle is about.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use kubenest_recipe::recipe::Versions;

/// Notes of a cluster and of the cases on it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Notes {
    pub(super) cluster: ClusterNotes,
    /// The cases that run, by their namespaces.
    pub(super) cases: BTreeMap<String, CaseNotes>,
    /// The steps of the boot and of all cases; written to a file of its own.
    #[serde(skip)]
    pub(super) steps: Vec<Step>,
}

/// What is the same for every case of a cluster.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ClusterNotes {
    pub(super) name: String,
    /// The test that boots it; empty outside tests.
    pub(super) test: String,
    /// Its owner, as in labels, and the number of the process that made it.
    pub(super) owner: String,
    pub(super) process: u32,
    /// The lease that the process holds; `None` where the cluster is its own.
    #[serde(default)]
    pub(super) held: Option<Held>,
    /// The containers of its nodes.
    pub(super) nodes: Vec<String>,
    pub(super) versions: Versions,
    /// Whether evidence of a failure was kept.
    pub(super) kept: bool,
    /// The user's redaction patterns.
    pub(super) redact: Option<String>,
    /// Where bundles go.
    pub(super) home: std::path::PathBuf,
}

/// What a process held of a cluster that outlives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The socket of the cluster's engine.
    pub(super) socket: std::path::PathBuf,
    /// The boot of the cluster, which tells it from a later one of this name.
    pub(super) boot: String,
}

/// A case that runs.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct CaseNotes {
    pub(super) namespace: String,
    /// The name of its test; empty where that is not known.
    pub(super) test: String,
    /// When it began, in microseconds since 1970.
    pub(super) since_us: i64,
}

/// A step of a boot or of a test.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Step {
    /// When, in microseconds since 1970.
    pub(super) at_us: i64,
    /// Whether it is a step of the boot; else it is one of the test.
    pub(super) boot: bool,
    pub(super) failed: bool,
    /// The namespace of the case that did it; empty outside cases.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) case: String,
    pub(super) text: String,
}

/// The subject of a bundle: a cluster, with one case on it or all running ones.
#[derive(Debug, Clone, Default)]
pub(super) struct About {
    pub(super) cluster: ClusterNotes,
    /// The namespace of the one case it is about; none for the cluster.
    pub(super) case: Option<String>,
    /// That one case, or all running cases, in the order in which they began.
    pub(super) cases: Vec<CaseNotes>,
    pub(super) steps: Vec<Step>,
}

impl Notes {
    /// What a bundle says of the case in this namespace, without the steps of other cases.
    pub(super) fn about_case(&self, namespace: &str) -> About {
        let steps = self.steps.iter();
        let own = steps.filter(|step| step.case.is_empty() || step.case == namespace);
        About {
            cluster: self.cluster.clone(),
            case: Some(namespace.to_owned()),
            cases: self.cases.get(namespace).cloned().into_iter().collect(),
            steps: own.cloned().collect(),
        }
    }

    /// What a bundle says of the cluster, with all running cases.
    pub(super) fn about_all(&self) -> About {
        let mut cases: Vec<CaseNotes> = self.cases.values().cloned().collect();
        cases.sort_by_key(|case| case.since_us);
        About {
            cluster: self.cluster.clone(),
            case: None,
            cases,
            steps: self.steps.clone(),
        }
    }
}

impl About {
    /// The name of what it is about: the test, where one is known.
    pub(super) fn title(&self) -> String {
        let of_case = self.case.as_ref().and(self.cases.first());
        let of_case = of_case.map(|case| case.test.as_str());
        let tests = [of_case.unwrap_or_default(), &self.cluster.test];
        match tests.into_iter().find(|test| !test.is_empty()) {
            None => format!("cluster {}", self.cluster.name),
            Some(test) => test.to_owned(),
        }
    }

    /// When the first of its cases began; none means from the beginning of the cluster.
    pub(super) fn since_us(&self) -> Option<i64> {
        self.cases.first().map(|case| case.since_us)
    }

    /// The same in seconds, as programs in nodes take it; empty without cases.
    pub(super) fn since_seconds(&self) -> String {
        let since = self.since_us();
        let seconds = since.map(|us| format!("{}.{:06}", us / 1_000_000, us % 1_000_000));
        seconds.unwrap_or_default()
    }

    /// The namespaces of its cases, with spaces between.
    pub(super) fn namespaces(&self) -> String {
        let names = self.cases.iter().map(|case| case.namespace.as_str());
        names.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(namespace: &str, test: &str, since_us: i64) -> (String, CaseNotes) {
        let notes = CaseNotes {
            namespace: namespace.into(),
            test: test.into(),
            since_us,
        };
        (namespace.to_owned(), notes)
    }

    fn step(case: &str, text: &str) -> Step {
        Step {
            case: case.into(),
            text: text.into(),
            ..Step::default()
        }
    }

    #[test]
    fn each_of_two_cases_has_its_own_name_time_and_steps() {
        let mut notes = Notes::default();
        notes.cluster.name = "c".into();
        notes
            .cases
            .extend([case("case-b", "first", 10), case("case-a", "second", 20)]);
        notes.steps = vec![
            step("", "boot"),
            step("case-b", "of the first"),
            step("case-a", "of the second"),
        ];
        let texts = |about: &About| {
            let texts = about.steps.iter().map(|step| step.text.as_str());
            texts.collect::<Vec<_>>().join(", ")
        };
        let first = notes.about_case("case-b");
        assert_eq!(
            (first.title().as_str(), first.since_us()),
            ("first", Some(10))
        );
        assert_eq!(first.namespaces(), "case-b");
        assert_eq!(texts(&first), "boot, of the first");
        let second = notes.about_case("case-a");
        assert_eq!(
            (second.title().as_str(), second.since_us()),
            ("second", Some(20))
        );
        assert_eq!(second.since_seconds(), "0.000020");
        assert_eq!(texts(&second), "boot, of the second");

        // The time of all cases begins with the first.
        let all = notes.about_all();
        assert_eq!(
            (all.title().as_str(), all.since_us()),
            ("cluster c", Some(10))
        );
        assert_eq!(all.namespaces(), "case-b case-a");
        assert_eq!(all.since_seconds(), "0.000010");
        assert_eq!(all.steps.len(), 3);

        // The end of one is not the end of the other.
        notes.cases.remove("case-a");
        let left = notes.about_all();
        assert_eq!(
            (left.title().as_str(), left.since_us()),
            ("cluster c", Some(10))
        );
        assert_eq!(left.namespaces(), "case-b");
        assert_eq!(notes.about_case("case-a").since_us(), None);
    }
}
