//! What becomes of values on their way to Flyte and back.

use std::collections::BTreeMap;

use agenthost::contract::flyteidl::core::{Literal, literal, scalar};
use agenthost::{Column, File, FromValue, Json, StructuredDataset, Value, decode, encode};
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
        (".*", ".*", any::<bool>()).prop_map(|(uri, format, directory)| Value::File(File { uri, format, directory })),
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
