//! The task type `openai-batch`: a file of requests that the server works through within a day.

use std::sync::Arc;
use std::time::Duration;

use agenthost::{AsyncAgent, Error, Finder, Job, LogSink, LogsQuery, Resource, Result, Task, async_trait};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tonic::Code;

use crate::call::Session;
use crate::fault::Fault;
use crate::ledger::{self, Turns};
use crate::meta::Meta;
use crate::numbers;
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

    /// The batch of the task's attempt, which is created where it is not there yet; none, where the attempt was abandoned. A
    /// creation whose answer was lost is looked for before it is repeated.
    async fn find_or_create(
        &self,
        service: &Service,
        session: &Session,
        body: &Value,
        key: &str,
    ) -> Result<Option<Value>, Fault> {
        let create = async || Ok(session.post(session.address(&["batches"]), body, key).await?.body);
        if key.is_empty() {
            return session.repeat(|| async { create().await.map(Some) }).await;
        }
        let lookback = service.config.lookback;
        let _turn = self.turns.take(key).await;
        session
            .repeat(|| async {
                if !ledger::is_abandoned(session, key, lookback).await? {
                    if let Some(found) = ledger::find(session, key, lookback).await? {
                        return Ok(Some(found));
                    }
                    let created = create().await?;
                    // Another process may have abandoned the attempt meanwhile. It writes that down and then looks for batches;
                    // here the batch comes first and then the look: whichever way they meet, one of the two sees the other.
                    if !ledger::is_abandoned(session, key, lookback).await? {
                        return Ok(Some(created));
                    }
                    cancel_once(session, created["id"].as_str().unwrap_or_default()).await?;
                }
                cancel_all(session, key, lookback).await?;
                Ok(None)
            })
            .await
    }

    /// Starts the attempt's batch, or finds it.
    async fn start(&self, task: Task) -> Result<Meta> {
        let custom: Custom = task.custom()?;
        let body = request(custom.config.unwrap_or_default(), task.input("input_file_id")?, &task.idempotency_key)?;
        let (service, session) = self.session_of(&task)?;
        let batch =
            self.find_or_create(&service, &session, &body, &task.idempotency_key).await.map_err(Fault::error)?;
        meta(&batch.ok_or_else(abandoned)?, session)
    }

    /// The account of a task's calls.
    fn session_of(&self, task: &Task) -> Result<(Arc<Service>, Session)> {
        let service = self.configured.service()?;
        let session = service.session_of_task(task, task.custom::<Custom>()?.openai_organization)?;
        Ok((service, session))
    }
}

fn meta(batch: &Value, session: Session) -> Result<Meta> {
    let batch_id = batch["id"].as_str().filter(|id| !id.is_empty()).map(Into::into);
    let batch_id = batch_id.ok_or_else(|| Error::internal("the server created a batch and gave it no id"))?;
    Ok(Meta { batch_id, openai_org: session.account.organization, account: session.account.name })
}

fn abandoned() -> Error {
    Error::abandoned("this attempt was abandoned: the server has a file that says so")
}

/// The error of a call that could not tell: a server that knows no such address says nothing of the batch.
fn untold(fault: Fault) -> Error {
    if fault.is_not_found() { Error::unavailable(fault) } else { fault.error() }
}

fn key_of(task: &Task) -> Result<&str> {
    match task.idempotency_key.as_str() {
        "" => Err(Error::invalid_argument("the task's attempt has no key, by which its batch could be found")),
        key => Ok(key),
    }
}

#[async_trait]
impl AsyncAgent for Batches {
    type Meta = Meta;

    async fn create(&self, task: Task) -> Result<Meta> {
        match self.start(task).await {
            Err(error) if error.code() == Code::InvalidArgument => Ok(Meta::refused(error.message())),
            started => started,
        }
    }

    async fn get(&self, job: Job<Meta>) -> Result<Resource> {
        if let Some(reason) = job.meta.refusal() {
            return Ok(Resource::failed(reason).with_user_error("bad_task"));
        }
        let session = self.session(&job)?;
        let batch = match retrieve(&session, &job.meta.batch_id).await {
            Err(fault) if fault.is_inexact() => return Ok(fault.resource()),
            found => found.map_err(Fault::error)?,
        };
        let service = self.configured.service()?;
        Ok(state::resource(&job.meta.batch_id, batch, &service.config, &session))
    }
    async fn delete(&self, job: Job<Meta>) -> Result<()> {
        if job.meta.refusal().is_some() {
            return Ok(());
        }
        let session = self.session(&job)?;
        match cancel(&session, &job.meta.batch_id).await {
            Err(fault) if !fault.is_not_found() => Err(fault.error()),
            _ => Ok(()),
        }
    }

    async fn logs(&self, job: Job<Meta>, query: LogsQuery, sink: LogSink) -> Result<()> {
        if job.meta.refusal().is_some() {
            return Ok(());
        }
        let session = self.session(&job)?;
        let batch = retrieve(&session, &job.meta.batch_id).await.map_err(Fault::error)?;
        log::send(&session, &batch, query, sink).await
    }

    fn decode_meta(meta: &[u8]) -> Result<Meta> {
        Meta::decode(meta)
    }
}

#[async_trait]
impl Finder for Batches {
    async fn find(&self, task: Task) -> Result<Meta> {
        let (service, session) = self.session_of(&task)?;
        let (key, lookback) = (key_of(&task)?, service.config.lookback);
        let search = || async {
            let abandoned = ledger::is_abandoned(&session, key, lookback).await?;
            Ok((abandoned, ledger::find(&session, key, lookback).await?))
        };
        match session.repeat(search).await.map_err(untold)? {
            (true, _) => Err(abandoned()),
            (false, Some(batch)) => meta(&batch, session),
            (false, None) => Err(Error::not_found("no batch has the attempt's key in its metadata")),
        }
    }

    async fn abandon(&self, task: Task) -> Result<()> {
        let (service, session) = self.session_of(&task)?;
        let (key, lookback) = (key_of(&task)?, service.config.lookback);
        let abandon = || async {
            if !ledger::is_abandoned(&session, key, lookback).await? {
                ledger::abandon(&session, key).await?;
                if !ledger::is_abandoned(&session, key, lookback).await? {
                    return Err(Fault::unlisted());
                }
            }
            cancel_all(&session, key, lookback).await
        };
        session.repeat(abandon).await.map_err(untold)
    }
}

/// The body of the call, with flytekit's defaults.
fn request(mut config: Map<String, Value>, input_file_id: String, key: &str) -> Result<Value> {
    let wrong = |message: String| Error::invalid_argument(format!("the task's config {message}"));
    numbers::check(&config, "config")?;
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

/// Cancels a batch that has not ended.
async fn cancel(session: &Session, id: &str) -> Result<(), Fault> {
    session.repeat(|| cancel_once(session, id)).await
}

/// Cancels every batch of an attempt that has not ended.
async fn cancel_all(session: &Session, key: &str, lookback: Duration) -> Result<(), Fault> {
    for batch in ledger::find_all(session, key, lookback).await? {
        cancel_once(session, batch["id"].as_str().unwrap_or_default()).await?;
    }
    Ok(())
}

/// Tries once. A batch may end between the calls, and then the server refuses.
async fn cancel_once(session: &Session, id: &str) -> Result<(), Fault> {
    let ended = async || Ok(state::is_over(&session.get(session.address(&["batches", id])).await?.body));
    if ended().await? {
        return Ok(());
    }
    match session.post(session.address(&["batches", id, "cancel"]), &json!({}), "").await {
        Err(fault) if !ended().await? => Err(fault),
        _ => Ok(()),
    }
}
