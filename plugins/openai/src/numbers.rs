//! Numbers that would come out as others.

use agenthost::{Error, Result};
use serde_json::{Map, Value};

/// The first whole number of a JSON text that has more digits than 64 bits, which serde_json rounds to a float.
pub fn rounded(json: &str) -> Option<&str> {
    let bytes = json.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = end_of_string(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let length = bytes[at..]
                    .iter()
                    .take_while(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
                    .count();
                let number = &json[at..at + length];
                let whole = number.bytes().all(|b| b == b'-' || b.is_ascii_digit());
                if whole && number.parse::<i64>().is_err() && number.parse::<u64>().is_err() {
                    return Some(number);
                }
                at += length;
            }
            _ => at += 1,
        }
    }
    None
}

/// Where a string's text ends, behind its quote.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// Refuses a config with a whole number that its template may have rounded: all numbers of a template are floats.
pub fn check(config: &Map<String, Value>, name: &str) -> Result<()> {
    config.iter().try_for_each(|(key, value)| check_value(value, &format!("{name}.{key}")))
}

fn check_value(value: &Value, path: &str) -> Result<()> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if float.fract() == 0.0 && float.abs() >= EXACT => Err(Error::invalid_argument(format!(
                "the task's {path} is {number}: a template keeps whole numbers below 2^53 and rounds larger ones"
            ))),
            _ => Ok(()),
        },
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(i, item)| check_value(item, &format!("{path}[{i}]")))
        }
        Value::Object(fields) => {
            fields.iter().try_for_each(|(key, field)| check_value(field, &format!("{path}.{key}")))
        }
        _ => Ok(()),
    }
}
