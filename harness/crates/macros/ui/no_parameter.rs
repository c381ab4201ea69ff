//! Tests that ask for nothing.

#[kubenest_macros::test]
async fn reconciles() {}

#[kubenest_macros::test]
#[rstest]
#[case(1)]
async fn scales(#[case] size: u8) {}

fn main() {}
