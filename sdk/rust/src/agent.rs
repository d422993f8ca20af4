//! What an author implements, and how the services call it.

use std::any::type_name;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use crate::category::Category;
use crate::connection::Connection;
use crate::contract::flyteidl::admin::LogLine as WireLine;
use crate::error::{Error, Result};
use crate::literal::timestamp;
use crate::resource::Resource;
use crate::secret::Secret;
use crate::task::Task;

pub use crate::contract::flyteidl::admin::LogLineOriginator as Originator;

/// A job that was created before, perhaps by an older version of the plugin.
#[derive(Clone, Debug)]
pub struct Job<M> {
    /// What [`AsyncAgent::create`] returned.
    pub meta: M,
    /// The task's type and version.
    pub category: Category,
    /// The folder that outputs go to; empty where Flyte does not say (it never does when it deletes a job).
    pub output_prefix: String,
    /// What Flyte 2 sent to reach the outside system.
    pub connection: Connection,
}

impl<M> Job<M> {
    /// The secret of the job's connection, or else the plugin's.
    pub fn secret(&self, key: &str) -> Result<Secret> {
        self.connection.secret(key)
    }
}

/// Handles tasks whose work goes on elsewhere.
#[async_trait]
pub trait AsyncAgent: Send + Sync + 'static {
    /// What Flyte keeps of a job between the calls, as JSON. Fields that a newer version added must be optional.
    type Meta: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Begins the job and returns at once. Flyte repeats a call whose answer it did not get: see [`Task::idempotency_key`].
    async fn create(&self, task: Task) -> Result<Self::Meta>;

    /// Says how the job is.
    async fn get(&self, job: Job<Self::Meta>) -> Result<Resource>;

    /// Ends the job. One that has ended or is gone is as good as deleted.
    async fn delete(&self, job: Job<Self::Meta>) -> Result<()>;

    /// Sends the job's log lines to the sink, as they come.
    async fn logs(&self, _job: Job<Self::Meta>, _query: LogsQuery, _sink: LogSink) -> Result<()> {
        Err(Error::unimplemented("this agent has no logs"))
    }

    /// Answers queries for the job's metrics.
    async fn metrics(&self, _job: Job<Self::Meta>, _query: MetricsQuery) -> Result<Vec<Metric>> {
        Err(Error::unimplemented("this agent has no metrics"))
    }

    /// Reads the metadata of a job. An agent that takes over the jobs of another program reads here what that has written, and
    /// leaves the rest to [`json_meta`].
    fn decode_meta(meta: &[u8]) -> Result<Self::Meta>
    where
        Self: Sized,
    {
        json_meta(meta)
    }

    /// Called once when the plugin stops, after the calls under way have ended.
    async fn close(&self) {}
}

/// Handles tasks whose work fits within a call.
#[async_trait]
pub trait SyncAgent: Send + Sync + 'static {
    /// Does the work. The resource must be terminal: Flyte does not ask again.
    async fn execute(&self, task: Task) -> Result<Resource>;

    /// Called once when the plugin stops, after the calls under way have ended.
    async fn close(&self) {}
}

/// Which log lines are asked for.
#[derive(Clone, Debug, Default)]
pub struct LogsQuery {
    /// How many lines at the most; 0: not said.
    pub lines: u64,
    /// Where to go on: what [`LogSink::next_token`] was given before.
    pub token: String,
}

/// Which metrics are asked for.
#[derive(Clone, Debug, Default)]
pub struct MetricsQuery {
    /// The names of the metrics.
    pub queries: Vec<String>,
    /// The span of time, where it was said.
    pub start: Option<DateTime<Utc>>,
    /// Its end.
    pub end: Option<DateTime<Utc>>,
    /// The pause between two points.
    pub step: Option<TimeDelta>,
}

/// What was measured for one of the queries.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metric {
    /// The name of the metric, as it was asked for.
    pub name: String,
    /// The values, an object in the format of Prometheus's range queries.
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// One line of a job's log.
///
/// ```
/// use agenthost::{LogLine, Originator};
///
/// let line = LogLine { originator: Originator::System, ..LogLine::from("3 workers started") };
/// assert_eq!(line.message, "3 workers started");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogLine {
    /// When it was written, if that is known.
    pub at: Option<DateTime<Utc>>,
    /// What it says.
    pub message: String,
    /// Who wrote it: the user's code, or the system that runs it.
    pub originator: Originator,
}

impl From<String> for LogLine {
    fn from(message: String) -> Self {
        LogLine { message, ..Default::default() }
    }
}

impl From<&str> for LogLine {
    fn from(message: &str) -> Self {
        message.to_string().into()
    }
}

/// Takes log lines on their way to the caller.
pub struct LogSink {
    pub(crate) parts: mpsc::Sender<LogPart>,
}

pub(crate) enum LogPart {
    Line(WireLine),
    Token(String),
}

impl LogSink {
    /// Sends a line. An error says that the caller is gone: there is no use in going on.
    pub async fn line(&self, line: LogLine) -> Result<()> {
        let wire =
            WireLine { timestamp: line.at.map(timestamp), message: line.message, originator: line.originator.into() };
        self.send(LogPart::Line(wire)).await
    }

    /// Says where the next call goes on.
    pub async fn next_token(&self, token: impl Into<String>) -> Result<()> {
        self.send(LogPart::Token(token.into())).await
    }

    async fn send(&self, part: LogPart) -> Result<()> {
        self.parts.send(part).await.map_err(|_| Error::deadline_exceeded("the caller is gone"))
    }
}

/// An async agent whose metadata is bytes, so that agents of all types fit into one table.
#[async_trait]
pub(crate) trait AnyAsync: Send + Sync {
    async fn create(&self, task: Task) -> Result<Vec<u8>>;
    async fn get(&self, job: Job<Vec<u8>>) -> Result<Resource>;
    async fn delete(&self, job: Job<Vec<u8>>) -> Result<()>;
    async fn logs(&self, job: Job<Vec<u8>>, query: LogsQuery, sink: LogSink) -> Result<()>;
    async fn metrics(&self, job: Job<Vec<u8>>, query: MetricsQuery) -> Result<Vec<Metric>>;
    async fn close(&self);
}

/// How a Python pickle begins, since its protocol 2; no JSON does.
const PICKLE: &[u8] = &[0x80];

/// Reads the metadata of a job as the JSON that [`AsyncAgent::create`]'s answer became.
pub fn json_meta<M: DeserializeOwned>(meta: &[u8]) -> Result<M> {
    if meta.starts_with(PICKLE) {
        return Err(Error::invalid_argument(
            "the resource_meta is none of this agent's: it is a Python pickle, as some of flytekit's agents write it, which only the agent that created the job can read; let such jobs end there before this agent takes over",
        ));
    }
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_slice(meta)).map_err(|e| {
        Error::invalid_argument(format!(
            "the resource_meta is none of this agent's: it is not the JSON of {} at {}: {}",
            type_name::<M>(),
            e.path(),
            e.inner()
        ))
    })
}

pub(crate) struct Typed<A>(pub(crate) A);

impl<A: AsyncAgent> Typed<A> {
    fn job(job: Job<Vec<u8>>) -> Result<Job<A::Meta>> {
        let meta = A::decode_meta(&job.meta)?;
        Ok(Job { meta, category: job.category, output_prefix: job.output_prefix, connection: job.connection })
    }
}

#[async_trait]
impl<A: AsyncAgent> AnyAsync for Typed<A> {
    async fn create(&self, task: Task) -> Result<Vec<u8>> {
        let meta = self.0.create(task).await?;
        serde_json::to_vec(&meta)
            .map_err(|e| Error::internal(format!("the job's metadata cannot be written as JSON: {e}")))
    }

    async fn get(&self, job: Job<Vec<u8>>) -> Result<Resource> {
        self.0.get(Self::job(job)?).await
    }

    async fn delete(&self, job: Job<Vec<u8>>) -> Result<()> {
        self.0.delete(Self::job(job)?).await
    }

    async fn logs(&self, job: Job<Vec<u8>>, query: LogsQuery, sink: LogSink) -> Result<()> {
        self.0.logs(Self::job(job)?, query, sink).await
    }

    async fn metrics(&self, job: Job<Vec<u8>>, query: MetricsQuery) -> Result<Vec<Metric>> {
        self.0.metrics(Self::job(job)?, query).await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}

/// An agent of either kind.
#[derive(Clone)]
pub(crate) enum Kind {
    Async(Arc<dyn AnyAsync>),
    Sync(Arc<dyn SyncAgent>),
}
