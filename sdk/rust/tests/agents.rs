//! What the SDK promises to authors of agents, in process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agenthost::contract::flyteidl::admin::{
    GetTaskLogsRequest, GetTaskMetricsRequest, TaskCategory, get_task_logs_response,
};
use agenthost::contract::flyteidl::core::execution_error::ErrorKind;
use agenthost::contract::flyteidl::core::{LiteralMap, LiteralType, SimpleType, TaskTemplate, UnionType, literal_type};
use agenthost::contract::flyteidl::service::async_agent_service_client::AsyncAgentServiceClient;
use agenthost::testing::{TestTask, run};
use agenthost::{
    AsyncAgent, Category, Column, ConfigError, Error, File, Job, Json, Link, LogLine, LogSink, LogsQuery, Metric,
    MetricsQuery, Originator, OutputTypes, Outputs, Phase, Plugin, Registration, Resource, Result, StructuredDataset,
    SyncAgent, Task, Value, async_trait, encode, json_meta,
};
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tonic::Code;

#[derive(Serialize, Deserialize)]
struct Count {
    n: i64,
    key: String,
    /// As if a newer version had added it.
    #[serde(default)]
    note: String,
}

/// Does what its task's custom part says.
#[derive(Default)]
struct Counter {
    closed: Arc<AtomicUsize>,
}

#[derive(Deserialize, Default)]
struct Custom {
    #[serde(default)]
    fail: String,
}

#[async_trait]
impl AsyncAgent for Counter {
    type Meta = Count;

    async fn create(&self, task: Task) -> Result<Count> {
        let n = task.input("n")?;
        match task.custom::<Custom>()?.fail.as_str() {
            "panic" => panic!("out of order"),
            "io" => Err(std::io::Error::other("the disk is full"))?,
            "unavailable" => return Err(Error::unavailable("the warehouse is closed")),
            _ => {}
        }
        Ok(Count { n, key: task.idempotency_key, note: String::new() })
    }

    async fn get(&self, job: Job<Count>) -> Result<Resource> {
        match job.meta.n {
            0 => Ok(Resource::running("at it")),
            -1 => Ok(Resource::retryable_failed("no more slots").with_code("Quota")),
            -2 => Ok(Resource::failed("no such table").with_user_error("BadSQL")),
            -3 => Ok(Resource::retryable_failed("the engine is down").with_system_error("Engine")),
            n => Ok(Resource::succeeded([("doubled", 2 * n)])
                .with_link("Console", "https://example.com/1")
                .with_info("key", job.meta.key)),
        }
    }

    async fn delete(&self, job: Job<Count>) -> Result<()> {
        if job.meta.n == 404 { Err(Error::not_found("no such count")) } else { Ok(()) }
    }

    async fn logs(&self, _: Job<Count>, query: LogsQuery, sink: LogSink) -> Result<()> {
        for i in 0..query.lines.max(3) {
            let line = LogLine::from(format!("line {i}"));
            sink.line(LogLine { at: Some(chrono::Utc::now()), originator: Originator::System, ..line }).await?;
        }
        sink.next_token("3").await
    }

    async fn metrics(&self, job: Job<Count>, query: MetricsQuery) -> Result<Vec<Metric>> {
        let span = (query.start.map(|at| at.timestamp()), query.end, query.step.map(|s| s.num_seconds()));
        let metric = |name| {
            let data = json!({"n": job.meta.n, "start": span.0, "open": span.1.is_none(), "step": span.2});
            Metric { name, data: data.as_object().unwrap().clone() }
        };
        Ok(query.queries.into_iter().map(metric).collect())
    }

    fn decode_meta(meta: &[u8]) -> Result<Count> {
        match meta.strip_prefix(b"abacus:") {
            Some(beads) => Ok(Count { n: beads.len() as i64, key: String::new(), note: String::new() }),
            None => json_meta(meta),
        }
    }

    async fn close(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }
}

struct Echo;

#[async_trait]
impl SyncAgent for Echo {
    async fn execute(&self, task: Task) -> Result<Resource> {
        if task.custom::<Custom>()?.fail == "unfinished" {
            return Ok(Resource::running("not yet"));
        }
        Ok(Resource::succeeded(task.inputs()?.into_iter().collect::<agenthost::Outputs>()))
    }
}

fn plugin() -> Plugin {
    Plugin::new("test", "1.2.3")
        .agent(Registration::new("count").also(Category::new("count", 2)), Counter::default())
        .sync_agent("echo", Echo)
}

fn simple(simple: SimpleType) -> LiteralType {
    LiteralType { r#type: Some(literal_type::Type::Simple(simple.into())), ..Default::default() }
}

#[tokio::test]
async fn a_job_is_created_polled_and_deleted() {
    let client = run(plugin()).await;
    let key = "a".repeat(64);
    let job = client.create(TestTask::new("count").version(1).input("n", 21).idempotency_key(&key)).await.unwrap();
    let meta: serde_json::Value = serde_json::from_slice(&job.meta).unwrap();
    assert_eq!(meta, json!({"n": 21, "key": key, "note": ""}));
    let result = job.wait().await.unwrap();
    assert_eq!((result.phase(), result.output::<i64>("doubled")), (Phase::Succeeded, 42));
    assert_eq!(result.0.log_links[0].name, "Console");
    assert_eq!(result.info()["key"], json!(key));
    job.delete().await.unwrap();
}

/// Says whose execution runs it.
struct Whose;

#[async_trait]
impl SyncAgent for Whose {
    async fn execute(&self, task: Task) -> Result<Resource> {
        Ok(Resource::succeeded([("whose", format!("{}/{}", task.project(), task.domain()))]))
    }
}

#[tokio::test]
async fn a_task_knows_its_executions_project_and_domain() {
    let client = run(Plugin::new("whose", "1.0.0").sync_agent("whose", Whose)).await;
    let known = client.execute(TestTask::new("whose").execution("analytics", "production")).await.unwrap();
    assert_eq!(known.output::<String>("whose"), "analytics/production");
    let unknown = client.execute(TestTask::new("whose")).await.unwrap();
    assert_eq!(unknown.output::<String>("whose"), "/");
}

#[tokio::test]
async fn metadata_of_other_versions_is_read() {
    let client = run(plugin()).await;
    let older = client.job("count", r#"{"n": 2, "key": "", "field_of_tomorrow": [1]}"#);
    assert_eq!(older.get().await.unwrap().output::<i64>("doubled"), 4);
    let foreign = client.job("count", &b"\x80\x04pickle"[..]).get().await.unwrap_err();
    assert_eq!(foreign.code(), Code::InvalidArgument);
    assert!(foreign.message().contains("agent count: Get: the resource_meta is none of this agent's"), "{foreign}");
    assert!(foreign.message().contains("a Python pickle"), "{foreign}");
    let taken_over = client.job("count", &b"abacus:ooo"[..]);
    assert_eq!(taken_over.get().await.unwrap().output::<i64>("doubled"), 6);
}

#[tokio::test]
async fn errors_keep_their_code_and_name_the_agent() {
    let client = run(plugin()).await;
    let create = async |custom| client.create(TestTask::new("count").input("n", 1).custom(custom)).await.unwrap_err();
    for (fail, code, says) in [
        ("panic", Code::Internal, "agent count: Create: panic: out of order"),
        ("io", Code::Internal, "agent count: Create: the disk is full"),
        ("unavailable", Code::Unavailable, "agent count: Create: the warehouse is closed"),
    ] {
        let status = create(json!({"fail": fail})).await;
        assert_eq!((status.code(), status.message().contains(says)), (code, true), "{status}");
    }
    let wrong = create(json!({"fail": 7})).await;
    assert!(wrong.message().contains("custom part is wrong at fail"), "{wrong}");
    assert_eq!(client.job("count", r#"{"n": 404, "key": ""}"#).delete().await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_failure_has_its_code_first() {
    let result = run(plugin()).await.run(TestTask::new("count").input("n", -1)).await.unwrap();
    assert_eq!((result.phase(), result.message()), (Phase::RetryableFailed, "Quota: no more slots"));
    let error = result.0.agent_error.unwrap();
    assert_eq!((error.code.as_str(), error.kind), ("Quota", 1));
}

#[tokio::test]
async fn a_failure_says_whose_it_is() {
    let client = run(plugin()).await;
    for (n, code, kind, origin) in
        [(-1, "Quota", 1, ErrorKind::Unknown), (-2, "BadSQL", 0, ErrorKind::User), (-3, "Engine", 1, ErrorKind::System)]
    {
        let error = client.run(TestTask::new("count").input("n", n)).await.unwrap().0.agent_error.unwrap();
        assert_eq!((error.code.as_str(), error.kind, error.origin()), (code, kind, origin));
    }
}

#[tokio::test]
async fn metrics_are_asked_for_and_answered_in_the_authors_types() {
    let mut jobs = AsyncAgentServiceClient::new(run(plugin()).await.channel());
    let request = GetTaskMetricsRequest {
        task_category: Some(TaskCategory { name: "count".into(), version: 0 }),
        resource_meta: r#"{"n": 5, "key": ""}"#.into(),
        queries: vec!["cpu".into()],
        start_time: Some("1970-01-01T00:01:40Z".parse().unwrap()),
        step: Some(std::time::Duration::from_secs(30).try_into().unwrap()),
        ..Default::default()
    };
    let results = jobs.get_task_metrics(request.clone()).await.unwrap().into_inner().results;
    let number = |key: &str| match results[0].data.as_ref().unwrap().fields[key].kind {
        Some(prost_types::value::Kind::NumberValue(n)) => n,
        ref other => panic!("{key} is {other:?}"),
    };
    assert_eq!((results.len(), results[0].metric.as_str()), (1, "cpu"));
    assert_eq!((number("n"), number("start"), number("step")), (5., 100., 30.));

    let endless = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    let wrong =
        jobs.get_task_metrics(GetTaskMetricsRequest { start_time: Some(endless), ..request }).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    assert!(wrong.message().contains("start_time is a datetime out of range"), "{wrong}");
}

#[tokio::test]
async fn an_input_that_does_not_fit_is_named() {
    let client = run(plugin()).await;
    let missing = client.create(TestTask::new("count")).await.unwrap_err();
    assert_eq!(
        (missing.code(), missing.message()),
        (Code::InvalidArgument, r#"agent count: Create: input "n" is missing: an int is needed"#)
    );
    let wrong = client.create(TestTask::new("count").input("n", "many")).await.unwrap_err();
    assert_eq!(wrong.message(), r#"agent count: Create: input "n" is a str, and an int is needed"#);
}

#[tokio::test]
async fn a_custom_part_with_a_number_that_json_lacks_is_refused() {
    let number = prost_types::Value { kind: Some(prost_types::value::Kind::NumberValue(f64::NAN)) };
    let custom = prost_types::Struct { fields: [("fail".to_string(), number)].into() };
    let template = TaskTemplate { r#type: "count".into(), custom: Some(custom), ..Default::default() };
    let inputs = LiteralMap { literals: [("n".to_string(), encode(&Value::Int(1), None).unwrap())].into() };
    let refused = run(plugin()).await.create(TestTask::of(template, inputs)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("custom part has a number that JSON lacks"), "{refused}");
}

/// Knows of numbers that no float is.
struct Large;

#[async_trait]
impl SyncAgent for Large {
    async fn execute(&self, _: Task) -> Result<Resource> {
        let ids = json!([9_007_199_254_740_993_i64, u64::MAX, 1_i64 << 60, 3, 0.5]);
        Ok(Resource::succeeded([("n", 1)]).with_info("ids", ids))
    }
}

#[tokio::test]
async fn the_custom_info_keeps_every_digit() {
    let client = run(Plugin::new("large", "1").sync_agent("large", Large)).await;
    let result = client.execute(TestTask::new("large")).await.unwrap();
    let power = 1_152_921_504_606_846_976.0;
    assert_eq!(result.info(), json!({"ids": ["9007199254740993", "18446744073709551615", power, 3, 0.5]}));
}

#[tokio::test]
async fn logs_stream_line_by_line() {
    let lines = run(plugin()).await.job("count", r#"{"n": 1, "key": ""}"#).logs().await.unwrap();
    assert_eq!(lines, ["line 0", "line 1", "line 2"]);
}

#[tokio::test]
async fn a_log_line_says_when_it_was_written_and_by_whom() {
    let request = GetTaskLogsRequest {
        task_category: Some(TaskCategory { name: "count".into(), version: 0 }),
        resource_meta: r#"{"n": 1, "key": ""}"#.into(),
        ..Default::default()
    };
    let mut jobs = AsyncAgentServiceClient::new(run(plugin()).await.channel());
    let mut stream = jobs.get_task_logs(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    let Some(get_task_logs_response::Part::Body(body)) = first.part else { panic!("{first:?}") };
    assert_eq!(body.structured_lines[0].originator(), Originator::System);
    assert!(body.structured_lines[0].timestamp.is_some());
}

#[tokio::test]
async fn a_sync_agent_answers_in_the_declared_types() {
    let client = run(plugin()).await;
    let optional = LiteralType {
        r#type: Some(literal_type::Type::UnionType(UnionType {
            variants: vec![simple(SimpleType::String), simple(SimpleType::None)],
        })),
        ..Default::default()
    };
    let task = TestTask::new("echo")
        .input("x", 1)
        .input("maybe", Value::None)
        .output_type("x", simple(SimpleType::Float))
        .output_type("maybe", optional);
    let result = client.execute(task).await.unwrap();
    assert_eq!((result.output::<f64>("x"), result.output::<Option<String>>("maybe")), (1.0, None));
    let wrong = client
        .execute(TestTask::new("echo").input("x", "a").output_type("x", simple(SimpleType::Integer)))
        .await
        .unwrap_err();
    assert!(wrong.message().contains(r#"output "x" is a str, and its type is integer"#), "{wrong}");
    let unfinished = client.execute(TestTask::new("echo").custom(json!({"fail": "unfinished"}))).await.unwrap_err();
    assert!(unfinished.message().contains("must answer with how the task ended"), "{unfinished}");
}

#[tokio::test]
async fn an_output_that_is_missing_or_not_declared_is_named() {
    let client = run(plugin()).await;
    let integer = || simple(SimpleType::Integer);
    let missing = TestTask::new("echo").input("a", 1).output_type("a", integer()).output_type("b", integer());
    let surplus = TestTask::new("echo").input("a", 1).input("b", 1).output_type("a", integer());
    for (task, says) in [
        (missing, r#"agent echo: Execute: output "b" is declared but missing"#),
        (surplus, r#"agent echo: Execute: output "b" is not one that the task declares: a"#),
    ] {
        let wrong = client.execute(task).await.unwrap_err();
        assert_eq!((wrong.code(), wrong.message()), (Code::Internal, says));
    }
}

/// Keeps what its task declares; its output is what the input says.
struct Keeper;

#[derive(Serialize, Deserialize)]
struct Kept {
    name: String,
    types: OutputTypes,
    table: StructuredDataset,
}

#[async_trait]
impl AsyncAgent for Keeper {
    type Meta = Kept;

    async fn create(&self, task: Task) -> Result<Kept> {
        Ok(Kept { name: task.input("name")?, types: task.output_types(), table: task.input("table")? })
    }

    async fn get(&self, job: Job<Kept>) -> Result<Resource> {
        let outputs = Outputs::new().with(job.meta.name, 1).with("table", job.meta.table);
        Ok(Resource::succeeded(outputs)
            .with_output_types(job.meta.types)
            .with_link_of(Link::new("Console", "https://example.com/1").while_pending().until_finished()))
    }

    async fn delete(&self, _: Job<Kept>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_async_agent_keeps_what_is_declared_and_a_wrong_output_fails_its_job_at_once() {
    let client = run(Plugin::new("keeper", "1").agent("keep", Keeper)).await;
    let column = Column { name: "n".into(), r#type: simple(SimpleType::Integer) };
    let table = StructuredDataset { uri: "s3://b/t".into(), format: "parquet".into(), columns: vec![column] };
    let task = |name: &str| {
        let task = TestTask::new("keep").input("name", name).input("table", table.clone());
        task.output_type("ratio", simple(SimpleType::Float)).output_like("table", table.clone())
    };
    let result = client.run(task("ratio")).await.unwrap();
    assert_eq!((result.output::<f64>("ratio"), result.output::<StructuredDataset>("table")), (1.0, table.clone()));
    let link = &result.0.log_links[0];
    assert!(link.show_while_pending && link.hide_once_finished, "{link:?}");

    let wrong = client.run(task("ratoi")).await.unwrap();
    assert_eq!(
        (wrong.phase(), wrong.message()),
        (Phase::Failed, r#"BadOutputs: output "ratio" is declared but missing"#)
    );
}

/// Its metadata is none, or cannot be read again.
struct Careless;

#[async_trait]
impl AsyncAgent for Careless {
    type Meta = Option<BTreeMap<String, f64>>;

    async fn create(&self, task: Task) -> Result<Self::Meta> {
        Ok(match task.input::<String>("what")?.as_str() {
            "nothing" => None,
            what => Some(BTreeMap::from([(what.into(), f64::NAN)])),
        })
    }

    async fn get(&self, _: Job<Self::Meta>) -> Result<Resource> {
        Ok(Resource::succeeded(Outputs::new()))
    }

    async fn delete(&self, _: Job<Self::Meta>) -> Result<()> {
        Ok(())
    }
}

/// Its metadata is a map whose keys are no text, which JSON has none of.
struct Unwritable;

#[async_trait]
impl AsyncAgent for Unwritable {
    type Meta = BTreeMap<Vec<i64>, i64>;

    async fn create(&self, _: Task) -> Result<Self::Meta> {
        Ok(BTreeMap::from([(vec![1], 1)]))
    }

    async fn get(&self, _: Job<Self::Meta>) -> Result<Resource> {
        Ok(Resource::succeeded(Outputs::new()))
    }

    async fn delete(&self, _: Job<Self::Meta>) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn metadata_by_which_no_job_is_found_is_refused_when_the_job_is_made() {
    let client = run(Plugin::new("p", "1").agent("careless", Careless).agent("unwritable", Unwritable)).await;
    let create = |agent, what| client.create(TestTask::new(agent).input("what", what));
    for (agent, what, says) in [
        ("careless", "nothing", "agent careless: Create: it returned null, as a core::option::Option"),
        ("careless", "ratio", r#"cannot be read again after it was written as {"ratio":null}: "#),
        ("careless", "ratio", "at ratio: invalid type: null"),
        ("unwritable", "", "cannot be written as JSON: key must be a string"),
    ] {
        let refused = create(agent, what).await.unwrap_err();
        assert_eq!(refused.code(), Code::Internal);
        assert!(refused.message().contains(says), "{refused}");
    }
}

/// Reads all its inputs at once.
struct Together;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Inputs {
    count: i64,
    ratio: f64,
    label: Option<String>,
    #[serde(default)]
    at: Option<DateTime<Utc>>,
    #[serde(default, with = "agenthost::seconds")]
    span: TimeDelta,
    #[serde(default)]
    files: Vec<File>,
    #[serde(default)]
    place: Option<Place>,
}

#[async_trait]
impl SyncAgent for Together {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let Inputs { count, ratio, label, at, span, files, place } = task.inputs_as()?;
        Ok(Resource::succeeded(
            Outputs::new()
                .with("count", count)
                .with("ratio", ratio)
                .with("label", label)
                .with("at", at)
                .with("span", span)
                .with("files", files)
                .with("place", place.map_or(Value::None, |place| Json(place).into())),
        ))
    }
}

#[tokio::test]
async fn all_inputs_are_read_into_one_type_and_all_that_do_not_fit_are_named() {
    let client = run(Plugin::new("together", "1").sync_agent("together", Together)).await;
    let task = || TestTask::new("together");
    let file = File { uri: "s3://b/a".into(), format: "csv".into() };
    let at = DateTime::from_timestamp(1_000_000_000, 5000).unwrap();
    let span = TimeDelta::milliseconds(1500);
    let all =
        task().input("count", 3).input("ratio", 2).input("label", Value::None).input("at", at).input("span", span);
    let result = client.execute(all.input("files", vec![file.clone()])).await.unwrap();
    assert_eq!((result.output::<i64>("count"), result.output::<f64>("ratio")), (3, 2.0));
    assert_eq!((result.output::<DateTime<Utc>>("at"), result.output::<TimeDelta>("span")), (at, span));
    assert_eq!(result.output::<Vec<File>>("files"), [file]);
    for (task, says) in [
        (
            task().input("count", "three").input("ratio", 1).input("label", 1),
            r#"input "count" does not fit: invalid type: string "three", expected i64; input "label" does not fit: invalid type: integer `1`, expected a string"#,
        ),
        (task().input("count", 3), r#"input "ratio" is missing"#),
        (
            task().input("count", 3).input("ratio", 1).input("cuont", 1).input("label", at),
            r#"input "cuont" does not fit: unknown field `cuont`"#,
        ),
        (task().input("count", 3).input("ratio", 1).input("label", at), r#"input "label" does not fit: invalid type"#),
        (
            task().input("count", 3).input("ratio", 1).input("place", Json(json!({"name": 1, "at": []}))),
            r#"input "place" does not fit at place.name: invalid type: integer `1`, expected a string"#,
        ),
    ] {
        let wrong = client.execute(task).await.unwrap_err();
        assert_eq!(wrong.code(), Code::InvalidArgument);
        assert!(wrong.message().contains(says), "{wrong}");
    }
}

#[tokio::test]
async fn a_missing_secret_is_named_with_where_it_was_looked_for() {
    let missing = agenthost::secret("no_such_secret").unwrap_err();
    assert_eq!(missing.code(), Code::FailedPrecondition);
    for says in [r#"there is no secret "no_such_secret""#, "_FSEC_NO_SUCH_SECRET", "/etc/secrets/no_such_secret"] {
        assert!(missing.message().contains(says), "{missing}");
    }
    assert_eq!(agenthost::secret("../passwd").unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_call_of_the_wrong_kind_says_which_is_right() {
    let client = run(plugin()).await;
    let unknown = client.create(TestTask::new("nothing")).await.unwrap_err();
    assert_eq!(
        (unknown.code(), unknown.message().contains("there are count, echo")),
        (Code::NotFound, true),
        "{unknown}"
    );
    let sync = client.create(TestTask::new("echo")).await.unwrap_err();
    assert_eq!(
        (sync.code(), sync.message().contains("use ExecuteTaskSync")),
        (Code::FailedPrecondition, true),
        "{sync}"
    );
    let not = client.execute(TestTask::new("count")).await.unwrap_err();
    assert_eq!((not.code(), not.message().contains("use CreateTask")), (Code::FailedPrecondition, true), "{not}");
}

#[tokio::test]
async fn the_plugin_says_who_it_is() {
    let client = run(plugin().idempotent_create()).await;
    let said = client.describe().await.unwrap();
    assert_eq!((said.name.as_str(), said.version.as_str()), ("test", "1.2.3"));
    assert_eq!(said.capabilities, ["idempotent_create"]);
    let agents = client.agents().await.unwrap();
    let listed: BTreeMap<_, _> =
        agents.iter().map(|a| (a.name.as_str(), (a.is_sync, a.supported_task_categories.len()))).collect();
    assert_eq!(listed, BTreeMap::from([("count", (false, 2)), ("echo", (true, 1))]));
}

#[tokio::test]
async fn an_agents_promise_holds_for_its_categories_and_that_of_all_agents_for_the_plugin() {
    let counts = || Registration::new("count").also(Category::new("count", 2)).idempotent_create();
    let mixed = Plugin::new("p", "1").agent(counts(), Counter::default()).agent("other", Counter::default());
    let all = || Plugin::new("p", "1").agent(counts(), Counter::default()).sync_agent("echo", Echo);
    for (plugin, whole, single) in [
        (mixed, vec![], vec![("count", 0), ("count", 2)]),
        (all(), vec!["idempotent_create"], vec![]),
        (all().agent("other", Counter::default()).idempotent_create(), vec!["idempotent_create"], vec![]),
        (Plugin::new("p", "1").agent("count", Counter::default()), vec![], vec![]),
    ] {
        let said = run(plugin).await.describe().await.unwrap();
        assert_eq!(said.capabilities, whole);
        let promised: Vec<_> = said.category_capabilities.iter().map(|c| (c.name.as_str(), c.version)).collect();
        assert_eq!(promised, single);
        assert!(said.category_capabilities.iter().all(|c| c.capabilities == ["idempotent_create"]));
    }
}

#[tokio::test]
async fn agents_are_listed_and_called_by_their_names() {
    let named = |version| Registration::new(Category::new("count", version)).named("abacus");
    let plugin = Plugin::new("p", "1").agent(named(2), Counter::default()).agent(named(0), Counter::default());
    let client = run(plugin).await;
    let agents = client.agents().await.unwrap();
    let versions: Vec<_> = agents[0].supported_task_categories.iter().map(|c| c.version).collect();
    assert_eq!((agents.len(), agents[0].name.as_str(), versions), (1, "abacus", vec![0, 2]));
    let missing = client.create(TestTask::new("count")).await.unwrap_err();
    assert!(missing.message().starts_with("agent abacus: Create: "), "{missing}");
}

/// What the plugin is told.
#[derive(Deserialize, JsonSchema)]
struct Config {
    /// Where queries run.
    region: String,
    #[serde(default)]
    limits: Limits,
}

#[derive(Deserialize, JsonSchema, Default)]
struct Limits {
    memory: Option<agenthost::ByteSize>,
}

#[tokio::test]
async fn a_configuration_is_checked_key_by_key_before_tasks_come() {
    let configured = plugin().configure(|config: Config| async move {
        match (config.region.as_str(), config.limits.memory) {
            ("eu", Some(memory)) if memory.0 == 2 << 30 => Ok(()),
            _ => Err(vec![ConfigError::new("region", "must be eu")]),
        }
    });
    let client = run(configured).await;
    let early = client.create(TestTask::new("count").input("n", 1)).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);

    let errors = client.configure(json!({"regoin": "eu", "limits": {"memory": "lots", "cpu": 1}})).await.unwrap();
    let keys: Vec<_> = errors.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["limits.cpu", "limits.memory", "region", "regoin"], "{errors:?}");
    assert_eq!(errors[3].message, "unknown key: did you mean \"region\"?");
    assert_eq!(
        client.configure(json!({"region": "us", "limits": {"memory": "1B"}})).await.unwrap(),
        [ConfigError::new("region", "must be eu")]
    );
    assert_eq!(client.configure(json!({"region": "eu", "limits": {"memory": "2GiB"}})).await.unwrap(), []);
    client.create(TestTask::new("count").input("n", 1)).await.unwrap();

    let schema: serde_json::Value = serde_json::from_str(&client.describe().await.unwrap().config_schema).unwrap();
    assert_eq!(schema["properties"]["region"]["description"], "Where queries run.");
}

#[tokio::test]
async fn a_plugin_without_a_configuration_refuses_one() {
    let client = run(plugin()).await;
    assert_eq!(client.configure(json!({})).await.unwrap(), []);
    assert_eq!(client.configure(json!({"a": 1})).await.unwrap().len(), 1);
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    name: String,
    at: Vec<f64>,
}

#[tokio::test]
async fn dataclasses_cross_as_what_they_are() {
    struct Mover;
    #[async_trait]
    impl SyncAgent for Mover {
        async fn execute(&self, task: Task) -> Result<Resource> {
            let Json(mut place) = task.input::<Json<Place>>("place")?;
            place.at.reverse();
            Ok(Resource::succeeded([("place", Json(place))]))
        }
    }
    let client = run(Plugin::new("mover", "1").sync_agent("move", Mover)).await;
    let place = Place { name: "Jena".into(), at: vec![50.9, 11.6] };
    let result = client.execute(TestTask::new("move").input("place", Json(&place))).await.unwrap();
    let Json(moved) = result.output::<Json<Place>>("place");
    assert_eq!(moved, Place { name: "Jena".into(), at: vec![11.6, 50.9] });
    let wrong =
        client.execute(TestTask::new("move").input("place", Json(json!({"name": 1, "at": []})))).await.unwrap_err();
    assert!(wrong.message().contains(r#"input "place" has a field name that does not fit"#), "{wrong}");
}

#[tokio::test]
async fn a_task_knows_how_long_its_caller_waits() {
    struct Patience;

    #[async_trait]
    impl SyncAgent for Patience {
        async fn execute(&self, task: Task) -> Result<Resource> {
            let left = task.deadline.map(|at| at.duration_since(std::time::Instant::now()).as_secs_f64());
            Ok(Resource::succeeded([("left", Value::from(left))]))
        }
    }
    let client = run(Plugin::new("patience", "1").sync_agent("patience", Patience)).await;
    let hour = std::time::Duration::from_secs(3600);
    let left: f64 = client.execute(TestTask::new("patience").timeout(hour)).await.unwrap().output("left");
    assert!(0. < left && left <= 3600., "{left}");
    let unsaid: Option<f64> = client.execute(TestTask::new("patience")).await.unwrap().output("left");
    assert_eq!(unsaid, None);
}
