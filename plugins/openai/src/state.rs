//! How a batch is, as Flyte hears of it.

use agenthost::{Outputs, Resource, Value};
use serde_json::{Value as Json, json};

use crate::call::Session;
use crate::config::Config;
use crate::fault::PASSING;
use crate::ledger;
use crate::report::with_usage;

/// The batch has ended, or is about to: there is nothing to cancel.
pub fn is_over(batch: &Json) -> bool {
    matches!(status(batch), "completed" | "failed" | "expired" | "cancelling" | "cancelled")
}

fn status(batch: &Json) -> &str {
    batch["status"].as_str().unwrap_or_default()
}

/// The batch as a resource. A state that nobody knows is RUNNING with its name.
pub fn resource(id: &str, batch: Json, config: &Config, session: &Session) -> Resource {
    let progress = progress(&batch);
    let resource = match status(&batch) {
        "validating" => Resource::initializing("validating the input file"),
        "completed" => Resource::succeeded(outputs(&batch)).with_message(format!("completed{progress}")),
        "failed" => failed(&batch),
        "expired" => {
            Resource::retryable_failed(format!("the completion window ended first{progress}; {}", left(&batch)))
                .with_code("expired")
        }
        "cancelled" => Resource::aborted(format!("cancelled{progress}; {}", left(&batch))),
        "" => Resource::running("the server does not say how the batch is"),
        other => Resource::running(format!("{other}{progress}")),
    };
    let resource = with_facts(resource, &batch);
    let model = batch["model"].as_str().unwrap_or_default();
    let resource = with_usage(resource, config, model, &batch["usage"], config.batch_price_factor);
    match session.address(&[]).host_str() {
        Some("api.openai.com") => {
            resource.with_link("OpenAI Batch", format!("https://platform.openai.com/batches/{id}"))
        }
        _ => resource,
    }
}

/// The batch as its task ordered it: without the attempt's key, which only we know of. flytekit's task that fetches the files
/// wants both ids to be there, with or without a file.
fn outputs(batch: &Json) -> Outputs {
    let mut batch = batch.clone();
    if let Some(metadata) = batch["metadata"].as_object_mut()
        && metadata.remove(ledger::KEY).is_some()
        && metadata.is_empty()
    {
        batch["metadata"] = Json::Null;
    }
    for file in ["output_file_id", "error_file_id"] {
        if batch.get(file).is_none() {
            batch[file] = Json::Null;
        }
    }
    Outputs::new().with("result", Value::Json(batch))
}

fn failed(batch: &Json) -> Resource {
    let errors = errors(batch);
    let code = errors.first().and_then(|e| e["code"].as_str()).unwrap_or("batch_failed");
    let mut said: Vec<_> = errors.iter().take(5).map(describe).collect();
    if errors.len() > said.len() {
        said.push(format!("and {} more errors, which the log has", errors.len() - said.len()));
    }
    let message = if said.is_empty() { "the server does not say why".into() } else { said.join("; ") };
    let all_pass =
        !errors.is_empty() && errors.iter().all(|e| PASSING.contains(&e["code"].as_str().unwrap_or_default()));
    let resource = if all_pass { Resource::retryable_failed(message) } else { Resource::failed(message) };
    resource.with_code(code)
}

/// What is wrong with the batch as a whole, or with lines of its input file.
pub fn errors(batch: &Json) -> &[Json] {
    batch["errors"]["data"].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// An error in one line.
pub fn describe(error: &Json) -> String {
    let text = |key: &str| match &error[key] {
        Json::String(s) if !s.is_empty() => Some(s.clone()),
        Json::Number(n) => Some(n.to_string()),
        _ => None,
    };
    let place = [text("line").map(|n| format!("line {n}")), text("param").map(|p| format!("param {p}"))];
    let place: Vec<_> = place.into_iter().flatten().collect();
    let place = if place.is_empty() { String::new() } else { format!(" ({})", place.join(", ")) };
    let said = [text("code"), text("message")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let said = match error {
        _ if !said.is_empty() => said,
        Json::Null => "the server does not say why".into(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    format!("{said}{place}")
}

fn count(batch: &Json, of: &str) -> Option<u64> {
    batch["request_counts"][of].as_u64()
}

/// How far it is, after the state's name.
fn progress(batch: &Json) -> String {
    match (count(batch, "completed"), count(batch, "total"), count(batch, "failed").unwrap_or(0)) {
        (Some(done), Some(total), failed) if total > 0 => {
            let failures = if failed > 0 { format!(", {failed} failed") } else { String::new() };
            format!(", {done} of {total} requests{failures}")
        }
        _ => String::new(),
    }
}

/// Which files a batch left that did not come to its end.
fn left(batch: &Json) -> String {
    match batch["output_file_id"].as_str() {
        Some(file) => format!("the answers until then are in {file}"),
        None => "it left no answers".into(),
    }
}

fn with_facts(mut resource: Resource, batch: &Json) -> Resource {
    for key in ["id", "status", "endpoint", "input_file_id", "output_file_id", "error_file_id"] {
        if let Some(text) = batch[key].as_str() {
            resource = resource.with_info(if key == "id" { "batch_id" } else { key }, text);
        }
    }
    for key in ["total", "completed", "failed"] {
        if let Some(count) = count(batch, key) {
            resource = resource.with_info(format!("requests_{key}"), count);
        }
    }
    let ended = ["completed_at", "failed_at", "expired_at", "cancelled_at"].iter().find_map(|key| batch[*key].as_i64());
    match (batch["created_at"].as_i64(), ended) {
        (Some(created), Some(ended)) => {
            let took = ended.saturating_sub(created).saturating_mul(1000);
            resource.with_info("latency_ms", json!(took))
        }
        _ => resource,
    }
}
