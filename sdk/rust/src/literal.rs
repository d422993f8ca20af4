//! Flyte's literals to and from [`Value`]s.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};

use crate::contract::flyteidl::core::{
    Binary, Blob, BlobMetadata, BlobType, Literal, LiteralCollection, LiteralMap, LiteralType, Primitive, Scalar,
    SimpleType, StructuredDataset as WireDataset, StructuredDatasetMetadata, StructuredDatasetType, TypeStructure,
    Union, Void, blob_type::BlobDimensionality, literal, literal_type, primitive, scalar,
    structured_dataset_type::DatasetColumn,
};
use crate::value::{Column, File, StructuredDataset, Value};

/// The tag of dataclasses and dicts in flytekit's newer form.
const MSGPACK: &str = "msgpack";

/// Reads a literal.
pub fn decode(literal: &Literal) -> Result<Value, String> {
    Ok(match &literal.value {
        None => Value::None,
        Some(literal::Value::Scalar(scalar)) => decode_scalar(scalar)?,
        Some(literal::Value::Collection(list)) => {
            Value::List(list.literals.iter().map(decode).collect::<Result<_, _>>()?)
        }
        Some(literal::Value::Map(map)) => {
            let entry = |(key, value): (&String, &Literal)| Ok((key.clone(), decode(value)?));
            Value::Map(map.literals.iter().map(entry).collect::<Result<_, String>>()?)
        }
        Some(literal::Value::OffloadedMetadata(offloaded)) => {
            return Err(format!("is offloaded to {}, which this SDK does not fetch", offloaded.uri));
        }
    })
}

fn decode_scalar(scalar: &Scalar) -> Result<Value, String> {
    Ok(match &scalar.value {
        None | Some(scalar::Value::NoneType(_)) => Value::None,
        Some(scalar::Value::Primitive(primitive)) => decode_primitive(primitive)?,
        Some(scalar::Value::Blob(blob)) => {
            let kind = blob.metadata.as_ref().and_then(|m| m.r#type.as_ref());
            Value::File(File {
                uri: blob.uri.clone(),
                format: kind.map(|t| t.format.clone()).unwrap_or_default(),
                directory: kind.is_some_and(|t| t.dimensionality() == BlobDimensionality::Multipart),
            })
        }
        Some(scalar::Value::Binary(binary)) if binary.tag == MSGPACK => Value::Json(
            rmp_serde::from_slice(&binary.value)
                .map_err(|e| format!("is no dataclass or dict that can be read: {e}"))?,
        ),
        Some(scalar::Value::Binary(binary)) => Value::Binary { bytes: binary.value.clone(), tag: binary.tag.clone() },
        Some(scalar::Value::Schema(schema)) => {
            Value::Dataset(StructuredDataset { uri: schema.uri.clone(), format: "parquet".into(), columns: Vec::new() })
        }
        Some(scalar::Value::Error(error)) => return Err(format!("is an error: {}", error.message)),
        Some(scalar::Value::Generic(object)) => Value::Json(from_struct(object)),
        Some(scalar::Value::StructuredDataset(table)) => {
            let kind = table.metadata.as_ref().and_then(|m| m.structured_dataset_type.as_ref());
            let column =
                |c: &DatasetColumn| Column { name: c.name.clone(), r#type: c.literal_type.clone().unwrap_or_default() };
            Value::Dataset(StructuredDataset {
                uri: table.uri.clone(),
                format: kind.map(|t| t.format.clone()).unwrap_or_default(),
                columns: kind.map(|t| t.columns.iter().map(column).collect()).unwrap_or_default(),
            })
        }
        Some(scalar::Value::Union(union)) => union.value.as_deref().map_or(Ok(Value::None), decode)?,
    })
}

fn decode_primitive(primitive: &Primitive) -> Result<Value, String> {
    Ok(match &primitive.value {
        None => Value::None,
        Some(primitive::Value::Integer(n)) => Value::Int(*n),
        Some(primitive::Value::FloatValue(x)) => Value::Float(*x),
        Some(primitive::Value::StringValue(s)) => Value::Str(s.clone()),
        Some(primitive::Value::Boolean(b)) => Value::Bool(*b),
        Some(primitive::Value::Datetime(at)) => Value::Datetime(datetime(at)?),
        Some(primitive::Value::Duration(span)) => Value::Duration(time_delta(span)?),
    })
}

pub(crate) fn datetime(at: &Timestamp) -> Result<DateTime<Utc>, String> {
    u32::try_from(at.nanos)
        .ok()
        .and_then(|nanos| DateTime::from_timestamp(at.seconds, nanos))
        .ok_or_else(|| format!("is a datetime out of range: {} s", at.seconds))
}

pub(crate) fn time_delta(span: &Duration) -> Result<TimeDelta, String> {
    TimeDelta::try_seconds(span.seconds)
        .and_then(|s| s.checked_add(&TimeDelta::nanoseconds(span.nanos.into())))
        .ok_or_else(|| format!("is a timedelta out of range: {} s", span.seconds))
}

/// Writes a value as a literal of the declared type, or of the natural one where there is none. The error says what the value
/// is and what the type asks for.
pub fn encode(value: &Value, declared: Option<&LiteralType>) -> Result<Literal, String> {
    use literal_type::Type;
    let Some(kind) = declared.and_then(|d| d.r#type.as_ref()) else {
        return natural(value);
    };
    match (kind, value) {
        (Type::UnionType(union), _) => {
            let fits = union.variants.iter().find_map(|variant| Some((encode_variant(value, variant)?, variant)));
            let (literal, variant) =
                fits.ok_or_else(|| format!("is {}, which is no variant of its type", value.kind()))?;
            Ok(scalar(scalar::Value::Union(Box::new(Union {
                value: Some(Box::new(literal)),
                r#type: Some(variant.clone()),
            }))))
        }
        (Type::Simple(simple), _) => encode_simple(value, SimpleType::try_from(*simple).unwrap_or(SimpleType::None)),
        (Type::CollectionType(item), Value::List(items)) => {
            let numbered = items.iter().enumerate();
            let literals =
                numbered.map(|(i, v)| encode(v, Some(item)).map_err(|e| format!("has an item {i} that {e}")));
            Ok(collection(literals.collect::<Result<_, _>>()?))
        }
        (Type::CollectionType(_), Value::Json(serde_json::Value::Array(items))) => {
            encode(&Value::List(items.iter().map(from_json).collect()), declared)
        }
        (Type::MapValueType(item), Value::Map(items)) => {
            let literals = items.iter().map(|(k, v)| {
                Ok((k.clone(), encode(v, Some(item)).map_err(|e| format!("has an entry {k:?} that {e}"))?))
            });
            Ok(map(literals.collect::<Result<_, String>>()?))
        }
        (Type::MapValueType(_), Value::Json(serde_json::Value::Object(items))) => {
            encode(&Value::Map(items.iter().map(|(k, v)| (k.clone(), from_json(v))).collect()), declared)
        }
        (Type::StructuredDatasetType(_), Value::Dataset(_)) | (Type::Blob(_), Value::File(_)) => natural(value),
        (Type::EnumType(choices), Value::Str(s)) if choices.values.contains(s) => natural(value),
        (Type::EnumType(choices), Value::Str(s)) => Err(format!("is {s:?}, which is none of {:?}", choices.values)),
        _ => Err(format!("is {}, and its type is another", value.kind())),
    }
}

/// A value in a variant of a union: None fits none but None, and an int no float.
fn encode_variant(value: &Value, variant: &LiteralType) -> Option<Literal> {
    let simple = match variant.r#type {
        Some(literal_type::Type::Simple(simple)) => SimpleType::try_from(simple).ok(),
        _ => None,
    };
    match (value, simple) {
        (Value::None, Some(SimpleType::None)) => Some(none()),
        (Value::None, _) | (_, Some(SimpleType::None)) | (Value::Int(_), Some(SimpleType::Float)) => None,
        _ => encode(value, Some(variant)).ok(),
    }
}

fn encode_simple(value: &Value, simple: SimpleType) -> Result<Literal, String> {
    match (simple, value) {
        (SimpleType::Float, Value::Int(n)) => natural(&Value::Float(*n as f64)),
        (SimpleType::Struct, Value::Map(_)) => natural(&Value::Json(value.json())),
        (SimpleType::None, Value::None)
        | (SimpleType::Integer, Value::Int(_))
        | (SimpleType::Float, Value::Float(_))
        | (SimpleType::String, Value::Str(_))
        | (SimpleType::Boolean, Value::Bool(_))
        | (SimpleType::Datetime, Value::Datetime(_))
        | (SimpleType::Duration, Value::Duration(_))
        | (SimpleType::Binary, Value::Binary { .. })
        | (SimpleType::Struct, Value::Json(_)) => natural(value),
        (_, Value::Json(json)) if !json.is_object() => encode_simple(&from_json(json), simple),
        _ => Err(format!("is {}, and its type is {}", value.kind(), simple.as_str_name())),
    }
}

/// The literal that is natural for a value.
fn natural(value: &Value) -> Result<Literal, String> {
    Ok(match value {
        Value::None => none(),
        Value::Int(n) => primitive(primitive::Value::Integer(*n)),
        Value::Float(x) => primitive(primitive::Value::FloatValue(*x)),
        Value::Str(s) => primitive(primitive::Value::StringValue(s.clone())),
        Value::Bool(b) => primitive(primitive::Value::Boolean(*b)),
        Value::Datetime(at) => primitive(primitive::Value::Datetime(timestamp(*at))),
        Value::Duration(span) => {
            primitive(primitive::Value::Duration(Duration { seconds: span.num_seconds(), nanos: span.subsec_nanos() }))
        }
        Value::Binary { bytes, tag } => {
            scalar(scalar::Value::Binary(Binary { value: bytes.clone(), tag: tag.clone() }))
        }
        Value::List(items) => collection(items.iter().map(natural).collect::<Result<_, _>>()?),
        Value::Map(items) => {
            map(items.iter().map(|(k, v)| Ok((k.clone(), natural(v)?))).collect::<Result<_, String>>()?)
        }
        Value::Json(json) => scalar(scalar::Value::Binary(Binary {
            value: rmp_serde::to_vec_named(json).map_err(|e| format!("cannot be written: {e}"))?,
            tag: MSGPACK.into(),
        })),
        Value::Dataset(table) => scalar(scalar::Value::StructuredDataset(WireDataset {
            uri: table.uri.clone(),
            metadata: Some(StructuredDatasetMetadata {
                structured_dataset_type: Some(StructuredDatasetType {
                    format: table.format.clone(),
                    columns: table
                        .columns
                        .iter()
                        .map(|c| DatasetColumn { name: c.name.clone(), literal_type: Some(c.r#type.clone()) })
                        .collect(),
                    ..Default::default()
                }),
            }),
        })),
        Value::File(file) => scalar(scalar::Value::Blob(Blob {
            uri: file.uri.clone(),
            metadata: Some(BlobMetadata { r#type: Some(blob_type(file)) }),
        })),
    })
}

fn blob_type(file: &File) -> BlobType {
    let dimensionality = if file.directory { BlobDimensionality::Multipart } else { BlobDimensionality::Single };
    BlobType { format: file.format.clone(), dimensionality: dimensionality.into() }
}

pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos() as i32 }
}

fn scalar(value: scalar::Value) -> Literal {
    Literal { value: Some(literal::Value::Scalar(Box::new(Scalar { value: Some(value) }))), ..Default::default() }
}

fn primitive(value: primitive::Value) -> Literal {
    scalar(scalar::Value::Primitive(Primitive { value: Some(value) }))
}

fn none() -> Literal {
    scalar(scalar::Value::NoneType(Void {}))
}

fn collection(literals: Vec<Literal>) -> Literal {
    Literal { value: Some(literal::Value::Collection(LiteralCollection { literals })), ..Default::default() }
}

fn map(literals: std::collections::HashMap<String, Literal>) -> Literal {
    Literal { value: Some(literal::Value::Map(LiteralMap { literals })), ..Default::default() }
}

/// The value that is natural for a piece of JSON.
fn from_json(json: &serde_json::Value) -> Value {
    use serde_json::Value as J;
    match json {
        J::Null => Value::None,
        J::Bool(b) => Value::Bool(*b),
        J::Number(n) => n.as_i64().map(Value::Int).or_else(|| n.as_f64().map(Value::Float)).unwrap_or(Value::None),
        J::String(s) => Value::Str(s.clone()),
        J::Array(items) => Value::List(items.iter().map(from_json).collect()),
        J::Object(_) => Value::Json(json.clone()),
    }
}

/// The natural declared type of a value, for test tasks.
pub(crate) fn type_of(value: &Value) -> LiteralType {
    use literal_type::Type;
    let simple = |s: SimpleType| Type::Simple(s.into());
    let kind = match value {
        Value::None => simple(SimpleType::None),
        Value::Int(_) => simple(SimpleType::Integer),
        Value::Float(_) => simple(SimpleType::Float),
        Value::Str(_) => simple(SimpleType::String),
        Value::Bool(_) => simple(SimpleType::Boolean),
        Value::Datetime(_) => simple(SimpleType::Datetime),
        Value::Duration(_) => simple(SimpleType::Duration),
        Value::Binary { .. } => simple(SimpleType::Binary),
        Value::Json(_) => simple(SimpleType::Struct),
        Value::List(items) => Type::CollectionType(Box::new(items.first().map(type_of).unwrap_or_default())),
        Value::Map(items) => Type::MapValueType(Box::new(items.values().next().map(type_of).unwrap_or_default())),
        Value::Dataset(table) => {
            Type::StructuredDatasetType(StructuredDatasetType { format: table.format.clone(), ..Default::default() })
        }
        Value::File(file) => Type::Blob(blob_type(file)),
    };
    LiteralType { r#type: Some(kind), structure: None::<TypeStructure>, ..Default::default() }
}

/// A protobuf Struct as JSON. Its numbers are all floats: one without a fraction becomes an int, as it mostly was.
pub(crate) fn from_struct(object: &prost_types::Struct) -> serde_json::Value {
    serde_json::Value::Object(
        object.fields.iter().map(|(key, value)| (key.clone(), from_struct_value(value))).collect(),
    )
}

fn from_struct_value(value: &prost_types::Value) -> serde_json::Value {
    use prost_types::value::Kind;
    use serde_json::{Value as J, json};
    const EXACT: f64 = (1_i64 << 53) as f64;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => J::Null,
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= EXACT => json!(*n as i64),
        Some(Kind::NumberValue(n)) => json!(n),
        Some(Kind::StringValue(s)) => json!(s),
        Some(Kind::BoolValue(b)) => json!(b),
        Some(Kind::StructValue(object)) => from_struct(object),
        Some(Kind::ListValue(list)) => J::Array(list.values.iter().map(from_struct_value).collect()),
    }
}

/// JSON as a protobuf Struct's value.
pub(crate) fn to_struct_value(json: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value as J;
    let kind = match json {
        J::Null => Kind::NullValue(0),
        J::Bool(b) => Kind::BoolValue(*b),
        J::Number(n) => Kind::NumberValue(n.as_f64().unwrap_or(f64::NAN)),
        J::String(s) => Kind::StringValue(s.clone()),
        J::Array(items) => {
            Kind::ListValue(prost_types::ListValue { values: items.iter().map(to_struct_value).collect() })
        }
        J::Object(fields) => Kind::StructValue(to_struct(fields.iter().map(|(k, v)| (k.clone(), v.clone())).collect())),
    };
    prost_types::Value { kind: Some(kind) }
}

pub(crate) fn to_struct(fields: BTreeMap<String, serde_json::Value>) -> prost_types::Struct {
    prost_types::Struct { fields: fields.iter().map(|(key, value)| (key.clone(), to_struct_value(value))).collect() }
}
