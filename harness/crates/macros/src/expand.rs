//! Writes the test: a plain `#[test]` around the body, which stays as it was written.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::{
    Attribute, Error, Expr, FnArg, Ident, ItemFn, Meta, Result, Signature, Token, parse::Parser,
    punctuated::Punctuated, spanned::Spanned,
};

use crate::{
    options::{Flavor, Options},
    signature::{self, Parameter, ParameterKind, Reading},
};

/// The test that an attribute with these options makes of an item, or its compile errors.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let test = || Test::read(syn::parse2(options)?, function(item)?);
    match test() {
        Ok(test) => test.write(),
        Err(error) => error.into_compile_error(),
    }
}

fn function(item: TokenStream) -> Result<ItemFn> {
    syn::parse2(item).map_err(|error| {
        let said = format!("`#[kubenest::test]` stands on an async fn: {error}");
        Error::new(error.span(), said)
    })
}

/// A test that is understood.
struct Test {
    options: Options,
    /// Attributes of the outer function.
    attributes: Vec<Attribute>,
    /// Rstest makes the test, of cases.
    rstest: bool,
    panics: Option<Panic>,
    parameters: Vec<Parameter>,
    function: ItemFn,
}

/// A panic that the test must end with.
struct Panic {
    expected: Option<Expr>,
}

impl Test {
    fn read(options: Options, mut function: ItemFn) -> Result<Self> {
        let mut attributes = std::mem::take(&mut function.attrs);
        if let Some(other) = attributes.iter().find(|one| ends_with(one, "test")) {
            let said = "`#[kubenest::test]` makes the test and its runtime: remove this attribute";
            return Err(Error::new_spanned(other, said));
        }
        let rstest = attributes.iter().any(|one| ends_with(one, "rstest"));
        let reading = Reading {
            rstest,
            client: options.client.is_some(),
        };
        let parameters = signature::parameters(&function.sig, reading)?;
        if let Some(client) = &options.client
            && !parameters.iter().any(|one| one.kind == ParameterKind::Made)
        {
            let said = "no parameter asks for this client: give the test one of its type";
            return Err(Error::new_spanned(client, said));
        }
        let at = attributes
            .iter()
            .position(|one| one.path().is_ident("should_panic"));
        let panics = at.map(|at| attributes.remove(at));
        let panics = panics.as_ref().map(Panic::read).transpose()?;
        Ok(Self {
            options,
            attributes,
            rstest,
            panics,
            parameters,
            function,
        })
    }

    fn write(mut self) -> TokenStream {
        let inner = self.inner();
        let outer = self.outer();
        let (attributes, visibility) = (&self.attributes, &self.function.vis);
        let mark = (!self.rstest).then(|| quote!(#[::core::prelude::v1::test]));
        let (builder, run) = (self.builder(), self.run());
        quote! {
            #(#attributes)*
            #mark
            #visibility #outer {
                #inner
                #builder #run
            }
        }
    }

    fn asks_for(&self, kind: ParameterKind) -> bool {
        self.parameters.iter().any(|one| one.kind == kind)
    }

    /// Without a parameter that needs a case, there is none.
    fn has_case(&self) -> bool {
        [
            ParameterKind::Case,
            ParameterKind::Client,
            ParameterKind::Made,
        ]
        .into_iter()
        .any(|kind| self.asks_for(kind))
    }

    /// The user's function, with parameters of the types that it gets.
    fn inner(&mut self) -> TokenStream {
        let has_case = self.has_case();
        for parameter in &mut self.parameters {
            let argument = &mut parameter.argument;
            match parameter.kind {
                ParameterKind::Case => {
                    signature::lend(argument);
                    signature::add_lifetime(&mut argument.ty);
                }
                ParameterKind::Cluster if has_case => signature::lend(argument),
                _ => {}
            }
        }
        let inputs = self.parameters.iter().map(|one| &one.argument);
        let inputs = inputs.cloned().map(FnArg::Typed).collect();
        let signature = Signature {
            inputs,
            ..self.function.sig.clone()
        };
        let block = &self.function.block;
        quote!(#signature #block)
    }

    /// The signature of the test, with the parameters that rstest gives.
    fn outer(&self) -> TokenStream {
        let given = self.given().map(|(name, one)| {
            let (attributes, of) = (&one.attributes, &one.argument.ty);
            quote!(#(#attributes)* #name: #of)
        });
        let (function, name) = (&self.function.sig.fn_token, &self.function.sig.ident);
        quote!(#function #name(#(#given),*) -> ::kubenest::__private::TestResult)
    }

    fn given(&self) -> impl Iterator<Item = (Ident, &Parameter)> {
        let parameters = self.parameters.iter().enumerate();
        let given = parameters.filter(|(_, one)| one.kind == ParameterKind::Given);
        given.map(|(at, one)| (signature::name_of(&one.argument, at), one))
    }

    /// What the test asks of the library.
    fn builder(&self) -> TokenStream {
        let runtime = match (self.options.flavor, &self.options.worker_threads) {
            (Flavor::CurrentThread, _) => quote!(CurrentThread),
            (Flavor::MultiThread, None) => quote!(MultiThread(::core::option::Option::None)),
            (Flavor::MultiThread, Some(threads)) => {
                quote!(MultiThread(::core::option::Option::Some(#threads)))
            }
        };
        let spec = self.options.spec.as_ref().map(|spec| {
            let value = value_of(spec);
            quote_spanned!(spec.span()=> .spec(#value))
        });
        let prepared = self.options.prepared.as_ref().map(|prepared| {
            let value = value_of(prepared);
            quote_spanned!(prepared.span()=> .prepared(#value))
        });
        let exclusive = self.options.exclusive.then(|| quote!(.exclusive()));
        quote! {
            ::kubenest::__private::Test::new(::kubenest::__private::Runtime::#runtime)
                #spec #prepared #exclusive
        }
    }

    /// The call that runs the body.
    fn run(&self) -> TokenStream {
        // Names that nobody else can mean.
        let name = |name| Ident::new(name, Span::mixed_site());
        let (case, cluster, made) = (name("case"), name("cluster"), name("made"));
        let arguments = self.parameters.iter().enumerate().map(|(at, one)| {
            let place = one.argument.ty.span();
            match one.kind {
                ParameterKind::Case => quote!(#case),
                ParameterKind::Cluster if self.has_case() => quote!(#case.cluster()),
                ParameterKind::Cluster => reference_if(one, place, &quote!(#cluster)),
                ParameterKind::Client => reference_if(one, place, &quote!(#case.client())),
                ParameterKind::Made => reference_if(one, place, &quote!(#made)),
                ParameterKind::Given => {
                    let name = signature::name_of(&one.argument, at);
                    quote!(#name)
                }
            }
        });
        let function = &self.function.sig.ident;
        let body = quote!(#function(#(#arguments),*));
        let place = signature::place_of_output(&self.function.sig);
        let ended = match &self.panics {
            Some(Panic { expected }) => {
                let expected = match expected {
                    Some(text) => quote!(::core::option::Option::Some(#text)),
                    None => quote!(::core::option::Option::None),
                };
                quote_spanned!(place=> ::kubenest::__private::panics(#expected, #body).await)
            }
            None => quote_spanned!(place=> ::kubenest::__private::outcome(#body.await)),
        };
        if !self.has_case() {
            return quote!(.on_cluster(async move |#cluster| #ended));
        }
        let make = self.options.client.as_ref().map(|make| {
            let call = quote_spanned!(make.span()=> ::kubenest::__private::client(#case, #make));
            quote!(let #made = #call.await?;)
        });
        quote!(.in_case(async move |#case| { #make #ended }))
    }
}

impl Panic {
    /// Reads `should_panic`, `should_panic = "…"` or `should_panic(expected = "…")`.
    fn read(attribute: &Attribute) -> Result<Self> {
        let expected = match &attribute.meta {
            Meta::Path(_) => None,
            Meta::NameValue(pair) => Some(pair.value.clone()),
            Meta::List(list) => {
                let pairs = Punctuated::<syn::MetaNameValue, Token![,]>::parse_terminated;
                let pairs = pairs.parse2(list.tokens.clone())?;
                let mut pairs = pairs.into_iter();
                let found = pairs.find(|pair| pair.path.is_ident("expected"));
                found.map(|pair| pair.value)
            }
        };
        Ok(Self { expected })
    }
}

/// Whether an attribute's last name is this one.
fn ends_with(attribute: &Attribute, name: &str) -> bool {
    let last = attribute.path().segments.last();
    last.is_some_and(|last| last.ident == name)
}

/// The value that an option's expression stands for: a path or a closure is called.
fn value_of(value: &Expr) -> TokenStream {
    match value {
        Expr::Path(_) => quote_spanned!(value.span()=> #value()),
        Expr::Closure(_) => quote_spanned!(value.span()=> (#value)()),
        _ => quote!(#value),
    }
}

/// An argument, lent where its parameter is a reference.
fn reference_if(parameter: &Parameter, place: Span, value: &TokenStream) -> TokenStream {
    match parameter.by_reference() {
        true => quote_spanned!(place=> &#value),
        false => quote_spanned!(place=> #value),
    }
}

#[cfg(test)]
mod tests;
