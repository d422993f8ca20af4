//! The services that the host calls.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::panic::{self, AssertUnwindSafe};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};
use tracing::{Instrument, Span};

use crate::agent::{AnyAsync, Job, Kind, LogPart, LogSink, LogsQuery, Metric, MetricsQuery, SyncAgent};
use crate::apart::{self, Apart};
use crate::attempt::idempotency_key;
use crate::calls::{Call, Calls, Ending};
use crate::category::Category;
use crate::config::ConfigError;
use crate::connection::Connection;
use crate::context::{Context, within};
use crate::contract::agenthost::plugin::v1::{
    self as pluginv1, CategoryCapabilities, ConfigureRequest, ConfigureResponse, DescribeRequest, DescribeResponse,
    DrainRequest, DrainResponse, MetricsRequest, MetricsResponse, Sdk, plugin_service_server::PluginService,
};
use crate::contract::flyteidl::admin::{
    CreateTaskRequest, CreateTaskResponse, DeleteTaskRequest, DeleteTaskResponse, ExecuteTaskSyncRequest,
    ExecuteTaskSyncResponse, ExecuteTaskSyncResponseHeader, GetAgentRequest, GetAgentResponse, GetTaskLogsRequest,
    GetTaskLogsResponse, GetTaskLogsResponseBody, GetTaskLogsResponseHeader, GetTaskMetricsRequest,
    GetTaskMetricsResponse, GetTaskRequest, GetTaskResponse, ListAgentsRequest, ListAgentsResponse, TaskCategory,
    execute_task_sync_request, execute_task_sync_response, get_task_logs_response,
};
use crate::contract::flyteidl::core::{ExecutionMetricResult, Literal, LiteralMap, TaskTemplate};
use crate::contract::flyteidl::service::{
    agent_metadata_service_server::AgentMetadataService, async_agent_service_server::AsyncAgentService,
    sync_agent_service_server::SyncAgentService,
};
use crate::error::{Error, Result};
use crate::hostlog;
use crate::literal::{datetime, time_delta, to_struct};
use crate::plugin::{FIND_BY_KEY, IDEMPOTENT_CREATE, Plugin};
use crate::registry::Registered;
use crate::task::Task;
use crate::trace;

const IDEMPOTENCY_KEY: &str = "agenthost-idempotency-key";
/// The metadata by which CreateTask finds a job and makes none, and by which it gives an attempt up.
const FIND_ONLY: &str = "agenthost-find-only";
const ABANDON: &str = "agenthost-abandon";

/// What every service reads.
pub(crate) struct Shared {
    pub plugin: Plugin,
    pub calls: Arc<Calls>,
    /// Where the configuration is taken.
    apart: Apart,
    configured: AtomicBool,
    /// Whether the process is being replaced.
    pub replaced: watch::Sender<bool>,
    pub ending: watch::Sender<Ending>,
}

/// What a call's metadata say.
pub(crate) struct Said {
    trace: HashMap<String, String>,
    /// The attempt's name as the host sent it.
    key: Option<String>,
    // Whatever their values: what asks for less than a creation must not make a job.
    find_only: bool,
    abandon: bool,
    deadline: Option<Instant>,
}

impl Said {
    /// Reads them by a function that gives the first value of a name.
    pub fn new<'a>(value: impl Fn(&str) -> Option<&'a [u8]>, deadline: Option<Instant>) -> Self {
        let text = |name: &str| text(value(name)?);
        Said {
            trace: trace::headers(text),
            key: text(IDEMPOTENCY_KEY).filter(|key| !key.is_empty()),
            find_only: value(FIND_ONLY).is_some(),
            abandon: value(ABANDON).is_some(),
            deadline,
        }
    }
}

impl From<&MetadataMap> for Said {
    fn from(metadata: &MetadataMap) -> Self {
        Said::new(|name| metadata.get(name).map(MetadataValue::as_encoded_bytes), deadline(metadata))
    }
}

/// A value of metadata as text, where it is as HTTP has it.
fn text(value: &[u8]) -> Option<String> {
    let text = str::from_utf8(value).ok()?;
    text.bytes().all(|b| b == b'\t' || (b' '..=b'~').contains(&b)).then(|| text.to_string())
}

/// A call that is about to be made: what it counts for, and which trace it belongs to.
struct Begun<'a> {
    under_way: Call,
    agent: &'a Registered,
    rpc: &'static str,
    trace: HashMap<String, String>,
}

/// A call of an author's method, for the agent's threads. It counts as under way until it has ended, or is dropped.
pub(crate) struct Made<'a, F> {
    pub agent: &'a Registered,
    pub call: F,
}

/// What comes of an author's method.
pub(crate) trait Calling<T>: Future<Output = Result<T, Status>> + Send + 'static {}

impl<T, F: Future<Output = Result<T, Status>> + Send + 'static> Calling<T> for F {}

impl<F> Made<'_, F> {
    /// Makes it, apart from what serves.
    fn apart<T: Send + 'static>(self) -> apart::Call<Result<T, Status>>
    where
        F: Calling<T>,
    {
        self.agent.apart.call(&self.agent.name, self.call)
    }
}

#[derive(Clone)]
pub(crate) struct Services(pub Arc<Shared>);

impl Services {
    pub fn new(plugin: Plugin) -> Self {
        let configured = AtomicBool::new(plugin.configuration.is_none());
        Services(Arc::new(Shared {
            plugin,
            calls: Arc::default(),
            apart: Apart::default(),
            configured,
            replaced: watch::Sender::default(),
            ending: watch::Sender::default(),
        }))
    }

    /// Counts a call in, and finds its agent.
    fn begin(
        &self,
        category: &Category,
        rpc: &'static str,
        trace: HashMap<String, String>,
    ) -> Result<Begun<'_>, Status> {
        let under_way = self.0.calls.begin()?;
        let agent = self.0.plugin.registry.find(category)?;
        if !self.0.configured.load(Ordering::Acquire) {
            return Err(Status::failed_precondition(format!(
                "plugin {} has no configuration yet: the host hands it over with Configure",
                self.0.plugin.name
            )));
        }
        Ok(Begun { under_way, agent, rpc, trace })
    }

    fn begin_async(
        &self,
        category: &Category,
        rpc: &'static str,
        trace: HashMap<String, String>,
    ) -> Result<(Begun<'_>, Arc<dyn AnyAsync>), Status> {
        let begun = self.begin(category, rpc, trace)?;
        match &begun.agent.kind {
            Kind::Async(any) => {
                let any = any.clone();
                Ok((begun, any))
            }
            Kind::Sync(_) => Err(Status::failed_precondition(format!(
                "{rpc} was called for task category {category}, which is served by a sync agent ({}): use ExecuteTaskSync",
                begun.agent.name
            ))),
        }
    }

    /// Makes the call of an author's method: a panic in it is an error of this one call.
    fn make<'a, T: Send + 'static, A>(
        &self,
        begun: Begun<'a>,
        method: &'static str,
        call: impl Future<Output = Result<T>> + Send + 'static,
        answer: impl FnOnce(T) -> A + Send + 'static,
    ) -> Made<'a, impl Calling<A>> {
        let Begun { under_way, agent, rpc, trace } = begun;
        let (shared, name) = (self.0.clone(), agent.name.clone());
        let call = async move {
            let _under_way = under_way;
            let span = || trace::span(rpc, &trace, shared.plugin.on_call.as_ref());
            let span = panic::catch_unwind(AssertUnwindSafe(span)).unwrap_or_else(|_| Span::none());
            let context = Context { trace, replaced: shared.replaced.subscribe() };
            within(context, caught(&name, method, call)).instrument(span).await.map(answer)
        };
        Made { agent, call }
    }

    /// Ends the agents, once the calls under way have ended. One that does not end within the time is left behind.
    pub async fn close(&self, within: Duration) {
        let close = |agent: &Registered| {
            let (kind, name) = (agent.kind.clone(), agent.name.clone());
            let closing = agent.apart.call(&agent.name, async move {
                let close = async move {
                    match kind {
                        Kind::Async(any) => any.close().await,
                        Kind::Sync(any) => any.close().await,
                    }
                };
                AssertUnwindSafe(close).catch_unwind().await.is_ok() // a panic is in the log already
            });
            async move {
                if tokio::time::timeout(within, closing).await.is_err() {
                    tracing::warn!("agent {name} has not closed within {within:?}");
                }
            }
        };
        join_all(self.0.plugin.registry.agents().iter().map(close)).await;
    }
}

async fn caught<T>(agent: &str, method: &str, call: impl Future<Output = Result<T>>) -> Result<T, Status> {
    match AssertUnwindSafe(call).catch_unwind().await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            tracing::debug!(agent, method, code = ?error.code(), "{error}");
            Err(error.status(agent, method))
        }
        Err(panic) => {
            let said = told(&*panic);
            tracing::error!(agent, method, "panic: {said}");
            Err(Error::internal(format!("panic: {said}")).status(agent, method))
        }
    }
}

/// What a panic said, and where it was where that is known.
fn told(panic: &(dyn Any + Send)) -> String {
    let said = hostlog::said(panic);
    match hostlog::place(said) {
        Some(place) => format!("{said} ({place})"),
        None => said.to_string(),
    }
}

/// The category that a request about a job names. Flyte before categories sent the task type alone.
fn category(named: Option<TaskCategory>, task_type: String) -> Category {
    match named {
        Some(TaskCategory { name, version }) if !name.is_empty() => Category { name, version },
        _ => Category { name: task_type, version: 0 },
    }
}

/// The caller's deadline, from gRPC's own header: digits and a unit.
fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u64 = number.parse().ok()?;
    let left = match unit {
        "H" => Duration::from_secs(number.checked_mul(3600)?),
        "M" => Duration::from_secs(number.checked_mul(60)?),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Instant::now().checked_add(left)
}

fn connection(bytes: &[u8]) -> Result<Connection, Status> {
    Connection::decode(bytes).map_err(|e| Status::invalid_argument(format!("the connection cannot be read: {e}")))
}

fn of_template(template: &TaskTemplate) -> Category {
    Category { name: template.r#type.clone(), version: template.task_type_version }
}

fn inputs(inputs: Option<LiteralMap>) -> HashMap<String, Literal> {
    inputs.map(|i| i.literals).unwrap_or_default()
}

/// The calls of asynchronous agents that have one request and one answer, up to where the agent's threads take them over.
impl Services {
    pub fn create(
        &self,
        said: Said,
        request: CreateTaskRequest,
    ) -> Result<Made<'_, impl Calling<CreateTaskResponse>>, Status> {
        let template = request.template.unwrap_or_default();
        let metadata = request.task_execution_metadata.unwrap_or_default();
        let (begun, any) = self.begin_async(&of_template(&template), "CreateTask", said.trace)?;
        let task = Task {
            category: of_template(&template),
            template,
            idempotency_key: said
                .key
                .unwrap_or_else(|| idempotency_key(metadata.task_execution_id.as_ref(), &request.output_prefix)),
            output_prefix: request.output_prefix,
            metadata,
            deadline: said.deadline,
            connection: connection(&request.connection)?,
            max_dataset_size: 0,
            inputs: inputs(request.inputs),
        };
        let method = match (said.find_only, said.abandon) {
            (true, _) => "Find",
            (_, true) => "Abandon",
            _ => "Create",
        };
        let call = async move {
            match method {
                "Find" => any.find(task).await,
                "Abandon" => any.abandon(task).await.map(|()| Vec::new()),
                _ => any.create(task).await,
            }
        };
        Ok(self.make(begun, method, call, |resource_meta| CreateTaskResponse { resource_meta }))
    }

    #[allow(deprecated)]
    pub fn get(&self, said: Said, request: GetTaskRequest) -> Result<Made<'_, impl Calling<GetTaskResponse>>, Status> {
        let category = category(request.task_category, request.task_type);
        let (begun, any) = self.begin_async(&category, "GetTask", said.trace)?;
        let connection = connection(&request.connection)?;
        let job = Job { meta: request.resource_meta, category, output_prefix: request.output_prefix, connection };
        let call = async move { any.get(job).await?.polled() };
        Ok(self.make(begun, "Get", call, |resource| GetTaskResponse { resource: Some(resource) }))
    }

    #[allow(deprecated)]
    pub fn delete(
        &self,
        said: Said,
        request: DeleteTaskRequest,
    ) -> Result<Made<'_, impl Calling<DeleteTaskResponse>>, Status> {
        let category = category(request.task_category, request.task_type);
        let (begun, any) = self.begin_async(&category, "DeleteTask", said.trace)?;
        let connection = connection(&request.connection)?;
        let job = Job { meta: request.resource_meta, category, output_prefix: String::new(), connection };
        Ok(self.make(begun, "Delete", async move { any.delete(job).await }, |()| DeleteTaskResponse {}))
    }

    #[allow(deprecated)]
    pub fn measure(
        &self,
        said: Said,
        request: GetTaskMetricsRequest,
    ) -> Result<Made<'_, impl Calling<GetTaskMetricsResponse>>, Status> {
        let category = category(request.task_category, request.task_type);
        let (begun, any) = self.begin_async(&category, "GetTaskMetrics", said.trace)?;
        let job = Job {
            meta: request.resource_meta,
            category,
            output_prefix: String::new(),
            connection: Connection::default(),
        };
        let wrong = |what: &'static str| move |is: String| Status::invalid_argument(format!("the query's {what} {is}"));
        let query = MetricsQuery {
            queries: request.queries,
            start: request.start_time.as_ref().map(datetime).transpose().map_err(wrong("start_time"))?,
            end: request.end_time.as_ref().map(datetime).transpose().map_err(wrong("end_time"))?,
            step: request.step.as_ref().map(time_delta).transpose().map_err(wrong("step"))?,
        };
        let result = |metric: Metric| ExecutionMetricResult {
            metric: metric.name,
            data: Some(to_struct(metric.data.into_iter().collect())),
        };
        let answer =
            move |measured: Vec<_>| GetTaskMetricsResponse { results: measured.into_iter().map(result).collect() };
        Ok(self.make(begun, "Metrics", async move { any.metrics(job, query).await }, answer))
    }
}

#[tonic::async_trait]
impl AsyncAgentService for Services {
    async fn create_task(&self, request: Request<CreateTaskRequest>) -> Result<Response<CreateTaskResponse>, Status> {
        let said = Said::from(request.metadata());
        Ok(Response::new(self.create(said, request.into_inner())?.apart().await?))
    }

    async fn get_task(&self, request: Request<GetTaskRequest>) -> Result<Response<GetTaskResponse>, Status> {
        let said = Said::from(request.metadata());
        Ok(Response::new(self.get(said, request.into_inner())?.apart().await?))
    }

    async fn delete_task(&self, request: Request<DeleteTaskRequest>) -> Result<Response<DeleteTaskResponse>, Status> {
        let said = Said::from(request.metadata());
        Ok(Response::new(self.delete(said, request.into_inner())?.apart().await?))
    }

    async fn get_task_metrics(
        &self,
        request: Request<GetTaskMetricsRequest>,
    ) -> Result<Response<GetTaskMetricsResponse>, Status> {
        let said = Said::from(request.metadata());
        Ok(Response::new(self.measure(said, request.into_inner())?.apart().await?))
    }

    type GetTaskLogsStream = Pin<Box<dyn Stream<Item = Result<GetTaskLogsResponse, Status>> + Send>>;

    #[allow(deprecated)]
    async fn get_task_logs(
        &self,
        request: Request<GetTaskLogsRequest>,
    ) -> Result<Response<Self::GetTaskLogsStream>, Status> {
        let said = Said::from(request.metadata());
        let request = request.into_inner();
        let category = category(request.task_category, request.task_type);
        let (begun, any) = self.begin_async(&category, "GetTaskLogs", said.trace)?;
        let job = Job {
            meta: request.resource_meta,
            category,
            output_prefix: String::new(),
            connection: Connection::default(),
        };
        let query = LogsQuery { lines: request.lines, token: request.token };
        let (parts, received) = mpsc::channel(16);
        // The agent's own future is polled beside the stream of what it sends, and ends it: with an error, or well.
        let logs = async move { any.logs(job, query, LogSink { parts }).await };
        let work = self.make(begun, "Logs", logs, |()| ()).apart();
        let lines = ReceiverStream::new(received).map(|part| Ok(logs_response(part)));
        let end = stream::once(work).filter_map(|outcome| std::future::ready(outcome.err().map(Err)));
        Ok(Response::new(Box::pin(stream::select(lines, end))))
    }
}

#[allow(deprecated)]
fn logs_response(part: LogPart) -> GetTaskLogsResponse {
    use get_task_logs_response::Part;
    let part = match part {
        LogPart::Token(token) => Part::Header(GetTaskLogsResponseHeader { token }),
        LogPart::Line(line) => {
            Part::Body(GetTaskLogsResponseBody { results: vec![line.message.clone()], structured_lines: vec![line] })
        }
    };
    GetTaskLogsResponse { part: Some(part) }
}

#[tonic::async_trait]
impl SyncAgentService for Services {
    type ExecuteTaskSyncStream = Pin<Box<dyn Stream<Item = Result<ExecuteTaskSyncResponse, Status>> + Send>>;

    async fn execute_task_sync(
        &self,
        request: Request<Streaming<ExecuteTaskSyncRequest>>,
    ) -> Result<Response<Self::ExecuteTaskSyncStream>, Status> {
        use execute_task_sync_request::Part;
        let said = Said::from(request.metadata());
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|m| m.part) else {
            return Err(Status::invalid_argument("the first message of a sync call must be its header"));
        };
        let template = header.template.unwrap_or_default();
        let category = of_template(&template);
        let begun = self.begin(&category, "ExecuteTaskSync", said.trace)?;
        let Kind::Sync(any) = begun.agent.kind.clone() else {
            return Err(Status::failed_precondition(format!(
                "ExecuteTaskSync was called for task category {category}, which is served by an async agent ({}): use CreateTask, GetTask and DeleteTask",
                begun.agent.name
            )));
        };
        let mut given = HashMap::new();
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::Inputs(more)) => given.extend(more.literals),
                _ => {
                    return Err(Status::invalid_argument("a sync call has one header, and only inputs after it"));
                }
            }
        }
        let metadata = header.task_execution_metadata.unwrap_or_default();
        let task = Task {
            category,
            template,
            idempotency_key: said
                .key
                .unwrap_or_else(|| idempotency_key(metadata.task_execution_id.as_ref(), &header.output_prefix)),
            output_prefix: header.output_prefix,
            metadata,
            deadline: said.deadline,
            connection: connection(&header.connection)?,
            max_dataset_size: header.max_dataset_size_bytes,
            inputs: given,
        };
        let executed = self.make(begun, "Execute", async move { execute(&*any, task).await }, |resource| resource);
        let resource = executed.apart().await?;
        let header = ExecuteTaskSyncResponseHeader { resource: Some(resource) };
        let answer = ExecuteTaskSyncResponse { res: Some(execute_task_sync_response::Res::Header(header)) };
        Ok(Response::new(Box::pin(stream::once(std::future::ready(Ok(answer))))))
    }
}

async fn execute(agent: &dyn SyncAgent, task: Task) -> Result<crate::contract::flyteidl::admin::Resource> {
    let declared = task.output_types();
    let resource = agent.execute(task).await?;
    if !resource.is_terminal() {
        return Err(Error::internal(format!(
            "the agent answered {:?}, but a sync agent must answer with how the task ended",
            resource.phase()
        )));
    }
    resource.wire(&declared)
}

#[tonic::async_trait]
impl AgentMetadataService for Services {
    async fn list_agents(&self, _: Request<ListAgentsRequest>) -> Result<Response<ListAgentsResponse>, Status> {
        Ok(Response::new(ListAgentsResponse { agents: self.0.plugin.registry.listed() }))
    }

    async fn get_agent(&self, request: Request<GetAgentRequest>) -> Result<Response<GetAgentResponse>, Status> {
        let name = request.into_inner().name;
        let listed = self.0.plugin.registry.listed();
        match listed.into_iter().find(|agent| agent.name == name) {
            Some(agent) => Ok(Response::new(GetAgentResponse { agent: Some(agent) })),
            None => Err(Status::not_found(format!("plugin {} has no agent {name:?}", self.0.plugin.name))),
        }
    }
}

/// The capabilities as Describe has them: for the plugin, and for single categories. What every async agent promises is the
/// plugin's promise, so that hosts that know no others hear of it too.
fn promises(plugin: &Plugin) -> (Vec<String>, Vec<CategoryCapabilities>) {
    type Made = fn(&Registered) -> bool;
    let known: [(&str, Made); 2] =
        [(IDEMPOTENT_CREATE, |agent| agent.idempotent_create), (FIND_BY_KEY, Registered::finds)];
    let asynchronous: Vec<_> = plugin.registry.agents().iter().filter(|agent| !agent.is_sync()).collect();
    let mut whole = plugin.capabilities.clone();
    let mut single = Vec::new();
    for (name, made) in known {
        let declared = whole.iter().any(|capability| capability == name);
        if !declared && !asynchronous.is_empty() && asynchronous.iter().all(|agent| made(agent)) {
            whole.push(name.into());
        }
    }
    for agent in asynchronous {
        let own = known.iter().filter(|(name, made)| made(agent) && !whole.iter().any(|capability| capability == name));
        let capabilities: Vec<_> = own.map(|(name, _)| name.to_string()).collect();
        if !capabilities.is_empty() {
            single.extend(agent.categories.iter().map(|category| CategoryCapabilities {
                name: category.name.clone(),
                version: category.version,
                capabilities: capabilities.clone(),
            }));
        }
    }
    (whole, single)
}

async fn configure(plugin: &Plugin, block: &str) -> Result<(), Vec<ConfigError>> {
    let Some(configuration) = &plugin.configuration else { return Ok(()) };
    AssertUnwindSafe(configuration.take(block)).catch_unwind().await.unwrap_or_else(|panic| {
        Err(vec![ConfigError::new("", format!("the plugin panicked over it: {}", told(&*panic)))])
    })
}

#[tonic::async_trait]
impl PluginService for Services {
    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        let plugin = &self.0.plugin;
        let (capabilities, category_capabilities) = promises(plugin);
        Ok(Response::new(DescribeResponse {
            name: plugin.name.clone(),
            version: plugin.version.clone(),
            sdk: Some(Sdk {
                name: "agenthost-rust".into(),
                version: env!("CARGO_PKG_VERSION").into(),
                language: "rust".into(),
            }),
            capabilities,
            category_capabilities,
            config_schema: plugin.configuration.as_ref().map(|c| c.schema.to_string()).unwrap_or_default(),
        }))
    }

    async fn drain(&self, _: Request<DrainRequest>) -> Result<Response<DrainResponse>, Status> {
        self.0.replaced.send_replace(true);
        Ok(Response::new(DrainResponse {}))
    }

    async fn metrics(&self, _: Request<MetricsRequest>) -> Result<Response<MetricsResponse>, Status> {
        let shared = self.0.clone();
        if shared.plugin.metrics.is_none() {
            return Err(Status::unimplemented("the plugin has no metrics of its own"));
        }
        let gathered = self.0.apart.call("metrics", async move {
            let gather = || shared.plugin.metrics.as_ref().map_or_else(|| Ok(String::new()), |gather| gather());
            caught("metrics", "Gather", async { gather() }).await
        });
        Ok(Response::new(MetricsResponse { text: gathered.await?.into_bytes() }))
    }

    async fn configure(&self, request: Request<ConfigureRequest>) -> Result<Response<ConfigureResponse>, Status> {
        let block = request.into_inner().config;
        let shared = self.0.clone();
        let outcome = match &self.0.plugin.configuration {
            Some(_) => {
                let context = Context { trace: HashMap::new(), replaced: shared.replaced.subscribe() };
                let configured = async move { within(context, configure(&shared.plugin, &block)).await };
                self.0.apart.call("configure", configured).await
            }
            None if block.is_empty() || block.trim() == "{}" => Ok(()),
            None => Err(vec![ConfigError::new("", "this plugin takes no configuration")]),
        };
        let errors = outcome.err().unwrap_or_default();
        if errors.is_empty() {
            self.0.configured.store(true, Ordering::Release);
        }
        let error = |e: ConfigError| pluginv1::ConfigError { key: e.key, message: e.message };
        Ok(Response::new(ConfigureResponse { errors: errors.into_iter().map(error).collect() }))
    }
}
