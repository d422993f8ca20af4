//! Holds a configuration to the JSON Schema that schemars makes of its type, and names every key that is wrong. It knows what schemars
//! writes of Rust's types; what it does not know, serde finds when the type is read. A library for all of JSON Schema (jsonschema 0.33)
//! would add 58 crates to the 124 that a plugin is built of.

use std::collections::BTreeSet;

use regex_lite::Regex;
use serde_json::{Map, Number, Value};

/// One thing that is wrong: the key, dotted, and what would be right.
pub(crate) type Fault = (String, String);

/// Reads the values of one of the SDK's own types, which its schema names by this `format`. The error says what is wrong.
pub(crate) struct Format {
    pub name: &'static str,
    pub check: fn(&Value) -> Result<(), String>,
}

/// A schema, and the formats that it names.
pub(crate) struct Checker<'a> {
    pub root: &'a Value,
    pub formats: &'a [Format],
}

impl Checker<'_> {
    /// Everything that is wrong with a value, sorted by key.
    pub fn faults(&self, value: &Value) -> Vec<Fault> {
        let mut faults = self.check(self.root, "", value);
        faults.sort();
        faults.dedup();
        faults
    }

    /// Takes out the keys that are null and need not be given: `limits:` with nothing behind it is as if it were not there.
    pub fn drop_nulls(&self, value: &mut Value) {
        self.drop_nulls_at(self.root, value);
    }

    fn drop_nulls_at(&self, schema: &Value, value: &mut Value) {
        let schema = self.resolve(schema);
        match value {
            Value::Object(fields) => {
                let required = strings(schema, "required");
                fields.retain(|name, field| {
                    let known = schema.pointer("/properties").and_then(|p| p.get(name));
                    !(field.is_null() && known.is_some() && !required.contains(name.as_str()))
                });
                for (name, field) in fields {
                    if let Some(inner) = member(schema, name) {
                        self.drop_nulls_at(inner, field);
                    }
                }
            }
            Value::Array(items) => {
                if let Some(inner) = schema.get("items") {
                    items.iter_mut().for_each(|item| self.drop_nulls_at(inner, item));
                }
            }
            _ => {}
        }
    }

    /// Follows references, and what makes a schema optional.
    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        if let Some(target) = self.target(schema) {
            return self.resolve(target);
        }
        match self.alternatives(schema)[..] {
            [only] => self.resolve(only),
            _ => schema,
        }
    }

    fn target(&self, schema: &Value) -> Option<&Value> {
        self.root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
    }

    /// The schemas of which one must fit, but for null's.
    fn alternatives<'s>(&self, schema: &'s Value) -> Vec<&'s Value> {
        let of = |keyword| schema.get(keyword).and_then(Value::as_array).into_iter().flatten();
        of("anyOf").chain(of("oneOf")).filter(|s| s.get("type") != Some(&Value::from("null"))).collect()
    }

    fn check(&self, schema: &Value, key: &str, value: &Value) -> Vec<Fault> {
        if let Some(target) = self.target(schema) {
            return self.check(target, key, value);
        }
        let types = strings(schema, "type");
        if value.is_null() && (types.contains("null") || self.is_optional(schema)) {
            return Vec::new();
        }
        if let Some(format) = self.formats.iter().find(|f| schema.get("format") == Some(&Value::from(f.name))) {
            return (format.check)(value).err().map(|wrong| (key.to_string(), wrong)).into_iter().collect();
        }
        let mut faults = Vec::new();
        let mut wrong = |message: String| faults.push((key.to_string(), message));
        if let Some(allowed) = allowed(schema) {
            if !allowed.contains(&value) {
                wrong(format!(
                    "must be one of {}, got {}",
                    allowed.iter().map(plain).collect::<Vec<_>>().join(", "),
                    given(value)
                ));
            }
            return faults;
        }
        if !types.is_empty() && !types.iter().any(|name| is_of(value, name)) {
            let wanted: Vec<_> = types.iter().filter(|name| **name != "null").map(|name| articled(name)).collect();
            wrong(format!("must be {}, got {}", wanted.join(" or "), given(value)));
            return faults;
        }
        if let Some(message) = out_of_bounds(schema, value) {
            wrong(message);
        }
        for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            faults.extend(self.check(part, key, value));
        }
        match value {
            Value::Object(fields) => faults.extend(self.check_fields(schema, key, fields)),
            Value::Array(items) => faults.extend(self.check_items(schema, key, items)),
            _ => {}
        }
        let alternatives = self.alternatives(schema);
        if let [only] = alternatives[..] {
            faults.extend(self.check(only, key, value));
        } else if !alternatives.is_empty() {
            // That which it was meant to be is, most likely, the one that has the least against it.
            let tried = alternatives.iter().map(|schema| self.check(schema, key, value));
            faults.extend(
                tried.min_by_key(|faults| (faults.iter().any(|(at, _)| at == key), faults.len())).unwrap_or_default(),
            );
        }
        faults
    }

    fn is_optional(&self, schema: &Value) -> bool {
        let branches = ["anyOf", "oneOf"].iter().filter_map(|keyword| schema.get(keyword)?.as_array());
        branches.flatten().any(|branch| branch.get("type") == Some(&Value::from("null")))
    }

    fn check_fields(&self, schema: &Value, key: &str, fields: &Map<String, Value>) -> Vec<Fault> {
        let mut faults = Vec::new();
        for name in strings(schema, "required") {
            if !fields.contains_key(name) {
                faults.push((joined(key, name), "is required".into()));
            }
        }
        for (name, field) in fields {
            match member(schema, name) {
                Some(Value::Bool(false)) => {
                    let known = schema.get("properties").and_then(Value::as_object);
                    let known: BTreeSet<&str> = known.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    faults.push((joined(key, name), format!("unknown key: {}", meant(name, &known))));
                }
                Some(inner) => faults.extend(self.check(inner, &joined(key, name), field)),
                None => {}
            }
        }
        faults
    }

    fn check_items(&self, schema: &Value, key: &str, items: &[Value]) -> Vec<Fault> {
        let first = schema.get("prefixItems").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let numbered = items.iter().enumerate().filter_map(|(i, item)| {
            let inner = first.get(i).or_else(|| schema.get("items"))?;
            Some(self.check(inner, &format!("{key}[{i}]"), item))
        });
        numbered.flatten().collect()
    }
}

/// The schema of a key's value. False: there is no such key.
fn member<'s>(schema: &'s Value, name: &str) -> Option<&'s Value> {
    schema.get("properties").and_then(|p| p.get(name)).or_else(|| schema.get("additionalProperties"))
}

fn joined(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_string() } else { format!("{key}.{name}") }
}

/// The strings of a keyword, which is one or a list.
fn strings<'s>(schema: &'s Value, keyword: &str) -> BTreeSet<&'s str> {
    match schema.get(keyword) {
        Some(Value::String(one)) => BTreeSet::from([one.as_str()]),
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => BTreeSet::new(),
    }
}

/// The values that an enum has: as one list, or one by one where each has a description.
fn allowed(schema: &Value) -> Option<Vec<&Value>> {
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return Some(values.iter().filter(|value| !value.is_null()).collect());
    }
    if let Some(value) = schema.get("const") {
        return Some(vec![value]);
    }
    let each = schema.get("oneOf")?.as_array()?.iter();
    each.map(allowed).collect::<Option<Vec<_>>>().map(|values| values.concat())
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => true,
    }
}

/// What a number, a text or a list says against the limits of its schema.
fn out_of_bounds(schema: &Value, value: &Value) -> Option<String> {
    let limit = |keyword: &str| schema.get(keyword).and_then(Value::as_number);
    let beyond = |size: &Number, keyword: &str, out: fn(f64, f64) -> bool| {
        limit(keyword).filter(|limit| size.as_f64().zip(limit.as_f64()).is_some_and(|(size, limit)| out(size, limit)))
    };
    let (size, minimum, maximum, unit) = match value {
        Value::Number(n) => (n.clone(), "minimum", "maximum", ""),
        Value::String(s) => (s.chars().count().into(), "minLength", "maxLength", " characters"),
        Value::Array(items) => (items.len().into(), "minItems", "maxItems", " items"),
        Value::Object(fields) => (fields.len().into(), "minProperties", "maxProperties", " entries"),
        _ => return None,
    };
    let has = if unit.is_empty() { "be" } else { "have" };
    let got = if unit.is_empty() { given(value) } else { size.to_string() };
    if let Some(limit) = beyond(&size, minimum, |size, limit| size < limit) {
        return Some(format!("must {has} at least {limit}{unit}, got {got}"));
    }
    if let Some(limit) = beyond(&size, maximum, |size, limit| size > limit) {
        return Some(format!("must {has} at most {limit}{unit}, got {got}"));
    }
    if let Some(limit) = beyond(&size, "exclusiveMinimum", |size, limit| size <= limit).filter(|_| value.is_number()) {
        return Some(format!("must be more than {limit}, got {got}"));
    }
    if let Some(limit) = beyond(&size, "exclusiveMaximum", |size, limit| size >= limit).filter(|_| value.is_number()) {
        return Some(format!("must be less than {limit}, got {got}"));
    }
    let pattern = schema.get("pattern").and_then(Value::as_str)?;
    let text = value.as_str()?;
    match Regex::new(pattern) {
        Ok(regex) if !regex.is_match(text) => Some(format!("must match {pattern}, got {}", given(value))),
        Ok(_) => None,
        Err(error) => Some(format!("cannot be checked: the plugin's schema has the pattern {pattern}: {error}")),
    }
}

/// A value as the block has it; lists and mappings by their kind alone.
pub(crate) fn given(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a mapping".into(),
        scalar => scalar.to_string(),
    }
}

/// The kind of a value.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

fn plain(value: &&Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

fn articled(name: &str) -> String {
    match name {
        "object" => "a mapping".into(),
        "array" => "a list".into(),
        "integer" => "an integer".into(),
        other => format!("a {other}"),
    }
}

/// Says which key was meant: at most two letters away, or a third of the name's, whatever the case. Or else which keys there are.
fn meant(name: &str, known: &BTreeSet<&str>) -> String {
    let lower = name.to_lowercase();
    let distances = known.iter().map(|known| (strsim::levenshtein(&lower, &known.to_lowercase()), *known));
    // At its whole length they have nothing in common.
    let near =
        distances.filter(|(distance, known)| *distance <= 2.max(name.len() / 3) && *distance < known.len()).min();
    match near {
        Some((_, known)) => format!("did you mean {known:?}?"),
        None if known.is_empty() => "there are no keys here".into(),
        None => format!("the keys are {}", known.iter().copied().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde_json::json;

    use super::Checker;

    #[derive(JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Block {
        size: Option<u8>,
        mode: Option<Mode>,
        from: Option<Source>,
        pair: Option<(i64, String)>,
        either: Option<Either>,
        #[schemars(length(min = 2), regex(pattern = "^[a-z]+$"))]
        name: Option<String>,
        #[schemars(extend("exclusiveMinimum" = 0))]
        share: Option<f64>,
    }

    #[derive(JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code)]
    enum Mode {
        /// As fast as it can be.
        Fast,
        /// With care.
        Careful,
    }

    #[derive(JsonSchema)]
    #[serde(tag = "type", rename_all = "snake_case")]
    #[allow(dead_code)]
    enum Source {
        File { path: String },
        Table { name: String, rows: i64 },
    }

    #[derive(JsonSchema)]
    #[serde(untagged)]
    #[allow(dead_code)]
    enum Either {
        Number(i64),
        Text(String),
    }

    #[test]
    fn what_schemars_writes_is_understood() {
        let schema = schemars::schema_for!(Block).to_value();
        let checker = Checker { root: &schema, formats: &[] };
        let good = json!({
            "size": 255, "mode": "fast", "from": {"type": "table", "name": "t", "rows": 3}, "pair": [1, "a"], "either": "x",
            "name": "ab", "share": 0.5,
        });
        assert_eq!(checker.faults(&good), []);
        assert_eq!(checker.faults(&json!({"size": null, "either": 1})), []);
        for (block, key, message) in [
            (json!({"size": 256}), "size", "must be at most 255, got 256"),
            (json!({"size": -1}), "size", "must be at least 0, got -1"),
            (json!({"size": 1.0}), "size", "must be an integer, got 1.0"),
            (json!({"mode": "slow"}), "mode", "must be one of fast, careful, got \"slow\""),
            (
                json!({"from": {"type": "table", "name": "t", "rows": "3"}}),
                "from.rows",
                "must be an integer, got \"3\"",
            ),
            (json!({"from": {"type": "table", "name": "t"}}), "from.rows", "is required"),
            (json!({"pair": [1, 2]}), "pair[1]", "must be a string, got 2"),
            (json!({"pair": [1]}), "pair", "must have at least 2 items, got 1"),
            (json!({"name": "a"}), "name", "must have at least 2 characters, got 1"),
            (json!({"name": "A1"}), "name", "must match ^[a-z]+$, got \"A1\""),
            (json!({"share": 0}), "share", "must be more than 0, got 0"),
            (json!({"nmae": "a"}), "nmae", "unknown key: did you mean \"name\"?"),
        ] {
            let faults = checker.faults(&block);
            let messages: Vec<_> = faults.iter().map(|(key, message)| (key.as_str(), message.as_str())).collect();
            assert_eq!(messages, [(key, message)], "{block}");
        }
    }
}
