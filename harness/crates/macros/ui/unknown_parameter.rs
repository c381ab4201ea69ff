//! Parameters of types that no cluster gives.

#[kubenest_macros::test]
async fn reconciles(case: Case, name: String, size: (u8, u8)) {}

fn main() {}
