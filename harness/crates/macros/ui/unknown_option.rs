//! An option that there is not.

#[kubenest_macros::test(specs = two_workers)]
async fn reconciles(case: Case) {}

fn main() {}
