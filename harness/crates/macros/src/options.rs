//! The options of the attribute, such as `spec = two_workers`.

use syn::{
    Error, Expr, ExprLit, Ident, Lit, Result, Token,
    parse::{Parse, ParseStream},
    punctuated::Punctuated,
};

/// What an unknown option is compared with.
const KNOWN: &str = "spec = …, prepared = …, exclusive, client = …, \
                     flavor = \"current_thread\" or \"multi_thread\", worker_threads = …";

/// What the attribute asks for.
#[derive(Default)]
pub(crate) struct Options {
    /// A value, or the path of a function that makes one.
    pub(crate) spec: Option<Expr>,
    /// A preparation, likewise.
    pub(crate) prepared: Option<Expr>,
    pub(crate) exclusive: bool,
    /// What makes the user's own client.
    pub(crate) client: Option<Expr>,
    pub(crate) flavor: Flavor,
    pub(crate) worker_threads: Option<Expr>,
}

/// The kind of tokio runtime.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    #[default]
    CurrentThread,
    MultiThread,
}

/// `name`, or `name = value`.
struct Entry {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Entry {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.call(syn::ext::IdentExt::parse_any)?;
        let value = input.parse::<Option<Token![=]>>()?;
        let value = value.map(|_| input.parse()).transpose()?;
        Ok(Self { name, value })
    }
}

impl Entry {
    fn value(self, example: &str) -> Result<Expr> {
        let name = &self.name;
        self.value.ok_or_else(|| {
            Error::new_spanned(
                name,
                format!("`{name}` needs a value: `{name} = {example}`"),
            )
        })
    }

    /// Whether a name that takes no value is given.
    fn flag(self) -> Result<bool> {
        let name = &self.name;
        match self.value {
            None => Ok(true),
            Some(value) => {
                let said = format!("`{name}` takes no value: leave it out for a shared cluster");
                Err(Error::new_spanned(value, said))
            }
        }
    }
}

impl Parse for Options {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut options = Self::default();
        let mut seen: Vec<Ident> = Vec::new();
        let mut flavor = None;
        for entry in Punctuated::<Entry, Token![,]>::parse_terminated(input)? {
            if seen.contains(&entry.name) {
                let twice = format!("`{}` is given twice", entry.name);
                return Err(Error::new_spanned(&entry.name, twice));
            }
            seen.push(entry.name.clone());
            match entry.name.to_string().as_str() {
                "spec" => options.spec = Some(entry.value("two_workers")?),
                "prepared" => options.prepared = Some(entry.value("with_operator")?),
                "exclusive" => options.exclusive = entry.flag()?,
                "client" => options.client = Some(entry.value("my_crate::client_from")?),
                "flavor" => flavor = Some(flavor_of(&entry.value("\"multi_thread\"")?)?),
                "worker_threads" => options.worker_threads = Some(entry.value("4")?),
                unknown => {
                    let said = format!("there is no option `{unknown}`\nknown: {KNOWN}");
                    return Err(Error::new_spanned(&entry.name, said));
                }
            }
        }
        options.flavor = match (flavor, &options.worker_threads) {
            (Some(Flavor::CurrentThread), Some(threads)) => {
                let said = "`worker_threads` needs `flavor = \"multi_thread\"`";
                return Err(Error::new_spanned(threads, said));
            }
            (flavor, None) => flavor.unwrap_or_default(),
            (_, Some(_)) => Flavor::MultiThread,
        };
        Ok(options)
    }
}

fn flavor_of(value: &Expr) -> Result<Flavor> {
    let text = match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => text.value(),
        _ => String::new(),
    };
    match text.as_str() {
        "current_thread" => Ok(Flavor::CurrentThread),
        "multi_thread" => Ok(Flavor::MultiThread),
        _ => Err(Error::new_spanned(
            value,
            "a flavor is \"current_thread\" or \"multi_thread\"",
        )),
    }
}
