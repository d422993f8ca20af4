//! The task type `chatgpt`: a message, and the model's answer to it.

use std::time::Instant;

use agenthost::{Error, Resource, Result, SyncAgent, Task, async_trait};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::Answer;
use crate::config::Config;
use crate::fault::{self, Fault, complaint};
use crate::numbers;
use crate::report::{milliseconds, with_usage};
use crate::service::Configured;

/// The custom part that flytekit's ChatGPTTask makes.
#[derive(Deserialize)]
struct Custom {
    #[serde(default)]
    openai_organization: Option<String>,
    chatgpt_config: Map<String, Value>,
}

/// Serves chats.
pub struct Chat(Configured);

impl Chat {
    pub fn new(configured: Configured) -> Self {
        Chat(configured)
    }
}

#[async_trait]
impl SyncAgent for Chat {
    async fn execute(&self, task: Task) -> Result<Resource> {
        fault::of_task(self.answer(task).await)
    }
}

impl Chat {
    async fn answer(&self, task: Task) -> Result<Resource> {
        let custom: Custom = task.custom()?;
        let body = request(custom.chatgpt_config, task.input("message")?)?;
        let service = self.0.service()?;
        let session = service.session_of_task(&task, custom.openai_organization)?;
        let url = session.address(&["chat", "completions"]);
        let began = Instant::now();
        match session.repeat(|| session.post(url.clone(), &body, &task.idempotency_key)).await {
            Ok(answer) => Ok(resource(&answer, &service.config).with_info("latency_ms", milliseconds(began))),
            Err(fault) => Ok(fault.resource().with_info("latency_ms", milliseconds(began))),
        }
    }
}

/// The body of the call. Messages of the config, such as the system's, come before the task's own.
fn request(mut config: Map<String, Value>, message: String) -> Result<Value> {
    let wrong = |message: &str| Err(Error::invalid_argument(format!("the task's chatgpt_config {message}")));
    numbers::check(&config, "chatgpt_config")?;
    if !config.get("model").is_some_and(Value::is_string) {
        return wrong("needs a model, by name");
    }
    if config.get("stream") == Some(&Value::Bool(true)) {
        return wrong("asks for a stream, and a task has one answer: leave stream out");
    }
    let mut messages = match config.remove("messages") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(messages)) => messages,
        Some(_) => return wrong("has messages that are no list"),
    };
    messages.push(json!({"role": "user", "content": message}));
    config.insert("messages".into(), messages.into());
    Ok(config.into())
}

fn resource(answer: &Answer, config: &Config) -> Resource {
    let body = &answer.body;
    let (mut resource, finish) = match first(body) {
        Some((choice, _)) if complaint(choice).is_some() => (broken_off(choice, body), finish_of(choice)),
        Some((choice, others)) => (read(choice, body, others), finish_of(choice)),
        None => (Fault::of_answer("the answer has no choices", body).resource(), ""),
    };
    for (key, value) in [("finish_reason", finish), ("request_id", answer.request_id.as_deref().unwrap_or_default())] {
        if !value.is_empty() {
            resource = resource.with_info(key, value);
        }
    }
    with_usage(resource, config, body["model"].as_str().unwrap_or_default(), &body["usage"], 1.0)
}

/// The first of an answer's choices, by its index where they have one, and how many others there are.
fn first(body: &Value) -> Option<(&Value, usize)> {
    let choices = body["choices"].as_array()?;
    let place = choices.iter().position(|choice| choice["index"] == 0).unwrap_or(0);
    Some((choices.get(place)?, choices.len() - 1))
}

fn finish_of(choice: &Value) -> &str {
    choice["finish_reason"].as_str().unwrap_or_default()
}

/// An answer that the server began and could not end.
fn broken_off(choice: &Value, body: &Value) -> Resource {
    let error = complaint(choice).unwrap_or(choice);
    Fault::said(StatusCode::OK, &HeaderMap::new(), error, &body.to_string()).resource()
}

/// The text of a choice, or why there is none. Only an answer that has come to its end counts, or to the most tokens that the
/// task allows it.
fn read(choice: &Value, body: &Value, others: usize) -> Resource {
    let (message, finish) = (&choice["message"], finish_of(choice));
    let text = match content(&message["content"]) {
        Ok(text) => text,
        Err(Unread::Refusal(said)) => return refused(&said),
        Err(Unread::Strange(problem)) => return failed("unexpected_answer", problem),
    };
    if let Some(said) = message["refusal"].as_str().filter(|said| !said.is_empty()) {
        return refused(said);
    }
    let calls = calls(message, finish);
    let cut = matches!(finish, "length" | "max_tokens" | "model_length");
    match (text.is_empty(), finish) {
        (empty, _) if !calls.is_empty() && (empty || finish.ends_with("_call") || finish.ends_with("_calls")) => {
            failed("no_text", format!("the answer calls {calls}, which no task does (finish_reason {finish:?})"))
        }
        (_, "content_filter") => {
            let kept = if text.is_empty() { "the answer" } else { "a part of the answer" };
            failed(
                "content_filter",
                format!("the server's filter keeps back {kept} (finish_reason \"content_filter\")"),
            )
        }
        (_, "error" | "abort" | "insufficient_system_resource") => {
            Resource::retryable_failed(format!("the server broke the answer off (finish_reason {finish:?})"))
                .with_code(finish)
        }
        (true, _) if cut => failed(
            "no_text",
            format!(
                "the most tokens that the answer may have ended it before its text began (finish_reason {finish:?})"
            ),
        ),
        (true, _) if thought(message, body) => {
            failed("no_text", format!("the answer has reasoning and no text (finish_reason {finish:?})"))
        }
        (true, _) if !message["content"].is_string() => {
            failed("no_text", format!("the answer has no text (finish_reason {finish:?})"))
        }
        (_, _) => {
            let mut notes = Vec::new();
            if cut {
                notes.push("the model's answer was cut off at the most tokens that it may have".to_string());
            }
            if text.is_empty() {
                notes.push("the model's answer is empty".to_string());
            }
            if others > 0 {
                notes.push(format!("of {} choices the first counts", others + 1));
            }
            let resource = Resource::succeeded([("o0", text.as_str())]);
            if notes.is_empty() { resource } else { resource.with_message(notes.join("; ")) }
        }
    }
}

fn failed(code: &str, message: String) -> Resource {
    Resource::failed(message).with_code(code)
}

fn refused(said: &str) -> Resource {
    failed("refusal", format!("the model refuses: {said}"))
}

/// Why a message's content is no text.
enum Unread {
    Refusal(String),
    Strange(String),
}

/// The text of a message's content: a string, or the texts of its parts one after the other. What the model thought on the way is no
/// part of its answer; a part of any other kind cannot be left out.
fn content(content: &Value) -> Result<String, Unread> {
    let parts = match content {
        Value::Null => return Ok(String::new()),
        Value::String(text) => return Ok(text.clone()),
        Value::Array(parts) => parts,
        _ => return Err(Unread::Strange("the answer's content is neither a text nor a list of parts".into())),
    };
    let mut text = String::new();
    for (i, part) in parts.iter().enumerate() {
        let kind = part["type"].as_str().unwrap_or_default();
        match (kind, part, &part["text"], &part["refusal"]) {
            ("thinking" | "reasoning" | "redacted_thinking", ..) => {}
            ("refusal", _, _, Value::String(said)) => return Err(Unread::Refusal(said.clone())),
            ("text" | "output_text" | "", _, Value::String(said), _) | (_, Value::String(said), ..) => {
                text.push_str(said)
            }
            _ => {
                return Err(Unread::Strange(format!("part {i} of the answer's content is {kind:?}, which is no text")));
            }
        }
    }
    Ok(text)
}

/// Which tools or functions a message calls, for people.
fn calls(message: &Value, finish: &str) -> String {
    let tools = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
    let old = Some(&message["function_call"]).filter(|call| call.is_object());
    let names = tools.iter().map(|call| &call["function"]).chain(old);
    let names: Vec<_> = names.map(|call| call["name"].as_str().unwrap_or("a tool without a name")).collect();
    match names.is_empty() && matches!(finish, "tool_calls" | "function_call") {
        true => "tools".into(),
        false => names.join(", "),
    }
}

/// Whether a model has thought without a word of an answer, as servers tell it: the thoughts, or how many tokens they took.
fn thought(message: &Value, body: &Value) -> bool {
    let thoughts = ["reasoning_content", "reasoning", "reasoning_details"].iter().any(|key| match &message[*key] {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => !parts.is_empty(),
        Value::Object(parts) => !parts.is_empty(),
        _ => false,
    });
    let tokens = &body["usage"]["completion_tokens_details"]["reasoning_tokens"];
    thoughts
        || tokens.as_u64().is_some_and(|n| n > 0)
        || message["content"].as_array().is_some_and(|parts| !parts.is_empty())
}
