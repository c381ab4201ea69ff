//! A test without `async`.

#[kubenest_macros::test]
fn reconciles(case: Case) {}

fn main() {}
