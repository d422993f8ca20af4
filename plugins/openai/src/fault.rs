//! What goes wrong in a call of the API, and what Flyte is told of it.

use std::fmt;
use std::time::Duration;

use agenthost::{Error, Resource};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;

/// A call that failed.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Nothing where there was no answer.
    pub status: Option<StatusCode>,
    /// The server's code, or else its type of error, or else the HTTP status.
    pub code: String,
    message: String,
    /// Whether the same call may go well later.
    pub passing: bool,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// There was no answer.
    pub fn no_answer(error: reqwest::Error) -> Self {
        let code = if error.is_timeout() { "timeout" } else { "connection_error" };
        let passing = !error.is_builder();
        let error = Error::from(error.without_url());
        Fault { status: None, code: code.into(), message: error.message().into(), passing, retry_after: None }
    }

    /// The answer is an error, or none that the API gives.
    pub fn answered(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        let error = said.get("error").unwrap_or(&said);
        let text = |key: &str| match error.get(key) {
            Some(Value::String(s)) if !s.is_empty() => Some(s.clone()),
            Some(Value::Number(n)) => Some(n.to_string()),
            _ => None,
        };
        let (code, kind) = (text("code"), text("type"));
        let message = text("message").or_else(|| error.as_str().map(Into::into)).unwrap_or_else(|| excerpt(body));
        let passing = should_retry(headers).unwrap_or_else(|| passing(status, code.as_deref(), kind.as_deref()));
        let mut details = vec![format!("HTTP {}", status.as_u16())];
        details.extend(kind.iter().filter(|_| code.is_some()).map(|kind| format!("type {kind}")));
        details.extend(text("param").map(|param| format!("param {param}")));
        details.extend(header(headers, "x-request-id").map(|id| format!("request {id}")));
        Fault {
            status: Some(status),
            code: code.or(kind).unwrap_or_else(|| format!("http_{}", status.as_u16())),
            message: format!("{message} ({})", details.join(", ")),
            passing,
            retry_after: retry_after(headers),
        }
    }

    /// The server does not list yet what it was just given.
    pub fn unlisted() -> Self {
        let problem = "the server does not list the file that says that the attempt was abandoned";
        Fault { passing: true, ..Self::strange(StatusCode::OK, problem, "") }
    }

    /// The answer is not what the API gives.
    pub fn strange(status: StatusCode, problem: impl fmt::Display, body: &str) -> Self {
        Fault {
            status: Some(status),
            code: "unexpected_answer".into(),
            message: format!("{problem}: {}", excerpt(body)),
            passing: false,
            retry_after: None,
        }
    }

    /// The answer is an object, and not the one that the API gives.
    pub fn of_answer(problem: impl fmt::Display, answer: &Value) -> Self {
        Self::strange(StatusCode::OK, problem, &answer.to_string())
    }

    /// The same with a secret that the server has repeated taken out.
    pub fn without(mut self, secret: &str) -> Self {
        if !secret.is_empty() {
            self.message = self.message.replace(secret, "[secret]");
            self.code = self.code.replace(secret, "[secret]");
        }
        self
    }

    /// The same with what was tried before its message.
    pub fn context(mut self, tried: impl fmt::Display) -> Self {
        self.message = format!("{tried}: {}", self.message);
        self
    }

    /// The server does not know what was asked for.
    pub fn is_not_found(&self) -> bool {
        self.status == Some(StatusCode::NOT_FOUND)
    }

    /// The server does not offer what was asked for, or not with this key.
    pub fn is_closed(&self) -> bool {
        let closed =
            [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED, StatusCode::NOT_IMPLEMENTED];
        self.status.is_some_and(|status| closed.contains(&status))
    }

    /// A task that failed by it.
    pub fn resource(self) -> Resource {
        let resource =
            if self.passing { Resource::retryable_failed(&self.message) } else { Resource::failed(&self.message) };
        resource.with_code(self.code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl Fault {
    /// The call of an agent's method that failed by it.
    pub fn error(self) -> Error {
        match self.status.map(|status| status.as_u16()) {
            None => Error::unavailable(self),
            Some(401) => Error::unauthenticated(self),
            Some(403) => Error::permission_denied(self),
            Some(404) => Error::not_found(self),
            Some(429) => Error::resource_exhausted(self),
            _ if self.passing => Error::unavailable(self),
            Some(400..=499) => Error::invalid_argument(self),
            Some(_) => Error::internal(self),
        }
    }
}

/// An account without money answers 429 like one that calls too often, but does not get well by waiting.
fn passing(status: StatusCode, code: Option<&str>, kind: Option<&str>) -> bool {
    let broke = [code, kind].iter().flatten().any(|&c| c == "insufficient_quota" || c == "billing_hard_limit_reached");
    !broke && (matches!(status.as_u16(), 408 | 409 | 425 | 429) || status.is_server_error())
}

/// OpenAI says it itself where it knows better.
fn should_retry(headers: &HeaderMap) -> Option<bool> {
    header(headers, "x-should-retry")?.parse().ok()
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| header(headers, name)?.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
    if let Some(milliseconds) = number("retry-after-ms") {
        return Duration::try_from_secs_f64(milliseconds / 1000.0).ok();
    }
    if let Some(seconds) = number("retry-after") {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let at = chrono::DateTime::parse_from_rfc2822(header(headers, "retry-after")?).ok()?;
    (at.to_utc() - chrono::Utc::now()).to_std().ok()
}

pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// The beginning of an answer that nobody expected, such as a proxy's page.
fn excerpt(body: &str) -> String {
    let start: String = body.trim().chars().take(300).collect();
    if start.is_empty() { "the answer is empty".into() } else { start }
}
