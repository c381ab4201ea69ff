//! Manifests: YAML text, a file or a folder is read into the objects to apply, each with the place
//! where it stands.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use kube::core::GroupVersionKind;
use serde_json::{Map, Value};

use kubenest_base::{Context, Error, Result};

/// The extensions of manifests in a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// What to apply: YAML or JSON text with one or more documents, a file, the files of a folder, or
/// a value.
///
/// A `&str` is text; a `&Path` is a file or a folder. Of a folder, the files in it that end in
/// `.yaml`, `.yml` or `.json` are read in the order of their names, without its subfolders.
///
/// ```
/// use std::path::Path;
/// use kubenest_node::objects::Manifests;
///
/// let text = Manifests::from("{apiVersion: v1, kind: ConfigMap, metadata: {name: colours}}");
/// let folder = Manifests::from(Path::new("deploy"));
/// ```
#[derive(Debug, Clone)]
pub struct Manifests(Source);

#[derive(Debug, Clone)]
enum Source {
    Text(String),
    Path(PathBuf),
    Value(Value),
}

impl From<&str> for Manifests {
    fn from(text: &str) -> Self {
        Self(Source::Text(text.to_owned()))
    }
}

impl From<String> for Manifests {
    fn from(text: String) -> Self {
        Self(Source::Text(text))
    }
}

impl From<&Path> for Manifests {
    fn from(path: &Path) -> Self {
        Self(Source::Path(path.to_owned()))
    }
}

impl From<PathBuf> for Manifests {
    fn from(path: PathBuf) -> Self {
        Self(Source::Path(path))
    }
}

impl From<Value> for Manifests {
    fn from(value: Value) -> Self {
        Self(Source::Value(value))
    }
}

/// One object to apply.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The whole object. Its version, kind and name are those below.
    pub(super) object: Value,
    pub(super) kind: GroupVersionKind,
    pub(super) name: String,
    /// The namespace that the object names.
    pub(super) namespace: Option<String>,
    /// Where it stands, for errors.
    pub(super) place: Place,
}

/// Where an object stands: the file, the document and its first line, the item of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Place {
    /// `None` for text and values that are in no file.
    file: Option<PathBuf>,
    /// The number of the document, from 1, and its first line.
    document: Option<(usize, usize)>,
    /// The number of the item, from 1, if the document is a list.
    item: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(file) = &self.file {
            parts.push(format!("'{}'", file.display()));
        }
        if let Some((number, line)) = self.document {
            parts.push(format!("document {number} at line {line}"));
        }
        if let Some(item) = self.item {
            parts.push(format!("item {item}"));
        }
        match parts.is_empty() {
            true => f.write_str("the given value"),
            false => f.write_str(&parts.join(", ")),
        }
    }
}

impl Manifest {
    /// The object as it stands.
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// Whether the object defines a kind.
    pub(super) fn is_definition(&self) -> bool {
        let GroupVersionKind { group, kind, .. } = &self.kind;
        group == "apiextensions.k8s.io" && kind == "CustomResourceDefinition"
    }

    /// The place in the order of applying.
    fn rank(&self) -> u8 {
        if self.is_definition() {
            0
        } else if self.kind.group.is_empty() && self.kind.kind == "Namespace" {
            1
        } else {
            2
        }
    }
}

impl Manifests {
    /// Reads the objects, in the order in which they are to be applied: definitions of kinds,
    /// namespaces, then all others as they stand.
    ///
    /// # Errors
    /// A file cannot be read, or a document is no object: the error names file, document and field,
    /// and is a failure of the test.
    pub fn read(&self) -> Result<Vec<Manifest>> {
        self.read_all().map_err(Error::asserted)
    }

    fn read_all(&self) -> Result<Vec<Manifest>> {
        let mut found = Vec::new();
        match &self.0 {
            Source::Text(text) => read_text(text, None, &mut found)?,
            Source::Value(value) => add(value.clone(), &Place::default(), &mut found)?,
            Source::Path(path) => {
                for file in files(path)? {
                    let text = fs::read_to_string(&file);
                    let text = text.with_context(|| format!("read '{}'", file.display()))?;
                    read_text(&text, Some(&file), &mut found)?;
                }
            }
        }
        if found.is_empty() {
            return Err(Error::input(format!("there is no object in {self}")));
        }
        found.sort_by_key(Manifest::rank);
        Ok(found)
    }
}

impl fmt::Display for Manifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Text(_) => f.write_str("the given text"),
            Source::Path(path) => write!(f, "'{}'", path.display()),
            Source::Value(_) => f.write_str("the given value"),
        }
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("read '{}'", path.display());
    if !fs::metadata(path).with_context(what)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(what)? {
        let file = entry.with_context(what)?.path();
        let extension = file.extension().and_then(|end| end.to_str());
        if extension.is_some_and(|end| EXTENSIONS.contains(&end)) && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

fn read_text(text: &str, file: Option<&Path>, found: &mut Vec<Manifest>) -> Result<()> {
    let mut options = serde_saphyr::Options::default();
    // Manifests have modes such as 0644, which the API server's YAML reads as octal too.
    options.legacy_octal_numbers = true;
    for (number, (line, document)) in (1..).zip(documents(text)) {
        let place = Place {
            file: file.map(Path::to_owned),
            document: Some((number, line)),
            item: None,
        };
        // With the lines before it as empty lines, the parser's line numbers are those of the file.
        let padded = "\n".repeat(line - 1) + &document;
        let value = serde_saphyr::from_str_with_options(&padded, options.clone())
            .map_err(|error| syntax_error(&place, &error))?;
        add(value, &place, found)?;
    }
    Ok(())
}

/// A parser's error in one line, with the line at fault.
fn syntax_error(place: &Place, error: &serde_saphyr::Error) -> Error {
    let words = error.without_snippet().to_string();
    let words = words.lines().next().unwrap_or_default();
    // The advice is for the parser's callers.
    let words = words.replace(", set DuplicateKeyPolicy in Options if acceptable", "");
    Error::input(format!("{place} is not valid YAML: {words}"))
}

/// The documents of a YAML text with their first lines, counted from 1; empty ones are left out.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut all = vec![(1, String::new())];
    for (number, line) in (1..).zip(text.lines()) {
        let after = line.strip_prefix("---").or(line.strip_prefix("..."));
        // A marker stands at the start of a line, alone or before a blank; what follows it belongs
        // to the next document.
        match after.filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t'])) {
            Some(rest) => all.push((number, format!("   {rest}\n"))),
            None => {
                if let Some((_, document)) = all.last_mut() {
                    document.push_str(line);
                    document.push('\n');
                }
            }
        }
    }
    let is_text = |line: &str| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with(['#', '%'])
    };
    all.retain_mut(|(first, document)| {
        let Some(blank) = document.lines().position(is_text) else {
            return false;
        };
        *first += blank;
        *document = document.split_inclusive('\n').skip(blank).collect();
        true
    });
    all
}

/// Adds an object, or the items of a list.
fn add(value: Value, place: &Place, found: &mut Vec<Manifest>) -> Result<()> {
    let Value::Object(object) = value else {
        let error = Error::input(format!("{place} is no object but {}", shape(&value)));
        return Err(match value {
            Value::String(_) => error.cure(
                "give a file or folder as a path, such as `Path::new(\"deploy\")`: a string is \
                 read as YAML text",
            ),
            _ => error,
        });
    };
    let Some(items) = items(&object) else {
        found.push(manifest(object, place)?);
        return Ok(());
    };
    for (number, item) in (1..).zip(items) {
        let place = Place {
            item: Some(number),
            ..place.clone()
        };
        add(item, &place, found)?;
    }
    Ok(())
}

/// The items of a list. Those of a list of one kind need not name it.
fn items(object: &Map<String, Value>) -> Option<Vec<Value>> {
    let kind = object.get("kind")?.as_str()?.strip_suffix("List")?;
    let mut items = object.get("items")?.as_array()?.clone();
    let version = object.get("apiVersion").filter(|_| !kind.is_empty());
    if let Some(version) = version {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.entry("apiVersion").or_insert(version.clone());
            item.entry("kind").or_insert(kind.into());
        }
    }
    Some(items)
}

fn manifest(object: Map<String, Value>, place: &Place) -> Result<Manifest> {
    let text = |path: &str| -> Result<Option<String>> {
        let mut value = object.get(path.split('.').next().unwrap_or_default());
        if let Some((_, key)) = path.split_once('.') {
            value = value.and_then(|value| value.get(key));
        }
        match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
            Some(other) => {
                let seen = shape(other);
                Err(Error::input(format!(
                    "{place}: {path} is {seen}, not a text"
                )))
            }
        }
    };
    let needed = |path: &str| -> Result<String> {
        text(path)?.ok_or_else(|| {
            let error = Error::input(format!("{place}: {path} is missing"));
            match path == "metadata.name" && object["metadata"].get("generateName").is_some() {
                true => error.cure("give it a name, or create it, which takes a generateName"),
                false => error,
            }
        })
    };
    let (version, kind) = (needed("apiVersion")?, needed("kind")?);
    if !object.get("metadata").is_some_and(Value::is_object) {
        return Err(Error::input(format!("{place}: metadata is missing")));
    }
    let (name, namespace) = (needed("metadata.name")?, text("metadata.namespace")?);
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    Ok(Manifest {
        kind: GroupVersionKind::gvk(group, version, &kind),
        name,
        namespace,
        place: place.clone(),
        object: Value::Object(object),
    })
}

/// What a value is, in words.
fn shape(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(text) if text.is_empty() => "an empty text",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests;
