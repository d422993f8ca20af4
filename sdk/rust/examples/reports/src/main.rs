//! Reports are tables that a service makes, reached by HTTP: what a plugin in Rust looks like. The SDK's README goes through it.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use agenthost::{
    AsyncAgent, ByteSize, ConfigDuration, ConfigError, Error, Job, OutputTypes, Outputs, Plugin, Refusal, Registration,
    Resource, Result, SecretRef, StructuredDataset, Task, async_trait,
};
use chrono::{DateTime, Utc};
use prometheus::{IntCounter, TextEncoder, register_int_counter};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Client, Method, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

fn main() {
    let reports = Reports::default();
    let config = reports.config.clone();
    Plugin::new("reports", "1.0.0")
        .agent(Registration::new("report").idempotent_create(), reports)
        .metrics(|| Ok(TextEncoder::new().encode_to_string(&prometheus::gather())?))
        .configure(move |given: Config| {
            let taken = config.set(given).map_err(|_| vec![ConfigError::new("", "it has been given before")]);
            async { taken }
        })
        .serve()
}

/// The plugin's `config:` in the host's file.
#[derive(Deserialize, JsonSchema)]
struct Config {
    /// Where the service is.
    service: String,
    token: SecretRef, // the name of a secret
    #[serde(default = "an_hour")]
    patience: ConfigDuration, // "90s", "1h30m"
    max_size: Option<ByteSize>, // "2GiB"
}

fn an_hour() -> ConfigDuration {
    ConfigDuration(Duration::from_secs(3600))
}

static BEGUN: LazyLock<IntCounter> =
    LazyLock::new(|| register_int_counter!("reports_begun_total", "Reports that were asked for.").expect("one of it"));

#[derive(Default)]
struct Reports {
    config: Arc<OnceLock<Config>>,
    client: Client,
}

/// What Flyte keeps of a job between the calls, as JSON.
#[derive(Serialize, Deserialize)]
struct Report {
    id: String,
    table: String,
    until: DateTime<Utc>,
    #[serde(default)] // as all that is added later
    types: OutputTypes,
}

/// What the service is told of a job.
#[derive(Serialize)]
struct Order {
    statement: String,
    limit: i64,
    max_bytes: Option<u64>,
    to: String,
}

/// What it says of one.
#[derive(Deserialize)]
struct Progress {
    state: String,
    #[serde(default)]
    problem: String,
    #[serde(default)]
    rows: i32,
    #[serde(default)]
    of: i32,
}

#[async_trait]
impl AsyncAgent for Reports {
    type Meta = Report;

    /// Starts a job and returns at once. The service makes one job of a name, however often it is told.
    async fn create(&self, task: Task) -> Result<Report> {
        let config = self.config();
        let order = Order {
            statement: task.input("statement")?,
            limit: task.input_or("limit", 1000)?,
            max_bytes: config.max_size.map(|size| size.0),
            to: format!("{}/report.parquet", task.output_prefix),
        };
        let until = Utc::now() + config.patience.0;
        self.call(Method::PUT, &task.idempotency_key, Some(&order), task.deadline).await?;
        BEGUN.inc();
        tracing::info!(job = task.idempotency_key, limit = order.limit, "report begun");
        Ok(Report { types: task.output_types(), id: task.idempotency_key, table: order.to, until })
    }

    /// Says how a job is. It may come to another process than the one that made the job.
    async fn get(&self, job: Job<Report>) -> Result<Resource> {
        let Report { id, table, until, types } = job.meta;
        let said: Progress = self.call(Method::GET, &id, None, None).await?.json().await?;
        Ok(match said.state.as_str() {
            "done" => {
                let table = StructuredDataset { uri: table, format: "parquet".into(), columns: vec![] };
                let outputs = Outputs::new().with("rows", said.rows).with("table", table);
                Resource::succeeded(outputs).with_output_types(types)
            }
            "failed" => Resource::failed(said.problem).with_user_error("BadStatement"),
            _ if Utc::now() > until => {
                Resource::retryable_failed("the service took too long").with_system_error("TooSlow")
            }
            "queued" => Resource::queued("the service is busy"),
            _ => Resource::running("")
                .with_progress(f64::from(said.rows) / f64::from(said.of), format!("{} of {} rows", said.rows, said.of))
                .with_link("Report", format!("{}/jobs/{id}", self.config().service)),
        })
    }

    /// Ends a job; it is fine if there is none.
    async fn delete(&self, job: Job<Report>) -> Result<()> {
        self.call(Method::DELETE, &job.meta.id, None, None).await.map(|_| ())
    }
}

impl Reports {
    fn config(&self) -> &Config {
        self.config.get().expect("tasks are refused until the configuration has come")
    }

    /// Asks the service about a job: again, where it is busy.
    async fn call(
        &self,
        method: Method,
        id: &str,
        order: Option<&Order>,
        deadline: Option<Instant>,
    ) -> Result<Response> {
        let url = format!("{}/jobs/{id}", self.config().service);
        let token = self.config().token.get()?; // each time: it may change
        let traced = HeaderMap::try_from(&agenthost::trace_headers())?;
        agenthost::retry(deadline, async || {
            let request = self.client.request(method.clone(), &url).bearer_auth(token.reveal()).headers(traced.clone());
            let sent = request.json(&order).send().await;
            let answer = sent.map_err(|error| Refusal::passing(Error::unavailable(Error::from(error))))?;
            let status = answer.status();
            if status.is_success() {
                return Ok(answer);
            }
            let pause = answer.headers().get(RETRY_AFTER).and_then(|header| header.to_str().ok());
            Err(Refusal::http(status.as_u16(), pause, format!("{method} {url} is answered {status}")))
        })
        .await
    }
}
