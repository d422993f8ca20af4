//! The task type `chatgpt`: a message, and the model's answer to it.

use std::time::Instant;

use agenthost::{Error, Resource, Result, SyncAgent, Task, async_trait};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::Answer;
use crate::config::Config;
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
    let choice = &answer.body["choices"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let finish = text(&choice["finish_reason"]);
    let mut resource = match (&choice["message"]["content"], &choice["message"]["refusal"]) {
        (_, Value::String(refusal)) => Resource::failed(format!("the model refuses: {refusal}")).with_code("refusal"),
        (Value::String(content), _) => Resource::succeeded([("o0", content.as_str())]),
        _ => Resource::failed(format!("the answer has no text (finish_reason {finish:?})")).with_code("no_text"),
    };
    if finish == "length" {
        resource = resource.with_message("the model's answer was cut off at the most tokens that it may have");
    }
    for (key, value) in [("finish_reason", Some(finish)), ("request_id", answer.request_id.clone())] {
        resource = match value.filter(|v| !v.is_empty()) {
            Some(value) => resource.with_info(key, value),
            None => resource,
        };
    }
    with_usage(resource, config, &text(&answer.body["model"]), &answer.body["usage"], 1.0)
}
