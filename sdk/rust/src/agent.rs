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
use crate::error::{Error, Result, bounded};
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

/// Finds the job of an attempt by its [`idempotency_key`](Task::idempotency_key), in the system that the agent works for. An agent
/// that is registered with [`Plugin::finding_agent`](crate::Plugin::finding_agent) declares the capability `find_by_key`. With
/// `idempotent_create` it lets the host accept a task whose job cannot be made at once: a plugin that restarts, hangs or is over
/// its limits then costs no attempt.
///
/// Both methods must be right in every process of the plugin, also on another machine, for as long as Flyte may ask about the
/// task, and at the same time as a [`create`](AsyncAgent::create) of the same attempt.
#[async_trait]
pub trait Finder: AsyncAgent {
    /// Returns what [`create`](AsyncAgent::create) returned for the attempt, and makes nothing: [`Error::not_found`] where no
    /// job was made, [`Error::abandoned`] where the attempt was abandoned.
    async fn find(&self, task: Task) -> Result<Self::Meta>;

    /// Gives the attempt up. A job that was made for it ends as by [`delete`](AsyncAgent::delete), and none is made from now on:
    /// create and find return [`Error::abandoned`]. So something has to stay where they look. A second call succeeds too.
    async fn abandon(&self, task: Task) -> Result<()>;
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
    /// Whether the agent is a [`Finder`].
    fn finds(&self) -> bool;
    async fn find(&self, task: Task) -> Result<Vec<u8>>;
    async fn abandon(&self, task: Task) -> Result<()>;
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

pub(crate) struct Typed<A: AsyncAgent> {
    agent: Arc<A>,
    finder: Option<Arc<dyn Finder<Meta = A::Meta>>>,
}

impl<A: AsyncAgent> Typed<A> {
    pub fn new(agent: A) -> Self {
        Typed { agent: Arc::new(agent), finder: None }
    }

    pub fn finding(agent: A) -> Self
    where
        A: Finder,
    {
        let agent = Arc::new(agent);
        Typed { agent: agent.clone(), finder: Some(agent) }
    }

    fn finder(&self) -> Result<&dyn Finder<Meta = A::Meta>> {
        self.finder.as_deref().ok_or_else(|| Error::unimplemented("it does not find jobs by their key"))
    }

    /// Writes the metadata, and reads it again: a job whose metadata its own agent cannot read would be lost.
    fn encode(meta: &A::Meta) -> Result<Vec<u8>> {
        let name = type_name::<A::Meta>();
        let mut written = Vec::new();
        serde_path_to_error::serialize(meta, &mut serde_json::Serializer::new(&mut written)).map_err(|e| {
            let path = e.path().to_string();
            let at = if path == "." { String::new() } else { format!(" at {path}") };
            Error::internal(format!(
                "it returned a {name}, which cannot be written as JSON{at}: {}; metadata has ids and places, by which any process finds the job",
                e.inner()
            ))
        })?;
        if written == b"null" {
            return Err(Error::internal(format!(
                "it returned null, as a {name} can be, by which no poll finds the job: return its metadata, or an error"
            )));
        }
        match A::decode_meta(&written) {
            Ok(_) => Ok(written),
            Err(e) => Err(Error::internal(format!(
                "the job's metadata cannot be read again after it was written as {}: {}",
                bounded(String::from_utf8_lossy(&written).into_owned()),
                e.message()
            ))),
        }
    }

    fn job(job: Job<Vec<u8>>) -> Result<Job<A::Meta>> {
        let meta = A::decode_meta(&job.meta)?;
        Ok(Job { meta, category: job.category, output_prefix: job.output_prefix, connection: job.connection })
    }
}

#[async_trait]
impl<A: AsyncAgent> AnyAsync for Typed<A> {
    async fn create(&self, task: Task) -> Result<Vec<u8>> {
        Self::encode(&self.agent.create(task).await?)
    }

    fn finds(&self) -> bool {
        self.finder.is_some()
    }

    async fn find(&self, task: Task) -> Result<Vec<u8>> {
        Self::encode(&self.finder()?.find(task).await?)
    }

    async fn abandon(&self, task: Task) -> Result<()> {
        self.finder()?.abandon(task).await
    }

    async fn get(&self, job: Job<Vec<u8>>) -> Result<Resource> {
        self.agent.get(Self::job(job)?).await
    }

    async fn delete(&self, job: Job<Vec<u8>>) -> Result<()> {
        self.agent.delete(Self::job(job)?).await
    }

    async fn logs(&self, job: Job<Vec<u8>>, query: LogsQuery, sink: LogSink) -> Result<()> {
        self.agent.logs(Self::job(job)?, query, sink).await
    }

    async fn metrics(&self, job: Job<Vec<u8>>, query: MetricsQuery) -> Result<Vec<Metric>> {
        self.agent.metrics(Self::job(job)?, query).await
    }

    async fn close(&self) {
        self.agent.close().await;
    }
}

/// An agent of either kind.
#[derive(Clone)]
pub(crate) enum Kind {
    Async(Arc<dyn AnyAsync>),
    Sync(Arc<dyn SyncAgent>),
}
