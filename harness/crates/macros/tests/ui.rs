//! What the compiler says of a wrong use. `TRYBUILD=overwrite` writes what it says now.

#[test]
fn compile_errors_teach() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
