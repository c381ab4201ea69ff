//! Another attribute that makes a test.

#[kubenest_macros::test]
#[tokio::test]
async fn reconciles(case: Case) {}

#[kubenest_macros::test]
#[test]
async fn scales(case: Case) {}

fn main() {}
