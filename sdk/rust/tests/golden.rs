//! The literals of sdk/testdata/literals.json, which real flytekit makes: all SDKs read and write them exactly, or refuse them.

use agenthost::contract::flyteidl::core::{Literal, LiteralType, SimpleType, literal_type::Type};
use agenthost::{Column, Directory, File, StructuredDataset, Value, decode, encode, rmpv};
use base64::Engine;
use chrono::{DateTime, TimeDelta};
use prost::Message;
use rmpv::Value as Packed;
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// A case; literals.py says what its fields are.
#[derive(Deserialize)]
struct Case {
    name: String,
    r#type: String,
    literal: Option<String>,
    value: Option<Json>,
    #[serde(default)]
    several: bool,
    #[serde(default)]
    reads_only: bool,
    #[serde(default)]
    refused_by: Vec<String>,
    #[serde(default)]
    says: Vec<String>,
}

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[test]
fn literals_of_flytekit_are_read_and_written_exactly() {
    let golden: Golden = serde_json::from_str(include_str!("literals.json")).unwrap();
    assert!(golden.cases.len() > 100, "there are {} cases", golden.cases.len());
    let wrong: Vec<_> =
        golden.cases.iter().filter_map(|case| Some(format!("{}: {}", case.name, case.check().err()?))).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), golden.cases.len(), wrong.join("\n"));
}

impl Case {
    fn check(&self) -> Result<(), String> {
        let here = !self.refused_by.iter().any(|sdk| sdk == "rust");
        let literal = self.literal.as_ref().map(|text| Literal::decode(bytes(text).as_slice()).unwrap());
        let declared = LiteralType::decode(bytes(&self.r#type).as_slice()).unwrap();
        let Some(form) = &self.value else {
            let literal = literal.ok_or("it has neither a literal nor a value")?;
            return self.refused(decode(&literal));
        };
        let expected = comparable(form);
        let mut values = Vec::new();
        match &literal {
            Some(literal) if here => {
                let found = decode(literal)?;
                same(&expected, &form_of(&found))?;
                values.push(found); // what is read is written again
            }
            Some(literal) => self.refused(decode(literal))?,
            None => (),
        }
        match built(form) {
            Some(value) => values.push(value),
            None if !here => return Ok(()),
            None => return Err("Rust has no such value".into()),
        }
        for value in values.iter().filter(|_| !self.reads_only) {
            let written = encode(value, Some(&declared));
            match &literal {
                None => self.refused(written)?,
                Some(_) if self.several => same(&form_of(value), &form_of(&decode(&written?)?))?,
                Some(literal) => match written? {
                    written if written == *literal => (),
                    written if written.encode_to_vec() == literal.encode_to_vec() => (), // NaN is not itself
                    written => return Err(format!("is written as {written:?}, and not as {literal:?}")),
                },
            }
        }
        Ok(())
    }

    fn refused<T: std::fmt::Debug>(&self, got: Result<T, String>) -> Result<(), String> {
        let message = got.err().ok_or("it is not refused")?.to_lowercase();
        let missing: Vec<_> = self.says.iter().filter(|words| !message.contains(&words.to_lowercase())).collect();
        match missing.is_empty() && !self.says.is_empty() {
            true => Ok(()),
            false => Err(format!("{message:?} does not say {missing:?}")),
        }
    }
}

fn bytes(base64: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(base64).unwrap()
}

fn same(expected: &Json, found: &Json) -> Result<(), String> {
    if expected == found { Ok(()) } else { Err(format!("is {found}, and not {expected}")) }
}

/// A form as it is compared: floats by their bits, the numbers of a Struct and schemas as Rust takes them, dicts in an order.
fn comparable(form: &Json) -> Json {
    let (kind, value) = form.as_object().and_then(|form| form.iter().next()).expect("a form");
    match kind.as_str() {
        "float" => float(value.as_str().unwrap().parse().unwrap()),
        "number" => match value.as_str().unwrap().parse::<f64>().unwrap() {
            x if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 && (x != 0.0 || x.is_sign_positive()) => {
                json!({"int": x.to_string()})
            }
            x => float(x),
        },
        "list" => json!({"list": value.as_array().unwrap().iter().map(comparable).collect::<Vec<_>>()}),
        "map" => {
            json!({"map": value.as_object().unwrap().iter().map(|(k, v)| (k.clone(), comparable(v))).collect::<serde_json::Map<_, _>>()})
        }
        "dict" => {
            dict(value.as_array().unwrap().iter().map(|entry| (comparable(&entry[0]), comparable(&entry[1]))).collect())
        }
        "schema" => json!({"dataset": {"uri": value["uri"], "format": "parquet", "columns": value["columns"]}}),
        _ => form.clone(),
    }
}

fn float(x: f64) -> Json {
    if x.is_nan() { json!({"float": "nan"}) } else { json!({"float": format!("{:016x}", x.to_bits())}) }
}

fn dict(mut entries: Vec<(Json, Json)>) -> Json {
    entries.sort_by_key(|(key, _)| key.to_string());
    json!({"dict": entries})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn form_of(value: &Value) -> Json {
    match value {
        Value::None => json!({"none": true}),
        Value::Int(n) => json!({"int": n.to_string()}),
        Value::Float(x) => float(*x),
        Value::Str(s) => json!({"str": s}),
        Value::Bool(b) => json!({"bool": b}),
        Value::Datetime(at) => {
            json!({"datetime": {"seconds": at.timestamp().to_string(), "nanos": at.timestamp_subsec_nanos()}})
        }
        Value::Duration(span) => {
            json!({"duration": {"seconds": span.num_seconds().to_string(), "nanos": span.subsec_nanos()}})
        }
        Value::Binary { bytes, tag } if tag.is_empty() => json!({"bytes": hex(bytes)}),
        Value::Binary { bytes, tag } => json!({"binary": {"bytes": hex(bytes), "tag": tag}}),
        Value::List(items) => json!({"list": items.iter().map(form_of).collect::<Vec<_>>()}),
        Value::Map(items) => {
            json!({"map": items.iter().map(|(k, v)| (k.clone(), form_of(v))).collect::<serde_json::Map<_, _>>()})
        }
        Value::Json(json) => form_of_json(json),
        Value::MsgPack(packed) => form_of_packed(packed),
        Value::Dataset(table) => {
            let column = |c: &Column| match c.r#type.r#type {
                Some(Type::Simple(simple)) => json!([c.name, SimpleType::try_from(simple).unwrap().as_str_name()]),
                _ => json!([c.name, null]),
            };
            let columns: Vec<_> = table.columns.iter().map(column).collect();
            json!({"dataset": {"uri": table.uri, "format": table.format, "columns": columns}})
        }
        Value::File(file) => {
            json!({"file": {"uri": file.uri, "format": file.format}})
        }
        Value::Directory(folder) => json!({"directory": {"uri": folder.uri, "format": folder.format}}),
        other => panic!("{other:?} has no form"),
    }
}

fn form_of_json(json: &Json) -> Json {
    match json {
        Json::Null => json!({"none": true}),
        Json::Bool(b) => json!({"bool": b}),
        Json::Number(n) if n.is_f64() => float(n.as_f64().unwrap()),
        Json::Number(n) => json!({"int": n.to_string()}),
        Json::String(s) => json!({"str": s}),
        Json::Array(items) => json!({"list": items.iter().map(form_of_json).collect::<Vec<_>>()}),
        Json::Object(entries) => dict(entries.iter().map(|(k, v)| (json!({"str": k}), form_of_json(v))).collect()),
    }
}

fn form_of_packed(packed: &Packed) -> Json {
    match packed {
        Packed::Nil => json!({"none": true}),
        Packed::Boolean(b) => json!({"bool": b}),
        Packed::Integer(n) => json!({"int": n.to_string()}),
        Packed::F32(x) => float((*x).into()),
        Packed::F64(x) => float(*x),
        Packed::String(s) => json!({"str": s.as_str().unwrap()}),
        Packed::Binary(bytes) => json!({"bytes": hex(bytes)}),
        Packed::Array(items) => json!({"list": items.iter().map(form_of_packed).collect::<Vec<_>>()}),
        Packed::Map(entries) => dict(entries.iter().map(|(k, v)| (form_of_packed(k), form_of_packed(v))).collect()),
        Packed::Ext(-1, data) => {
            let (nanos, seconds) = match data.len() {
                4 => (0, u32::from_be_bytes(data[..].try_into().unwrap()).into()),
                8 => {
                    let both = u64::from_be_bytes(data[..].try_into().unwrap());
                    (both >> 34, (both & ((1 << 34) - 1)).try_into().unwrap())
                }
                _ => (
                    u32::from_be_bytes(data[..4].try_into().unwrap()).into(),
                    i64::from_be_bytes(data[4..].try_into().unwrap()),
                ),
            };
            json!({"timestamp": {"seconds": seconds.to_string(), "nanos": nanos}})
        }
        Packed::Ext(code, data) => json!({"extension": {"code": code, "bytes": hex(data)}}),
    }
}

/// The value of a form, where Rust has one.
fn built(form: &Json) -> Option<Value> {
    let (kind, value) = form.as_object().and_then(|form| form.iter().next()).expect("a form");
    let text = |field: &str| value[field].as_str().unwrap().to_string();
    Some(match kind.as_str() {
        "none" => Value::None,
        "int" => {
            let text = value.as_str().unwrap();
            text.parse().map(Value::Int).or_else(|_| text.parse::<u64>().map(|n| Value::Json(n.into()))).ok()?
        }
        "float" | "number" => Value::Float(value.as_str().unwrap().parse().unwrap()),
        "str" => Value::Str(value.as_str().unwrap().into()),
        "bool" => Value::Bool(value.as_bool().unwrap()),
        "datetime" => Value::Datetime(DateTime::from_timestamp(
            text("seconds").parse().unwrap(),
            value["nanos"].as_u64().unwrap().try_into().unwrap(),
        )?),
        "duration" => Value::Duration(
            TimeDelta::try_seconds(text("seconds").parse().unwrap())?
                + TimeDelta::nanoseconds(value["nanos"].as_i64().unwrap()),
        ),
        "bytes" => Value::Binary { bytes: unhex(value.as_str().unwrap()), tag: String::new() },
        "binary" => Value::Binary { bytes: unhex(&text("bytes")), tag: text("tag") },
        "list" => Value::List(value.as_array().unwrap().iter().map(built).collect::<Option<_>>()?),
        "map" => {
            let entries = value.as_object().unwrap().iter().map(|(k, v)| Some((k.clone(), built(v)?)));
            Value::Map(entries.collect::<Option<_>>()?)
        }
        "dict" => Value::MsgPack(built_packed(form)?),
        "file" | "directory" => {
            let (uri, format) = (text("uri"), text("format"));
            if kind == "file" { File { uri, format }.into() } else { Directory { uri, format }.into() }
        }
        "dataset" | "schema" => {
            let column = |column: &Json| {
                let simple = SimpleType::from_str_name(column[1].as_str().unwrap()).unwrap();
                let r#type = LiteralType { r#type: Some(Type::Simple(simple.into())), ..Default::default() };
                Column { name: column[0].as_str().unwrap().into(), r#type }
            };
            let columns = value["columns"].as_array().unwrap().iter().map(column).collect();
            let format = value["format"].as_str().unwrap_or("parquet").into();
            Value::Dataset(StructuredDataset { uri: text("uri"), format, columns })
        }
        "error" => return None,
        unknown => panic!("the kind {unknown:?} is unknown to this test"),
    })
}

fn built_packed(form: &Json) -> Option<Packed> {
    let (kind, value) = form.as_object().and_then(|form| form.iter().next()).expect("a form");
    Some(match kind.as_str() {
        "none" => Packed::Nil,
        "int" => {
            let text = value.as_str().unwrap();
            text.parse::<i64>().map(Packed::from).or_else(|_| text.parse::<u64>().map(Packed::from)).ok()?
        }
        "float" | "number" => Packed::F64(value.as_str().unwrap().parse().unwrap()),
        "str" => Packed::from(value.as_str().unwrap()),
        "bool" => Packed::Boolean(value.as_bool().unwrap()),
        "bytes" => Packed::Binary(unhex(value.as_str().unwrap())),
        "list" => Packed::Array(value.as_array().unwrap().iter().map(built_packed).collect::<Option<_>>()?),
        "dict" => {
            let entries = value.as_array().unwrap().iter();
            let entries = entries.map(|entry| Some((built_packed(&entry[0])?, built_packed(&entry[1])?)));
            Packed::Map(entries.collect::<Option<_>>()?)
        }
        "timestamp" => {
            let nanos = u32::try_from(value["nanos"].as_u64().unwrap()).unwrap();
            let seconds: i64 = value["seconds"].as_str().unwrap().parse().unwrap();
            Packed::Ext(-1, [&nanos.to_be_bytes()[..], &seconds.to_be_bytes()[..]].concat())
        }
        "extension" => {
            let code = value["code"].as_i64().unwrap().try_into().unwrap();
            Packed::Ext(code, unhex(value["bytes"].as_str().unwrap()))
        }
        unknown => panic!("the kind {unknown:?} is unknown within a dict to this test"),
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}
