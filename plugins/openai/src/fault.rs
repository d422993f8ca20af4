//! What goes wrong in a call of the API, and what Flyte is told of it.

use std::fmt;
use std::time::Duration;

use agenthost::{Error, Resource};
use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::Value;
use tonic::Code;

/// The code of answers with a number that has no exact form here.
const INEXACT: &str = "inexact_number";

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
    /// There was no answer. A server whose certificate is not trusted will have no other one the next time.
    pub fn no_answer(error: reqwest::Error) -> Self {
        let untrusted = is_untrusted(&error);
        let code = match error.is_timeout() {
            true => "timeout",
            false if untrusted => "untrusted_certificate",
            false => "connection_error",
        };
        let passing = !error.is_builder() && !untrusted;
        let error = Error::from(error.without_url());
        Fault { status: None, code: code.into(), message: error.message().into(), passing, retry_after: None }
    }

    /// The answer is an error, or none that the API gives.
    pub fn answered(status: StatusCode, headers: &HeaderMap, body: &str) -> Self {
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        Self::said(status, headers, complaint(&said).unwrap_or(&said), body)
    }

    /// The server says what went wrong, with the status of an error or, as servers do that have begun an answer, of success.
    pub fn said(status: StatusCode, headers: &HeaderMap, error: &Value, body: &str) -> Self {
        let text = |key: &str| match error.get(key) {
            Some(Value::String(s)) if !s.is_empty() => Some(s.clone()),
            Some(Value::Number(n)) => Some(n.to_string()),
            _ => None,
        };
        let (code, kind) = (text("code"), text("type"));
        let message = text("message").or_else(|| error.as_str().map(Into::into)).unwrap_or_else(|| excerpt(body));
        let meant = meant(status, error);
        let passing = should_retry(headers).unwrap_or_else(|| passing(meant, code.as_deref(), kind.as_deref()));
        let mut details = vec![format!("HTTP {}", status.as_u16())];
        details.extend(kind.iter().filter(|_| code.is_some()).map(|kind| format!("type {kind}")));
        details.extend(text("param").map(|param| format!("param {param}")));
        details.extend(header(headers, "x-request-id").map(|id| format!("request {id}")));
        Fault {
            status: Some(meant),
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

    /// The answer has a number that would come out as another one.
    pub fn inexact(status: StatusCode, number: &str, body: &str) -> Self {
        let problem = format!("the answer has the number {number}, which 64 bits do not hold");
        Fault { code: INEXACT.into(), ..Self::strange(status, problem, body) }
    }

    /// The same answer would come again, whoever asks.
    pub fn is_inexact(&self) -> bool {
        self.code == INEXACT
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

/// The end of a sync task: one that makes no sense has failed for good, where an error would be repeated by Flyte for each retry.
pub fn of_task(ended: agenthost::Result<Resource>) -> agenthost::Result<Resource> {
    match ended {
        Err(error) if error.code() == Code::InvalidArgument => {
            Ok(Resource::failed(error.message()).with_user_error("bad_task"))
        }
        other => other,
    }
}

impl Fault {
    /// The call of an agent's method that failed by it.
    pub fn error(self) -> Error {
        match self.status.map(|status| status.as_u16()) {
            None if self.passing => Error::unavailable(self),
            None => Error::failed_precondition(self),
            Some(401) => Error::unauthenticated(self),
            Some(403) => Error::permission_denied(self),
            Some(404) => Error::not_found(self),
            Some(429) if self.passing => Error::resource_exhausted(self),
            _ if self.passing => Error::unavailable(self),
            Some(429) => Error::failed_precondition(self),
            Some(400..=499) => Error::invalid_argument(self),
            Some(_) => Error::internal(self),
        }
    }
}

/// Codes and types of errors that may be gone the next time: the queue was full, the service was not well.
pub const PASSING: [&str; 9] = [
    "token_limit_exceeded",
    "rate_limit_exceeded",
    "rate_limit_error",
    "server_error",
    "internal_error",
    "internal_server_error",
    "service_unavailable",
    "overloaded_error",
    "timeout",
];

/// An account without money answers 429 like one that calls too often, but does not get well by waiting. Nor does a server learn
/// what it does not do (501, 505), or whom it lets out (511).
fn passing(status: StatusCode, code: Option<&str>, kind: Option<&str>) -> bool {
    let named = |names: &[&str]| [code, kind].iter().flatten().any(|name| names.contains(name));
    if named(&["insufficient_quota", "billing_hard_limit_reached"]) {
        return false;
    }
    match status.as_u16() {
        408 | 409 | 425 | 429 => true,
        501 | 505 | 506 | 508 | 510 | 511 => false,
        200..300 => named(&PASSING),
        _ => status.is_server_error(),
    }
}

/// What an answer says went wrong, if it says so.
pub fn complaint(answer: &Value) -> Option<&Value> {
    let error = match answer.get("object") {
        Some(object) if object == "error" => answer,
        _ => answer.get("error")?,
    };
    let nothing = match error {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    (!nothing).then_some(error)
}

/// The status that an error has, or that it tells in an answer with the status of success.
fn meant(status: StatusCode, error: &Value) -> StatusCode {
    let told = ["code", "status"].iter().find_map(|key| match error.get(key)? {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    });
    let told = told.and_then(|n| u16::try_from(n).ok()).and_then(|n| StatusCode::from_u16(n).ok());
    match told {
        Some(told) if status.is_success() && (told.is_client_error() || told.is_server_error()) => told,
        _ => status,
    }
}

/// Whether TLS failed because nobody trusted vouches for the server's certificate. An IO error has its cause inside, and not as its
/// source.
fn is_untrusted(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(tls, rustls::Error::InvalidCertificate(_));
    }
    let inside = error.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref());
    inside.is_some_and(|cause| is_untrusted(cause)) || error.source().is_some_and(is_untrusted)
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
