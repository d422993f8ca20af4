//! Flyte's literals to and from [`Value`]s.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};

use crate::contract::flyteidl::core::{
    Binary, Blob, BlobMetadata, BlobType, Literal, LiteralCollection, LiteralMap, LiteralType, Primitive, Scalar,
    Schema, SchemaType, SimpleType, StructuredDataset as WireDataset, StructuredDatasetMetadata, StructuredDatasetType,
    TypeStructure, Union, Void,
    blob_type::BlobDimensionality,
    literal, literal_type, primitive, scalar,
    schema_type::{SchemaColumn, schema_column::SchemaColumnType},
    structured_dataset_type::DatasetColumn,
};
use crate::packed;
use crate::value::{Column, Directory, File, StructuredDataset, Value, exact_float};

/// The tag of dataclasses and dicts in flytekit's newer form.
const MSGPACK: &str = "msgpack";
/// Marks declared types whose values Flyte 2's SDK pickles, since it has no type for them: bytes, Decimal, Any, ….
const PICKLE_TYPE: &str = "FlytePickle";
/// The tag of such a value, which the host gives it.
const PICKLE_TAG: &str = "pickle";

/// The seconds of the years 1 to 9999, from 1970 on: those of protobuf's Timestamp.
const YEARS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;
/// The most seconds that protobuf's Duration may have: 10,000 years.
const LONGEST: i64 = 315_576_000_000;

/// Reads a literal. The error says what it is instead of a value.
pub fn decode(literal: &Literal) -> Result<Value, String> {
    Ok(match &literal.value {
        None => return Err("is a literal of nothing".into()),
        Some(literal::Value::Scalar(scalar)) => match (&scalar.value, literal.metadata.get("format")) {
            (Some(scalar::Value::Generic(object)), Some(format)) if format == "pickle" => {
                let place = from_struct(object)["pickle_file"].clone();
                return Err(format!("is a dict that Python has pickled, into {place}, and only Python can read it"));
            }
            _ => decode_scalar(scalar)?,
        },
        Some(literal::Value::Collection(list)) => {
            let numbered = list.literals.iter().enumerate();
            let items = numbered.map(|(i, item)| decode(item).map_err(|e| format!("has an item [{i}] that {e}")));
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Some(literal::Value::Map(map)) => {
            let entry = |(key, value): (&String, &Literal)| {
                Ok((key.clone(), decode(value).map_err(|e| format!("has an entry {key:?} that {e}"))?))
            };
            Value::Map(map.literals.iter().map(entry).collect::<Result<_, String>>()?)
        }
        Some(literal::Value::OffloadedMetadata(offloaded)) => {
            return Err(format!(
                "was put into storage by Flyte, at {}: agents take values inline; pass a file or a StructuredDataset, or raise the size from which propeller offloads literals",
                offloaded.uri
            ));
        }
    })
}

fn decode_scalar(scalar: &Scalar) -> Result<Value, String> {
    Ok(match &scalar.value {
        None => return Err("is a scalar of nothing".into()),
        Some(scalar::Value::NoneType(_)) => Value::None,
        Some(scalar::Value::Primitive(primitive)) => decode_primitive(primitive)?,
        Some(scalar::Value::Blob(blob)) => {
            let kind = blob.metadata.as_ref().and_then(|m| m.r#type.as_ref());
            let (uri, format) = (blob.uri.clone(), kind.map(|t| t.format.clone()).unwrap_or_default());
            match kind.is_some_and(|t| t.dimensionality() == BlobDimensionality::Multipart) {
                true => Value::Directory(Directory { uri, format }),
                false => Value::File(File { uri, format }),
            }
        }
        Some(scalar::Value::Binary(binary)) if binary.tag == MSGPACK => Value::unpacked(packed::read(&binary.value)?),
        Some(scalar::Value::Binary(binary)) => Value::Binary { bytes: binary.value.clone(), tag: binary.tag.clone() },
        Some(scalar::Value::Schema(schema)) => {
            let columns = schema.r#type.iter().flat_map(|kind| &kind.columns);
            let column = |c: &SchemaColumn| Column { name: c.name.clone(), r#type: column_type(c.r#type()) };
            Value::Dataset(StructuredDataset {
                uri: schema.uri.clone(),
                format: "parquet".into(),
                columns: columns.map(column).collect(),
            })
        }
        Some(scalar::Value::Error(error)) => return Err(format!("is an error: {}", error.message)),
        Some(scalar::Value::Generic(object)) => decode_struct(object),
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
        Some(scalar::Value::Union(union)) => match union.value.as_deref() {
            Some(value) => decode(value)?,
            None => return Err("is a literal of nothing".into()),
        },
    })
}

fn decode_primitive(primitive: &Primitive) -> Result<Value, String> {
    Ok(match &primitive.value {
        None => return Err("is a primitive of nothing".into()),
        Some(primitive::Value::Integer(n)) => Value::Int(*n),
        Some(primitive::Value::FloatValue(x)) => Value::Float(*x),
        Some(primitive::Value::StringValue(s)) => Value::Str(s.clone()),
        Some(primitive::Value::Boolean(b)) => Value::Bool(*b),
        Some(primitive::Value::Datetime(at)) => Value::Datetime(datetime(at)?),
        Some(primitive::Value::Duration(span)) => Value::Duration(time_delta(span)?),
    })
}

pub(crate) fn datetime(at: &Timestamp) -> Result<DateTime<Utc>, String> {
    let nanos = u32::try_from(at.nanos).ok().filter(|nanos| *nanos < 1_000_000_000 && YEARS.contains(&at.seconds));
    nanos
        .and_then(|nanos| DateTime::from_timestamp(at.seconds, nanos))
        .ok_or_else(|| format!("is a datetime out of range: {} s and {} ns", at.seconds, at.nanos))
}

pub(crate) fn time_delta(span: &Duration) -> Result<TimeDelta, String> {
    let one_sign = span.seconds.signum() * i64::from(span.nanos.signum()) >= 0;
    let whole = span.seconds.unsigned_abs() <= LONGEST.unsigned_abs() && span.nanos.unsigned_abs() < 1_000_000_000;
    Some(span)
        .filter(|_| one_sign && whole)
        .and_then(|span| TimeDelta::try_seconds(span.seconds))
        .and_then(|s| s.checked_add(&TimeDelta::nanoseconds(span.nanos.into())))
        .ok_or_else(|| format!("is a duration out of range: {} s and {} ns", span.seconds, span.nanos))
}

/// The type of a schema's column, as a dataset has it.
fn column_type(of: SchemaColumnType) -> LiteralType {
    let simple = SimpleType::from_str_name(of.as_str_name()).unwrap_or_default();
    LiteralType { r#type: Some(literal_type::Type::Simple(simple.into())), ..Default::default() }
}

/// Writes a value as a literal of the declared type, or of the natural one where there is none. The error says what the value
/// is and what the type asks for.
pub fn encode(value: &Value, declared: Option<&LiteralType>) -> Result<Literal, String> {
    match declared {
        Some(declared) if declared.r#type.is_some() => write(value, declared, false),
        _ => natural(value),
    }
}

/// Strictly takes only values that are of the declared type already, which is how the variant of a union is chosen.
fn write(value: &Value, declared: &LiteralType, strict: bool) -> Result<Literal, String> {
    use literal_type::Type;
    let Some(kind) = &declared.r#type else {
        return natural(value);
    };
    match (kind, value) {
        (Type::UnionType(union), _) => write_variant(value, declared, &union.variants, strict),
        (_, Value::Binary { tag, .. }) if is_pickle(declared) && tag != PICKLE_TAG => Err(unfit(value, declared)),
        (Type::Simple(simple), _) => write_simple(value, SimpleType::try_from(*simple).unwrap_or_default(), strict)?
            .ok_or_else(|| unfit(value, declared)),
        (Type::CollectionType(item), Value::List(items)) => {
            let numbered = items.iter().enumerate();
            let literals =
                numbered.map(|(i, v)| write(v, item, strict).map_err(|e| format!("has an item [{i}] that {e}")));
            Ok(collection(literals.collect::<Result<_, _>>()?))
        }
        (Type::CollectionType(_), Value::Json(serde_json::Value::Array(items))) => {
            write(&Value::List(items.iter().cloned().map(Value::of_json).collect()), declared, strict)
        }
        (Type::CollectionType(_), Value::MsgPack(rmpv::Value::Array(items))) => {
            write(&Value::List(items.iter().cloned().map(Value::unpacked).collect()), declared, strict)
        }
        (Type::MapValueType(item), Value::Map(items)) => {
            let literals = items.iter().map(|(k, v)| {
                Ok((k.clone(), write(v, item, strict).map_err(|e| format!("has an entry {k:?} that {e}"))?))
            });
            Ok(map(literals.collect::<Result<_, String>>()?))
        }
        (Type::MapValueType(_), Value::Json(serde_json::Value::Object(items))) => {
            let items = items.iter().map(|(k, v)| (k.clone(), Value::of_json(v.clone())));
            write(&Value::Map(items.collect()), declared, strict)
        }
        (Type::MapValueType(_), Value::MsgPack(rmpv::Value::Map(items))) => {
            let items = items.iter().map(|(k, v)| match k.as_str() {
                Some(key) => Ok((key.to_string(), Value::unpacked(v.clone()))),
                None => Err(format!("has the key {k}, which is no text")),
            });
            write(&Value::Map(items.collect::<Result<_, String>>()?), declared, strict)
        }
        (Type::StructuredDatasetType(kind), Value::Dataset(table)) => Ok(dataset(table, kind.clone())),
        (Type::Schema(kind), Value::Dataset(table)) => schema(table, kind.clone()),
        (Type::Blob(kind), Value::File(file)) if kind.dimensionality() != BlobDimensionality::Multipart => {
            Ok(blob(&file.uri, or(&file.format, &kind.format), BlobDimensionality::Single))
        }
        (Type::Blob(kind), Value::Directory(folder)) if kind.dimensionality() == BlobDimensionality::Multipart => {
            Ok(blob(&folder.uri, or(&folder.format, &kind.format), BlobDimensionality::Multipart))
        }
        (Type::EnumType(choices), Value::Str(s)) if choices.values.contains(s) => natural(value),
        (Type::EnumType(choices), Value::Str(s)) => Err(format!("is {s:?}, which is none of {:?}", choices.values)),
        (_, Value::Json(json)) if !matches!(Value::of_json(json.clone()), Value::Json(_)) => {
            write(&Value::of_json(json.clone()), declared, strict)
        }
        _ => Err(unfit(value, declared)),
    }
}

fn unfit(value: &Value, declared: &LiteralType) -> String {
    match value {
        Value::Unwritable(why) => why.clone(),
        _ => format!("is {}, and its type is {}", value.kind(), type_name(declared)),
    }
}

/// A value in the variant of a union that fits best. A text is a string rather than one of an enum, as with flytekit.
fn write_variant(
    value: &Value,
    declared: &LiteralType,
    variants: &[LiteralType],
    strict: bool,
) -> Result<Literal, String> {
    let is_text = |t: &LiteralType| t.r#type == Some(literal_type::Type::Simple(SimpleType::String.into()));
    let (first, rest): (Vec<_>, Vec<_>) =
        variants.iter().partition(|variant| matches!(value, Value::Str(_)) && is_text(variant));
    let passes = if strict { &[true][..] } else { &[true, false][..] };
    let attempts = passes.iter().flat_map(|strict| first.iter().chain(&rest).map(|variant| (*variant, *strict)));
    let fits =
        attempts.map(|(variant, strict)| Some((write(value, variant, strict).ok()?, variant))).find_map(|fit| fit);
    let (literal, variant) = fits.ok_or_else(|| unfit(value, declared))?;
    Ok(scalar(scalar::Value::Union(Box::new(Union { value: Some(Box::new(literal)), r#type: Some(variant.clone()) }))))
}

/// The value as a simple literal, if its kind is that, or may become that.
fn write_simple(value: &Value, simple: SimpleType, strict: bool) -> Result<Option<Literal>, String> {
    match (simple, value) {
        (SimpleType::Float, Value::Int(n)) if !strict => match exact_float(*n) {
            Some(float) => natural(&Value::Float(float)).map(Some),
            None => Err(format!("is {n}, which no float is")),
        },
        (SimpleType::Struct, Value::Map(_) | Value::List(_)) => natural(&Value::MsgPack(value.packed()?)).map(Some),
        (SimpleType::None, Value::None)
        | (SimpleType::Integer, Value::Int(_))
        | (SimpleType::Float, Value::Float(_))
        | (SimpleType::String, Value::Str(_))
        | (SimpleType::Boolean, Value::Bool(_))
        | (SimpleType::Datetime, Value::Datetime(_))
        | (SimpleType::Duration, Value::Duration(_))
        | (SimpleType::Binary, Value::Binary { .. })
        | (SimpleType::Struct, Value::Json(serde_json::Value::Object(_) | serde_json::Value::Array(_)))
        | (SimpleType::Struct, Value::MsgPack(_)) => natural(value).map(Some),
        (_, Value::Json(json)) => match Value::of_json(json.clone()) {
            Value::Json(_) => Ok(None),
            plain => write_simple(&plain, simple, strict),
        },
        _ => Ok(None),
    }
}

/// Whether a binary of a declared type is a pickle. Whoever reads it unpickles it, so that other bytes do not belong there.
fn is_pickle(declared: &LiteralType) -> bool {
    declared.r#type == Some(literal_type::Type::Simple(SimpleType::Binary.into()))
        && declared.structure.as_ref().is_some_and(|structure| structure.tag == PICKLE_TYPE)
}

/// A declared type for people, such as `list[integer]`.
fn type_name(declared: &LiteralType) -> String {
    use literal_type::Type;
    match &declared.r#type {
        Some(Type::Simple(_)) if is_pickle(declared) => "pickle".into(),
        Some(Type::Simple(simple)) => {
            SimpleType::try_from(*simple).map_or("unknown type".into(), |s| s.as_str_name().to_lowercase())
        }
        Some(Type::CollectionType(item)) => format!("list[{}]", type_name(item)),
        Some(Type::MapValueType(item)) => format!("map[string, {}]", type_name(item)),
        Some(Type::UnionType(union)) => {
            format!("union[{}]", union.variants.iter().map(type_name).collect::<Vec<_>>().join(", "))
        }
        Some(Type::EnumType(choices)) => format!("enum[{}]", choices.values.join(", ")),
        Some(Type::Blob(kind)) if kind.dimensionality() == BlobDimensionality::Multipart => "directory".into(),
        Some(Type::Blob(_)) => "file".into(),
        Some(Type::Schema(_)) => "schema".into(),
        Some(Type::StructuredDatasetType(_)) => "structured dataset".into(),
        None => "unknown type".into(),
    }
}

/// A table of the declared type, but for what it says of itself.
fn dataset(table: &StructuredDataset, mut kind: StructuredDatasetType) -> Literal {
    if !table.format.is_empty() {
        kind.format = table.format.clone();
    }
    if !table.columns.is_empty() {
        let column = |c: &Column| DatasetColumn { name: c.name.clone(), literal_type: Some(c.r#type.clone()) };
        kind.columns = table.columns.iter().map(column).collect();
    }
    scalar(scalar::Value::StructuredDataset(WireDataset {
        uri: table.uri.clone(),
        metadata: Some(StructuredDatasetMetadata { structured_dataset_type: Some(kind) }),
    }))
}

/// A table as a schema, which is what flytekit had before datasets.
fn schema(table: &StructuredDataset, mut kind: SchemaType) -> Result<Literal, String> {
    if !table.columns.is_empty() {
        let column = |c: &Column| {
            let of = type_name(&c.r#type);
            match SchemaColumnType::from_str_name(&of.to_uppercase()) {
                Some(known) => Ok(SchemaColumn { name: c.name.clone(), r#type: known.into() }),
                None => Err(format!("has a column {:?} of {of}, which a schema has none of", c.name)),
            }
        };
        kind.columns = table.columns.iter().map(column).collect::<Result<_, _>>()?;
    }
    Ok(scalar(scalar::Value::Schema(Schema { uri: table.uri.clone(), r#type: Some(kind) })))
}

/// The literal that is natural for a value.
fn natural(value: &Value) -> Result<Literal, String> {
    Ok(match value {
        Value::None => none(),
        Value::Int(n) => primitive(primitive::Value::Integer(*n)),
        Value::Float(x) => primitive(primitive::Value::FloatValue(*x)),
        Value::Str(s) => primitive(primitive::Value::StringValue(s.clone())),
        Value::Bool(b) => primitive(primitive::Value::Boolean(*b)),
        Value::Datetime(at) => primitive(primitive::Value::Datetime(checked_timestamp(*at)?)),
        Value::Duration(span) => primitive(primitive::Value::Duration(duration(*span)?)),
        Value::Binary { bytes, tag } => {
            scalar(scalar::Value::Binary(Binary { value: bytes.clone(), tag: tag.clone() }))
        }
        Value::List(items) => collection(items.iter().map(natural).collect::<Result<_, _>>()?),
        Value::Map(items) => {
            map(items.iter().map(|(k, v)| Ok((k.clone(), natural(v)?))).collect::<Result<_, String>>()?)
        }
        Value::Json(json) => msgpack(&packed::from_json(json))?,
        Value::MsgPack(value) => msgpack(value)?,
        Value::Unwritable(why) => return Err(why.clone()),
        Value::Dataset(table) => dataset(table, StructuredDatasetType::default()),
        Value::File(file) => blob(&file.uri, &file.format, BlobDimensionality::Single),
        Value::Directory(folder) => blob(&folder.uri, &folder.format, BlobDimensionality::Multipart),
    })
}

fn or<'a>(said: &'a str, declared: &'a str) -> &'a str {
    if said.is_empty() { declared } else { said }
}

fn blob(uri: &str, format: &str, dimensionality: BlobDimensionality) -> Literal {
    let metadata = Some(BlobMetadata { r#type: Some(blob_type(format, dimensionality)) });
    scalar(scalar::Value::Blob(Blob { uri: uri.into(), metadata }))
}

fn blob_type(format: &str, dimensionality: BlobDimensionality) -> BlobType {
    BlobType { format: format.into(), dimensionality: dimensionality.into() }
}

/// A time of any year; one that is in a literal is checked.
pub(crate) fn timestamp(at: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: at.timestamp(), nanos: at.timestamp_subsec_nanos().cast_signed() }
}

fn checked_timestamp(at: DateTime<Utc>) -> Result<Timestamp, String> {
    let written = timestamp(at);
    match datetime(&written) {
        Ok(_) => Ok(written),
        Err(_) => Err(format!("is {at}, and a datetime is a time of the years 1 to 9999, without leap seconds")),
    }
}

fn duration(span: TimeDelta) -> Result<Duration, String> {
    let written = Duration { seconds: span.num_seconds(), nanos: span.subsec_nanos() };
    match time_delta(&written) {
        Ok(_) => Ok(written),
        Err(_) => Err(format!("is {span}, and a duration has 10,000 years at most")),
    }
}

fn msgpack(value: &rmpv::Value) -> Result<Literal, String> {
    Ok(scalar(scalar::Value::Binary(Binary { value: packed::write(value)?, tag: MSGPACK.into() })))
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
        Value::Json(_) | Value::MsgPack(_) | Value::Unwritable(_) => simple(SimpleType::Struct),
        Value::List(items) => Type::CollectionType(Box::new(items.first().map(type_of).unwrap_or_default())),
        Value::Map(items) => Type::MapValueType(Box::new(items.values().next().map(type_of).unwrap_or_default())),
        Value::Dataset(table) => {
            Type::StructuredDatasetType(StructuredDatasetType { format: table.format.clone(), ..Default::default() })
        }
        Value::File(file) => Type::Blob(blob_type(&file.format, BlobDimensionality::Single)),
        Value::Directory(folder) => Type::Blob(blob_type(&folder.format, BlobDimensionality::Multipart)),
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
    const NEGATIVE_ZERO: u64 = 1 << 63;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => J::Null,
        Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= EXACT && n.to_bits() != NEGATIVE_ZERO => {
            json!(*n as i64)
        }
        Some(Kind::NumberValue(n)) => json!(n),
        Some(Kind::StringValue(s)) => json!(s),
        Some(Kind::BoolValue(b)) => json!(b),
        Some(Kind::StructValue(object)) => from_struct(object),
        Some(Kind::ListValue(list)) => J::Array(list.values.iter().map(from_struct_value).collect()),
    }
}

/// A protobuf Struct as a value: as JSON, unless one of its numbers is none there.
pub(crate) fn decode_struct(object: &prost_types::Struct) -> Value {
    fn finite(value: &prost_types::Value) -> bool {
        use prost_types::value::Kind;
        match &value.kind {
            Some(Kind::NumberValue(n)) => n.is_finite(),
            Some(Kind::StructValue(object)) => object.fields.values().all(finite),
            Some(Kind::ListValue(list)) => list.values.iter().all(finite),
            _ => true,
        }
    }
    fn item(value: &prost_types::Value) -> rmpv::Value {
        use prost_types::value::Kind;
        match &value.kind {
            Some(Kind::NumberValue(n)) if !n.is_finite() => rmpv::Value::F64(*n),
            Some(Kind::StructValue(object)) => entries(object),
            Some(Kind::ListValue(list)) => rmpv::Value::Array(list.values.iter().map(item).collect()),
            _ => packed::from_json(&from_struct_value(value)),
        }
    }
    fn entries(object: &prost_types::Struct) -> rmpv::Value {
        let entry = |(key, value): (&String, &prost_types::Value)| (rmpv::Value::from(key.as_str()), item(value));
        rmpv::Value::Map(object.fields.iter().map(entry).collect())
    }
    match object.fields.values().all(finite) {
        true => Value::Json(from_struct(object)),
        false => Value::MsgPack(entries(object)),
    }
}

/// JSON as a protobuf Struct's value. Its numbers are floats: a whole number that none is becomes a text, and keeps its digits.
pub(crate) fn to_struct_value(json: &serde_json::Value) -> prost_types::Value {
    use prost_types::value::Kind;
    use serde_json::Value as J;
    let kind = match json {
        J::Null => Kind::NullValue(0),
        J::Bool(b) => Kind::BoolValue(*b),
        J::Number(n) => match (n.as_f64(), n.is_f64()) {
            (Some(float), true) => Kind::NumberValue(float),
            (Some(float), false) if n.as_i128() == Some(float as i128) => Kind::NumberValue(float),
            _ => Kind::StringValue(n.to_string()),
        },
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
