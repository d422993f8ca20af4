//! What becomes of values on their way to Flyte and back.

use std::collections::BTreeMap;

use agenthost::contract::flyteidl::core::{Literal, literal, scalar};
use agenthost::{Column, Directory, File, FromValue, Json, StructuredDataset, Value, decode, encode, rmpv};
use chrono::{DateTime, NaiveDate, TimeDelta};
use proptest::prelude::*;
use prost::Message;

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::None),
        any::<i64>().prop_map(Value::Int),
        any::<f64>().prop_filter("NaN is not itself", |x| !x.is_nan()).prop_map(Value::Float),
        ".*".prop_map(Value::Str),
        any::<bool>().prop_map(Value::Bool),
        (-60_000_000_000_i64..200_000_000_000, 0_u32..1_000_000_000)
            .prop_map(|(s, n)| Value::Datetime(DateTime::from_timestamp(s, n).unwrap())),
        (-1_000_000_000_i64..1_000_000_000, -999_999_999_i64..1_000_000_000)
            .prop_map(|(s, n)| Value::Duration(TimeDelta::seconds(s) + TimeDelta::nanoseconds(n))),
        (any::<Vec<u8>>(), "[a-l]{0,4}").prop_map(|(bytes, tag)| Value::Binary { bytes, tag }),
        (".*", ".*").prop_map(|(uri, format)| Value::Dataset(StructuredDataset {
            uri,
            format,
            columns: vec![Column { name: "n".into(), r#type: Default::default() }],
        })),
        (".*", ".*").prop_map(|(uri, format)| Value::File(File { uri, format })),
        (".*", ".*").prop_map(|(uri, format)| Value::Directory(Directory { uri, format })),
        proptest::collection::btree_map(".*", any::<i64>(), 0..4).prop_map(|m| Value::Json(serde_json::json!(m))),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            proptest::collection::btree_map(".*", inner, 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn every_value_comes_back_over_the_wire(value in values()) {
        let literal = encode(&value, None).unwrap();
        let wire = Literal::decode(literal.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(decode(&wire).unwrap(), value);
    }

    #[test]
    fn bytes_that_are_no_dataclass_are_an_error_and_no_panic(bytes in any::<Vec<u8>>()) {
        let binary = agenthost::contract::flyteidl::core::Binary { value: bytes, tag: "msgpack".into() };
        let scalar = agenthost::contract::flyteidl::core::Scalar { value: Some(scalar::Value::Binary(binary)) };
        let _ = decode(&Literal { value: Some(literal::Value::Scalar(Box::new(scalar))), ..Default::default() });
    }
}

#[test]
fn what_does_not_fit_says_why() {
    let error = |e: Result<i64, String>| e.unwrap_err();
    assert_eq!(error(i64::from_value(Value::Float(1.5))), "is a float, and an int is needed");
    assert_eq!(u8::from_value(Value::Int(300)).unwrap_err(), "is 300, which is out of the range of u8");
    let list = Value::List(vec![Value::Int(1), Value::Bool(true)]);
    assert_eq!(Vec::<i64>::from_value(list).unwrap_err(), "has an item 1 that is a bool, and an int is needed");
    let map = Value::Map(BTreeMap::from([("a".into(), Value::None)]));
    assert_eq!(
        BTreeMap::<String, String>::from_value(map).unwrap_err(),
        r#"has an entry "a" that is None, and a str is needed"#
    );
}

#[test]
fn bytes_with_a_tag_are_no_bytes() {
    let pickle = || Value::Binary { bytes: vec![0x80], tag: "pickle".into() };
    assert_eq!(Vec::<u8>::from_value(pickle()).unwrap_err(), r#"is bytes in the form "pickle", and a list is needed"#);
    let within = Value::Map(BTreeMap::from([("data".into(), pickle())]));
    let refused = Json::<BTreeMap<String, Vec<u8>>>::from_value(within).unwrap_err();
    assert!(refused.contains(r#"bytes in the form "pickle""#), "{refused}");
    assert_eq!(Value::from_value(pickle()).unwrap(), pickle());
}

#[test]
fn what_serde_writes_comes_back_or_is_refused() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Measured {
        n: u64,
        x: f64,
        by_number: BTreeMap<i64, f32>,
        #[serde(with = "bytes")]
        data: Vec<u8>,
    }
    let measured = || Measured { n: u64::MAX, x: f64::NEG_INFINITY, by_number: [(-7, 0.5)].into(), data: vec![0, 255] };
    let Json(back) = Json::<Measured>::from_value(over_the_wire(Json(measured()).into())).unwrap();
    assert_eq!(back, measured());

    let by_list = BTreeMap::from([(vec![1], 2)]);
    assert!(encode(&Json(by_list).into(), None).unwrap_err().contains("key"));
}

#[test]
fn a_whole_number_in_a_dict_is_no_float_that_it_does_not_equal() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Numbers {
        x: Option<f64>,
        s: f32,
    }
    let read = |json| Json::<Numbers>::from_value(Value::Json(json));
    let exact = Numbers { x: Some(9_007_199_254_740_992.0), s: 16_777_216.0 };
    assert_eq!(read(serde_json::json!({"x": 1_i64 << 53, "s": 1 << 24})), Ok(Json(exact)));
    for (json, number) in [
        (serde_json::json!({"x": (1_i64 << 53) + 1, "s": 0}), "9007199254740993"),
        (serde_json::json!({"x": u64::MAX, "s": 0}), "18446744073709551615"),
        (serde_json::json!({"x": null, "s": (1 << 24) + 1}), "16777217"),
    ] {
        let error = read(json).unwrap_err();
        assert!(error.contains("has a field") && error.contains(number), "{error}");
    }
}

#[test]
fn serde_reads_what_a_dict_has() {
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Shape {
        Point,
        Circle(f64),
        Box { width: u8, height: Option<u8> },
    }
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Id(u64);
    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Everything {
        shapes: Vec<Shape>,
        by_number: BTreeMap<i64, Id>,
        by_flag: BTreeMap<bool, ()>,
        at: DateTime<chrono::Utc>,
        pair: (i8, String),
        letter: char,
        #[serde(flatten)]
        rest: BTreeMap<String, serde_json::Value>,
    }
    let everything = || Everything {
        shapes: vec![Shape::Point, Shape::Circle(3.0), Shape::Box { width: 1, height: None }],
        by_number: [(-7, Id(u64::MAX))].into(),
        by_flag: [(true, ())].into(),
        at: DateTime::from_timestamp(1, 5).unwrap(),
        pair: (-1, "ü".into()),
        letter: 'x',
        rest: [("more".to_string(), serde_json::json!([1, 0.5, null, {"a": true}]))].into(),
    };
    let Json(back) = Json::<Everything>::from_value(over_the_wire(Json(everything()).into())).unwrap();
    assert_eq!(back, everything());
    // Keys as JSON has them, which other programs write.
    let json = Value::Json(serde_json::to_value(everything()).unwrap());
    let Json(back) = Json::<Everything>::from_value(json).unwrap();
    assert_eq!(back, everything());

    let stamp = rmpv::Value::Ext(-1, vec![0, 0, 0, 1]);
    let dict = |value: rmpv::Value| Value::MsgPack(rmpv::Value::Map(vec![("at".into(), value)]));
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct At<T> {
        at: T,
    }
    let at = DateTime::from_timestamp(1, 0).unwrap();
    assert_eq!(Json::<At<DateTime<chrono::Utc>>>::from_value(dict(stamp.clone())), Ok(Json(At { at })));
    assert!(Json::<At<String>>::from_value(dict(stamp)).unwrap_err().contains("a datetime"));
    assert_eq!(
        Json::<At<Vec<u8>>>::from_value(dict(rmpv::Value::Binary(vec![0, 255]))),
        Ok(Json(At { at: vec![0, 255] }))
    );
    assert!(Json::<At<String>>::from_value(dict(rmpv::Value::Binary(vec![65]))).is_err());
    let bytes_as_key = Value::MsgPack(rmpv::Value::Map(vec![(rmpv::Value::Binary(vec![65]), 1.into())]));
    assert!(Json::<BTreeMap<String, i64>>::from_value(bytes_as_key).is_err());
}

mod bytes {
    use serde::{Deserializer, Serializer, de::Visitor};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

fn over_the_wire(value: Value) -> Value {
    decode(&encode(&value, None).unwrap()).unwrap()
}

#[test]
fn what_a_rust_type_cannot_hold_is_refused() {
    let noon = DateTime::from_timestamp(1_709_208_000, 0).unwrap();
    assert!(NaiveDate::from_value(Value::Datetime(noon)).unwrap_err().contains("time of day"));
    assert_eq!(f64::from_value(Value::Int((1 << 53) + 1)).unwrap_err(), "is 9007199254740993, which no float is");
    assert_eq!(f64::from_value(Value::Int(i64::MIN)), Ok(-9_223_372_036_854_775_808.0));
    assert!(f64::from_value(Value::Int(i64::MAX)).is_err());
    let dict = Value::Json(serde_json::json!({"list": [1, 2.5], "large": u64::MAX}));
    assert!(BTreeMap::<String, Value>::from_value(dict).is_ok());
}

/// serde_json misses these by their last digit unless it is told not to.
#[test]
fn what_a_plugin_remembers_keeps_the_last_digit_of_a_float() {
    for text in ["31.245270191439438", "121.48791951161945", "100.78399658203125"] {
        let read: f64 = agenthost::json_meta(text.as_bytes()).unwrap();
        assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
}
