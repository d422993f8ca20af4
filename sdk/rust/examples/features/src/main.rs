//! Everything that the Rust SDK offers, in one plugin. A job does what its input "do" says. test/languages/features asks it, as
//! it asks the same example in the other languages.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use agenthost::contract::flyteidl::core::{LiteralType, SimpleType, literal_type};
use agenthost::{
    AsyncAgent, ByteSize, Category, Column, ConfigDuration, Directory, Error, File, Finder, Job, JobStore, Json, Link,
    LogLine, LogSink, LogsQuery, Metric, MetricsQuery, Originator, OutputTypes, Outputs, Plugin, Refusal, Registration,
    Resource, Result, StructuredDataset, SyncAgent, Task, Value, async_trait, json_meta, storage,
};
use prometheus::{IntCounterVec, Opts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

fn main() {
    let jobs = Registration::new("features_job").also(Category::new("features_job", 2)).named("Features");
    Plugin::new("features", "1.0.0")
        .finding_agent(jobs.idempotent_create(), Jobs::default())
        .agent(Registration::new("features_plain").named("Plain"), Jobs::default())
        .sync_agent("features_echo", Echo)
        .sync_agent("features_custom", Custom)
        .sync_agent("features_together", Together)
        .sync_agent("features_refers", Refers)
        .sync_agent("features_writes", Writes)
        .sync_agent("features_fetches", Fetches)
        .agent(Registration::new("features_blocks").named("Blocks"), Jobs::default())
        .agent("features_stored", Stored(store()))
        .sync_agent("features_point", MovePoint)
        .metrics(|| Ok(prometheus::TextEncoder::new().encode_to_string(&prometheus::gather())?))
        .configure(|_: Config| async { Ok(()) })
        .serve()
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code)] // what it is checked against is what matters
struct Config {
    /// Where jobs run.
    region: Region,
    grace: Option<ConfigDuration>,
    memory: Option<ByteSize>,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    weights: BTreeMap<String, i64>,
    limits: Option<Limits>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Region {
    Eu,
    Us,
}

#[derive(Deserialize, JsonSchema)]
#[allow(dead_code)]
struct Limits {
    cpu: Option<i64>,
}

static CREATED: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let created = IntCounterVec::new(Opts::new("features_jobs_total", "Jobs that were created."), &["do"]);
    let created = created.expect("a metric");
    prometheus::register(Box::new(created.clone())).expect("one metric of that name");
    created
});

/// What Flyte keeps of a job.
#[derive(Clone, Serialize, Deserialize, Default)]
#[serde(default)]
struct Meta {
    r#do: String,
    key: String,
    prefix: String,
    seconds_left: f64,
    types: OutputTypes,
}

/// Knows what became of the attempts, by their keys: a job, or none where the attempt was abandoned.
#[derive(Default)]
struct Jobs(Mutex<HashMap<String, Option<Meta>>>);

impl Jobs {
    fn attempts(&self) -> MutexGuard<'_, HashMap<String, Option<Meta>>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[async_trait]
impl Finder for Jobs {
    async fn find(&self, task: Task) -> Result<Meta> {
        match self.attempts().get(&task.idempotency_key) {
            None => Err(Error::not_found("the attempt has no job")),
            Some(made) => made.clone().ok_or_else(|| Error::abandoned("the attempt was abandoned")),
        }
    }

    async fn abandon(&self, task: Task) -> Result<()> {
        self.attempts().insert(task.idempotency_key, None);
        Ok(())
    }
}

#[async_trait]
impl AsyncAgent for Jobs {
    type Meta = Meta;

    async fn create(&self, task: Task) -> Result<Meta> {
        if let Some(None) = self.attempts().get(&task.idempotency_key) {
            return Err(Error::abandoned("the attempt was abandoned"));
        }
        let what: String = task.input("do")?;
        CREATED.with_label_values(&[&what]).inc();
        match what.as_str() {
            "unavailable" => return Err(Error::unavailable("the warehouse is closed")),
            "panic" => panic!("out of order"),
            "print" => {
                println!("printed to stdout");
                tracing::warn!(rows = 3, "logged");
            }
            "block" => {
                tracing::info!("blocks");
                loop {
                    std::thread::park();
                }
            }
            "watch" => {
                let replaced = agenthost::replaced();
                tokio::spawn(async move {
                    replaced.await;
                    tracing::info!("replaced");
                });
            }
            "hold" => hold(&Path::new(&task.output_prefix).join("begun")).await?,
            _ => {}
        }
        let left = task.deadline.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64());
        let made = Meta {
            types: if what == "typed" { task.output_types() } else { OutputTypes::default() },
            r#do: what,
            key: task.idempotency_key.clone(),
            prefix: task.output_prefix,
            seconds_left: left.unwrap_or_default(),
        };
        self.attempts().insert(task.idempotency_key, Some(made.clone()));
        Ok(made)
    }

    async fn get(&self, job: Job<Meta>) -> Result<Resource> {
        match job.meta.r#do.as_str() {
            "running" => {
                let console = Link::new("Console", "https://example.com/1").while_pending().until_finished();
                return Ok(Resource::running("half way").with_link_of(console).with_info("rows", 3));
            }
            "typed" => return Ok(Resource::succeeded([("ratio", 1)]).with_output_types(job.meta.types)),
            "progress" => return Ok(Resource::running("").with_progress(0.4, "4 of 10 files")),
            "user-error" => return Ok(Resource::failed("no such table").with_user_error("BadSQL")),
            "system-error" => return Ok(Resource::retryable_failed("no more slots").with_system_error("Quota")),
            _ => {}
        }
        let secret = job.secret("from_variable")?;
        let outputs = Outputs::new()
            .with("printed", secret.to_string())
            .with("variable", secret.reveal())
            .with("file", job.secret("from_file")?.reveal())
            .with("key", job.meta.key)
            .with("created_prefix", job.meta.prefix)
            .with("polled_prefix", job.output_prefix)
            .with("seconds_left", job.meta.seconds_left);
        Ok(Resource::succeeded(match job.connection.configs.get("host") {
            Some(host) => outputs.with("host", host.as_str()),
            None => outputs,
        }))
    }

    async fn delete(&self, _: Job<Meta>) -> Result<()> {
        Ok(())
    }

    async fn logs(&self, _: Job<Meta>, _: LogsQuery, sink: LogSink) -> Result<()> {
        let at = chrono::DateTime::from_timestamp(1_000_000_000, 0);
        sink.line(LogLine { at, originator: Originator::User, ..LogLine::from("first") }).await?;
        sink.line(LogLine { originator: Originator::System, ..LogLine::from("second") }).await?;
        sink.next_token("2").await
    }

    async fn metrics(&self, _: Job<Meta>, query: MetricsQuery) -> Result<Vec<Metric>> {
        let span = query.end.zip(query.start).map(|(end, start)| (end - start).num_seconds());
        let step = query.step.map(|step| step.num_seconds());
        let data = serde_json::Map::from_iter([("span".into(), span.into()), ("step".into(), step.into())]);
        Ok(query.queries.into_iter().map(|name| Metric { name, data: data.clone() }).collect())
    }

    /// Also reads what another program has written: "legacy:" and what the job does.
    fn decode_meta(meta: &[u8]) -> Result<Meta> {
        match meta.strip_prefix(b"legacy:") {
            Some(what) => Ok(Meta { r#do: String::from_utf8_lossy(what).into(), ..Meta::default() }),
            None => json_meta(meta),
        }
    }

    async fn close(&self) {
        tracing::info!("closed");
    }
}

/// Keeps its jobs in files, by the attempts' keys, which are all that Flyte keeps.
struct Stored(JobStore<Meta>);

fn store() -> JobStore<Meta> {
    let folder = std::env::var_os("FEATURES_STORE").map_or_else(|| std::env::temp_dir().join("features"), Into::into);
    JobStore::open(folder).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1)
    })
}

#[async_trait]
impl AsyncAgent for Stored {
    type Meta = String;

    async fn create(&self, task: Task) -> Result<String> {
        let key = task.idempotency_key.clone();
        self.0.add(&key, Meta { r#do: task.input("do")?, key: key.clone(), ..Meta::default() })?;
        Ok(key)
    }

    async fn get(&self, job: Job<String>) -> Result<Resource> {
        let kept = self.0.get(&job.meta)?;
        Ok(Resource::succeeded([("do", kept.r#do), ("key", kept.key)]))
    }

    async fn delete(&self, job: Job<String>) -> Result<()> {
        self.0.delete(&job.meta)
    }
}

/// Waits until the file that it makes is gone.
async fn hold(file: &Path) -> Result<()> {
    std::fs::write(file, "")?;
    while file.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

struct Echo;

#[async_trait]
impl SyncAgent for Echo {
    async fn execute(&self, task: Task) -> Result<Resource> {
        Ok(Resource::succeeded(task.inputs()?.into_iter().collect::<Outputs>()))
    }
}

#[derive(Deserialize)]
struct Counted {
    count: i64,
    label: String,
}

#[derive(Deserialize)]
struct Referred {
    file: File,
    directory: Directory,
    table: StructuredDataset,
}

struct Refers;

#[async_trait]
impl SyncAgent for Refers {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let Referred { file, directory, table } = task.inputs_as()?;
        let columns: String = table.columns.iter().map(|column| format!(" {}", column.name)).collect();
        let said = format!(
            "file {} {}, directory {}, table {} {}{columns}",
            file.uri, file.format, directory.uri, table.uri, table.format
        );
        let integer = literal_type::Type::Simple(SimpleType::Integer.into());
        let n = Column { name: "n".into(), r#type: LiteralType { r#type: Some(integer), ..Default::default() } };
        Ok(Resource::succeeded(
            Outputs::new()
                .with("said", said)
                .with("file", File { uri: file.uri + ".out", format: "json".into() })
                .with("directory", Directory { uri: directory.uri + ".out", ..Directory::default() })
                .with(
                    "table",
                    StructuredDataset { uri: table.uri + ".out", format: "parquet".into(), columns: vec![n] },
                ),
        ))
    }
}

struct Writes;

#[async_trait]
impl SyncAgent for Writes {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let text: String = task.input("text")?;
        let file = storage::write(&task.output_prefix, "report.txt", text.as_bytes()).await?;
        let deck = format!("<h1>Report</h1><p>{}</p>", html_escape::encode_text(&text));
        storage::write_deck(&task.output_prefix, &deck).await?;
        Ok(Resource::succeeded([("file", file)]))
    }
}

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);

struct Fetches;

#[async_trait]
impl SyncAgent for Fetches {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let url: String = task.input("url")?;
        let body = agenthost::retry(task.deadline, || fetch(&url)).await?;
        Ok(Resource::succeeded([("body", body)]))
    }
}

async fn fetch(url: &str) -> Result<String, Refusal> {
    let traced = agenthost::trace_headers().into_iter();
    let request = traced.fold(CLIENT.get(url), |request, (name, value)| request.header(name, value));
    let unreachable = |error| Refusal::passing(Error::unavailable(format!("{url} does not answer: {error}")));
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    if !status.is_success() {
        let retry_after = response.headers().get("retry-after").and_then(|header| header.to_str().ok());
        return Err(Refusal::http(status.as_u16(), retry_after, format!("{url} answers {status}")));
    }
    response.text().await.map_err(unreachable)
}

struct Together;

#[async_trait]
impl SyncAgent for Together {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let Counted { count, label } = task.inputs_as()?;
        Ok(Resource::succeeded([("count", Value::from(count)), ("label", Value::from(label))]))
    }
}

struct Custom;

#[async_trait]
impl SyncAgent for Custom {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let Counted { count, label } = task.custom()?;
        Ok(Resource::succeeded([("count", Value::from(count)), ("label", Value::from(label))]))
    }
}

#[derive(Serialize, Deserialize)]
struct Point {
    x: i64,
    label: String,
}

struct MovePoint;

#[async_trait]
impl SyncAgent for MovePoint {
    async fn execute(&self, task: Task) -> Result<Resource> {
        let Json(point) = task.input::<Json<Point>>("point")?;
        Ok(Resource::succeeded([("point", Json(Point { x: point.x + 1, ..point }))]))
    }
}
