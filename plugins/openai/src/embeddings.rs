//! The task type `openai-embeddings`: texts as vectors.

use std::time::Instant;

use agenthost::{Error, Outputs, Resource, Result, SyncAgent, Task, async_trait};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use crate::call::Session;
use crate::fault::{self, Fault};
use crate::numbers;
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

    fn outputs(&self, mut vectors: Vec<Vec<f64>>) -> Outputs {
        match self {
            Asked::One(_) => Outputs::new().with("embedding", vectors.pop()),
            Asked::Many(_) => Outputs::new().with("embeddings", vectors),
        }
    }
}

#[async_trait]
impl SyncAgent for Embeddings {
    async fn execute(&self, task: Task) -> Result<Resource> {
        fault::of_task(self.answer(task).await)
    }
}

impl Embeddings {
    async fn answer(&self, task: Task) -> Result<Resource> {
        let custom: Custom = task.custom()?;
        if !custom.embeddings_config.get("model").is_some_and(Json::is_string) {
            return Err(Error::invalid_argument("the task's embeddings_config needs a model, by name"));
        }
        numbers::check(&custom.embeddings_config, "embeddings_config")?;
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
    vectors: Vec<Vec<f64>>,
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
        let vectors = vectors(&answer, part.len()).map_err(|problem| Fault::of_answer(problem, &answer))?;
        all.vectors.extend(vectors);
        all.model = answer["model"].as_str().unwrap_or_default().to_string();
        all.tokens = all.tokens.saturating_add(answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0));
        let first = all.vectors.first().map_or(0, Vec::len);
        if let Some(other) = all.vectors.iter().position(|vector| vector.len() != first) {
            let length = all.vectors[other].len();
            let problem = format!("vector {other} has {length} numbers, and vector 0 has {first}");
            return Err(Fault::of_answer(problem, &answer));
        }
    }
    Ok(all)
}

/// The vectors of an answer in the order of the texts, which their indexes give. All are of one length, of finite numbers.
fn vectors(answer: &Json, wanted: usize) -> Result<Vec<Vec<f64>>, String> {
    let data = answer["data"].as_array().ok_or("the answer has no data")?;
    let mut vectors = vec![None; wanted];
    for (place, item) in data.iter().enumerate() {
        let index = match &item["index"] {
            Json::Null => place,
            given => {
                given.as_u64().and_then(|i| i.try_into().ok()).ok_or_else(|| format!("there is a vector {given}"))?
            }
        };
        let slot = vectors.get_mut(index).ok_or_else(|| format!("there is a vector {index} for {wanted} texts"))?;
        let vector = vector(&item["embedding"]).map_err(|problem| format!("vector {index} {problem}"))?;
        if slot.replace(vector).is_some() {
            return Err(format!("there are two vectors {index}"));
        }
    }
    vectors.into_iter().enumerate().map(|(i, v)| v.ok_or_else(|| format!("there is no vector for text {i}"))).collect()
}

/// The numbers of a vector: a list, or, from servers that keep to base64 whatever they are asked for, 32-bit floats.
fn vector(embedding: &Json) -> Result<Vec<f64>, String> {
    let numbers: Vec<f64> = match embedding {
        Json::Array(numbers) => {
            let number = |(i, n): (usize, &Json)| exact(n).ok_or_else(|| format!("has {n} at {i}, which is no float"));
            numbers.iter().enumerate().map(number).collect::<Result<_, _>>()?
        }
        Json::String(text) => {
            let bytes = STANDARD.decode(text).map_err(|e| format!("is text, but no base64 ({e})"))?;
            let (floats, rest) = bytes.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(format!("has {} bytes, which are no 32-bit floats", bytes.len()));
            }
            floats.iter().map(|float| f32::from_le_bytes(*float).into()).collect()
        }
        _ => return Err("is no list of numbers".into()),
    };
    match numbers.iter().position(|number| !number.is_finite()) {
        Some(i) => Err(format!("has {} at {i}", numbers[i])),
        None if numbers.is_empty() => Err("has no numbers".into()),
        None => Ok(numbers),
    }
}

/// A number as a float that equals it.
fn exact(number: &Json) -> Option<f64> {
    const EXACT: i64 = 1 << 53;
    match number.as_i64() {
        Some(whole) => (-EXACT..=EXACT).contains(&whole).then_some(whole as f64),
        None => number.as_f64().filter(|_| number.is_f64()),
    }
}
