//! The task type `openai-embeddings`: texts as vectors.

use std::time::Instant;

use agenthost::{Error, Outputs, Resource, Result, SyncAgent, Task, Value, async_trait};
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::call::Session;
use crate::fault::Fault;
use crate::report::{milliseconds, with_usage};
use crate::service::Configured;

/// The most texts that OpenAI takes in a call.
const MOST: usize = 2048;

#[derive(Deserialize)]
struct Custom {
    #[serde(default)]
    openai_organization: Option<String>,
    embeddings_config: Map<String, Json>,
}

/// Serves embeddings.
pub struct Embeddings(Configured);

impl Embeddings {
    pub fn new(configured: Configured) -> Self {
        Embeddings(configured)
    }
}

/// What a task asks for.
enum Asked {
    One(String),
    Many(Vec<String>),
}

impl Asked {
    fn of(task: &Task) -> Result<Self> {
        match (task.input::<Option<String>>("text")?, task.input::<Option<Vec<String>>>("texts")?) {
            (Some(text), None) => Ok(Asked::One(text)),
            (None, Some(texts)) => Ok(Asked::Many(texts)),
            _ => Err(Error::invalid_argument(
                "the task needs one of the inputs \"text\" (str) and \"texts\" (list[str])",
            )),
        }
    }

    fn texts(&self) -> &[String] {
        match self {
            Asked::One(text) => std::slice::from_ref(text),
            Asked::Many(texts) => texts,
        }
    }

    fn outputs(&self, mut vectors: Vec<Value>) -> Outputs {
        match self {
            Asked::One(_) => Outputs::new().with("embedding", vectors.pop().unwrap_or(Value::None)),
            Asked::Many(_) => Outputs::new().with("embeddings", Value::List(vectors)),
        }
    }
}

#[async_trait]
impl SyncAgent for Embeddings {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let custom: Custom = task.custom()?;
        if !custom.embeddings_config.get("model").is_some_and(Json::is_string) {
            return Err(Error::invalid_argument("the task's embeddings_config needs a model, by name"));
        }
        let asked = Asked::of(&task)?;
        let service = self.0.service()?;
        let session = service.session_of_task(&task, custom.openai_organization)?;
        let began = Instant::now();
        let resource = match embed(&session, &custom.embeddings_config, asked.texts(), &task.idempotency_key).await {
            Ok(Embedded { vectors, model, tokens }) => {
                let resource = Resource::succeeded(asked.outputs(vectors)).with_info("texts", asked.texts().len());
                with_usage(
                    resource,
                    &service.config,
                    &model,
                    &json!({"input_tokens": tokens, "total_tokens": tokens}),
                    1.0,
                )
            }
            Err(fault) => fault.resource(),
        };
        Ok(resource.with_info("latency_ms", milliseconds(began)))
    }
}

#[derive(Default)]
struct Embedded {
    vectors: Vec<Value>,
    model: String,
    tokens: u64,
}

/// Embeds any number of texts, in as many calls as it takes.
async fn embed(session: &Session, config: &Map<String, Json>, texts: &[String], key: &str) -> Result<Embedded, Fault> {
    let url = session.address(&["embeddings"]);
    let mut all = Embedded::default();
    for (i, part) in texts.chunks(MOST).enumerate() {
        let mut body = config.clone();
        body.extend([("input".to_string(), json!(part)), ("encoding_format".to_string(), json!("float"))]);
        let body = Json::Object(body);
        let key = if key.is_empty() { String::new() } else { format!("{key}-{i}") };
        let answer = session.repeat(|| session.post(url.clone(), &body, &key)).await?.body;
        all.vectors.extend(vectors(&answer, part.len()).map_err(|problem| Fault::of_answer(problem, &answer))?);
        all.model = answer["model"].as_str().unwrap_or_default().to_string();
        all.tokens += answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0);
    }
    Ok(all)
}

/// The vectors of an answer in the order of the texts, which their indexes give.
fn vectors(answer: &Json, wanted: usize) -> Result<Vec<Value>, String> {
    let data = answer["data"].as_array().ok_or("the answer has no data")?;
    let mut vectors = vec![None; wanted];
    for (place, item) in data.iter().enumerate() {
        let index = item["index"].as_u64().map_or(place, |index| index as usize);
        let numbers = item["embedding"].as_array().ok_or("a vector is no list of numbers")?;
        let vector: Option<Vec<_>> = numbers.iter().map(|n| n.as_f64().map(Value::Float)).collect();
        let slot = vectors.get_mut(index).ok_or_else(|| format!("there is a vector {index} for {wanted} texts"))?;
        *slot = Some(Value::List(vector.ok_or("a vector is no list of numbers")?));
    }
    vectors.into_iter().enumerate().map(|(i, v)| v.ok_or_else(|| format!("there is no vector for text {i}"))).collect()
}
