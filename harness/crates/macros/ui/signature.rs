//! Signatures that no test can have.

#[kubenest_macros::test]
async fn generic<T>(case: Case) {}

#[kubenest_macros::test]
fn generic_and_sync<'a>(case: &'a Case<'a>, name: &str) {}

#[kubenest_macros::test]
async fn greedy(one: Case, other: &Case<'_>) {}

#[kubenest_macros::test]
#[rstest]
async fn with_a_future(case: Case, #[future] cluster: Cluster) {}

struct Suite;

impl Suite {
    #[kubenest_macros::test]
    async fn method(&self, case: Case) {}
}

#[kubenest_macros::test]
struct NoFunction;

fn main() {}
