//! What each parameter of a test asks for, by its type.

use syn::{
    Attribute, Error, FnArg, Ident, PatType, PathArguments, Result, ReturnType, Signature, Token,
    Type, TypeReference, parse_quote, spanned::Spanned,
};

/// What a parameter asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ParameterKind {
    Case,
    Cluster,
    /// The case's client, of kubenest's kube.
    Client,
    /// The client that the option `client` makes.
    Made,
    /// Rstest's, which gives it.
    Given,
}

/// A parameter of the test, without its attributes.
pub(crate) struct Parameter {
    pub(crate) kind: ParameterKind,
    pub(crate) argument: PatType,
    /// The attributes, which are rstest's.
    pub(crate) attributes: Vec<Attribute>,
}

impl Parameter {
    /// Whether the body asks for a reference.
    pub(crate) fn by_reference(&self) -> bool {
        matches!(*self.argument.ty, Type::Reference(_))
    }
}

/// What surrounds the parameters and says how they are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    /// Rstest gives the parameters that are not the test's.
    pub(crate) rstest: bool,
    /// The option `client` makes a client.
    pub(crate) client: bool,
}

/// The parameters of a test's signature.
///
/// # Errors
/// All faults of the signature at once, each at its place.
pub(crate) fn parameters(signature: &Signature, reading: Reading) -> Result<Vec<Parameter>> {
    let mut faults = Faults::default();
    if signature.asyncness.is_none() {
        let said = format!(
            "a kubenest test is async, in a runtime of its own: write `async fn {}`",
            signature.ident
        );
        faults.add(Error::new_spanned(signature.fn_token, said));
    }
    if !signature.generics.params.is_empty() || signature.generics.where_clause.is_some() {
        let said = "a test is called by name, so it has no generics; its types are known";
        faults.add(Error::new_spanned(&signature.generics, said));
    }
    let mut parameters = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => faults.add(Error::new_spanned(
                receiver,
                "a test has no `self`: write it outside of the impl",
            )),
            FnArg::Typed(argument) => match parameter(argument, reading) {
                Ok(parameter) => parameters.push(parameter),
                Err(error) => faults.add(error),
            },
        }
    }
    faults.add_all(once_each(&mut parameters, reading));
    if faults.0.is_none()
        && !parameters
            .iter()
            .any(|one| one.kind != ParameterKind::Given)
    {
        faults.add(Error::new_spanned(&signature.ident, nothing_asked(reading)));
    }
    faults.end(parameters)
}

fn nothing_asked(reading: Reading) -> &'static str {
    match reading.rstest {
        true => "this test asks for nothing of a cluster: give it a parameter `case: Case`",
        false => {
            "this test asks for nothing of a cluster: give it a parameter `case: Case`, \
             `cluster: &Cluster` or `client: Client`\n\
             If it has one, another attribute above has taken it: `#[kubenest::test]` stands above \
             `#[rstest]`"
        }
    }
}

fn parameter(argument: &PatType, reading: Reading) -> Result<Parameter> {
    let mut argument = argument.clone();
    let attributes = std::mem::take(&mut argument.attrs);
    let kind = match (
        reading.rstest && !attributes.is_empty(),
        last_name(&argument.ty),
    ) {
        (true, _) => ParameterKind::Given,
        (_, Some("Case")) => ParameterKind::Case,
        (_, Some("Cluster")) => ParameterKind::Cluster,
        (_, Some("Client")) => ParameterKind::Client,
        _ if reading.client => ParameterKind::Made,
        _ if reading.rstest => ParameterKind::Given,
        _ => {
            let said = "a kubenest test gets a `Case`, a `Cluster` or a `Client`, and no other type\n\
                        A client of your own: `#[kubenest::test(client = my_client)]`\n\
                        Parameters of rstest: `#[rstest]` below `#[kubenest::test]`";
            return Err(Error::new_spanned(&argument.ty, said));
        }
    };
    if let Some(future) = attributes.iter().find(|one| one.path().is_ident("future")) {
        let said = "`#[future]` has no runtime here: await the future in the body, or lease in it";
        return Err(Error::new_spanned(future, said));
    }
    Ok(Parameter {
        kind,
        argument,
        attributes,
    })
}

/// The last name of a type's path, if it is one of those that are known.
fn last_name(of: &Type) -> Option<&'static str> {
    let path = match of {
        Type::Path(path) => &path.path,
        Type::Reference(TypeReference { elem, .. }) => return last_name(elem),
        Type::Group(group) => return last_name(&group.elem),
        Type::Paren(paren) => return last_name(&paren.elem),
        _ => return None,
    };
    let last = &path.segments.last()?.ident;
    ["Case", "Cluster", "Client"]
        .into_iter()
        .find(|name| last == name)
}

/// Whether nothing is asked for twice, and the client that the option makes is.
fn once_each(parameters: &mut [Parameter], reading: Reading) -> Vec<Error> {
    let made =
        |parameters: &[Parameter]| parameters.iter().any(|one| one.kind == ParameterKind::Made);
    if reading.client && !made(parameters) {
        // The user's own client may well have the name of kube's.
        let client = parameters
            .iter_mut()
            .find(|one| one.kind == ParameterKind::Client);
        client
            .into_iter()
            .for_each(|one| one.kind = ParameterKind::Made);
    }
    let mut seen = Vec::new();
    let mut faults = Vec::new();
    for one in parameters
        .iter()
        .filter(|one| one.kind != ParameterKind::Given)
    {
        if seen.contains(&one.kind) {
            let said = match one.kind {
                ParameterKind::Made => "only one parameter gets what `client = …` makes",
                _ => "this test has asked for that already",
            };
            faults.push(Error::new_spanned(&one.argument.ty, said));
        }
        seen.push(one.kind);
    }
    faults
}

/// Gives the argument the type that the body gets.
pub(crate) fn lend(argument: &mut PatType) {
    let of = match &*argument.ty {
        Type::Reference(reference) => (*reference.elem).clone(),
        by_value => by_value.clone(),
    };
    let ampersand = Token![&](of.span());
    *argument.ty = Type::Reference(TypeReference {
        and_token: ampersand,
        lifetime: None,
        mutability: None,
        elem: Box::new(of),
    });
}

/// Gives a case's type the lifetime that its author may leave out.
pub(crate) fn add_lifetime(of: &mut Type) {
    match of {
        Type::Reference(reference) => add_lifetime(&mut reference.elem),
        Type::Group(group) => add_lifetime(&mut group.elem),
        Type::Paren(paren) => add_lifetime(&mut paren.elem),
        Type::Path(path) => {
            if let Some(last) = path.path.segments.last_mut()
                && last.arguments.is_none()
            {
                last.arguments = PathArguments::AngleBracketed(parse_quote!(<'_>));
            }
        }
        _ => {}
    }
}

/// Where the compiler is to point when the body returns what no test can.
pub(crate) fn place_of_output(signature: &Signature) -> proc_macro2::Span {
    match &signature.output {
        ReturnType::Default => signature.ident.span(),
        ReturnType::Type(_, output) => output.span(),
    }
}

/// The name by which rstest knows a parameter.
pub(crate) fn name_of(argument: &PatType, at: usize) -> Ident {
    match &*argument.pat {
        syn::Pat::Ident(name) => name.ident.clone(),
        other => Ident::new(&format!("argument_{at}"), other.span()),
    }
}

/// Faults of one test, reported together.
#[derive(Default)]
struct Faults(Option<Error>);

impl Faults {
    fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    fn add_all(&mut self, errors: Vec<Error>) {
        errors.into_iter().for_each(|error| self.add(error));
    }

    fn end<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}
