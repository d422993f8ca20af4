//! The table of types, types.tsv, is what the server gets of each kind of input, and what a task gets of each kind of answer.
//! UPDATE_TYPES=1 writes it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use agenthost::contract::flyteidl::core::{Literal, LiteralMap, LiteralOffloadedMetadata, literal};
use agenthost::testing::{TestResult, TestTask};
use agenthost::{Directory, File, Json, Phase, StructuredDataset, Value, encode};
use chrono::{DateTime, TimeDelta};
use serde_json::{Value as J, json};

use crate::flytekit::task_with;
use crate::server::Trouble;
use crate::support::both;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/types.tsv");

/// Types of Flyte's, with values at their edges.
fn kinds() -> Vec<(&'static str, Vec<Literal>)> {
    let of = |value: Value| encode(&value, None).unwrap();
    let texts = ["", "it's <&> ☃\u{0}\u{2028}\u{1F600}\n", "01234"].map(|text| of(text.into()));
    let long = of("ü".repeat(1 << 19).into());
    let offloaded = LiteralOffloadedMetadata { uri: "s3://b/o.pb".into(), ..Default::default() };
    let (uri, format) = ("s3://b/f".to_string(), "csv".to_string());
    let file = File { uri: uri.clone(), format: format.clone() };
    vec![
        ("str", [texts.as_slice(), &[long]].concat()),
        ("int", vec![of(1_i64.into())]),
        ("float", vec![of(0.1.into())]),
        ("bool", vec![of(true.into())]),
        ("datetime", vec![of(DateTime::UNIX_EPOCH.into())]),
        ("timedelta", vec![of(TimeDelta::seconds(1).into())]),
        ("bytes", vec![of(Value::Binary { bytes: vec![0, 255], tag: String::new() })]),
        ("None", vec![of(Value::None)]),
        ("list[str]", vec![of(vec!["a"].into())]),
        ("dict", vec![of(json!({"k": "v"}).into())]),
        ("dict[str, str]", vec![of(BTreeMap::from([("k".to_string(), "v")]).into())]),
        ("dataset", vec![of(StructuredDataset::default().into())]),
        ("file", vec![of(file.into())]),
        ("directory", vec![of(Directory { uri, format }.into())]),
        (
            "a value that Flyte has put into storage",
            vec![Literal { value: Some(literal::Value::OffloadedMetadata(offloaded)), ..Default::default() }],
        ),
    ]
}

fn inputs(name: &str, literal: Literal) -> LiteralMap {
    LiteralMap { literals: HashMap::from([(name.to_string(), literal)]) }
}

/// A row of the table, from what came of its values: the reasons of those that were refused.
fn row(cell: [&str; 4], exact: bool, refused: BTreeSet<String>) -> String {
    let outcome = if exact { "exact" } else { "refused" };
    let notes: Vec<_> = refused.into_iter().collect();
    format!("{}\t{outcome}\t{}", cell.join("\t"), notes.join("; "))
}

/// The reason for which a task failed for good, without what is another for each value.
fn refusal(result: &TestResult) -> String {
    assert_eq!(result.phase(), Phase::Failed, "{}", result.message());
    let mut message = result.message().to_string();
    for before in ["bad_task: ", "unexpected_answer: ", "inexact_number: "] {
        message = message.trim_start_matches(before).to_string();
    }
    if let Some((_, after)) = message.split_once("/v1/") {
        message = after.split_once(": ").unwrap().1.to_string();
    }
    if let Some((before, _)) = message.split_once(": {") {
        message = before.to_string();
    }
    let input = ["message", "texts"].map(|name| format!("input {name:?} "));
    let message = input.iter().fold(message, |message, name| message.replace(name, ""));
    let word = |word: &str| match word.trim_end_matches(',') {
        number if number.len() > 9 && number.parse::<f64>().is_ok() => word.replace(number, "…"),
        _ => word.to_string(),
    };
    message.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn the_table_of_types_is_what_happens() {
    let mut cells = BTreeSet::new();
    let (server, client) = both().await;
    for (name, literals) in kinds() {
        for (position, compiled, input) in
            [("named parameter", "chat", "message"), ("list item", "embeddings", "texts")]
        {
            let (mut exact, mut refused) = (false, BTreeSet::new());
            for literal in &literals {
                let list = literal::Value::Collection(agenthost::contract::flyteidl::core::LiteralCollection {
                    literals: vec![literal.clone()],
                });
                let given = match position {
                    "list item" => Literal { value: Some(list), ..Default::default() },
                    _ => literal.clone(),
                };
                let before = server.calls("POST").len();
                let result = client.execute(task_with(compiled, inputs(input, given))).await.unwrap();
                if result.phase() != Phase::Succeeded {
                    refused.insert(refusal(&result));
                    assert_eq!(server.calls("POST").len(), before, "{name} is refused before it is sent");
                    continue;
                }
                exact = true;
                let body = server.calls("POST").pop().unwrap().body;
                let got = if input == "texts" { &body["input"][0] } else { &body["messages"][0]["content"] };
                let agenthost::Value::Str(text) = agenthost::decode(literal).unwrap() else {
                    panic!("{name} is a text")
                };
                assert_eq!(got, &json!(text), "{name} as {position}");
            }
            let engine = if exact { "string" } else { "none" };
            cells.insert(row(["in", name, engine, position], exact, refused));
        }
    }
    for (name, engine, position, values) in answers() {
        let (mut exact, mut refused) = (false, BTreeSet::new());
        for (answer, want) in values {
            let result = answered(&server, &client, position, &answer).await;
            if result.phase() != Phase::Succeeded {
                assert_eq!(want, None, "{answer}: {}", result.message());
                refused.insert(refusal(&result));
                continue;
            }
            exact = true;
            let got = match position {
                "scalar" => json!(result.output::<String>("o0")),
                "list item" => json!(result.output::<Vec<f64>>("embedding")),
                _ => result.output::<Json<J>>("result").0["metadata"]["v"].clone(),
            };
            assert_eq!(Some(got), want, "{answer}");
        }
        cells.insert(row(["out", name, engine, position], exact, refused));
    }
    let mut text = "direction\tflyte\tengine\tposition\toutcome\tnote\n".to_string();
    cells.iter().for_each(|cell| text += &format!("{cell}\n"));
    if std::env::var("UPDATE_TYPES").is_ok_and(|value| value == "1") {
        std::fs::write(FILE, &text).unwrap();
    }
    let held = std::fs::read_to_string(Path::new(FILE)).unwrap();
    assert!(held == text, "types.tsv is not what happens (UPDATE_TYPES=1 writes it):\n{text}");
}

/// Parts of answers as JSON, and what the output is: nothing where the task is refused.
type Answers = Vec<(&'static str, &'static str, &'static str, Vec<(String, Option<J>)>)>;

fn answers() -> Answers {
    let same = |texts: &[&str]| {
        let read = |text: &&str| (text.to_string(), Some(serde_json::from_str(text).unwrap()));
        texts.iter().map(read).collect::<Vec<_>>()
    };
    let not = |texts: &[&str]| texts.iter().map(|text| (text.to_string(), None)).collect::<Vec<_>>();
    let numbers = ["0", "9007199254740993", "-9223372036854775808", "18446744073709551615"];
    vec![
        ("str", "string", "scalar", same(&[r#""""#, r#""<&> ☃\u0000\ud83d\ude00""#, r#""01234""#])),
        (
            "str",
            "list of parts",
            "scalar",
            [
                vec![(
                    r#"[{"type": "text", "text": "Pa"}, {"type": "text", "text": "ris"}]"#.to_string(),
                    Some(json!("Paris")),
                )],
                not(&[r#"[{"type": "image_url", "image_url": {}}]"#, r#"[{"type": "refusal", "refusal": "no"}]"#]),
            ]
            .concat(),
        ),
        ("str", "null", "scalar", not(&["null"])),
        ("str", "object", "scalar", not(&[r#"{"text": "Paris"}"#])),
        (
            "list[float]",
            "array of numbers",
            "list item",
            [
                same(&["[31.245270191439438, -0.0, 5e-324, 1.7976931348623157e308]"]),
                vec![("[1, 9007199254740992]".to_string(), Some(json!([1.0, 9_007_199_254_740_992.0])))],
                not(&["[null]", r#"["NaN"]"#, "[9007199254740993]", "[[1]]", "[]", "{}"]),
            ]
            .concat(),
        ),
        (
            "list[float]",
            "base64 of 32-bit floats",
            "list item",
            [
                vec![(r#""AACAPwAAAMA=""#.to_string(), Some(json!([1.0, -2.0])))],
                not(&[r#""AADAfw==""#, r#""AACAPwA=""#, r#""?""#]),
            ]
            .concat(),
        ),
        (
            "int",
            "number",
            "dict value",
            [same(&numbers), not(&["18446744073709551616", "-9223372036854775809"])].concat(),
        ),
        ("float", "number", "dict value", same(&["31.245270191439438", "-0.0", "5e-324", "1e22"])),
        ("str", "string", "dict value", same(&[r#""""#, r#""<&> ☃\u0000""#])),
        ("bool", "boolean", "dict value", same(&["true", "false"])),
        ("None", "null", "dict value", same(&["null"])),
        ("list", "array", "dict value", same(&["[]", r#"[1, "a", null, [0.5]]"#])),
        ("dict", "object", "dict value", same(&["{}", r#"{"": {"deep": 9007199254740993}}"#])),
    ]
}

/// What comes of an answer with this part.
async fn answered(
    server: &crate::server::Server,
    client: &agenthost::testing::Client,
    position: &str,
    part: &str,
) -> TestResult {
    let answer = |call: &'static str, body: String| {
        server.trouble(Trouble { call, status: 200, body, ..Default::default() });
    };
    match position {
        "scalar" => {
            let message = format!(r#"{{"message": {{"content": {part}}}, "finish_reason": "stop"}}"#);
            answer("POST", format!(r#"{{"choices": [{message}]}}"#));
            client.execute(crate::support::chat("tell")).await.unwrap()
        }
        "list item" => {
            answer("POST", format!(r#"{{"data": [{{"embedding": {part}}}]}}"#));
            let custom = json!({"embeddings_config": {"model": "small"}});
            client.execute(TestTask::new("openai-embeddings").custom(custom).input("text", "a")).await.unwrap()
        }
        _ => {
            let job = client.job("openai-batch", r#"{"batch_id": "batch_7"}"#);
            answer("GET", format!(r#"{{"id": "batch_7", "status": "completed", "metadata": {{"v": {part}}}}}"#));
            job.get().await.unwrap()
        }
    }
}
