//! Values read by serde, exactly: serde takes an int for a float, the nearest one where none equals it.

use rmpv::Value as Packed;
use serde::de::value::{Error, MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::packed;

/// Reads a value.
pub(crate) struct Exact(pub(crate) Packed);

/// Reads a key, which may be a text that stands for a number, as in JSON.
struct Key(Packed);

impl<'de> IntoDeserializer<'de, Error> for Exact {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> IntoDeserializer<'de, Error> for Key {
    type Deserializer = Self;
    fn into_deserializer(self) -> Self {
        self
    }
}

fn entries<'de>(entries: Vec<(Packed, Packed)>) -> MapDeserializer<'de, impl Iterator<Item = (Key, Exact)>, Error> {
    MapDeserializer::new(entries.into_iter().map(|(key, value)| (Key(key), Exact(value))))
}

impl<'de> Deserializer<'de> for Exact {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Packed::Nil => visitor.visit_unit(),
            Packed::Boolean(b) => visitor.visit_bool(b),
            Packed::Integer(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => visitor.visit_u64(n),
                (None, Some(n)) => visitor.visit_i64(n),
                _ => Err(Error::custom(format!("{n} is no integer of 64 bits"))),
            },
            Packed::F32(x) => visitor.visit_f64(x.into()),
            Packed::F64(x) => visitor.visit_f64(x),
            Packed::String(text) => {
                visitor.visit_string(text.into_str().ok_or_else(|| Error::custom("a text is no UTF-8"))?)
            }
            Packed::Binary(bytes) => visitor.visit_byte_buf(bytes),
            Packed::Array(items) => {
                let mut items = SeqDeserializer::new(items.into_iter().map(Exact));
                let value = visitor.visit_seq(&mut items)?;
                items.end().map(|()| value)
            }
            Packed::Map(map) => {
                let mut map = entries(map);
                let value = visitor.visit_map(&mut map)?;
                map.end().map(|()| value)
            }
            timestamp @ Packed::Ext(..) if packed::rfc3339(&timestamp).is_some() => {
                Err(Error::invalid_type(Unexpected::Other("a datetime"), &visitor))
            }
            Packed::Ext(code, _) => Err(Error::custom(format!("it is an extension of msgpack, of type {code}"))),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Packed::Integer(n) => match n.as_f64().filter(|float| n.to_string() == format!("{float:.0}")) {
                Some(float) => visitor.visit_f64(float),
                None => Err(Error::custom(format!("{n} has more digits than a float"))),
            },
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Packed::Integer(n) => {
                match n.to_string().parse::<f32>().ok().filter(|float| n.to_string() == format!("{float:.0}")) {
                    Some(float) => visitor.visit_f32(float),
                    None => Err(Error::custom(format!("{n} has more digits than a float of 32 bits"))),
                }
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// A timestamp for what reads itself from a text, such as chrono's types, but not for a String.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match packed::rfc3339(&self.0) {
            Some(text) => visitor.visit_string(text),
            None => self.deserialize_string(visitor),
        }
    }

    /// No bytes, which a String would take where they are UTF-8.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.0 {
            Packed::Binary(bytes) => Err(Error::invalid_type(Unexpected::Bytes(bytes), &visitor)),
            _ => self.deserialize_any(visitor),
        }
    }

    /// Bytes are a list of numbers, too.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Packed::Binary(bytes) => visitor.visit_seq(SeqDeserializer::new(bytes.into_iter())),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.0.is_nil() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Packed::String(text) => visitor.visit_enum(text.into_str().unwrap_or_default().into_deserializer()),
            Packed::Map(map) if map.len() == 1 => visitor.visit_enum(MapAccessDeserializer::new(entries(map))),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 char bytes byte_buf unit unit_struct tuple tuple_struct map struct
        identifier ignored_any
    }
}

/// Reads named values into one type, or says of each what does not fit: the path to it, and why.
pub(crate) fn together<T: DeserializeOwned>(values: Vec<(String, Packed)>) -> Result<T, Vec<(String, String)>> {
    let all = values.iter().map(|(name, value)| (Packed::from(name.as_str()), value.clone()));
    let said = |error: serde_path_to_error::Error<Error>| (error.path().to_string(), error.inner().to_string());
    let first = match serde_path_to_error::deserialize(Exact(Packed::Map(all.collect()))) {
        Ok(read) => return Ok(read),
        Err(error) => said(error),
    };
    // Serde ends at the first fault. So each value is read as if there were no others: what ends as that does, fits.
    let alone = values.into_iter().filter_map(|(name, value)| {
        let read = serde_path_to_error::deserialize::<_, T>(Alone { name, value: Some(value) });
        read.err().map(said).filter(|(_, why)| why != ENOUGH)
    });
    let faults: Vec<_> = alone.collect();
    Err(if faults.is_empty() { vec![first] } else { faults })
}

/// How the reading of a lone value ends.
const ENOUGH: &str = "there is no more";

/// A map that ends in an error behind its one value.
struct Alone {
    name: String,
    value: Option<Packed>,
}

impl<'de> Deserializer<'de> for Alone {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> MapAccess<'de> for Alone {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        match &self.value {
            Some(_) => seed.deserialize(Key(Packed::from(self.name.as_str()))).map(Some),
            None => Err(Error::custom(ENOUGH)),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(Exact(self.value.take().unwrap_or(Packed::Nil)))
    }
}

macro_rules! number_in_text {
    ($($method:ident $type:ty)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0.as_str().map(str::parse::<$type>) {
                Some(Ok(number)) => number.into_deserializer().$method(visitor),
                _ => Exact(self.0).$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Key {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Exact(self.0).deserialize_any(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Exact(self.0).deserialize_str(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        Exact(self.0).deserialize_string(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        Exact(self.0).deserialize_enum(name, variants, visitor)
    }

    number_in_text! {
        deserialize_i8 i8 deserialize_i16 i16 deserialize_i32 i32 deserialize_i64 i64 deserialize_i128 i128
        deserialize_u8 u8 deserialize_u16 u16 deserialize_u32 u32 deserialize_u64 u64 deserialize_u128 u128
        deserialize_bool bool
    }

    forward_to_deserialize_any! {
        f32 f64 char bytes byte_buf option unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
