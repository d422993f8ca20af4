//! A batch's log: what happened to it, what is wrong with it, and which of its requests failed why.

use agenthost::{LogLine, LogSink, LogsQuery, Result};
use chrono::DateTime;
use serde_json::Value;

use crate::call::Session;
use crate::fault::{Fault, complaint};
use crate::state::{describe, errors};

/// The batch's times, in the order in which they come to be.
const EVENTS: [&str; 8] = [
    "created_at",
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
];

/// Sends the lines from where the token says. The next token is where the log ended, so that what comes later can be asked for.
pub async fn send(session: &Session, batch: &Value, query: LogsQuery, sink: LogSink) -> Result<()> {
    let mut lines = events(batch);
    lines.extend(errors(batch).iter().map(|error| line(describe(error))));
    if let Some(file) = batch["error_file_id"].as_str() {
        let url = session.address(&["files", file, "content"]);
        let text = session.repeat(|| session.text(url.clone())).await.map_err(Fault::error)?;
        lines.extend(text.lines().filter(|l| !l.trim().is_empty()).map(|l| line(failure(l))));
    }
    let from = query.token.parse().unwrap_or(0).min(lines.len());
    let most = if query.lines == 0 { usize::MAX } else { query.lines as usize };
    let mut sent = from;
    for line in lines.into_iter().skip(from).take(most) {
        sink.line(line).await?;
        sent += 1;
    }
    sink.next_token(sent.to_string()).await
}

fn line(message: String) -> LogLine {
    message.into()
}

fn events(batch: &Value) -> Vec<LogLine> {
    let event = |key: &&str| {
        let at = DateTime::from_timestamp(batch[*key].as_i64()?, 0)?;
        Some(LogLine { at: Some(at), ..line(key.trim_end_matches("_at").replace('_', " ")) })
    };
    let mut events: Vec<_> = EVENTS.iter().filter_map(event).collect();
    events.sort_by_key(|event| event.at);
    events
}

/// A line of the file of errors: a request and what the server answered to it.
fn failure(text: &str) -> String {
    let Ok(failure) = serde_json::from_str::<Value>(text) else {
        return text.to_string();
    };
    let request = failure["custom_id"].as_str().unwrap_or("(without a custom_id)");
    let answered = &failure["response"]["body"];
    let error = complaint(&failure).or_else(|| complaint(answered)).unwrap_or(answered);
    let status = failure["response"]["status_code"].as_u64().map(|s| format!("HTTP {s}: ")).unwrap_or_default();
    format!("request {request}: {status}{}", describe(error))
}
