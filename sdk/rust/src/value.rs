//! Values of tasks' inputs and outputs, between Flyte's literals and Rust's types.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use prost::Message;
use serde::de::{DeserializeOwned, Error as _};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contract::flyteidl::core::LiteralType;
use crate::exact::Exact;
use crate::packed;

/// A table that lies in storage. It can be a field of a job's metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct StructuredDataset {
    /// Where it is: a folder or a file, such as `s3://bucket/table`.
    pub uri: String,
    /// How it is stored, such as `parquet`. Empty: not said.
    pub format: String,
    /// Its columns, where the type says so.
    pub columns: Vec<Column>,
}

/// One column of a [`StructuredDataset`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(serialize_with = "write_type", deserialize_with = "read_type")]
    pub r#type: LiteralType,
}

/// A file in storage. It can be a field of a job's metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct File {
    /// Where it is.
    pub uri: String,
    /// Its format, such as `csv`. Empty: not said.
    pub format: String,
}

/// A folder in storage. It can be a field of a job's metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Directory {
    /// Where it is.
    pub uri: String,
    /// The format of its files, such as `csv`. Empty: not said.
    pub format: String,
}

/// How serde has what lies in storage.
#[derive(Serialize, Deserialize)]
struct Stored {
    stored: String,
    uri: String,
    #[serde(default)]
    format: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    columns: Vec<Column>,
}

macro_rules! stored {
    ($($type:ident, $kind:literal, $value:pat => $columns:expr, ($stored:pat) $make:expr;)*) => {$(
        impl From<$type> for Stored {
            fn from(value: $type) -> Self {
                let ($value, uri, format) = (&value, value.uri.clone(), value.format.clone());
                Stored { stored: $kind.into(), uri, format, columns: $columns }
            }
        }

        impl TryFrom<Stored> for $type {
            type Error = String;

            fn try_from(stored: Stored) -> Result<Self, String> {
                match stored {
                    Stored { stored, .. } if stored != $kind => Err(format!("it is {stored}, and {} is needed", $kind)),
                    $stored => Ok($make),
                }
            }
        }
    )*};
}

stored! {
    File, "a file", _ => Vec::new(), (Stored { uri, format, .. }) File { uri, format };
    Directory, "a directory", _ => Vec::new(), (Stored { uri, format, .. }) Directory { uri, format };
    StructuredDataset, "a StructuredDataset", table => table.columns.clone(),
        (Stored { uri, format, columns, .. }) StructuredDataset { uri, format, columns };
}

/// Writes a type as the Base64 of its message.
pub(crate) fn write_type<S: Serializer>(literal_type: &LiteralType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(literal_type.encode_to_vec()))
}

/// Reads what [`write_type`] wrote.
pub(crate) fn read_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LiteralType, D::Error> {
    let bytes = STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
    LiteralType::decode(bytes.as_slice()).map_err(D::Error::custom)
}

/// Reads and writes a [`TimeDelta`] in a type of one's own, as seconds: `#[serde(with = "agenthost::seconds")]`.
pub mod seconds {
    use super::*;

    /// Writes the span, unless a number of seconds is another.
    pub fn serialize<S: Serializer>(span: &TimeDelta, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = span.as_seconds_f64();
        match span_of(seconds) {
            Some(read) if read == *span => serializer.serialize_f64(seconds),
            _ => Err(S::Error::custom(format!("the span {span} as a number of seconds is another"))),
        }
    }

    /// Reads a number of seconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TimeDelta, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        span_of(seconds).ok_or_else(|| D::Error::custom(format!("{seconds} seconds are out of range")))
    }
}

/// A value of any of Flyte's types.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// None.
    None,
    /// An int.
    Int(i64),
    /// A float.
    Float(f64),
    /// A str.
    Str(String),
    /// A bool.
    Bool(bool),
    /// A point in time.
    Datetime(DateTime<Utc>),
    /// A span of time.
    Duration(TimeDelta),
    /// Bytes with the name of their encoding.
    Binary {
        /// The bytes.
        bytes: Vec<u8>,
        /// The name of their encoding; empty for plain bytes.
        tag: String,
    },
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(BTreeMap<String, Value>),
    /// A dataclass or a dict.
    Json(serde_json::Value),
    /// A dataclass or a dict that JSON cannot say, with bytes, timestamps, NaN, an infinity, or keys that are no text.
    MsgPack(rmpv::Value),
    /// A table.
    Dataset(StructuredDataset),
    /// A file.
    File(File),
    /// A folder.
    Directory(Directory),
    /// What serde could not write: why. It cannot be an output.
    Unwritable(String),
}

impl Value {
    /// What it is, in Flyte's words.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::None => "None",
            Value::Int(_) => "an int",
            Value::Float(_) => "a float",
            Value::Str(_) => "a str",
            Value::Bool(_) => "a bool",
            Value::Datetime(_) => "a datetime",
            Value::Duration(_) => "a timedelta",
            Value::Binary { .. } => "bytes",
            Value::List(_) => "a list",
            Value::Map(_) => "a dict of one type",
            Value::Json(serde_json::Value::Number(_)) => "a number",
            Value::Json(_) | Value::MsgPack(_) => "a dict or a dataclass",
            Value::Dataset(_) => "a StructuredDataset",
            Value::Directory(_) => "a directory",
            Value::File(_) => "a file",
            Value::Unwritable(_) => "what serde cannot write",
        }
    }

    /// The value as JSON for people. Times are RFC 3339, spans seconds, bytes a list of numbers. What JSON lacks is shown as it can
    /// be: NaN is null, or within a dict a text.
    pub fn json(&self) -> serde_json::Value {
        use serde_json::{Value as J, json};
        match self {
            Value::None => J::Null,
            Value::Int(n) => json!(n),
            Value::Float(x) => json!(x),
            Value::Str(s) => json!(s),
            Value::Bool(b) => json!(b),
            Value::Datetime(at) => json!(at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            Value::Duration(span) => json!(span.as_seconds_f64()),
            Value::Binary { bytes, .. } => json!(bytes),
            Value::List(items) => J::Array(items.iter().map(Value::json).collect()),
            Value::Map(items) => J::Object(items.iter().map(|(key, value)| (key.clone(), value.json())).collect()),
            Value::Json(value) => value.clone(),
            Value::MsgPack(value) => packed::shown(value),
            Value::Unwritable(_) => J::Null,
            Value::Dataset(table) => json!({"uri": table.uri, "format": table.format}),
            Value::File(file) => json!({"uri": file.uri, "format": file.format}),
            Value::Directory(folder) => json!({"uri": folder.uri, "format": folder.format}),
        }
    }

    /// The value as it is within a dict: flytekit's forms of times are texts, of spans seconds.
    pub(crate) fn packed(&self) -> Result<rmpv::Value, String> {
        use rmpv::Value as P;
        Ok(match self {
            Value::Float(x) => P::F64(*x),
            Value::Binary { bytes, tag } if tag.is_empty() => P::Binary(bytes.clone()),
            Value::Binary { tag, .. } => {
                return Err(format!("holds bytes in the form {tag:?}, which only a Value::Binary tells"));
            }
            Value::Duration(span) => {
                let seconds = span.as_seconds_f64();
                if span_of(seconds).as_ref() != Some(span) {
                    return Err(format!("holds the timedelta {span}, which as a float of seconds is another"));
                }
                P::F64(seconds)
            }
            Value::List(items) => P::Array(items.iter().map(Value::packed).collect::<Result<_, _>>()?),
            Value::Map(items) => {
                let entry = |(key, value): (&String, &Value)| Ok((P::from(key.as_str()), value.packed()?));
                P::Map(items.iter().map(entry).collect::<Result<_, String>>()?)
            }
            Value::MsgPack(value) => value.clone(),
            Value::Unwritable(why) => return Err(why.clone()),
            plain => packed::from_json(&plain.json()),
        })
    }

    /// The value as serde reads it into a type of the author's, times as timestamps, files and tables as their types are written.
    pub(crate) fn for_serde(&self) -> Result<rmpv::Value, String> {
        use rmpv::Value as P;
        Ok(match self {
            Value::Datetime(at) => packed::timestamp_of(*at),
            Value::File(file) => packed::of(file)?,
            Value::Directory(folder) => packed::of(folder)?,
            Value::Dataset(table) => packed::of(table)?,
            Value::List(items) => P::Array(items.iter().map(Value::for_serde).collect::<Result<_, _>>()?),
            Value::Map(items) => {
                let entry = |(key, value): (&String, &Value)| Ok((P::from(key.as_str()), value.for_serde()?));
                P::Map(items.iter().map(entry).collect::<Result<_, String>>()?)
            }
            plain => plain.packed()?,
        })
    }

    /// The value that is natural for a piece of msgpack.
    pub(crate) fn unpacked(packed: rmpv::Value) -> Self {
        use rmpv::Value as P;
        match (packed::to_json(&packed), packed) {
            (_, P::F32(x)) => Value::Float(x.into()),
            (_, P::F64(x)) => Value::Float(x),
            (_, P::Binary(bytes)) => Value::Binary { bytes, tag: String::new() },
            (Some(json), _) => Value::of_json(json),
            (None, packed) => Value::MsgPack(packed),
        }
    }

    /// The value that is natural for a piece of JSON.
    pub(crate) fn of_json(json: serde_json::Value) -> Self {
        use serde_json::Value as J;
        match json {
            J::Null => Value::None,
            J::Bool(b) => Value::Bool(b),
            J::String(s) => Value::Str(s),
            J::Number(ref n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(n), ..) => Value::Int(n),
                (None, None, Some(x)) => Value::Float(x),
                _ => Value::Json(json), // larger than an int of Flyte can be
            },
            J::Array(_) | J::Object(_) => Value::Json(json),
        }
    }
}

/// The span of so many seconds, to the microsecond, as Python reads it.
fn span_of(seconds: f64) -> Option<TimeDelta> {
    let whole = seconds.trunc();
    let micros = ((seconds - whole) * 1e6).round_ties_even();
    // Both are whole numbers of far fewer than 63 bits.
    TimeDelta::try_seconds(whole as i64)?.checked_add(&TimeDelta::microseconds(micros as i64))
}

/// A Rust type that a value can be read as. The error says what the value is instead; the caller adds its name.
pub trait FromValue: Sized {
    /// What the type takes, in Flyte's words, for errors.
    const WANTS: &'static str;
    /// Reads the value.
    fn from_value(value: Value) -> Result<Self, String>;
    /// What stands for a value that is not there, if anything may.
    fn absent() -> Option<Self> {
        None
    }
}

fn unfit<T: FromValue>(value: &Value) -> String {
    let form = match value {
        Value::Binary { tag, .. } if !tag.is_empty() => format!(" in the form {tag:?}"),
        _ => String::new(),
    };
    format!("is {}{form}, and {} is needed", value.kind(), T::WANTS)
}

macro_rules! from_value {
    ($($type:ty, $wants:literal, $pattern:pat => $read:expr;)*) => {$(
        impl FromValue for $type {
            const WANTS: &'static str = $wants;
            fn from_value(value: Value) -> Result<Self, String> {
                match value {
                    $pattern => Ok($read),
                    other => Err(unfit::<Self>(&other)),
                }
            }
        }
    )*};
}

from_value! {
    i64, "an int", Value::Int(n) => n;
    bool, "a bool", Value::Bool(b) => b;
    String, "a str", Value::Str(s) => s;
    DateTime<Utc>, "a datetime", Value::Datetime(at) => at;
    TimeDelta, "a timedelta", Value::Duration(span) => span;
    StructuredDataset, "a StructuredDataset", Value::Dataset(table) => table;
    File, "a file", Value::File(file) => file;
    Directory, "a directory", Value::Directory(folder) => folder;
}

macro_rules! narrower {
    ($($type:ty)*) => {$(
        impl FromValue for $type {
            const WANTS: &'static str = "an int";
            fn from_value(value: Value) -> Result<Self, String> {
                let n = i64::from_value(value)?;
                <$type>::try_from(n).map_err(|_| format!("is {n}, which is out of the range of {}", stringify!($type)))
            }
        }
    )*};
}

narrower! { i8 i16 i32 u8 u16 u32 u64 usize }

impl FromValue for f64 {
    const WANTS: &'static str = "a float";
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Float(x) => Ok(x),
            Value::Int(n) => exact_float(n).ok_or_else(|| format!("is {n}, which no float is")),
            other => Err(unfit::<Self>(&other)),
        }
    }
}

/// The float that is this int, if one is.
pub(crate) fn exact_float(n: i64) -> Option<f64> {
    let float = n as f64;
    (float as i128 == i128::from(n)).then_some(float)
}

impl FromValue for NaiveDate {
    const WANTS: &'static str = "a date";
    fn from_value(value: Value) -> Result<Self, String> {
        match value {
            Value::Datetime(at) if at.time() == NaiveTime::MIN => Ok(at.date_naive()),
            Value::Datetime(at) => Err(format!("is {at}, which has a time of day, and a date is needed")),
            other => Err(unfit::<Self>(&other)),
        }
    }
}

impl FromValue for Value {
    const WANTS: &'static str = "a value";
    fn from_value(value: Value) -> Result<Self, String> {
        Ok(value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const WANTS: &'static str = T::WANTS;
    fn from_value(value: Value) -> Result<Self, String> {
        if value == Value::None { Ok(None) } else { T::from_value(value).map(Some) }
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    const WANTS: &'static str = "a list";
    fn from_value(value: Value) -> Result<Self, String> {
        let items = match value {
            Value::List(items) => items,
            Value::Binary { bytes, tag } if tag.is_empty() => bytes.into_iter().map(|b| Value::Int(b.into())).collect(),
            Value::Json(serde_json::Value::Array(items)) => items.into_iter().map(Value::of_json).collect(),
            Value::MsgPack(rmpv::Value::Array(items)) => items.into_iter().map(Value::unpacked).collect(),
            other => return Err(unfit::<Self>(&other)),
        };
        let numbered = items.into_iter().enumerate();
        numbered.map(|(i, item)| T::from_value(item).map_err(|e| format!("has an item {i} that {e}"))).collect()
    }
}

fn entries<T: FromValue>(value: Value) -> Result<impl Iterator<Item = Result<(String, T), String>>, String> {
    let entries: Vec<(String, Value)> = match value {
        Value::Map(entries) => entries.into_iter().collect(),
        Value::Json(serde_json::Value::Object(entries)) => {
            entries.into_iter().map(|(k, v)| (k, Value::of_json(v))).collect()
        }
        Value::MsgPack(rmpv::Value::Map(entries)) => entries
            .into_iter()
            .map(|(key, value)| match key.as_str() {
                Some(text) => Ok((text.to_string(), Value::unpacked(value))),
                None => Err(format!("has the key {key}, which is no text")),
            })
            .collect::<Result<_, _>>()?,
        other => return Err(format!("is {}, and a dict is needed", other.kind())),
    };
    Ok(entries.into_iter().map(|(key, item)| match T::from_value(item) {
        Ok(item) => Ok((key, item)),
        Err(error) => Err(format!("has an entry {key:?} that {error}")),
    }))
}

impl<T: FromValue> FromValue for BTreeMap<String, T> {
    const WANTS: &'static str = "a dict";
    fn from_value(value: Value) -> Result<Self, String> {
        entries(value)?.collect()
    }
}

impl<T: FromValue> FromValue for HashMap<String, T> {
    const WANTS: &'static str = "a dict";
    fn from_value(value: Value) -> Result<Self, String> {
        entries(value)?.collect()
    }
}

/// A dataclass, a dict, or anything else that serde reads: `let Json(job) = task.input::<Json<MyStruct>>("job")?`.
#[derive(Clone, Debug, PartialEq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromValue for Json<T> {
    const WANTS: &'static str = "a dataclass or a dict";
    fn from_value(value: Value) -> Result<Self, String> {
        serde_path_to_error::deserialize(Exact(value.packed()?)).map(Json).map_err(|e| match e.path().to_string() {
            path if path == "." => format!("does not fit: {}", e.inner()),
            path => format!("has a field {path} that does not fit: {}", e.inner()),
        })
    }
}

impl<T: Serialize> From<Json<T>> for Value {
    /// What serde cannot write fails when it becomes an output.
    fn from(json: Json<T>) -> Self {
        packed::of(&json.0).map_or_else(Value::Unwritable, |packed| match packed::to_json(&packed) {
            Some(json) => Value::Json(json),
            None => Value::MsgPack(packed),
        })
    }
}

macro_rules! into_value {
    ($($type:ty, $name:ident => $value:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($name: $type) -> Self {
                $value
            }
        }
    )*};
}

into_value! {
    i64, n => Value::Int(n);
    i32, n => Value::Int(n.into());
    u32, n => Value::Int(n.into());
    f64, x => Value::Float(x);
    bool, b => Value::Bool(b);
    String, s => Value::Str(s);
    &str, s => Value::Str(s.to_string());
    DateTime<Utc>, at => Value::Datetime(at);
    TimeDelta, span => Value::Duration(span);
    serde_json::Value, json => Value::Json(json);
    StructuredDataset, table => Value::Dataset(table);
    File, file => Value::File(file);
    Directory, folder => Value::Directory(folder);
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::None, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>> From<BTreeMap<String, T>> for Value {
    fn from(items: BTreeMap<String, T>) -> Self {
        Value::Map(items.into_iter().map(|(key, value)| (key, value.into())).collect())
    }
}
