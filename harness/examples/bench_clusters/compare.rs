//! A run against an earlier one: what took a step back that is no noise.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::{
    bench::median,
    reading::{FIELDS, Field, Measurement, Reading},
    statistics::noise,
};

/// A measure of kubenest's whose median is worse than before by more than noise.
#[derive(Debug)]
struct StepBack {
    measure: &'static str,
    /// The medians.
    old: f64,
    new: f64,
    noise: f64,
    /// kind's medians, which tell whether the machine was slower.
    kind: (f64, f64),
}

/// Fails where kubenest took a step back against the run in this file.
pub(crate) fn against(path: &Path, new: &Measurement) -> Result<()> {
    let old = Measurement::read(path)?;
    ensure!(
        old.setup == new.setup,
        "'{}' is a run of {} on {}, this one is of {} on {}: they cannot be compared",
        path.display(),
        old.setup.describe(),
        old.setup.recipe,
        new.setup.describe(),
        new.setup.recipe
    );
    let steps = steps_back(&old, new);
    let lines: Vec<_> = steps.iter().map(StepBack::describe).collect();
    ensure!(
        steps.is_empty(),
        "steps back against '{}':\n{}",
        path.display(),
        lines.join("\n")
    );
    println!("no step back against '{}'", path.display());
    Ok(())
}

fn steps_back(old: &Measurement, new: &Measurement) -> Vec<StepBack> {
    let values = |readings: &[Reading], field: fn(&Reading) -> f64| -> Vec<f64> {
        readings.iter().map(field).collect()
    };
    let step = |(measure, field): Field| {
        let medians = |old: &[Reading], new: &[Reading]| {
            let of = |readings: &[Reading]| median(readings.iter().map(field));
            (of(old), of(new))
        };
        let noise = noise(&values(&old.kubenest, field), &values(&new.kubenest, field));
        let (before, after) = medians(&old.kubenest, &new.kubenest);
        (after - before > noise).then(|| StepBack {
            measure,
            old: before,
            new: after,
            noise,
            kind: medians(&old.kind, &new.kind),
        })
    };
    FIELDS.into_iter().filter_map(step).collect()
}

impl StepBack {
    fn describe(&self) -> String {
        let Self {
            measure,
            old,
            new,
            noise,
            kind: (kind_old, kind_new),
        } = self;
        format!(
            "{measure}: {old:.1} before, {new:.1} now: {:.1} more, where {noise:.1} is noise \
             (kind's: {kind_old:.1} before, {kind_new:.1} now)",
            new - old
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::tests::measurement;

    fn compare(old: &[f64], new: &[f64]) -> String {
        let steps = steps_back(&measurement(old), &measurement(new));
        let lines: Vec<_> = steps.iter().map(StepBack::describe).collect();
        lines.join("\n")
    }

    #[test]
    fn a_step_back_names_each_measure_and_what_kind_did() {
        insta::assert_snapshot!(compare(&[10.0, 10.2, 9.8], &[12.0, 12.1, 11.9]), @r"
        API ready, s: 5.0 before, 6.0 now: 1.0 more, where 0.2 is noise (kind's: 10.0 before, 12.0 now)
        node Ready, s: 5.5 before, 6.6 now: 1.1 more, where 0.3 is noise (kind's: 11.0 before, 13.2 now)
        first pod Ready, s: 7.5 before, 9.0 now: 1.5 more, where 0.4 is noise (kind's: 15.0 before, 18.0 now)
        first line of a test, s: 10.0 before, 12.0 now: 2.0 more, where 0.5 is noise (kind's: 20.0 before, 24.0 now)
        command done, s: 9.5 before, 11.4 now: 1.9 more, where 0.5 is noise (kind's: 19.0 before, 22.8 now)
        ");
    }

    #[test]
    fn noise_and_steps_forward_are_no_steps_back() {
        assert_eq!(compare(&[10.0, 10.2, 9.8], &[10.4, 10.4, 10.5]), "");
        assert_eq!(compare(&[10.0, 12.0, 8.0], &[11.5, 13.0, 10.0]), "");
        assert_eq!(compare(&[10.0, 10.2, 9.8], &[8.0, 8.1, 7.9]), "");
    }

    #[test]
    fn runs_of_other_clusters_are_not_compared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("old.json");
        let old = measurement(&[10.0]);
        std::fs::write(&path, serde_json::to_vec(&old).unwrap()).unwrap();
        assert!(against(&path, &old).is_ok());
        let slower = against(&path, &measurement(&[12.0])).unwrap_err();
        assert!(
            slower.to_string().contains("first line of a test"),
            "{slower}"
        );
        let mut other = old;
        other.setup.nodes = 3;
        let error = against(&path, &other).unwrap_err().to_string();
        let words = "1 node, 1 at once on v1, this one is of 3 nodes, 1 at once on v1";
        assert!(error.contains(words), "{error}");
    }
}
