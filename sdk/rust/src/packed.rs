//! msgpack, which says more than JSON does: bytes, timestamps, NaN, infinity, and keys that are no text.

use rmpv::Value as Packed;
use serde::Serialize;
use serde_json::Value as Json;

/// Bounds the nesting of what is read, which takes the stack of a thread. Python writes no more than 511.
const MAX_DEPTH: usize = 512;

/// Reads the one value that the bytes hold.
pub(crate) fn read(bytes: &[u8]) -> Result<Packed, String> {
    let mut rest = bytes;
    let value = read_value(&mut rest, 0).map_err(|e| format!("is broken msgpack: {e}"))?;
    match rest.len() {
        0 => Ok(value),
        more => Err(format!("is msgpack that is followed by {more} more bytes")),
    }
}

/// Reads lists and maps item by item, because rmpv takes a code that there is not for nil.
fn read_value(bytes: &mut &[u8], depth: usize) -> Result<Packed, String> {
    const RESERVED: u8 = 0xc1;
    if depth > MAX_DEPTH {
        return Err(format!("it is nested deeper than {MAX_DEPTH}"));
    }
    match bytes.first() {
        None => Err("it ends early".into()),
        Some(&RESERVED) => Err("it has a code that there is not".into()),
        Some(0x90..=0x9f | 0xdc | 0xdd) => {
            let length = rmp::decode::read_array_len(bytes).map_err(|e| e.to_string())?;
            let mut items = Vec::new(); // of no more than there is: the length may be a lie
            for _ in 0..length {
                items.push(read_value(bytes, depth + 1)?);
            }
            Ok(Packed::Array(items))
        }
        Some(0x80..=0x8f | 0xde | 0xdf) => {
            let length = rmp::decode::read_map_len(bytes).map_err(|e| e.to_string())?;
            let mut entries = Vec::new();
            for _ in 0..length {
                let key = read_value(bytes, depth + 1)?;
                if key.is_array() || key.is_map() {
                    return Err("it has a key that is a list or a map".into());
                }
                entries.push((key, read_value(bytes, depth + 1)?));
            }
            Ok(Packed::Map(entries))
        }
        Some(_) => read_scalar(bytes),
    }
}

fn read_scalar(bytes: &mut &[u8]) -> Result<Packed, String> {
    let value = rmpv::decode::read_value(bytes).map_err(|e| e.to_string())?;
    match &value {
        Packed::String(text) if text.as_str().is_none() => Err("it has a text that is no UTF-8".into()),
        Packed::Ext(TIMESTAMP, data) if timestamp(data).is_none() => {
            Err(format!("it has a timestamp that is none: {data:02x?}"))
        }
        _ => Ok(value),
    }
}

/// msgpack's type of timestamps.
const TIMESTAMP: i8 = -1;

/// The seconds and nanoseconds of a timestamp.
fn timestamp(data: &[u8]) -> Option<(i64, u32)> {
    let (seconds, nanos) = match data.len() {
        4 => (u32::from_be_bytes(data.try_into().ok()?).into(), 0),
        8 => {
            let both = u64::from_be_bytes(data.try_into().ok()?);
            (i64::try_from(both & ((1 << 34) - 1)).ok()?, u32::try_from(both >> 34).ok()?)
        }
        12 => {
            let (nanos, seconds) = data.split_at(4);
            (i64::from_be_bytes(seconds.try_into().ok()?), u32::from_be_bytes(nanos.try_into().ok()?))
        }
        _ => return None,
    };
    (nanos < 1_000_000_000).then_some((seconds, nanos))
}

/// A point in time as a timestamp of 96 bits, which any is.
pub(crate) fn timestamp_of(at: chrono::DateTime<chrono::Utc>) -> Packed {
    let mut data = at.timestamp_subsec_nanos().to_be_bytes().to_vec();
    data.extend(at.timestamp().to_be_bytes());
    Packed::Ext(TIMESTAMP, data)
}

/// Writes a value.
pub(crate) fn write(value: &Packed) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).map_err(|e| format!("cannot be written as msgpack: {e}"))?;
    Ok(bytes)
}

/// Anything that serde writes, structs as maps.
pub(crate) fn of<T: Serialize>(value: &T) -> Result<Packed, String> {
    let mut bytes = Vec::new();
    let mut serializer = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    value.serialize(&mut serializer).map_err(|e| format!("cannot be written as msgpack: {e}"))?;
    read(&bytes)
}

/// The same as JSON, if JSON can say it.
pub(crate) fn to_json(value: &Packed) -> Option<Json> {
    Some(match value {
        Packed::Nil => Json::Null,
        Packed::Boolean(b) => Json::Bool(*b),
        Packed::Integer(n) => n.as_i64().map(Json::from).or_else(|| n.as_u64().map(Json::from))?,
        Packed::F32(x) => Json::Number(serde_json::Number::from_f64((*x).into())?),
        Packed::F64(x) => Json::Number(serde_json::Number::from_f64(*x)?),
        Packed::String(text) => Json::String(text.as_str()?.into()),
        Packed::Array(items) => Json::Array(items.iter().map(to_json).collect::<Option<_>>()?),
        Packed::Map(entries) => {
            let mut object = serde_json::Map::new();
            for (key, entry) in entries {
                if object.insert(key.as_str()?.into(), to_json(entry)?).is_some() {
                    return None;
                }
            }
            Json::Object(object)
        }
        Packed::Binary(_) | Packed::Ext(..) => return None,
    })
}

/// JSON as msgpack.
pub(crate) fn from_json(json: &Json) -> Packed {
    match json {
        Json::Null => Packed::Nil,
        Json::Bool(b) => Packed::Boolean(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Packed::from(n),
            (_, Some(n)) => Packed::from(n),
            _ => n.as_f64().map_or(Packed::Nil, Packed::F64), // never nil: a number is one of the three
        },
        Json::String(text) => Packed::from(text.as_str()),
        Json::Array(items) => Packed::Array(items.iter().map(from_json).collect()),
        Json::Object(entries) => {
            Packed::Map(entries.iter().map(|(key, entry)| (Packed::from(key.as_str()), from_json(entry))).collect())
        }
    }
}

/// A timestamp as a text, if it is one that a calendar has.
pub(crate) fn rfc3339(value: &Packed) -> Option<String> {
    let Packed::Ext(TIMESTAMP, data) = value else { return None };
    let (seconds, nanos) = timestamp(data)?;
    Some(chrono::DateTime::from_timestamp(seconds, nanos)?.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}

/// What JSON cannot say, for people: bytes are a list of numbers, timestamps and numbers that JSON lacks texts, keys their text.
pub(crate) fn shown(value: &Packed) -> Json {
    match value {
        Packed::Binary(bytes) => Json::from(bytes.as_slice()),
        Packed::F32(x) if !x.is_finite() => Json::String(x.to_string()),
        Packed::F64(x) if !x.is_finite() => Json::String(x.to_string()),
        Packed::Ext(..) => Json::String(rfc3339(value).unwrap_or_else(|| value.to_string())),
        Packed::Array(items) => Json::Array(items.iter().map(shown).collect()),
        Packed::Map(entries) => {
            let text = |key: &Packed| key.as_str().map_or_else(|| key.to_string(), str::to_string);
            Json::Object(entries.iter().map(|(key, entry)| (text(key), shown(entry))).collect())
        }
        plain => to_json(plain).unwrap_or_else(|| Json::String(plain.to_string())),
    }
}
