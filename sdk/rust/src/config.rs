//! The plugin's configuration, checked key by key before the plugin sees it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::error::Result as CallResult;
use crate::schema::{Checker, Format, given, kind};
use crate::secret::{Secret, secret};

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
        let mut block: Value = match serde_json::from_str(if block.is_empty() { "{}" } else { block }) {
            Ok(block @ Value::Object(_)) => block,
            Ok(other) => {
                return Err(whole(format!("the block must be a mapping of keys to values: it is {}", kind(&other))));
            }
            Err(e) => {
                return Err(whole(format!("the block must be a mapping of keys to values: {e}")));
            }
        };
        let checker = Checker { root: &self.schema, formats: &FORMATS };
        checker.drop_nulls(&mut block);
        let faults = checker.faults(&block);
        if faults.is_empty() {
            return (self.take)(block).await;
        }
        Err(faults.into_iter().map(|(key, message)| ConfigError { key, message }).collect())
    }
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

/// The types of this module, by the `format` that their schemas have.
const FORMATS: [Format; 3] = [
    Format { name: "agenthost-duration", check: |value| ConfigDuration::read(value).map(drop) },
    Format { name: "agenthost-size", check: |value| ByteSize::read(value).map(drop) },
    Format {
        name: "agenthost-secret",
        check: |value| SecretRef::read(value)?.get().map(drop).map_err(|e| e.message().into()),
    },
];

/// A number of bytes in a configuration, such as `2GiB` or `512MB`.
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

impl ByteSize {
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_str()
            .and_then(Self::parse)
            .ok_or_else(|| format!("must be a size such as 2GiB or 512MB, got {}", given(value)))
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))?;
        let number = number.strip_suffix(' ').unwrap_or(number);
        let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
        let plain = [whole, part].iter().all(|part| !part.is_empty() && digits(part).1.is_empty());
        let bytes = number.parse::<f64>().ok().filter(|_| plain)? * unit as f64;
        (bytes < i64::MAX as f64).then_some(ByteSize(bytes as u64))
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(&text.into())
    }
}

/// A span of time in a configuration, such as `90s` or `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigDuration(pub Duration);

const NANOS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl ConfigDuration {
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_str()
            .and_then(Self::parse)
            .ok_or_else(|| format!("must be a duration such as 30s or 1h30m, got {}", given(value)))
    }

    /// As Go's time.ParseDuration reads it, but for a span below zero.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest == "0" {
            return Some(ConfigDuration(Duration::ZERO));
        }
        let mut nanos = 0_u128;
        loop {
            let (whole, after) = digits(rest);
            let (part, after) = after.strip_prefix('.').map_or(("", after), digits);
            if whole.is_empty() && part.is_empty() || whole.len() + part.len() > 18 {
                return None;
            }
            let (name, unit) = NANOS.iter().rev().find(|(name, _)| {
                after.strip_prefix(name).is_some_and(|after| !after.starts_with(char::is_alphabetic))
            })?;
            let count: u128 = format!("{whole}{part}").parse().ok()?;
            nanos += count * unit / 10_u128.pow(u32::try_from(part.len()).ok()?);
            rest = &after[name.len()..];
            if rest.is_empty() {
                return i64::try_from(nanos).ok().map(|n| ConfigDuration(Duration::from_nanos(n.unsigned_abs())));
            }
        }
    }
}

impl FromStr for ConfigDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(&text.into())
    }
}

/// The digits that a text begins with, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// A key of the configuration that names one of the plugin's secrets. A configuration that names one which is not there is refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretRef(String);

impl SecretRef {
    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }

    /// The secret, read anew each time.
    pub fn get(&self) -> CallResult<Secret> {
        secret(&self.0)
    }

    fn read(value: &Value) -> Result<Self, String> {
        let Some(name) = value.as_str() else {
            return Err(format!("must be the name of a secret, got {}", given(value)));
        };
        if name.is_empty() || name.contains(|c: char| !(c.is_ascii_alphanumeric() || "_-.".contains(c))) {
            return Err(concat!(
                r#"must be the name of a secret, of letters, digits, "_", "-" and ".": "#,
                "what was given is not shown, as it may be a secret itself"
            )
            .into());
        }
        Ok(SecretRef(name.into()))
    }
}

macro_rules! config_type {
    ($type:ident, $name:literal, $schema:tt) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::read(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

config_type!(ByteSize, "ByteSize", {
    "type": "string", "format": "agenthost-size", "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B$", "examples": ["2GiB", "512MB"],
});
config_type!(ConfigDuration, "Duration", {
    "type": "string", "format": "agenthost-duration",
    "pattern": r"^\+?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$", "examples": ["30s", "1h30m"],
});
config_type!(SecretRef, "Secret", {
    "type": "string", "format": "agenthost-secret", "pattern": "^[A-Za-z0-9_.-]+$", "examples": ["warehouse_token"],
});
