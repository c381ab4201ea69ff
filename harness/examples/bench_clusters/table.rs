//! A run of the benchmark as a Markdown table.

use std::fmt::Write;

use crate::{
    bench::median,
    reading::{FIELDS, Field, Measurement, Reading},
    statistics::percentile,
};

/// Medians, 95th percentiles and what lies between them, of both, and the ratio of the medians.
pub(crate) fn table(measurement: &Measurement) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "| {}, {} boots | kubenest: p50 | p95 | p95 / p50 | kind v{}: p50 | p95 | p95 / p50 | ratio \
         of p50 |\n| --- | --- | --- | --- | --- | --- | --- | --- |",
        measurement.setup.describe(),
        measurement.kubenest.len(),
        measurement.kind_version
    );
    for field in FIELDS {
        let (ours, our_cells) = cells(&measurement.kubenest, field);
        let (kinds, kinds_cells) = cells(&measurement.kind, field);
        let name = field.0;
        let ratio = ours / kinds;
        let _ = writeln!(
            text,
            "| {name} | {our_cells} | {kinds_cells} | {ratio:.2} |"
        );
    }
    text
}

fn cells(readings: &[Reading], (_, field): Field) -> (f64, String) {
    let half = median(readings.iter().map(field));
    let most = percentile(95, readings.iter().map(field));
    let tail = most / half;
    (half, format!("{half:.1} | {most:.1} | {tail:.2}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reading::tests::measurement;

    #[test]
    fn a_table_has_both_with_their_spread() {
        insta::assert_snapshot!(table(&measurement(&[10.0, 12.0, 20.0])), @r"
        | 1 node, 1 at once, 3 boots | kubenest: p50 | p95 | p95 / p50 | kind v0.33.0: p50 | p95 | p95 / p50 | ratio of p50 |
        | --- | --- | --- | --- | --- | --- | --- | --- |
        | API ready, s | 6.0 | 10.0 | 1.67 | 12.0 | 20.0 | 1.67 | 0.50 |
        | node Ready, s | 6.6 | 11.0 | 1.67 | 13.2 | 22.0 | 1.67 | 0.50 |
        | first pod Ready, s | 9.0 | 15.0 | 1.67 | 18.0 | 30.0 | 1.67 | 0.50 |
        | first line of a test, s | 12.0 | 20.0 | 1.67 | 24.0 | 40.0 | 1.67 | 0.50 |
        | command done, s | 11.4 | 19.0 | 1.67 | 22.8 | 38.0 | 1.67 | 0.50 |
        | node's CPU until the first pod, s | 7.5 | 7.5 | 1.00 | 7.5 | 7.5 | 1.00 | 1.00 |
        | node's CPU until the first line, s | 9.0 | 9.0 | 1.00 | 9.0 | 9.0 | 1.00 | 1.00 |
        | node's peak memory, MiB | 350.0 | 350.0 | 1.00 | 350.0 | 350.0 | 1.00 | 1.00 |
        | own peak memory, MiB | 30.0 | 30.0 | 1.00 | 30.0 | 30.0 | 1.00 | 1.00 |
        ");
    }
}
