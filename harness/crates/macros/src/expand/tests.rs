//! What is written of a test, token by token.

use super::*;

/// Asserts what an attribute with these options makes of a test.
fn assert_expands(options: TokenStream, item: TokenStream, expected: TokenStream) {
    assert_eq!(expand(options, item).to_string(), expected.to_string());
}

/// The compile errors, as text.
fn errors(options: TokenStream, item: TokenStream) -> String {
    let said = expand(options, item).to_string();
    assert!(said.contains("compile_error"), "{said}");
    said
}

#[test]
fn a_test_keeps_its_body_and_attributes() {
    assert_expands(
        quote!(),
        quote! {
            /// Documented.
            #[ignore = "slow"]
            #[cfg(unix)]
            async fn reconciles(mut case: Case, client: Client) -> anyhow::Result<()> {
                case.get("a").await?
            }
        },
        quote! {
            /// Documented.
            #[ignore = "slow"]
            #[cfg(unix)]
            #[::core::prelude::v1::test]
            fn reconciles() -> ::kubenest::__private::TestResult {
                async fn reconciles(mut case: &Case<'_>, client: Client) -> anyhow::Result<()> {
                    case.get("a").await?
                }
                ::kubenest::__private::Test::new(::kubenest::__private::Runtime::CurrentThread)
                    .in_case(async move |case| {
                        ::kubenest::__private::outcome(reconciles(case, case.client()).await)
                    })
            }
        },
    );
}

#[test]
fn a_case_and_a_cluster_beside_it_are_lent() {
    let lent = "async fn a (case : & kubenest :: Case < '_ > , cluster : & Cluster)";
    for (case, cluster) in [
        (quote!(kubenest::Case), quote!(Cluster)),
        (quote!(&kubenest::Case<'_>), quote!(&Cluster)),
        (quote!(&kubenest::Case), quote!(&Cluster)),
    ] {
        let item = quote!(async fn a(case: #case, cluster: #cluster) {});
        let said = expand(quote!(), item).to_string();
        assert!(said.contains(lent), "{said}");
        assert!(said.contains("a (case , case . cluster ())"), "{said}");
    }
}

#[test]
fn a_cluster_alone_is_the_tests_without_a_case() {
    let of = |cluster: TokenStream| expand(quote!(), quote!(async fn a(it: #cluster) {}));
    let said = of(quote!(Cluster)).to_string();
    assert!(
        said.contains(". on_cluster (async move | cluster |"),
        "{said}"
    );
    assert!(said.contains("a (cluster)"), "{said}");
    let said = of(quote!(&Cluster)).to_string();
    assert!(said.contains("a (& cluster)"), "{said}");
}

#[test]
fn a_spec_is_called_if_it_is_a_function() {
    for (spec, expected) in [
        (quote!(specs::two_workers), quote!(specs::two_workers())),
        (quote!(|| two(1)), quote!((|| two(1))())),
        (quote!(ClusterSpec::of([])), quote!(ClusterSpec::of([]))),
    ] {
        let said = expand(
            quote!(spec = #spec),
            quote!(
                async fn a(case: Case) {}
            ),
        )
        .to_string();
        let call = quote!(.spec(#expected).in_case).to_string();
        // Tokens of one operator may be apart.
        let close = |text: &str| text.replace(' ', "");
        assert!(close(&said).contains(&close(&call)), "{said}");
    }
}

#[test]
fn a_cluster_is_prepared_and_had_alone_as_asked() {
    let options = quote!(exclusive, prepared = with_ducks);
    let said = expand(
        options,
        quote!(
            async fn a(case: Case) {}
        ),
    )
    .to_string();
    let calls = ". prepared (with_ducks ()) . exclusive () . in_case";
    assert!(said.contains(calls), "{said}");
}

#[test]
fn the_runtime_is_of_the_flavor_asked_for() {
    for (options, expected) in [
        (quote!(flavor = "current_thread"), "CurrentThread"),
        (
            quote!(flavor = "multi_thread"),
            "MultiThread (:: core :: option :: Option :: None)",
        ),
        (
            quote!(worker_threads = 2 * 2),
            "MultiThread (:: core :: option :: Option :: Some (2 * 2))",
        ),
    ] {
        let said = expand(
            options,
            quote!(
                async fn a(case: Case) {}
            ),
        )
        .to_string();
        assert!(said.contains(&format!("Runtime :: {expected})")), "{said}");
    }
}

#[test]
fn the_users_own_client_goes_to_the_type_that_nobody_else_gives() {
    let option = quote!(client = old::client_from);
    let made =
        "let made = :: kubenest :: __private :: client (case , old :: client_from) . await ?";
    for (parameters, arguments) in [
        (quote!(api: old::Api, case: Case), "a (made , case)"),
        (quote!(api: &old::Client), "a (& made)"),
        (
            quote!(ours: Client, theirs: old::Api),
            "a (case . client () , made)",
        ),
    ] {
        let said = expand(option.clone(), quote!(async fn a(#parameters) {})).to_string();
        assert!(said.contains(made) && said.contains(arguments), "{said}");
    }
}

#[test]
fn rstest_gives_what_is_not_the_tests() {
    assert_expands(
        quote!(),
        quote! {
            #[rstest]
            #[case("a", 1)]
            async fn scales(case: Case, #[case] name: &str, #[case] (_, n): (u8, u8), ducks: Ducks) {}
        },
        quote! {
            #[rstest]
            #[case("a", 1)]
            fn scales(#[case] name: &str, #[case] argument_2: (u8, u8), ducks: Ducks)
                -> ::kubenest::__private::TestResult
            {
                async fn scales(case: &Case<'_>, name: &str, (_, n): (u8, u8), ducks: Ducks) {}
                ::kubenest::__private::Test::new(::kubenest::__private::Runtime::CurrentThread)
                    .in_case(async move |case| {
                        ::kubenest::__private::outcome(scales(case, name, argument_2, ducks).await)
                    })
            }
        },
    );
}

#[test]
fn a_panic_that_must_come_is_looked_for_in_the_body() {
    for (attribute, expected) in [
        (quote!(should_panic), "None"),
        (quote!(should_panic = "no"), "Some (\"no\")"),
        (quote!(should_panic(expected = "no")), "Some (\"no\")"),
    ] {
        let said = expand(quote!(), quote!(#[#attribute] async fn a(case: Case) {})).to_string();
        let call = format!("panics (:: core :: option :: Option :: {expected} , a (case)) . await");
        assert!(
            said.contains(&call) && !said.contains("should_panic"),
            "{said}"
        );
    }
}

#[test]
fn all_faults_of_a_test_are_told_at_once() {
    let said = errors(
        quote!(),
        quote!(
            fn a<T>(self, name: String) {}
        ),
    );
    assert_eq!(said.matches("compile_error").count(), 4, "{said}");
}
