//! What a task asks for: its query, its tables and its parameters.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use agenthost::contract::flyteidl::core::{Literal, LiteralType};
use agenthost::{Directory, File, StructuredDataset, Task, Value};
use datafusion::scalar::ScalarValue;
use serde::Deserialize;

use crate::fault::Fault;
use crate::location::Location;
use crate::table::{Options, Table};
use crate::value;

/// The template's custom part.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Custom {
    query: Option<String>,
    sources: BTreeMap<String, CustomSource>,
    destination: Option<String>,
}

/// A table that the task itself names.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CustomSource {
    uri: OneOrMany,
    #[serde(default)]
    format: String,
    #[serde(default)]
    options: Options,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A task, read.
pub struct Job {
    pub sql: String,
    /// Where the result is written, if the task says so.
    pub destination: Option<String>,
    sources: BTreeMap<String, CustomSource>,
    inputs: BTreeMap<String, Literal>,
    types: HashMap<String, LiteralType>,
}

impl Job {
    pub fn of(task: &Task) -> Result<Job, Fault> {
        let wrong = |e: agenthost::Error| Fault::failed("BadInput", e.message());
        let custom: Custom = task.custom().map_err(wrong)?;
        let sql = task.sql().filter(|sql| !sql.trim().is_empty()).map(str::to_string).or(custom.query);
        let sql = sql
            .ok_or_else(|| Fault::failed("BadSQL", "the task has no query: neither sql.statement nor custom.query"))?;
        let inputs: BTreeMap<_, _> = task.literals().iter().map(|(name, l)| (name.clone(), l.clone())).collect();
        if let Some(name) = custom.sources.keys().find(|name| inputs.contains_key(*name)) {
            return Err(Fault::failed(
                "BadInput",
                format!("{name:?} is an input and one of custom.sources: rename one of them"),
            ));
        }
        Ok(Job { sql, destination: custom.destination, sources: custom.sources, inputs, types: task.input_types() })
    }

    /// An input, which is not looked at before it is used.
    fn input(&self, name: &str) -> Option<Result<Value, Fault>> {
        let literal = self.inputs.get(name)?;
        let named = |e: String| Fault::failed("BadInput", format!("input {name:?} {e}"));
        Some(agenthost::decode(literal).map_err(named))
    }

    /// The inputs of these names, as Flyte sent them.
    pub fn inputs<'a>(&'a mut self, names: &'a BTreeSet<String>) -> impl Iterator<Item = (&'a str, &'a mut Literal)> {
        let wanted = self.inputs.iter_mut().filter(|(name, _)| names.contains(*name));
        wanted.map(|(name, literal)| (name.as_str(), literal))
    }

    /// Whether an input or a source has a name.
    pub fn names(&self, name: &str) -> bool {
        self.sources.contains_key(name) || self.inputs.contains_key(name)
    }

    /// The table of a name: a source, or an input that is a dataset, a file, a list of files, or a URI.
    pub fn table(&self, name: &str) -> Result<Table, Fault> {
        if let Some(source) = self.sources.get(name) {
            let uris = match &source.uri {
                OneOrMany::One(uri) => std::slice::from_ref(uri),
                OneOrMany::Many(uris) => uris,
            };
            return table(name, uris, &source.format, source.options.clone());
        }
        let input = self.input(name).ok_or_else(|| self.no_table(name))??;
        let (uris, format) = located(&input).ok_or_else(|| {
            Fault::failed("BadInput", format!("the query reads {name}, and the input of this name is {}: a StructuredDataset, a file, a list of files, or a str with a URI is needed", input.kind()))
        })?;
        table(name, &uris, &format, Options::default())
    }

    fn no_table(&self, name: &str) -> Fault {
        let known: Vec<_> = self.sources.keys().chain(self.inputs.keys()).map(String::as_str).collect();
        Fault::failed(
            "BadSQL",
            format!(
                "the query reads {name}, which is neither an input nor one of custom.sources: there are {}",
                or_none(&known)
            ),
        )
    }

    /// The values for parameters; a file's is its URI.
    pub fn parameters(&self, wanted: impl IntoIterator<Item = String>) -> Result<HashMap<String, ScalarValue>, Fault> {
        wanted.into_iter().map(|name| Ok((name.clone(), self.parameter(&name)?))).collect()
    }

    fn parameter(&self, name: &str) -> Result<ScalarValue, Fault> {
        let known: Vec<_> = self.inputs.keys().map(String::as_str).collect();
        let input = self.input(name).ok_or_else(|| {
            Fault::failed("BadSQL", format!("the query uses ${name}, which is no input: there are {}", or_none(&known)))
        })??;
        value::parameter(&input, self.types.get(name))
            .map_err(|e| Fault::failed("BadInput", format!("input {name:?} {e}")))
    }
}

fn or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_string() } else { names.join(", ") }
}

fn table(name: &str, uris: &[String], format: &str, options: Options) -> Result<Table, Fault> {
    let place =
        |uri: &String| Location::parse(uri).map_err(|e| Fault::failed("BadInput", format!("table {name}: {e}")));
    let places = uris.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    if places.is_empty() {
        return Err(Fault::failed("BadInput", format!("table {name}: an empty list names no file")));
    }
    Ok(Table { places, format: format.to_string(), options })
}

/// Where a value's files are, and their format.
fn located(value: &Value) -> Option<(Vec<String>, String)> {
    match value {
        Value::Dataset(StructuredDataset { uri, format, .. })
        | Value::File(File { uri, format })
        | Value::Directory(Directory { uri, format }) => Some((vec![uri.clone()], format.clone())),
        Value::Str(uri) => Some((vec![uri.clone()], String::new())),
        Value::List(items) => {
            let each: Vec<_> = items.iter().map(located).collect::<Option<_>>()?;
            let format = each.first().map(|(_, format)| format.clone()).unwrap_or_default();
            Some((each.into_iter().flat_map(|(uris, _)| uris).collect(), format))
        }
        _ => None,
    }
}
