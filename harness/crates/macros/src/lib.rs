//! The attribute `kubenest::test`: a test is an async fn that asks for what it needs of a cluster.
//!
//! | file | does |
//! | --- | --- |
//! | `options.rs` | reads the attribute's options |
//! | `signature.rs` | says what each parameter asks for |
//! | `expand.rs` | writes the test |
//!
//! What the test does when it runs is in `kubenest::__private`: the code written here only calls
//! it, and needs no other crate.

mod expand;
mod options;
mod signature;

use proc_macro::TokenStream;

/// Makes a test of an `async fn` that asks by its parameters for what it needs of a cluster.
///
/// The test leases a cluster (`kubenest::lease`) of the default spec, which all tests that ask for the same
/// share, and runs the body in a case (`Cluster::case`): in a namespace of its own, with evidence
/// of a failure. It has a tokio runtime of its own.
///
/// ```ignore
/// use kubenest::Case;
///
/// #[kubenest::test]
/// async fn a_namespace_has_its_account(case: Case) -> anyhow::Result<()> {
///     case.get::<ServiceAccount>("default").await?;
///     Ok(())
/// }
/// ```
///
/// # Parameters
/// Each is recognised by the last name of its type; there may be any of them, in any order.
///
/// | type | what the body gets |
/// | --- | --- |
/// | `Case`, or `&Case<'_>` | always a `&Case<'_>`: the case ends with the body, and so is only lent |
/// | `Cluster`, `&Cluster` | the leased cluster. Alone it is the test's to use, without a case, so that it may open several; beside a case it is always a `&Cluster` |
/// | `Client`, `&Client` | the case's client, of kubenest's kube |
///
/// The body returns `()` or a `Result` with any error that anyhow takes. An error is printed with
/// its causes and cure.
///
/// # Options
/// | option | meaning |
/// | --- | --- |
/// | `spec = two_workers` | the cluster's spec: a function without parameters, or an expression; a `ClusterSpec` or a `Result` of one |
/// | `prepared = with_operator` | what is done to the cluster once, before tests get it: likewise, of a `Preparation` |
/// | `exclusive` | nobody else has the cluster meanwhile: for tests that change nodes |
/// | `client = my_client` | an `async fn(&Path) -> Result<C, E>` that makes a client from the case's kubeconfig, for operators on another kube. The parameter of no type above gets the `C`; if there is none, the one of type `Client` |
/// | `flavor = "multi_thread"` | the runtime; `"current_thread"` if not given |
/// | `worker_threads = 4` | the number of threads, as an expression; the flavor is then `"multi_thread"` |
///
/// # Other attributes
/// `#[ignore]`, `cfg`, lints and documentation stay as they are. With `#[should_panic]` only a panic
/// of the body passes, not a broken set-up.
///
/// **rstest**: stand above `#[rstest]`. Parameters of the types above, without an attribute of
/// their own, are the test's; all others are rstest's.
///
/// ```ignore
/// #[kubenest::test]
/// #[rstest]
/// #[case("web", 1)]
/// #[case("db", 3)]
/// async fn a_set_scales(case: Case, #[case] name: &str, #[case] size: i32) -> anyhow::Result<()> {
///     # Ok(())
/// }
/// ```
///
/// **test-log**: `#[test_log::test(kubenest::test)]`. The levels are those of `KUBENEST_LOG`, because
/// kubenest's log begins first.
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(options.into(), item.into()).into()
}
