//! Runs a plugin in tests, and calls it as Flyte does.
//!
//! [`run`] serves it in this process; [`command`] starts the real program as the host does, with its handshake and mutual TLS.
//!
//! ```
//! # use agenthost::{Plugin, Resource, Result, SyncAgent, Task, async_trait};
//! # struct Double;
//! # #[async_trait]
//! # impl SyncAgent for Double {
//! #     async fn execute(&self, task: Task) -> Result<Resource> { Ok(Resource::succeeded([("twice", 2 * task.input::<i64>("n")?)])) }
//! # }
//! use agenthost::testing::{TestTask, run};
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let client = run(Plugin::new("double", "1.0.0").sync_agent("double", Double)).await;
//! let result = client.execute(TestTask::new("double").input("n", 21)).await.unwrap();
//! assert_eq!(result.output::<i64>("twice"), 42);
//! # });
//! ```

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tower::service_fn;

use crate::config::ConfigError;
use crate::contract::agenthost::plugin::v1::{
    ConfigureRequest, DescribeRequest, DescribeResponse, plugin_service_client::PluginServiceClient,
};
use crate::contract::flyteidl::admin::{
    Agent, CreateRequestHeader, CreateTaskRequest, DeleteTaskRequest, ExecuteTaskSyncRequest, GetTaskLogsRequest,
    GetTaskRequest, ListAgentsRequest, Resource, TaskCategory, TaskExecutionMetadata, execute_task_sync_request,
    execute_task_sync_response, get_task_logs_response,
};
use crate::contract::flyteidl::core::{
    Literal, LiteralMap, LiteralType, NodeExecutionIdentifier, Sql, TaskExecutionIdentifier, TaskTemplate,
    TypedInterface, Variable, VariableMap, WorkflowExecutionIdentifier, task_template,
};
use crate::contract::flyteidl::service::{
    agent_metadata_service_client::AgentMetadataServiceClient, async_agent_service_client::AsyncAgentServiceClient,
    sync_agent_service_client::SyncAgentServiceClient,
};
use crate::contract::plugin::{Empty, grpc_controller_client::GrpcControllerClient};
use crate::literal::{decode, encode, from_struct, to_struct_value, type_of};
use crate::plugin::Plugin;
use crate::resource::Phase;
use crate::serve::router;
use crate::service::Services;
use crate::tls::{self, Identity};
use crate::value::{FromValue, Value};

/// How long a job may take to end.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A task to run: a type and what its template is to have. Mistakes in it panic, as they do in tests.
#[derive(Clone, Debug, Default)]
pub struct TestTask {
    template: TaskTemplate,
    inputs: HashMap<String, Literal>,
    output_prefix: String,
    key: Option<String>,
    named: bool,
    timeout: Option<Duration>,
    metadata: Option<TaskExecutionMetadata>,
}

impl TestTask {
    /// A task of a type.
    pub fn new(task_type: &str) -> Self {
        let template =
            TaskTemplate { r#type: task_type.into(), interface: Some(TypedInterface::default()), ..Default::default() };
        TestTask { template, ..Default::default() }
    }

    /// A task with a template as flytekit compiled it.
    pub fn of(template: TaskTemplate, inputs: LiteralMap) -> Self {
        TestTask { template, inputs: inputs.literals, ..Default::default() }
    }

    /// The version of the task type.
    pub fn version(mut self, version: i32) -> Self {
        self.template.task_type_version = version;
        self
    }

    /// An input.
    pub fn input(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.inputs.insert(name.into(), encode(&value.into(), None).expect("an input"));
        self
    }

    /// An input as a literal, such as one that no value has.
    pub fn literal(mut self, name: &str, literal: Literal) -> Self {
        self.inputs.insert(name.into(), literal);
        self
    }

    /// A declared output, of a given type.
    pub fn output_type(mut self, name: &str, declared: LiteralType) -> Self {
        let interface = self.template.interface.get_or_insert_default();
        let outputs: &mut VariableMap = interface.outputs.get_or_insert_default();
        outputs.variables.insert(name.into(), Variable { r#type: Some(declared), ..Default::default() });
        self
    }

    /// A declared output, of the type that a value like this has.
    pub fn output_like(self, name: &str, example: impl Into<Value>) -> Self {
        self.output_type(name, type_of(&example.into()))
    }

    /// The statement of an SQL task.
    pub fn sql(mut self, statement: &str) -> Self {
        self.template.target =
            Some(task_template::Target::Sql(Sql { statement: statement.into(), ..Default::default() }));
        self
    }

    /// The template's custom part.
    pub fn custom(mut self, custom: serde_json::Value) -> Self {
        let Some(prost_types::value::Kind::StructValue(custom)) = to_struct_value(&custom).kind else {
            panic!("custom is {custom}, not an object")
        };
        self.template.custom = Some(custom);
        self
    }

    /// An entry of the template's config.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.template.config.insert(key.into(), value.into());
        self
    }

    /// Where outputs go.
    pub fn output_prefix(mut self, prefix: &str) -> Self {
        self.output_prefix = prefix.into();
        self
    }

    /// The Flyte project and domain of the execution that runs it.
    pub fn execution(mut self, project: &str, domain: &str) -> Self {
        let execution = WorkflowExecutionIdentifier {
            project: project.into(),
            domain: domain.into(),
            name: "execution".into(),
            ..Default::default()
        };
        let node = NodeExecutionIdentifier { node_id: "n0".into(), execution_id: Some(execution) };
        let attempt = TaskExecutionIdentifier { node_execution_id: Some(node), ..Default::default() };
        self.metadata = Some(TaskExecutionMetadata { task_execution_id: Some(attempt), ..Default::default() });
        self
    }

    /// The attempt, as Flyte names it: unless a key is set, the plugin makes it of this and the output prefix.
    pub fn attempt(mut self, id: TaskExecutionIdentifier) -> Self {
        self.metadata = Some(TaskExecutionMetadata { task_execution_id: Some(id), ..Default::default() });
        self.named = true;
        self
    }

    /// The attempt's idempotency key. Without it, and without an [`attempt`](Self::attempt), each call is an attempt of its own.
    pub fn idempotency_key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// How long the caller waits.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        static ATTEMPTS: AtomicU64 = AtomicU64::new(1);
        let own = || (!self.named).then(|| format!("{:064x}", ATTEMPTS.fetch_add(1, Ordering::Relaxed)));
        let mut request = Request::new(message);
        if let Some(key) = self.key.clone().or_else(own) {
            request.metadata_mut().insert("agenthost-idempotency-key", key.parse().expect("an idempotency key"));
        }
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        request
    }

    fn category(&self) -> TaskCategory {
        TaskCategory { name: self.template.r#type.clone(), version: self.template.task_type_version }
    }
}

/// How a task is.
#[derive(Clone, Debug)]
pub struct TestResult(pub Resource);

impl TestResult {
    /// The phase.
    pub fn phase(&self) -> Phase {
        self.0.phase()
    }

    /// What is said to people.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// An output. It panics if there is none of that name and type.
    pub fn output<T: FromValue>(&self, name: &str) -> T {
        let literals = self.0.outputs.as_ref().map(|o| &o.literals);
        let literal =
            literals.and_then(|l| l.get(name)).unwrap_or_else(|| panic!("there is no output {name:?} in {:?}", self.0));
        decode(literal).and_then(T::from_value).unwrap_or_else(|e| panic!("output {name:?} {e}"))
    }

    /// The custom info as JSON.
    pub fn info(&self) -> serde_json::Value {
        self.0.custom_info.as_ref().map_or(serde_json::Value::Null, from_struct)
    }
}

/// A job that a plugin runs.
#[derive(Clone, Debug)]
pub struct TestJob {
    /// Its metadata, as Flyte keeps it.
    pub meta: Vec<u8>,
    category: TaskCategory,
    output_prefix: String,
    client: AsyncAgentServiceClient<Channel>,
}

impl TestJob {
    /// Polls once.
    pub async fn get(&self) -> Result<TestResult, Status> {
        let request = GetTaskRequest {
            task_category: Some(self.category.clone()),
            resource_meta: self.meta.clone(),
            output_prefix: self.output_prefix.clone(),
            ..Default::default()
        };
        let answer = self.client.clone().get_task(request).await?.into_inner();
        Ok(TestResult(answer.resource.unwrap_or_default()))
    }

    /// Polls until the job has ended. It panics after a minute.
    pub async fn wait(&self) -> Result<TestResult, Status> {
        let deadline = tokio::time::Instant::now() + MAX_WAIT;
        loop {
            let result = self.get().await?;
            if matches!(result.phase(), Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::RetryableFailed) {
                return Ok(result);
            }
            assert!(tokio::time::Instant::now() < deadline, "the job has not ended: {result:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Deletes the job.
    pub async fn delete(&self) -> Result<(), Status> {
        let request = DeleteTaskRequest {
            task_category: Some(self.category.clone()),
            resource_meta: self.meta.clone(),
            ..Default::default()
        };
        self.client.clone().delete_task(request).await.map(|_| ())
    }

    /// The job's log lines.
    pub async fn logs(&self) -> Result<Vec<String>, Status> {
        let request = GetTaskLogsRequest {
            task_category: Some(self.category.clone()),
            resource_meta: self.meta.clone(),
            ..Default::default()
        };
        let mut stream = self.client.clone().get_task_logs(request).await?.into_inner();
        let mut lines = Vec::new();
        while let Some(answer) = stream.next().await {
            if let Some(get_task_logs_response::Part::Body(body)) = answer?.part {
                lines.extend(body.structured_lines.into_iter().map(|line| line.message));
            }
        }
        Ok(lines)
    }
}

/// A plugin that runs.
pub struct Client {
    channel: Channel,
    process: Option<Process>,
}

/// The program, its socket's folder, and what is held for its sake.
struct Process {
    child: Child,
    _dir: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill(); // an error says that it has ended
        let _ = self.child.wait();
    }
}

/// Serves a plugin in this process.
pub async fn run(plugin: Plugin) -> Client {
    assert!(plugin.mistakes.is_empty(), "{:?}", plugin.mistakes);
    let router = router(&Services::new(plugin)).await;
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    tokio::spawn(
        router.serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(theirs)).chain(tokio_stream::pending())),
    );
    let mut ours = Some(ours);
    let connect = service_fn(move |_: Uri| {
        let once =
            ours.take().map(TokioIo::new).ok_or_else(|| std::io::Error::other("the plugin in process has hung up"));
        std::future::ready(once)
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connect)
        .await
        .expect("a connection in memory");
    Client { channel, process: None }
}

/// Starts a program as the host does. It gets the environment of the test, and what is set on the command.
pub async fn command(mut command: Command) -> Client {
    let dir = tempfile::Builder::new().prefix("agent-").tempdir().expect("a folder for the socket");
    let identity = Identity::new().expect("a certificate");
    command
        .env("AGENTHOST_PLUGIN", "flyte-agent-plugin")
        .env("PLUGIN_PROTOCOL_VERSIONS", "1")
        .env("PLUGIN_UNIX_SOCKET_DIR", dir.path())
        .env("PLUGIN_CLIENT_CERT", identity.pem())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a handshake line");
    let fields: Vec<_> = line.trim().split('|').collect();
    assert!(
        fields.len() == 6 && fields[..3] == ["1", "1", "unix"] && fields[4] == "grpc",
        "no handshake line: {line:?}"
    );
    let peer = tls::certificate(fields[5]).expect("a certificate in the handshake line");
    let config = Arc::new(identity.client(peer).expect("a TLS configuration"));
    let channel = connect(fields[3], config).await.expect("a connection to the plugin");
    Client { channel, process: Some(Process { child, _dir: dir }) }
}

async fn connect(
    socket: impl AsRef<Path>,
    config: Arc<rustls::ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let socket = socket.as_ref().to_path_buf();
    let connect = service_fn(move |_: Uri| {
        let (socket, connector) = (socket.clone(), TlsConnector::from(config.clone()));
        async move {
            let stream = UnixStream::connect(socket).await?;
            let name = ServerName::try_from("localhost").expect("a name");
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connect).await
}

impl Client {
    /// The connection, for calls that this type does not make.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// The id of the process, where it is one.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(|p| p.child.id())
    }

    /// What the plugin says of itself.
    pub async fn describe(&self) -> Result<DescribeResponse, Status> {
        Ok(PluginServiceClient::new(self.channel()).describe(DescribeRequest {}).await?.into_inner())
    }

    /// Hands a configuration over, and returns what the plugin has against it.
    pub async fn configure(&self, config: serde_json::Value) -> Result<Vec<ConfigError>, Status> {
        let request = ConfigureRequest { config: config.to_string() };
        let answer = PluginServiceClient::new(self.channel()).configure(request).await?.into_inner();
        Ok(answer.errors.into_iter().map(|e| ConfigError::new(e.key, e.message)).collect())
    }

    /// The agents that the plugin lists.
    pub async fn agents(&self) -> Result<Vec<Agent>, Status> {
        Ok(AgentMetadataServiceClient::new(self.channel())
            .list_agents(ListAgentsRequest::default())
            .await?
            .into_inner()
            .agents)
    }

    fn jobs(&self) -> AsyncAgentServiceClient<Channel> {
        AsyncAgentServiceClient::new(self.channel()).max_decoding_message_size(usize::MAX)
    }

    /// Creates a job.
    pub async fn create(&self, task: TestTask) -> Result<TestJob, Status> {
        self.create_task(task, None).await
    }

    /// The job that was made for the task's attempt: the task names it by a key or as Flyte does. It makes none.
    pub async fn find(&self, task: TestTask) -> Result<TestJob, Status> {
        self.create_task(task, Some("agenthost-find-only")).await
    }

    /// Gives the task's attempt up, of which no job is made from then on.
    pub async fn abandon(&self, task: TestTask) -> Result<(), Status> {
        self.create_task(task, Some("agenthost-abandon")).await.map(|_| ())
    }

    /// Calls CreateTask in one of its forms, which metadata tells apart.
    async fn create_task(&self, task: TestTask, form: Option<&'static str>) -> Result<TestJob, Status> {
        let (category, output_prefix) = (task.category(), task.output_prefix.clone());
        let mut request = task.request(CreateTaskRequest {
            inputs: Some(LiteralMap { literals: task.inputs.clone() }),
            template: Some(task.template.clone()),
            output_prefix: output_prefix.clone(),
            task_execution_metadata: task.metadata.clone(),
            ..Default::default()
        });
        if let Some(form) = form {
            request.metadata_mut().insert(form, "1".parse().expect("metadata"));
        }
        let meta = self.jobs().create_task(request).await?.into_inner().resource_meta;
        Ok(TestJob { meta, category, output_prefix, client: self.jobs() })
    }

    /// A job that was created before, perhaps by another process.
    pub fn job(&self, task_type: &str, meta: impl Into<Vec<u8>>) -> TestJob {
        let category = TaskCategory { name: task_type.into(), version: 0 };
        TestJob { meta: meta.into(), category, output_prefix: String::new(), client: self.jobs() }
    }

    /// Creates a job and waits for its end.
    pub async fn run(&self, task: TestTask) -> Result<TestResult, Status> {
        self.create(task).await?.wait().await
    }

    /// Runs a sync task.
    pub async fn execute(&self, task: TestTask) -> Result<TestResult, Status> {
        use execute_task_sync_request::Part;
        let header = CreateRequestHeader {
            template: Some(task.template.clone()),
            output_prefix: task.output_prefix.clone(),
            task_execution_metadata: task.metadata.clone(),
            ..Default::default()
        };
        let parts = [Part::Header(header), Part::Inputs(LiteralMap { literals: task.inputs.clone() })];
        let messages = tokio_stream::iter(parts.map(|part| ExecuteTaskSyncRequest { part: Some(part) }));
        let mut client = SyncAgentServiceClient::new(self.channel()).max_decoding_message_size(usize::MAX);
        let mut answers = client.execute_task_sync(task.request(messages)).await?.into_inner();
        match answers.message().await?.and_then(|answer| answer.res) {
            Some(execute_task_sync_response::Res::Header(header)) => {
                Ok(TestResult(header.resource.unwrap_or_default()))
            }
            other => panic!("the first message of a sync answer must be its header: {other:?}"),
        }
    }

    /// Asks the program to stop, and waits until it has. It panics if it ended with an error.
    pub async fn stop(mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let _ = GrpcControllerClient::new(self.channel()).shutdown(Empty {}).await; // the connection may break first
        let status =
            tokio::task::spawn_blocking(move || process.child.wait()).await.expect("a wait").expect("a process");
        assert!(status.success(), "the plugin ended with {status}");
    }
}
