//! The plugin as the host starts it, and a service that makes its reports.

use std::collections::HashMap;
use std::process::Command;
use std::sync::{Arc, Mutex};

use agenthost::testing::{Client, TestTask, command};
use agenthost::{ConfigError, StructuredDataset, Value};
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use serde_json::json;

/// What the reports are made by: it is busy at first, and a job is done when it is asked for a third time.
#[derive(Clone, Default)]
struct Service {
    jobs: Arc<Mutex<HashMap<String, u32>>>,
    calls: Arc<Mutex<u32>>,
}

impl Service {
    /// Serves, and gives the address.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/jobs/{id}", any(answer)).with_state(self.clone());
        tokio::spawn(async { axum::serve(listener, router).await });
        address
    }
}

async fn answer(
    State(service): State<Service>,
    method: Method,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let mut calls = service.calls.lock().unwrap();
    *calls += 1;
    if *calls == 1 {
        return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response();
    }
    if headers.get("authorization").is_none_or(|sent| sent != "Bearer hush") {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut jobs = service.jobs.lock().unwrap();
    match (method, jobs.get_mut(&id)) {
        (Method::PUT, None) => {
            jobs.insert(id, 0);
        }
        (Method::DELETE, _) => {
            jobs.remove(&id);
        }
        (Method::GET, None) => return StatusCode::NOT_FOUND.into_response(),
        (Method::GET, Some(asked)) => {
            *asked += 1;
            let (state, rows) = if *asked > 2 { ("done", 10) } else { ("running", 4) };
            return axum::Json(json!({"state": state, "rows": rows, "of": 10})).into_response();
        }
        _ => {}
    }
    StatusCode::OK.into_response()
}

async fn start(service: &str) -> Client {
    let mut program = Command::new(env!("CARGO_BIN_EXE_reports"));
    program.env("_FSEC_REPORT_TOKEN", "hush"); // as the host gives it a secret
    let client = command(program).await;
    let config = json!({"service": service, "token": "report_token", "patience": "5m"});
    assert_eq!(client.configure(config).await.unwrap(), []);
    client
}

#[tokio::test]
async fn a_report_is_made_across_a_restart() {
    let service = Service::default();
    let address = service.start().await;
    let task = TestTask::new("report")
        .input("statement", "select 1")
        .output_like("rows", 0.5)
        .output_like("table", StructuredDataset::default())
        .output_prefix("s3://outputs/0")
        .idempotency_key(&"5".repeat(64));

    let first = start(&address).await;
    let job = first.create(task.clone()).await.unwrap();
    assert_eq!(job.get().await.unwrap().message(), "40%: 4 of 10 rows");
    first.stop().await;

    let second = start(&address).await; // the next process has the job's metadata alone
    let job = second.job("report", job.meta);
    let done = job.wait().await.unwrap();
    assert_eq!(done.output::<Value>("rows"), Value::Float(10.0)); // as it is declared
    assert_eq!(done.output::<StructuredDataset>("table").uri, "s3://outputs/0/report.parquet");

    second.create(task).await.unwrap(); // the same attempt again makes no other job
    assert_eq!(service.jobs.lock().unwrap().len(), 1);
    job.delete().await.unwrap();
    job.delete().await.unwrap();
    assert!(job.get().await.unwrap_err().message().ends_with("is answered 404 Not Found"));
}

#[tokio::test]
async fn a_wrong_configuration_is_named() {
    let client = command(Command::new(env!("CARGO_BIN_EXE_reports"))).await;
    let keys = async |config: serde_json::Value| {
        let errors: Vec<ConfigError> = client.configure(config).await.unwrap();
        errors.into_iter().map(|error| error.key).collect::<Vec<_>>()
    };
    assert_eq!(
        keys(json!({"service": "http://reports", "token": "absent", "pacience": "5m"})).await,
        ["pacience", "token"]
    );
    assert_eq!(keys(json!({"token": "absent", "patience": "5"})).await, ["patience", "service", "token"]);
}
