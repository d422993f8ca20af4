//! Arrow's values to and from Flyte's: equal, or refused. An error completes a sentence that begins with what the value is of.

use agenthost::Value;
use agenthost::contract::flyteidl::core::{LiteralType, SimpleType, literal_type::Type};
use agenthost::rmpv::Value as Packed;
use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta, Utc};
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, IntervalDayTimeType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use datafusion::arrow::datatypes::{Float64Type, Int64Type};
use datafusion::scalar::ScalarValue;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::exact;
use crate::look;

type Result<T> = std::result::Result<T, String>;

/// An input as the parameter of a query.
pub fn parameter(value: &Value, declared: Option<&LiteralType>) -> Result<ScalarValue> {
    Ok(match value {
        Value::None => ScalarValue::Null,
        Value::Int(n) => ScalarValue::Int64(Some(*n)),
        Value::Float(x) => ScalarValue::Float64(Some(*x)),
        Value::Str(s) => ScalarValue::Utf8(Some(s.clone())),
        Value::Bool(b) => ScalarValue::Boolean(Some(*b)),
        Value::Datetime(at) => instant(at)?,
        Value::Duration(span) => length(span)?,
        Value::Binary { bytes, tag } => ScalarValue::Binary(Some(untagged(bytes, tag)?.to_vec())),
        Value::Json(json) => ScalarValue::Utf8(Some(json.to_string())),
        Value::Map(_) | Value::MsgPack(_) => ScalarValue::Utf8(Some(text_of_json(value)?)),
        Value::List(items) => list(items, item_of(declared))?,
        other => return Err(format!("is {}, which cannot be a parameter", other.kind())),
    })
}

/// Bytes that are just these, and not something that only another program can read, such as a pickle.
fn untagged<'a>(bytes: &'a [u8], tag: &str) -> Result<&'a [u8]> {
    if tag.is_empty() { Ok(bytes) } else { Err(format!("is bytes in the form {tag:?}, which SQL has no type for")) }
}

/// In microseconds, which have all years; where there are nanoseconds, in these, if they reach.
fn instant(at: &DateTime<Utc>) -> Result<ScalarValue> {
    let utc = Some("+00:00".into());
    if at.timestamp_subsec_nanos().is_multiple_of(1000) {
        return Ok(ScalarValue::TimestampMicrosecond(Some(at.timestamp_micros()), utc));
    }
    let nanos = at.timestamp_nanos_opt().ok_or_else(|| {
        format!("is {at:?}, and an instant with nanoseconds must be in the years 1678 to 2261: pass it as a str")
    })?;
    Ok(ScalarValue::TimestampNanosecond(Some(nanos), utc))
}

fn length(span: &TimeDelta) -> Result<ScalarValue> {
    if span.subsec_nanos() % 1000 == 0 {
        let long = || format!("is {} s, and a timedelta must be shorter than 292,000 years", span.num_seconds());
        return Ok(ScalarValue::DurationMicrosecond(Some(span.num_microseconds().ok_or_else(long)?)));
    }
    let nanos = span.num_nanoseconds().ok_or_else(|| {
        format!(
            "is {} s, and a timedelta with nanoseconds must be shorter than 292 years: pass it as a str",
            span.num_seconds()
        )
    })?;
    Ok(ScalarValue::DurationNanosecond(Some(nanos)))
}

fn list(items: &[Value], declared: Option<&LiteralType>) -> Result<ScalarValue> {
    let mut scalars = Vec::with_capacity(items.len());
    let mut kind = depth_of(declared);
    for (i, item) in items.iter().enumerate() {
        let scalar = parameter(item, declared).map_err(|e| format!("has an item {i} that {e}"))?;
        kind = common(&kind, &scalar.data_type()).ok_or_else(|| {
            format!("has an item {i} that is {}, and other items are of another type, but a list in SQL has one: pass it as a str", item.kind())
        })?;
        scalars.push(scalar);
    }
    let fit = |(i, scalar): (usize, ScalarValue)| {
        let own = scalar.data_type();
        let back = |cast: &ScalarValue| of_nothing(&own) || cast.cast_to(&own).is_ok_and(|back| back == scalar);
        scalar.cast_to(&kind).ok().filter(back).ok_or_else(|| {
            format!("has an item {i} that is {scalar}, which has no equal as {kind}, the type of the others")
        })
    };
    let scalars = scalars.into_iter().enumerate().map(fit).collect::<Result<Vec<_>>>()?;
    Ok(ScalarValue::List(ScalarValue::new_list_nullable(&scalars, &kind)))
}

/// The type of the items of a list.
fn item_of(declared: Option<&LiteralType>) -> Option<&LiteralType> {
    match unwrapped(declared)?.r#type.as_ref()? {
        Type::CollectionType(item) => Some(item),
        _ => None,
    }
}

/// What a list that has no items still is: a list of lists, or of values.
fn depth_of(declared: Option<&LiteralType>) -> DataType {
    match item_of(declared) {
        Some(item) => DataType::new_list(depth_of(Some(item)), true),
        None => DataType::Null,
    }
}

/// Whether a type is that of None, or of lists that have nothing else.
fn of_nothing(kind: &DataType) -> bool {
    match kind {
        DataType::List(item) => of_nothing(item.data_type()),
        kind => *kind == DataType::Null,
    }
}

/// The type of a list that has items of both.
fn common(a: &DataType, b: &DataType) -> Option<DataType> {
    use DataType::{Duration, Float64, Int64, List, Null, Timestamp};
    Some(match (a, b) {
        (a, b) if a == b => a.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Int64, Float64) | (Float64, Int64) => Float64,
        (Timestamp(_, zone), Timestamp(..)) => Timestamp(TimeUnit::Nanosecond, zone.clone()),
        (Duration(_), Duration(_)) => Duration(TimeUnit::Nanosecond),
        (List(a), List(b)) => {
            let item = common(a.data_type(), b.data_type())?;
            List(std::sync::Arc::new(a.as_ref().clone().with_data_type(item)))
        }
        _ => return None,
    })
}

/// A dict as the text of its JSON: instants as RFC 3339, spans as seconds, bytes in base64.
fn text_of_json(value: &Value) -> Result<String> {
    Ok(match value {
        Value::MsgPack(packed) => text_of_packed(packed)?,
        Value::Map(entries) => object(entries.iter().map(|(key, value)| (key.clone(), text_of_json(value))))?,
        Value::List(items) => array(items.iter().map(text_of_json))?,
        Value::Float(x) => text_of_float(*x)?,
        Value::Binary { bytes, tag } => Json::from(base64(untagged(bytes, tag)?)).to_string(),
        Value::Duration(span) => {
            let (sign, span) = if *span < TimeDelta::zero() { ("-", -*span) } else { ("", *span) };
            format!("{sign}{}.{:06}", span.num_seconds(), micros(&span)?)
        }
        Value::Dataset(table) => Json::from(table.uri.as_str()).to_string(),
        Value::File(file) => Json::from(file.uri.as_str()).to_string(),
        Value::Directory(folder) => Json::from(folder.uri.as_str()).to_string(),
        other => other.json().to_string(),
    })
}

fn text_of_packed(packed: &Packed) -> Result<String> {
    Ok(match packed {
        Packed::Nil => "null".to_string(),
        Packed::Boolean(b) => b.to_string(),
        Packed::Integer(n) => n.to_string(),
        Packed::F32(x) => text_of_float((*x).into())?,
        Packed::F64(x) => text_of_float(*x)?,
        Packed::String(text) => Json::from(text.as_str().ok_or("has a text that is no UTF-8")?).to_string(),
        Packed::Binary(bytes) => Json::from(base64(bytes)).to_string(),
        Packed::Array(items) => array(items.iter().map(text_of_packed))?,
        Packed::Map(entries) => {
            let mut named: Vec<(String, Result<String>)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let key = match key {
                    Packed::String(text) => text.as_str().ok_or("has a key that is no UTF-8")?.to_string(),
                    Packed::Integer(_) | Packed::Boolean(_) | Packed::F32(_) | Packed::F64(_) => text_of_packed(key)?,
                    other => return Err(format!("has the key {other}, which is neither a text nor a number")),
                };
                if named.iter().any(|(other, _)| *other == key) {
                    return Err(format!("has two keys that are both {key:?} as text"));
                }
                named.push((key, text_of_packed(value)));
            }
            object(named.into_iter())?
        }
        Packed::Ext(kind, bytes) => {
            let at = (*kind == TIMESTAMP).then(|| of_timestamp(bytes)).flatten();
            let at = at.ok_or_else(|| format!("has an extension of the type {kind}, which JSON does not have"))?;
            Json::from(at.to_rfc3339_opts(SecondsFormat::AutoSi, true)).to_string()
        }
    })
}

fn object(entries: impl Iterator<Item = (String, Result<String>)>) -> Result<String> {
    let entry = |(key, value): (String, Result<String>)| match value {
        Ok(value) => Ok(format!("{}:{value}", Json::from(key))),
        Err(e) => Err(format!("has an entry {key:?} that {e}")),
    };
    Ok(format!("{{{}}}", entries.map(entry).collect::<Result<Vec<_>>>()?.join(",")))
}

fn array(items: impl Iterator<Item = Result<String>>) -> Result<String> {
    Ok(format!("[{}]", items.collect::<Result<Vec<_>>>()?.join(",")))
}

fn text_of_float(x: f64) -> Result<String> {
    if x.is_finite() {
        Ok(Json::from(x).to_string())
    } else {
        Err(format!("is the float {x}, which JSON does not have"))
    }
}

/// msgpack's type of timestamps: seconds, or nanoseconds and seconds in 64 bits (30 and 34) or in 96 (32 and 64).
const TIMESTAMP: i8 = -1;

fn of_timestamp(bytes: &[u8]) -> Option<DateTime<Utc>> {
    let (seconds, nanos) = match bytes.len() {
        4 => (u32::from_be_bytes(bytes.try_into().ok()?).into(), 0),
        8 => {
            let both = u64::from_be_bytes(bytes.try_into().ok()?);
            (i64::try_from(both & ((1 << 34) - 1)).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = bytes.split_at(4);
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(nanos.try_into().ok()?))
        }
        _ => return None,
    };
    DateTime::from_timestamp(seconds, nanos).filter(|_| nanos < 1_000_000_000)
}

fn micros(span: &TimeDelta) -> Result<i32> {
    match span.subsec_nanos() % 1000 {
        0 => Ok(span.subsec_nanos() / 1000),
        _ => Err("is a timedelta with nanoseconds: pass it as a str".to_string()),
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// One row of a column as a value of the declared type, if it has an equal there.
pub fn value(column: &ArrayRef, row: usize, declared: Option<&LiteralType>) -> Result<Value> {
    if let Some(inner) = unpacked(column, row)? {
        return value(&inner, 0, declared);
    }
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok(Value::None);
    }
    if let Some(Type::UnionType(union)) = declared.and_then(|t| t.r#type.as_ref()) {
        let fits = |variant: &LiteralType| {
            let value = value(column, row, Some(variant)).ok()?;
            agenthost::encode(&value, Some(variant)).is_ok().then_some(value)
        };
        if let Some(fitting) = union.variants.iter().filter(|t| !is_none(t)).find_map(fits) {
            return Ok(fitting);
        }
    }
    let declared = unwrapped(declared);
    let kind = declared.and_then(|t| t.r#type.as_ref());
    let wanted = simple(declared);
    Ok(match column.data_type() {
        data if data.is_integer() => whole(int(column, row), wanted)?,
        data if data.is_floating() => number(float(column, row), wanted),
        data if data.is_decimal() => decimal(text(column, row)?, wanted)?,
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            Value::Datetime(in_micros(datetime(column, row)?)?)
        }
        DataType::Duration(_) => Value::Duration(span_in_micros(duration(column, row)?)?),
        DataType::Interval(_) => match span(column, row)? {
            Some(span) => Value::Duration(span_in_micros(span)?),
            None => Value::Str(text(column, row)?),
        },
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Struct(_) | DataType::Map(..) => match kind {
            Some(Type::MapValueType(item)) => {
                let entry = |(key, values, row): (String, ArrayRef, usize)| {
                    let value =
                        value(&values, row, Some(item)).map_err(|e| format!("has an entry {key:?} that {e}"))?;
                    Ok((key, value))
                };
                Value::Map(entries(column, row)?.into_iter().map(entry).collect::<Result<_>>()?)
            }
            _ => Value::MsgPack(plain(column, row)?),
        },
        _ => match items(column, row) {
            Some(items) => {
                let item = match kind {
                    Some(Type::CollectionType(item)) => Some(&**item),
                    _ => None,
                };
                Value::List(values(&items, item)?)
            }
            None => match bytes(column, row)? {
                Some(bytes) => Value::Binary { bytes, tag: String::new() },
                None => structured(text(column, row)?, declared)?,
            },
        },
    })
}

/// A column as a list.
pub fn values(column: &ArrayRef, item: Option<&LiteralType>) -> Result<Vec<Value>> {
    let each = |row| value(column, row, item).map_err(|e| format!("has an item {row} that {e}"));
    (0..column.len()).map(each).collect()
}

/// A row of a column that keeps its values elsewhere, as a column of that value.
fn unpacked(column: &ArrayRef, row: usize) -> Result<Option<ArrayRef>> {
    let to = match column.data_type() {
        DataType::Dictionary(_, of) => of,
        DataType::RunEndEncoded(_, of) => of.data_type(),
        DataType::Union(..) => {
            return Ok(Some(
                column.as_any().downcast_ref::<datafusion::arrow::array::UnionArray>().ok_or("is no union")?.value(row),
            ));
        }
        _ => return Ok(None),
    };
    cast(&column.slice(row, 1), to)
        .map(Some)
        .map_err(|e| format!("is {}, which cannot be read: {e}", column.data_type()))
}

fn int(column: &ArrayRef, row: usize) -> i128 {
    let one = column.slice(row, 1);
    let number = |kind| cast(&one, &kind).ok();
    match column.data_type() {
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        _ => number(DataType::Int64).map_or(0, |n| n.as_primitive::<Int64Type>().value(0).into()),
    }
}

fn float(column: &ArrayRef, row: usize) -> f64 {
    match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row),
        _ => cast(&column.slice(row, 1), &DataType::Float64)
            .map_or(f64::NAN, |x| x.as_primitive::<Float64Type>().value(0)),
    }
}

/// A whole number, as a float where one is wanted and equals it.
fn whole(n: i128, wanted: Option<SimpleType>) -> Result<Value> {
    match (wanted, i64::try_from(n)) {
        (Some(SimpleType::Float), _) if (n as f64) as i128 == n => Ok(Value::Float(n as f64)),
        (Some(SimpleType::Float), _) => Err(format!("is {n}, which no float equals: cast it in the SQL")),
        (_, Ok(n)) => Ok(Value::Int(n)),
        (_, Err(_)) => {
            Err(format!("is {n}, which is larger than an int can be: take it as a float or cast it in the SQL"))
        }
    }
}

/// A float that is an int, where an int is wanted.
fn number(x: f64, wanted: Option<SimpleType>) -> Value {
    const EXACT: f64 = (1_i64 << 53) as f64;
    match wanted {
        Some(SimpleType::Integer) if x.fract() == 0.0 && x.abs() <= EXACT => Value::Int(x as i64),
        _ => Value::Float(x),
    }
}

/// A decimal is a text, unless a number is wanted: an int that equals it, or a float that does or is at least written like it.
fn decimal(text: String, wanted: Option<SimpleType>) -> Result<Value> {
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    match wanted {
        Some(SimpleType::Integer) if fraction.is_empty() => Ok(whole.parse().map_or(Value::Str(text), Value::Int)),
        Some(SimpleType::Float) => {
            let x: f64 = text.parse().map_err(|e| format!("is {text}: {e}"))?;
            let written = if fraction.is_empty() { format!("{x:.0}") } else { x.to_string() };
            let (other, rest) = written.split_once('.').unwrap_or((&written, ""));
            let zero = whole.bytes().all(|b| matches!(b, b'-' | b'0')) && fraction.is_empty();
            match zero || (other, rest) == (whole, fraction) {
                true => Ok(Value::Float(if zero { 0.0 } else { x })),
                false => Err(format!("is {text}, which no float equals: cast it in the SQL")),
            }
        }
        _ => Ok(Value::Str(text)),
    }
}

/// A text, or the JSON in it where a dict is wanted.
fn structured(text: String, declared: Option<&LiteralType>) -> Result<Value> {
    let typed = matches!(declared.and_then(|t| t.r#type.as_ref()), Some(Type::MapValueType(_)));
    if !typed && simple(declared) != Some(SimpleType::Struct) {
        return Ok(Value::Str(text));
    }
    match serde_json::from_str::<&RawValue>(&text) {
        Ok(raw) if raw.get().starts_with('{') => exact_json(raw).map(Value::Json),
        _ => Ok(Value::Str(text)),
    }
}

/// JSON whose numbers are all held: serde_json reads a whole number of more than 64 bits as a float.
fn exact_json(raw: &RawValue) -> Result<Json> {
    let text = raw.get();
    match text.bytes().next() {
        Some(b'{') => {
            let mut object = serde_json::Map::new();
            look::entries(text, |key, raw| {
                let twice = object.insert(key.to_string(), exact_json(raw)?).is_some();
                if twice { Err(format!("has the key {key:?} twice")) } else { Ok(()) }
            })?;
            Ok(Json::Object(object))
        }
        Some(b'[') => {
            let mut list = Vec::new();
            look::items(text, |raw| {
                list.push(exact_json(raw)?);
                Ok(())
            })?;
            Ok(Json::Array(list))
        }
        Some(b'-' | b'0'..=b'9') => {
            let json: Json = serde_json::from_str(text).map_err(|_| no_number(text))?;
            let plain = !text.contains(['.', 'e', 'E']);
            if plain && json.is_f64() && text != "-0" { Err(no_number(text)) } else { Ok(json) }
        }
        _ => serde_json::from_str(text).map_err(|e| format!("is no JSON: {e}")),
    }
}

fn no_number(text: &str) -> String {
    format!("has the number {text}, which neither 64 bits nor a float hold: take it as a str")
}

/// Flyte's literal has nanoseconds, but a datetime of Python that is read from it has none.
fn in_micros(at: DateTime<Utc>) -> Result<DateTime<Utc>> {
    match at.timestamp_subsec_nanos().is_multiple_of(1000) {
        true => Ok(at),
        false => {
            Err(format!("is {at:?}, and a datetime has no nanoseconds: cast it to Timestamp(µs) or text in the SQL"))
        }
    }
}

fn span_in_micros(span: TimeDelta) -> Result<TimeDelta> {
    match span.subsec_nanos() % 1000 {
        0 => Ok(span),
        _ => Err(format!("is {span}, and a timedelta has no nanoseconds: cast it to Duration(µs) or text in the SQL")),
    }
}

fn datetime(column: &ArrayRef, row: usize) -> Result<DateTime<Utc>> {
    const DAY: i64 = 86_400;
    let of =
        |n: i64, per_second: i64| (n.div_euclid(per_second), n.rem_euclid(per_second) * (1_000_000_000 / per_second));
    let (seconds, nanos) = match column.data_type() {
        DataType::Date32 => (i64::from(column.as_primitive::<Date32Type>().value(row)) * DAY, 0),
        DataType::Date64 => of(column.as_primitive::<Date64Type>().value(row), 1000),
        DataType::Timestamp(TimeUnit::Second, _) => (column.as_primitive::<TimestampSecondType>().value(row), 0),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            of(column.as_primitive::<TimestampMillisecondType>().value(row), 1000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            of(column.as_primitive::<TimestampMicrosecondType>().value(row), 1_000_000)
        }
        _ => of(column.as_primitive::<TimestampNanosecondType>().value(row), 1_000_000_000),
    };
    let at = u32::try_from(nanos).ok().and_then(|nanos| DateTime::from_timestamp(seconds, nanos));
    at.filter(|at| (1..=9999).contains(&at.year()))
        .ok_or_else(|| format!("is {} outside of the years 1 to 9999: cast it to a text", column.data_type()))
}

fn duration(column: &ArrayRef, row: usize) -> Result<TimeDelta> {
    let span = match column.data_type() {
        DataType::Duration(TimeUnit::Second) => {
            TimeDelta::try_seconds(column.as_primitive::<DurationSecondType>().value(row))
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            TimeDelta::try_milliseconds(column.as_primitive::<DurationMillisecondType>().value(row))
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            Some(TimeDelta::microseconds(column.as_primitive::<DurationMicrosecondType>().value(row)))
        }
        _ => Some(TimeDelta::nanoseconds(column.as_primitive::<DurationNanosecondType>().value(row))),
    };
    span.ok_or_else(|| "is a Duration that is longer than 10,000 years: cast it to a number".to_string())
}

/// An interval without months is a span of time.
fn span(column: &ArrayRef, row: usize) -> Result<Option<TimeDelta>> {
    let long = || "is an Interval that is too long".to_string();
    let days = |days: i32| TimeDelta::days(days.into());
    match column.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let i = column.as_primitive::<IntervalMonthDayNanoType>().value(row);
            let span = days(i.days).checked_add(&TimeDelta::nanoseconds(i.nanoseconds)).ok_or_else(long)?;
            Ok((i.months == 0).then_some(span))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            let i = column.as_primitive::<IntervalDayTimeType>().value(row);
            days(i.days).checked_add(&TimeDelta::milliseconds(i.milliseconds.into())).ok_or_else(long).map(Some)
        }
        _ => Ok(None),
    }
}

/// Arrow's own text of a value.
fn text(column: &ArrayRef, row: usize) -> Result<String> {
    let unshown =
        |why: &dyn std::fmt::Display| format!("is {}, which cannot be shown as text: {why}", column.data_type());
    let one = column.slice(row, 1);
    exact::within_precision(&one).map_err(|e| unshown(&e))?;
    let text = cast(&one, &DataType::Utf8).map_err(|e| unshown(&e))?;
    let text = text.as_string::<i32>();
    if text.is_null(0) { Err(unshown(&"it has none")) } else { Ok(text.value(0).to_string()) }
}

/// A row in UTC, if it is an instant: the texts of other zones may have an offset without its seconds, or a year that no datetime has.
fn in_utc(column: &ArrayRef, row: usize) -> Result<ArrayRef> {
    let one = column.slice(row, 1);
    match one.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            cast(&one, &DataType::Timestamp(*unit, Some("UTC".into()))).map_err(|e| format!("is no instant: {e}"))
        }
        _ => Ok(one),
    }
}

fn bytes(column: &ArrayRef, row: usize) -> Result<Option<Vec<u8>>> {
    Ok(match column.data_type() {
        DataType::Binary => Some(column.as_binary::<i32>().value(row).to_vec()),
        DataType::LargeBinary => Some(column.as_binary::<i64>().value(row).to_vec()),
        DataType::BinaryView => Some(column.as_binary_view().value(row).to_vec()),
        DataType::FixedSizeBinary(_) => Some(column.as_fixed_size_binary().value(row).to_vec()),
        _ => None,
    })
}

/// The items of a row that is a list of any kind.
fn items(column: &ArrayRef, row: usize) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::List(_) => Some(column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => Some(column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(column.as_fixed_size_list().value(row)),
        DataType::ListView(_) => Some(column.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => Some(column.as_list_view::<i64>().value(row)),
        _ => None,
    }
}

/// The entries of a row that is a struct or a map: keys as text, and where their values are.
fn entries(column: &ArrayRef, row: usize) -> Result<Vec<(String, ArrayRef, usize)>> {
    let mut entries: Vec<(String, ArrayRef, usize)> = Vec::new();
    match column.data_type() {
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(column.as_struct().columns());
            entries.extend(columns.map(|(field, column)| (field.name().clone(), column.clone(), row)));
        }
        _ => {
            let map = column.as_map().value(row);
            let (keys, values) = (map.column(0), map.column(1));
            for row in 0..keys.len() {
                entries.push((key(keys, row)?, values.clone(), row));
            }
        }
    }
    for (i, (key, ..)) in entries.iter().enumerate() {
        if entries[..i].iter().any(|(other, ..)| other == key) {
            return Err(format!("has the key {key:?} twice, and a dict has it once"));
        }
    }
    Ok(entries)
}

fn key(keys: &ArrayRef, row: usize) -> Result<String> {
    if let Some(inner) = unpacked(keys, row)? {
        return key(&inner, 0);
    }
    let kind = keys.data_type();
    match plain(keys, row)? {
        Packed::Nil | Packed::Binary(_) | Packed::Array(_) | Packed::Map(_) | Packed::Ext(..) => {
            Err(format!("has a key of the type {kind}, which no dict has: cast it to text"))
        }
        _ => text(&in_utc(keys, row)?, 0),
    }
}

/// A value within a dict: decimals, days, instants and spans are text, whole numbers are exact up to 64 bits.
fn plain(column: &ArrayRef, row: usize) -> Result<Packed> {
    if let Some(inner) = unpacked(column, row)? {
        return plain(&inner, 0);
    }
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok(Packed::Nil);
    }
    Ok(match column.data_type() {
        data if data.is_integer() => {
            let n = int(column, row);
            let signed = i64::try_from(n).map(Packed::from);
            signed.or_else(|_| u64::try_from(n).map(Packed::from)).map_err(|e| format!("is {n}: {e}"))?
        }
        data if data.is_floating() => Packed::F64(float(column, row)),
        DataType::Boolean => Packed::Boolean(column.as_boolean().value(row)),
        DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            datetime(column, row)?;
            Packed::from(text(&in_utc(column, row)?, 0)?)
        }
        DataType::Struct(_) | DataType::Map(..) => {
            let entry = |(key, values, row): (String, ArrayRef, usize)| match plain(&values, row) {
                Ok(value) => Ok((Packed::from(key), value)),
                Err(e) => Err(format!("has an entry {key:?} that {e}")),
            };
            Packed::Map(entries(column, row)?.into_iter().map(entry).collect::<Result<_>>()?)
        }
        _ => match (items(column, row), bytes(column, row)?) {
            (Some(items), _) => Packed::Array((0..items.len()).map(|row| plain(&items, row)).collect::<Result<_>>()?),
            (None, Some(bytes)) => Packed::Binary(bytes),
            (None, None) => Packed::from(text(column, row)?),
        },
    })
}

/// Whole rows, as dicts.
pub fn rows(batch: &RecordBatch) -> Result<Vec<Value>> {
    let schema = batch.schema();
    let cell = |row: usize, i: usize| {
        let (name, kind) = (schema.field(i).name(), schema.field(i).data_type());
        let value = plain(batch.column(i), row).map_err(|e| format!("has a column {name:?} ({kind}) that {e}"))?;
        Ok((Packed::from(name.as_str()), value))
    };
    let row = |row: usize| {
        let cells = (0..batch.num_columns()).map(|i| cell(row, i));
        Ok(Value::MsgPack(Packed::Map(cells.collect::<Result<_>>()?)))
    };
    (0..batch.num_rows()).map(row).collect()
}

fn is_none(declared: &LiteralType) -> bool {
    matches!(declared.r#type, Some(Type::Simple(s)) if s == SimpleType::None as i32)
}

/// The declared type, seen through what makes it optional.
pub fn unwrapped(declared: Option<&LiteralType>) -> Option<&LiteralType> {
    match declared?.r#type.as_ref() {
        Some(Type::UnionType(union)) => union.variants.iter().find(|variant| !is_none(variant)),
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
        DataType::Duration(_) => SimpleType::Duration,
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) => SimpleType::Binary,
        DataType::Struct(_) | DataType::Map(..) => SimpleType::Struct,
        DataType::List(item) | DataType::LargeList(item) => {
            let item = column_type(item.data_type());
            return LiteralType { r#type: Some(Type::CollectionType(Box::new(item))), ..Default::default() };
        }
        _ => SimpleType::String,
    };
    LiteralType { r#type: Some(Type::Simple(simple.into())), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_only_another_program_reads_are_no_parameter() {
        let pickle = || Value::Binary { bytes: vec![0x80], tag: "pickle".into() };
        let within = Value::Map([("data".into(), pickle())].into());
        for value in [pickle(), Value::List(vec![pickle()]), within] {
            let refused = parameter(&value, None).unwrap_err();
            assert!(refused.contains(r#"bytes in the form "pickle""#), "{refused}");
        }
        let bytes = Value::Binary { bytes: vec![0x80], tag: String::new() };
        assert_eq!(parameter(&bytes, None), Ok(ScalarValue::Binary(Some(vec![0x80]))));
    }
}
