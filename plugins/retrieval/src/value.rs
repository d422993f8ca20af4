//! Arrow's values to and from Flyte's.

use std::sync::Arc;

use agenthost::Value;
use agenthost::contract::flyteidl::core::{LiteralType, SimpleType, literal_type::Type};
use chrono::{DateTime, TimeDelta};
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
use datafusion::arrow::json::ArrayWriter;
use datafusion::arrow::json::writer::{JsonArray, WriterBuilder};
use datafusion::error::{DataFusionError, Result};
use datafusion::scalar::ScalarValue;

/// An input as the parameter of a query; nothing, where it is none.
pub fn parameter(value: &Value) -> Option<ScalarValue> {
    Some(match value {
        Value::None => ScalarValue::Null,
        Value::Int(n) => ScalarValue::Int64(Some(*n)),
        Value::Float(x) => ScalarValue::Float64(Some(*x)),
        Value::Str(s) => ScalarValue::Utf8(Some(s.clone())),
        Value::Bool(b) => ScalarValue::Boolean(Some(*b)),
        Value::Datetime(at) => ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), Some("+00:00".into())),
        Value::Duration(span) => ScalarValue::DurationMicrosecond(Some(span.num_microseconds()?)),
        Value::Binary { bytes, .. } => ScalarValue::Binary(Some(bytes.clone())),
        Value::Json(json) => ScalarValue::Utf8(Some(json.to_string())),
        Value::Map(_) => ScalarValue::Utf8(Some(value.json().to_string())),
        Value::List(items) => list(items)?,
        _ => return None,
    })
}

fn list(items: &[Value]) -> Option<ScalarValue> {
    let scalars: Vec<_> = items.iter().map(parameter).collect::<Option<_>>()?;
    let kind = scalars.iter().map(ScalarValue::data_type).find(|kind| *kind != DataType::Null);
    let kind = kind.unwrap_or(DataType::Null);
    let scalars: Vec<_> = scalars.iter().map(|s| s.cast_to(&kind)).collect::<Result<_>>().ok()?;
    Some(ScalarValue::List(ScalarValue::new_list_nullable(&scalars, &kind)))
}

/// One row of a column as a value of the declared type, as far as that can be had without bending it.
pub fn value(column: &ArrayRef, row: usize, declared: Option<&LiteralType>) -> Result<Value> {
    from_scalar(&ScalarValue::try_from_array(column, row)?, declared)
}

/// A column as a list.
pub fn values(column: &ArrayRef, item: Option<&LiteralType>) -> Result<Vec<Value>> {
    (0..column.len()).map(|row| value(column, row, item)).collect()
}

fn from_scalar(scalar: &ScalarValue, declared: Option<&LiteralType>) -> Result<Value> {
    let whole = |kind: DataType| scalar.cast_to(&kind);
    if scalar.is_null() {
        return Ok(Value::None);
    }
    Ok(match scalar.data_type() {
        DataType::Boolean => Value::Bool(matches!(scalar, ScalarValue::Boolean(Some(true)))),
        kind if kind.is_integer() => match whole(DataType::Int64)? {
            ScalarValue::Int64(Some(n)) => Value::Int(n),
            _ => return Err(DataFusionError::Execution(format!("{scalar} is larger than an int of Flyte can be"))),
        },
        kind if kind.is_floating() => match whole(DataType::Float64)? {
            ScalarValue::Float64(Some(x)) => number(x, simple(declared)),
            _ => Value::None,
        },
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            decimal(text(scalar)?, simple(declared))
        }
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            match whole(DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())))? {
                ScalarValue::TimestampMicrosecond(Some(micros), _) => {
                    DateTime::from_timestamp_micros(micros).map_or(Value::None, Value::Datetime)
                }
                _ => Value::None,
            }
        }
        DataType::Duration(_) => match whole(DataType::Duration(TimeUnit::Microsecond))? {
            ScalarValue::DurationMicrosecond(Some(micros)) => Value::Duration(TimeDelta::microseconds(micros)),
            _ => Value::None,
        },
        DataType::Interval(_) => span(scalar)?,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            match whole(DataType::Binary)? {
                ScalarValue::Binary(Some(bytes)) => Value::Binary { bytes, tag: String::new() },
                _ => Value::None,
            }
        }
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::ListView(_) => {
            let item = match unwrapped(declared).and_then(|t| t.r#type.as_ref()) {
                Some(Type::CollectionType(item)) => Some(&**item),
                _ => None,
            };
            let DataType::List(_) = scalar.data_type() else {
                return Ok(Value::Json(json(scalar)?));
            };
            let ScalarValue::List(list) = scalar else { return Ok(Value::None) };
            Value::List(values(&list.value(0), item)?)
        }
        DataType::Struct(_) | DataType::Map(..) => Value::Json(json(scalar)?),
        _ => structured(text(scalar)?, simple(declared)),
    })
}

/// A float that is an int, where an int is wanted.
fn number(x: f64, wanted: Option<SimpleType>) -> Value {
    const EXACT: f64 = (1_i64 << 53) as f64;
    match wanted {
        Some(SimpleType::Integer) if x.fract() == 0.0 && x.abs() <= EXACT => Value::Int(x as i64),
        _ => Value::Float(x),
    }
}

/// A decimal is a text, unless a number is wanted.
fn decimal(text: String, wanted: Option<SimpleType>) -> Value {
    let whole = || text.trim_end_matches('0').strip_suffix('.').unwrap_or(&text).parse().ok();
    match wanted {
        Some(SimpleType::Float) => text.parse().map_or(Value::None, Value::Float),
        Some(SimpleType::Integer) => whole().map_or(Value::Str(text.clone()), Value::Int),
        _ => Value::Str(text),
    }
}

/// A text, or the JSON in it where a dict is wanted.
fn structured(text: String, wanted: Option<SimpleType>) -> Value {
    match (wanted, serde_json::from_str::<serde_json::Value>(&text)) {
        (Some(SimpleType::Struct), Ok(json)) if json.is_object() => Value::Json(json),
        _ => Value::Str(text),
    }
}

/// An interval without months is a span of time.
fn span(scalar: &ScalarValue) -> Result<Value> {
    let DataType::Interval(_) = scalar.data_type() else { return Ok(Value::None) };
    Ok(match scalar {
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
            Value::Duration(TimeDelta::days(i.days.into()) + TimeDelta::nanoseconds(i.nanoseconds))
        }
        ScalarValue::IntervalDayTime(Some(i)) => {
            Value::Duration(TimeDelta::days(i.days.into()) + TimeDelta::milliseconds(i.milliseconds.into()))
        }
        other => Value::Str(text(other)?),
    })
}

fn text(scalar: &ScalarValue) -> Result<String> {
    match scalar.cast_to(&DataType::Utf8)? {
        ScalarValue::Utf8(Some(text)) => Ok(text),
        other => Err(DataFusionError::Execution(format!("{other} cannot be shown as text"))),
    }
}

fn json(scalar: &ScalarValue) -> Result<serde_json::Value> {
    let column = scalar.to_array()?;
    let schema = datafusion::arrow::datatypes::Schema::new(vec![Field::new("v", column.data_type().clone(), true)]);
    let mut rows = rows(&[RecordBatch::try_new(Arc::new(schema), vec![column])?])?;
    Ok(rows.pop().and_then(|mut row| row.remove("v")).unwrap_or_default())
}

/// Whole rows, as JSON.
pub fn rows(batches: &[RecordBatch]) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    let mut writer: datafusion::arrow::json::Writer<_, JsonArray> =
        WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    let _: &ArrayWriter<Vec<u8>> = &writer;
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    let text = writer.into_inner();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_slice(&text).map_err(|e| DataFusionError::External(Box::new(e)))
}

/// The declared type, seen through what makes it optional.
pub fn unwrapped(declared: Option<&LiteralType>) -> Option<&LiteralType> {
    match declared?.r#type.as_ref() {
        Some(Type::UnionType(union)) => {
            let none = |t: &&LiteralType| !matches!(t.r#type, Some(Type::Simple(s)) if s == SimpleType::None as i32);
            union.variants.iter().find(none)
        }
        _ => declared,
    }
}

pub fn simple(declared: Option<&LiteralType>) -> Option<SimpleType> {
    match unwrapped(declared)?.r#type.as_ref()? {
        Type::Simple(simple) => SimpleType::try_from(*simple).ok(),
        _ => None,
    }
}

/// The type of Flyte that a column has, for the columns of a dataset.
pub fn column_type(kind: &DataType) -> LiteralType {
    let simple = match kind {
        kind if kind.is_integer() => SimpleType::Integer,
        kind if kind.is_floating() || kind.is_decimal() => SimpleType::Float,
        DataType::Boolean => SimpleType::Boolean,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => SimpleType::Datetime,
        DataType::Duration(_) | DataType::Interval(_) => SimpleType::Duration,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            SimpleType::Binary
        }
        DataType::Struct(_) | DataType::Map(..) => SimpleType::Struct,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = column_type(item.data_type());
            return LiteralType { r#type: Some(Type::CollectionType(Box::new(item))), ..Default::default() };
        }
        DataType::Dictionary(_, of) => return column_type(of),
        _ => SimpleType::String,
    };
    LiteralType { r#type: Some(Type::Simple(simple.into())), ..Default::default() }
}
