//! The plugin's configuration, checked key by key before the plugin sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;

use jsonschema::error::ValidationErrorKind;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

/// Says what is wrong with one key of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The key inside the block, dotted, such as `limits.memory`. Empty: the block as a whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    /// An error about a key.
    pub fn new(key: impl Into<String>, message: impl fmt::Display) -> Self {
        ConfigError { key: key.into(), message: message.to_string() }
    }
}

type Outcome = Pin<Box<dyn Future<Output = Result<(), Vec<ConfigError>>> + Send>>;

/// Takes a configuration of one type.
pub(crate) struct Configuration {
    pub schema: Value,
    #[allow(clippy::type_complexity)]
    take: Box<dyn Fn(Value) -> Outcome + Send + Sync>,
}

impl Configuration {
    pub fn new<C, F, R>(function: F) -> Self
    where
        C: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(C) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Vec<ConfigError>>> + Send + 'static,
    {
        let mut schema = schemars::schema_for!(C).to_value();
        forbid_unknown_keys(&mut schema);
        let take = move |block: Value| -> Outcome {
            match serde_path_to_error::deserialize::<_, C>(block) {
                Ok(config) => Box::pin(function(config)),
                Err(e) => {
                    let path = e.path().to_string();
                    let key = if path == "." { String::new() } else { path };
                    let error = ConfigError::new(key, e.inner());
                    Box::pin(std::future::ready(Err(vec![error])))
                }
            }
        };
        Configuration { schema, take: Box::new(take) }
    }

    /// Hands a block over, or says everything that is wrong with it.
    pub async fn take(&self, block: &str) -> Result<(), Vec<ConfigError>> {
        let whole = |message: String| vec![ConfigError::new("", message)];
        let block: Value = match serde_json::from_str(if block.is_empty() { "{}" } else { block }) {
            Ok(block @ Value::Object(_)) => block,
            Ok(other) => {
                return Err(whole(format!("the block must be a mapping of keys to values: it is {other}")));
            }
            Err(e) => {
                return Err(whole(format!("the block must be a mapping of keys to values: {e}")));
            }
        };
        let validator =
            jsonschema::validator_for(&self.schema).map_err(|e| whole(format!("the plugin's schema is wrong: {e}")))?;
        let mut errors: Vec<_> = validator.iter_errors(&block).flat_map(|e| self.explain(&e)).collect();
        errors.sort_by(|a, b| a.key.cmp(&b.key));
        errors.dedup();
        if errors.is_empty() { (self.take)(block).await } else { Err(errors) }
    }

    /// A validation error in words: which key, what is wrong, what would be right.
    fn explain(&self, error: &jsonschema::ValidationError<'_>) -> Vec<ConfigError> {
        let at = dotted(&error.instance_path.to_string());
        let inside = |name: &str| {
            if at.is_empty() { name.to_string() } else { format!("{at}.{name}") }
        };
        match &error.kind {
            ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
                .iter()
                .map(|name| {
                    let known = keys_at(&self.schema, &at);
                    let near = known.iter().max_by(|a, b| strsim::jaro(name, a).total_cmp(&strsim::jaro(name, b)));
                    let hint = match near {
                        Some(near) if strsim::jaro(name, near) > 0.7 => {
                            format!("did you mean {near}?")
                        }
                        Some(_) => format!("there are {}", known.join(", ")),
                        None => "there are no keys here".to_string(),
                    };
                    ConfigError::new(inside(name), format!("unknown key: {hint}"))
                })
                .collect(),
            ValidationErrorKind::Required { property } => {
                vec![ConfigError::new(inside(property.as_str().unwrap_or_default()), "is required")]
            }
            _ => vec![ConfigError::new(at.clone(), error.to_string())],
        }
    }
}

/// A JSON pointer as people write keys.
fn dotted(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// The keys that a schema knows at a place.
fn keys_at(schema: &Value, at: &str) -> Vec<String> {
    let mut here = resolve(schema, schema);
    for part in at.split('.').filter(|part| !part.is_empty()) {
        let next = here
            .get("properties")
            .and_then(|p| p.get(part))
            .or_else(|| here.get("items"))
            .or_else(|| here.get("additionalProperties"));
        match next {
            Some(next) => here = resolve(schema, next),
            None => return Vec::new(),
        }
    }
    here.get("properties").and_then(Value::as_object).map(|p| p.keys().cloned().collect()).unwrap_or_default()
}

/// Follows a reference, and looks through what makes a schema optional.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(target) =
        schema.get("$ref").and_then(Value::as_str).and_then(|r| root.pointer(r.trim_start_matches('#')))
    {
        return resolve(root, target);
    }
    let options = schema.get("anyOf").and_then(Value::as_array);
    options.and_then(|o| o.iter().map(|s| resolve(root, s)).find(|s| s.get("properties").is_some())).unwrap_or(schema)
}

/// Makes every object with properties of its own refuse others: a key that is misspelt would else be ignored.
fn forbid_unknown_keys(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.contains_key("properties") && !fields.contains_key("additionalProperties") {
                fields.insert("additionalProperties".into(), json!(false));
            }
            if fields.get("type") == Some(&json!("object"))
                && !fields.contains_key("properties")
                && !fields.contains_key("additionalProperties")
            {
                fields.insert("properties".into(), Value::Object(Map::new()));
                fields.insert("additionalProperties".into(), json!(false));
            }
            fields.values_mut().for_each(forbid_unknown_keys);
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_unknown_keys),
        _ => {}
    }
}

/// A number of bytes in a configuration: `2GiB`, `500MB`, or a plain number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 10] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) =
            UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit))).unwrap_or((text, 1));
        let bytes = number.trim().parse::<f64>().ok().filter(|n| *n >= 0.0).map(|n| n * unit as f64);
        bytes
            .filter(|b| *b < u64::MAX as f64)
            .map(|b| ByteSize(b as u64))
            .ok_or_else(|| format!("must be a size such as 2GiB or 500MB, got {text:?}"))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Number(n) => n
                .as_u64()
                .map(ByteSize)
                .ok_or_else(|| D::Error::custom(format!("must be a size such as 2GiB, got {n}"))),
            Value::String(s) => s.parse().map_err(D::Error::custom),
            other => Err(D::Error::custom(format!("must be a size such as 2GiB, got {other}"))),
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": ["string", "integer"], "minimum": 0, "pattern": r"^\s*[0-9.]+\s*([kKMGT]i?B|B)?$", "examples": ["2GiB", "500MB"]})
    }
}
