//! The task type `openai-batch`: a file of requests that the server works through within a day.

use agenthost::{AsyncAgent, Error, Job, LogSink, LogsQuery, Resource, Result, Task, async_trait};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::call::Session;
use crate::fault::Fault;
use crate::ledger::{self, Turns};
use crate::meta::Meta;
use crate::service::{Configured, Service};
use crate::{log, state};

/// The most entries that OpenAI keeps in a batch's metadata.
const MOST_METADATA: usize = 16;

/// The custom part that flytekit's BatchEndpointTask makes.
#[derive(Deserialize)]
struct Custom {
    #[serde(default)]
    openai_organization: Option<String>,
    #[serde(default)]
    config: Option<Map<String, Value>>,
}

/// Serves batches.
pub struct Batches {
    configured: Configured,
    turns: Turns,
}

impl Batches {
    pub fn new(configured: Configured) -> Self {
        Batches { configured, turns: Turns::default() }
    }

    fn session(&self, job: &Job<Meta>) -> Result<Session> {
        // As parts of an address these would lead to something else than a batch.
        if matches!(job.meta.batch_id.as_str(), "" | "." | "..") {
            return Err(Error::invalid_argument(format!(
                "the job's metadata has no id of a batch: {:?}",
                job.meta.batch_id
            )));
        }
        self.configured.service()?.session_of_job(job, &job.meta.account, job.meta.openai_org.clone())
    }

    /// The batch of the task's attempt, which is created where it is not there yet. A creation whose answer was lost is looked
    /// for before it is repeated.
    async fn find_or_create(
        &self,
        service: &Service,
        session: &Session,
        body: &Value,
        key: &str,
    ) -> Result<Value, Fault> {
        let _turn = self.turns.take(key).await;
        session
            .repeat(|| async {
                if !key.is_empty()
                    && let Some(found) = ledger::find(session, key, service.config.lookback).await?
                {
                    return Ok(found);
                }
                Ok(session.post(session.address(&["batches"]), body, key).await?.body)
            })
            .await
    }
}

#[async_trait]
impl AsyncAgent for Batches {
    type Meta = Meta;

    async fn create(&self, task: Task) -> Result<Meta> {
        let custom: Custom = task.custom()?;
        let body = request(custom.config.unwrap_or_default(), task.input("input_file_id")?, &task.idempotency_key)?;
        let service = self.configured.service()?;
        let session = service.session_of_task(&task, custom.openai_organization)?;
        let batch =
            self.find_or_create(&service, &session, &body, &task.idempotency_key).await.map_err(Fault::error)?;
        let batch_id = batch["id"].as_str().filter(|id| !id.is_empty()).map(Into::into);
        let batch_id = batch_id.ok_or_else(|| Error::internal("the server created a batch and gave it no id"))?;
        Ok(Meta { batch_id, openai_org: session.account.organization, account: session.account.name })
    }

    async fn get(&self, job: Job<Meta>) -> Result<Resource> {
        let session = self.session(&job)?;
        let batch = retrieve(&session, &job.meta.batch_id).await.map_err(Fault::error)?;
        let service = self.configured.service()?;
        Ok(state::resource(&job.meta.batch_id, batch, &service.config, &session))
    }

    async fn delete(&self, job: Job<Meta>) -> Result<()> {
        let session = self.session(&job)?;
        match cancel(&session, &job.meta.batch_id).await {
            Err(fault) if !fault.is_not_found() => Err(fault.error()),
            _ => Ok(()),
        }
    }

    async fn logs(&self, job: Job<Meta>, query: LogsQuery, sink: LogSink) -> Result<()> {
        let session = self.session(&job)?;
        let batch = retrieve(&session, &job.meta.batch_id).await.map_err(Fault::error)?;
        log::send(&session, &batch, query, sink).await
    }

    fn decode_meta(meta: &[u8]) -> Result<Meta> {
        Meta::decode(meta)
    }
}

/// The body of the call, with flytekit's defaults.
fn request(mut config: Map<String, Value>, input_file_id: String, key: &str) -> Result<Value> {
    let wrong = |message: String| Error::invalid_argument(format!("the task's config {message}"));
    if config.contains_key("input_file_id") {
        return Err(wrong("has an input_file_id, which is the task's input".into()));
    }
    let mut metadata = match config.remove("metadata") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(metadata)) => metadata,
        Some(other) => return Err(wrong(format!("has metadata that is no mapping: {other}"))),
    };
    if !key.is_empty() {
        metadata.insert(ledger::KEY.into(), key.into());
    }
    if metadata.len() > MOST_METADATA {
        let own = MOST_METADATA - 1;
        return Err(wrong(format!(
            "has more than {own} entries of metadata: OpenAI keeps 16, and {} is one",
            ledger::KEY
        )));
    }
    if !metadata.is_empty() {
        config.insert("metadata".into(), metadata.into());
    }
    config.entry("completion_window").or_insert_with(|| json!("24h"));
    config.entry("endpoint").or_insert_with(|| json!("/v1/chat/completions"));
    config.insert("input_file_id".into(), input_file_id.into());
    Ok(config.into())
}

async fn retrieve(session: &Session, id: &str) -> Result<Value, Fault> {
    let url = session.address(&["batches", id]);
    Ok(session.repeat(|| session.get(url.clone())).await?.body)
}

/// Cancels a batch that has not ended. One may end between the calls, and then the server refuses.
async fn cancel(session: &Session, id: &str) -> Result<(), Fault> {
    let ended = async || Ok(state::is_over(&session.get(session.address(&["batches", id])).await?.body));
    session
        .repeat(|| async {
            if ended().await? {
                return Ok(());
            }
            match session.post(session.address(&["batches", id, "cancel"]), &json!({}), "").await {
                Err(fault) if !ended().await? => Err(fault),
                _ => Ok(()),
            }
        })
        .await
}
