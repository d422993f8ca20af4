//! The types of text's columns, found by all of their values: a type that would change one of them is none.

use std::collections::HashMap;
use std::fmt;

use chrono::NaiveDate;
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Fields, TimeUnit};
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// What all values of a column of CSV are. Each type stays true as long as every value so far is written as that type writes it:
/// `01234`, `+49` and `1e5` are codes and no numbers, and a number with more digits than a float has is none.
#[derive(Clone, Debug)]
pub struct Seen {
    any: bool,
    truth: bool,
    int: bool,
    whole: bool,
    float: bool,
    day: bool,
    local: bool,
    zoned: bool,
    /// Whether an instant has more than microseconds, and whether all have a year that nanoseconds reach.
    fine: bool,
    near: bool,
}

impl Default for Seen {
    fn default() -> Self {
        Seen {
            any: false,
            truth: true,
            int: true,
            whole: true,
            float: true,
            day: true,
            local: true,
            zoned: true,
            fine: false,
            near: true,
        }
    }
}

impl Seen {
    /// Takes one more value.
    pub fn add(&mut self, text: &str) {
        self.any = true;
        self.truth = self.truth && ["true", "false"].iter().any(|word| text.eq_ignore_ascii_case(word));
        if self.int || self.whole || self.float {
            let number = Number::csv(text);
            let number = number.as_ref();
            self.int = self.int && number.is_some_and(Number::is_int);
            self.whole = self.whole && number.is_some_and(Number::is_unsigned);
            self.float = self.float && number.is_some_and(Number::is_float);
        }
        if self.day || self.local || self.zoned {
            let instant = Instant::of(text);
            let is = |kind: Written| instant.as_ref().is_some_and(|i| i.written == kind);
            self.day = self.day && is(Written::Day);
            self.local = self.local && (is(Written::Day) || is(Written::Local));
            self.zoned = self.zoned && is(Written::Zoned);
            self.fine = self.fine || instant.as_ref().is_some_and(|i| i.fine);
            self.near = self.near && instant.as_ref().is_some_and(|i| i.near);
        }
    }

    /// Takes what was seen in another file.
    pub fn merge(&mut self, other: &Seen) {
        *self = Seen {
            any: self.any || other.any,
            truth: self.truth && other.truth,
            int: self.int && other.int,
            whole: self.whole && other.whole,
            float: self.float && other.float,
            day: self.day && other.day,
            local: self.local && other.local,
            zoned: self.zoned && other.zoned,
            fine: self.fine || other.fine,
            near: self.near && other.near,
        };
    }

    /// The type that holds every value as it is written, which text always is.
    pub fn kind(&self) -> DataType {
        let unit = if self.fine { TimeUnit::Nanosecond } else { TimeUnit::Microsecond };
        let reached = self.near || !self.fine;
        match self {
            _ if !self.any => DataType::Utf8,
            Seen { truth: true, .. } => DataType::Boolean,
            Seen { int: true, .. } => DataType::Int64,
            Seen { whole: true, .. } => DataType::UInt64,
            Seen { float: true, .. } => DataType::Float64,
            Seen { day: true, .. } => DataType::Date32,
            Seen { local: true, .. } if reached => DataType::Timestamp(unit, None),
            Seen { zoned: true, .. } if reached => DataType::Timestamp(unit, Some("UTC".into())),
            _ => DataType::Utf8,
        }
    }
}

/// Whether a number of SQL that has a point or an exponent, or more digits than 64 bits hold, is read as a float that it equals.
pub fn is_float(text: &str) -> bool {
    Number::json(text).is_some_and(|number| number.is_float())
}

/// A number as it is written.
struct Number<'a> {
    text: &'a str,
    negative: bool,
    int: &'a str,
    fraction: &'a str,
    /// Whether it is written as a whole number, without a point and an exponent.
    plain: bool,
    exponent: i32,
}

impl<'a> Number<'a> {
    /// Reads JSON's numbers.
    fn json(text: &'a str) -> Option<Number<'a>> {
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
        let (int, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let leading = int.len() > 1 && int.starts_with('0');
        if int.len() + fraction.len() == 0 || leading || !digits(int) || !digits(fraction) {
            return None;
        }
        let plain = exponent.is_none() && !unsigned.contains('.');
        let exponent = exponent.map_or(Some(0), |e| e.parse().ok())?;
        Some(Number { text, negative: unsigned.len() < mantissa.len(), int, fraction, plain, exponent })
    }

    /// Reads the numbers of CSV. An exponent is one if it is written as programs write it, `1e+05` or `1.0E5`.
    fn csv(text: &'a str) -> Option<Number<'a>> {
        let number = Number::json(text)?;
        let exponent = text.find(['e', 'E']).map(|at| &text[at + 1..]);
        let written = exponent.is_none_or(|e| text.contains('.') || (e.len() > 2 && e.starts_with(['+', '-'])));
        written.then_some(number)
    }

    fn is_int(&self) -> bool {
        self.plain && self.text != "-0" && self.text.parse::<i64>().is_ok()
    }

    fn is_unsigned(&self) -> bool {
        self.plain && !self.negative && self.text.parse::<u64>().is_ok()
    }

    /// Whether the float that is read from it, written with as many digits, is it again.
    fn is_float(&self) -> bool {
        let Ok(x) = self.text.parse::<f64>() else { return false };
        let all = [self.int, self.fraction].concat();
        let digits = all.trim_start_matches('0');
        let first = self.int.len() as i32 - (all.len() - digits.len()) as i32 - 1 + self.exponent;
        let digits = digits.trim_end_matches('0');
        match digits.len() {
            0 => true,
            1..=15 if x.is_normal() => true,
            n => {
                let written = format!("{:.*e}", n - 1, x.abs());
                let (mantissa, exponent) = written.split_once('e').unwrap_or((&written, ""));
                mantissa.replace('.', "") == digits && exponent.parse() == Ok(first)
            }
        }
    }

    /// The digits before and after its point, as a decimal has them.
    fn decimal(&self) -> Option<(usize, usize)> {
        (self.exponent == 0)
            .then(|| (self.int.trim_start_matches('0').len(), self.fraction.trim_end_matches('0').len()))
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Written {
    Day,
    Local,
    Zoned,
}

/// A day or an instant as it is written.
struct Instant {
    written: Written,
    fine: bool,
    near: bool,
}

impl Instant {
    fn of(text: &str) -> Option<Instant> {
        let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok()).flatten();
        let (day, time) = (text.get(..10)?, text.get(10..)?);
        let [year, month, of_month] = [day.get(..4)?, day.get(5..7)?, day.get(8..)?].map(number);
        let dashes = day.as_bytes()[4] == b'-' && day.as_bytes()[7] == b'-';
        let year = year.filter(|year| dashes && *year > 0)?;
        NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month?, of_month?)?;
        let near = (1678..2262).contains(&year);
        let Some(time) = time.strip_prefix(['T', ' ']) else {
            return time.is_empty().then_some(Instant { written: Written::Day, fine: false, near });
        };
        let [hour, minute, second] = [time.get(..2)?, time.get(3..5)?, time.get(6..8)?].map(number);
        let colons = time.as_bytes()[2] == b':' && time.as_bytes()[5] == b':';
        if !colons || hour? > 23 || minute? > 59 || second? > 59 {
            return None;
        }
        let rest = time.get(8..)?;
        let (fraction, zone) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("", rest),
        };
        if (fraction.is_empty() && rest.starts_with('.')) || fraction.len() > 9 {
            return None;
        }
        let written = match zone {
            "" => Written::Local,
            "Z" => Written::Zoned,
            offset => {
                let (hours, minutes) = offset.strip_prefix(['+', '-'])?.split_once(':')?;
                let two = |text: &str, below: u32| text.len() == 2 && number(text).is_some_and(|n| n < below);
                (two(hours, 15) && two(minutes, 60)).then_some(Written::Zoned)?
            }
        };
        Some(Instant { written, fine: fraction.trim_end_matches('0').len() > 6, near })
    }
}

/// What all values of a field of JSON are.
#[derive(Default)]
pub struct Node(Shape);

#[derive(Default)]
enum Shape {
    #[default]
    Nothing,
    Truth,
    Number(Numbers),
    Text,
    List(Box<Node>),
    Object(Object),
}

/// The fields of objects, in the order in which they came.
#[derive(Default)]
pub struct Object {
    fields: Vec<(String, Node)>,
    places: HashMap<String, usize>,
}

struct Numbers {
    int: bool,
    whole: bool,
    plain: bool,
    float: bool,
    decimal: Option<(usize, usize)>,
}

impl Default for Numbers {
    fn default() -> Self {
        Numbers { int: true, whole: true, plain: true, float: true, decimal: Some((0, 0)) }
    }
}

impl Numbers {
    fn add(&mut self, number: &Number<'_>) {
        self.int = self.int && number.is_int();
        self.whole = self.whole && number.is_unsigned();
        self.plain = self.plain && number.plain;
        self.float = self.float && number.is_float();
        self.decimal = self.decimal.zip(number.decimal()).map(|((a, b), (c, d))| (a.max(c), b.max(d)));
    }

    /// Whole numbers of more than 64 bits, and those with more digits than floats have, are decimals.
    fn kind(&self) -> Option<DataType> {
        let decimal = self.decimal.filter(|(before, after)| before + after <= DECIMAL128_MAX_PRECISION.into());
        let decimal = decimal.map(|(before, after)| DataType::Decimal128((before + after).max(1) as u8, after as i8));
        match self {
            Numbers { int: true, .. } => Some(DataType::Int64),
            Numbers { whole: true, .. } => Some(DataType::UInt64),
            Numbers { plain: true, .. } if decimal.is_some() => decimal,
            Numbers { float: true, .. } => Some(DataType::Float64),
            _ => decimal,
        }
    }
}

impl Node {
    /// Takes one more value. The error says where in it, and what was seen there before.
    fn add(&mut self, raw: &RawValue, at: &str) -> Result<(), String> {
        let text = raw.get();
        let first = text.bytes().next().unwrap_or(b'n');
        if matches!((&self.0, first), (Shape::Nothing, f) if f != b'n') {
            self.0 = match first {
                b't' | b'f' => Shape::Truth,
                b'"' => Shape::Text,
                b'[' => Shape::List(Box::default()),
                b'{' => Shape::Object(Object::default()),
                _ => Shape::Number(Numbers::default()),
            };
        }
        match (&mut self.0, first) {
            (_, b'n') | (Shape::Truth, b't' | b'f') | (Shape::Text, b'"') => Ok(()),
            (Shape::Number(numbers), b'-' | b'0'..=b'9') => {
                numbers.add(&Number::json(text).ok_or_else(|| format!("has no number but {text} in {at:?}"))?);
                match numbers.kind() {
                    Some(_) => Ok(()),
                    None => Err(format!(
                        "has the number {text} in {at:?}, and no type of numbers holds it and those before it: write it as text"
                    )),
                }
            }
            (Shape::List(item), b'[') => items(text, |raw| item.add(raw, at)),
            (Shape::Object(object), b'{') => object.add(text, at),
            (shape, _) => Err(format!(
                "has {} in {at:?}, and {} before it, and neither type holds all values of the other: write them as one type",
                word(first),
                shape.word()
            )),
        }
    }

    /// The type of the values; text that is never there has none.
    fn kind(&self) -> DataType {
        match &self.0 {
            Shape::Nothing => DataType::Null,
            Shape::Truth => DataType::Boolean,
            Shape::Number(numbers) => numbers.kind().unwrap_or(DataType::Utf8),
            Shape::Text => DataType::Utf8,
            Shape::List(item) => DataType::List(Field::new("item", item.kind(), true).into()),
            Shape::Object(object) => DataType::Struct(object.fields()),
        }
    }
}

fn word(first: u8) -> &'static str {
    match first {
        b'n' => "null",
        b't' | b'f' => "a boolean",
        b'"' => "a text",
        b'[' => "a list",
        b'{' => "an object",
        _ => "a number",
    }
}

impl Shape {
    fn word(&self) -> &'static str {
        match self {
            Shape::Nothing => "nothing",
            Shape::Truth => "a boolean",
            Shape::Number(_) => "a number",
            Shape::Text => "a text",
            Shape::List(_) => "a list",
            Shape::Object(_) => "an object",
        }
    }
}

impl Object {
    /// Takes one record of a file.
    pub fn record(&mut self, raw: &RawValue) -> Result<(), String> {
        match raw.get().starts_with('{') {
            true => self.add(raw.get(), ""),
            false => {
                Err(format!("has {} where a record must be an object", word(raw.get().bytes().next().unwrap_or(b'n'))))
            }
        }
    }

    fn add(&mut self, text: &str, at: &str) -> Result<(), String> {
        let mut seen = Vec::new();
        entries(text, |key, raw| {
            let place = *self.places.entry(key.to_string()).or_insert_with(|| {
                self.fields.push((key.to_string(), Node::default()));
                self.fields.len() - 1
            });
            if seen.len() <= place {
                seen.resize(place + 1, false);
            }
            let path = if at.is_empty() { key.to_string() } else { format!("{at}.{key}") };
            if std::mem::replace(&mut seen[place], true) {
                return Err(format!("has an object with the field {path:?} twice"));
            }
            self.fields[place].1.add(raw, &path)
        })
    }

    /// The columns.
    pub fn fields(&self) -> Fields {
        self.fields.iter().map(|(name, node)| Field::new(name, node.kind(), true)).collect()
    }
}

/// Goes through the items of an array.
pub fn items(text: &str, each: impl FnMut(&RawValue) -> Result<(), String>) -> Result<(), String> {
    struct Items<F>(F);
    impl<'de, F: FnMut(&RawValue) -> Result<(), String>> Visitor<'de> for Items<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<(), A::Error> {
            while let Some(raw) = items.next_element::<&RawValue>()? {
                (self.0)(raw).map_err(serde::de::Error::custom)?;
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_seq(Items(each)).map_err(|e| said(&e))
}

/// Goes through the entries of an object.
pub fn entries(text: &str, each: impl FnMut(&str, &RawValue) -> Result<(), String>) -> Result<(), String> {
    struct Entries<F>(F);
    impl<'de, F: FnMut(&str, &RawValue) -> Result<(), String>> Visitor<'de> for Entries<F> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(mut self, mut entries: A) -> Result<(), A::Error> {
            while let Some((key, raw)) = entries.next_entry::<String, &RawValue>()? {
                (self.0)(&key, raw).map_err(serde::de::Error::custom)?;
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(text).deserialize_map(Entries(each)).map_err(|e| said(&e))
}

/// An error without its place: that is within a part of the file.
fn said(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rfind(" at line ").map_or(text.clone(), |at| text[..at].to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(values: &[&str]) -> DataType {
        let mut seen = Seen::default();
        values.iter().for_each(|value| seen.add(value));
        seen.kind()
    }

    #[test]
    fn text_stays_text_where_a_number_would_lose_something() {
        let local = |unit| DataType::Timestamp(unit, None);
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        for (values, wanted) in [
            (&["1", "-5", "9223372036854775807"][..], DataType::Int64),
            (&["18446744073709551615", "0"], DataType::UInt64),
            (&["18446744073709551616"], DataType::Float64), // 2^64 is a float
            (&["18446744073709551617"], DataType::Utf8),
            (&["1", "2.50", "-0.0", "1e+20", "1.5E10", "1e-05", "0.30000000000000004"], DataType::Float64),
            (&["9007199254740993", "2.5"], DataType::Utf8),
            (&["9007199254740992", "2.5"], DataType::Float64),
            (&["1234567890123456789012345"], DataType::Utf8),
            (&["1e400"], DataType::Utf8),
            (&["4.9406564584124654e-324", "5e-324"], DataType::Float64),
            (&["3e-324"], DataType::Utf8),
            (&["1", "01234"], DataType::Utf8),
            (&["-07"], DataType::Utf8),
            (&["+49"], DataType::Utf8),
            (&["1e5", "12E4"], DataType::Utf8),
            (&["00.5"], DataType::Utf8),
            (&["-"], DataType::Utf8),
            (&["."], DataType::Utf8),
            (&["1 "], DataType::Utf8),
            (&["NaN"], DataType::Utf8),
            (&["0x1F"], DataType::Utf8),
            (&["1_000"], DataType::Utf8),
            (&["true", "FALSE"], DataType::Boolean),
            (&["true", "1"], DataType::Utf8),
            (&["2024-05-06", "0001-01-01", "9999-12-31"], DataType::Date32),
            (&["2024-02-30"], DataType::Utf8),
            (&["0000-01-01"], DataType::Utf8),
            (&["2024-05-06T07:08:09", "2024-05-06 07:08:09.5", "2024-05-06"], local(TimeUnit::Microsecond)),
            (&["2024-05-06 07:08:09.123456789"], local(TimeUnit::Nanosecond)),
            (&["2024-05-06 07:08:09.123456789", "9999-01-01 00:00:00"], DataType::Utf8),
            (&["2024-05-06 07:08:60"], DataType::Utf8),
            (&["2024-05-06 24:00:00"], DataType::Utf8),
            (&["2024-05-06T07:08:09Z", "2024-05-06T07:08:09.25+02:00"], utc),
            (&["2024-05-06T07:08:09Z", "2024-05-06T07:08:09"], DataType::Utf8),
            (&[], DataType::Utf8),
        ] {
            assert_eq!(kind(values), wanted, "{values:?}");
        }
    }

    fn fields(records: &[&str]) -> Result<Fields, String> {
        let mut object = Object::default();
        for record in records {
            object.record(&RawValue::from_string((*record).to_string()).expect("JSON"))?;
        }
        Ok(object.fields())
    }

    #[test]
    fn a_type_of_json_holds_every_number() {
        for (records, wanted) in [
            (&[r#"{"a":1}"#, r#"{"a":null}"#][..], DataType::Int64),
            (&[r#"{"a":1}"#, r#"{"a":2.5}"#], DataType::Float64),
            (&[r#"{"a":9223372036854775808}"#], DataType::UInt64),
            (&[r#"{"a":9223372036854775808}"#, r#"{"a":-1}"#], DataType::Decimal128(19, 0)),
            (&[r#"{"a":18446744073709551617}"#], DataType::Decimal128(20, 0)),
            (&[r#"{"a":9007199254740993}"#, r#"{"a":2.5}"#], DataType::Decimal128(17, 1)),
            (&[r#"{"a":1e300}"#, r#"{"a":1}"#], DataType::Float64),
            (&[r#"{"a":null}"#], DataType::Null),
        ] {
            assert_eq!(fields(records).expect("a type")[0].data_type(), &wanted, "{records:?}");
        }
        let nested = fields(&[r#"{"d":{"x":[1]}}"#, r#"{"b":"s","d":{"x":[2.5],"y":true}}"#]).expect("types");
        let x = DataType::List(Field::new("item", DataType::Float64, true).into());
        let d = Fields::from(vec![Field::new("x", x, true), Field::new("y", DataType::Boolean, true)]);
        let wanted = [Field::new("d", DataType::Struct(d), true), Field::new("b", DataType::Utf8, true)];
        assert_eq!(nested, Fields::from(wanted.to_vec()));
    }

    #[test]
    fn json_that_no_type_holds_is_refused_by_name() {
        for (records, said) in [
            (&[r#"{"a":1}"#, r#"{"a":"x"}"#][..], r#"has a text in "a", and a number before it"#),
            (&[r#"{"d":{"a":[1]}}"#, r#"{"d":{"a":[{}]}}"#], r#"has an object in "d.a", and a number before it"#),
            (&[r#"{"a":1e300}"#, r#"{"a":9007199254740993}"#], r#"has the number 9007199254740993 in "a""#),
            (&[r#"{"a":1,"a":2}"#], r#"has an object with the field "a" twice"#),
            (&["[1]"], "has a list where a record must be an object"),
            (&["null"], "has null where a record must be an object"),
        ] {
            let error = fields(records).expect_err(said);
            assert!(error.starts_with(said), "{error}");
        }
    }
}
