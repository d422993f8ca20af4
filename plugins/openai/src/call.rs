//! The calls of one account: a key, an organization, a server.

use std::future::Future;
use std::time::Duration;

use agenthost::{Error, Result, Secret};
use backon::{ExponentialBuilder, Retryable};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url};
use serde_json::Value;

use crate::config::{Account, Retry, root};
use crate::fault::{Fault, complaint, header};
use crate::numbers;

/// Makes the calls of one account.
pub struct Session {
    http: Client,
    retry: Retry,
    root: Url,
    headers: HeaderMap,
    key: Option<Secret>,
    pub account: Account,
}

/// What the server said.
pub struct Answer {
    pub body: Value,
    /// The server's name for the call, which its support asks for.
    pub request_id: Option<String>,
}

impl Session {
    pub fn new(http: Client, retry: Retry, account: Account, key: Option<Secret>) -> Result<Self> {
        let root = root(account.base_url.as_deref().unwrap_or_default())
            .map_err(|e| Error::failed_precondition(format!("base_url {e}")))?;
        let mut headers = HeaderMap::new();
        if let Some(key) = &key {
            let value = format!("Bearer {}", key.reveal());
            let mut value = HeaderValue::try_from(value).map_err(|_| {
                Error::unauthenticated(format!("the secret {} has characters that no API key has", account.secret))
            })?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in
            [("openai-organization", &account.organization), ("openai-project", &account.openai_project)]
        {
            if let Some(value) = value {
                let value = HeaderValue::try_from(value)
                    .map_err(|_| Error::invalid_argument(format!("{value:?} cannot be an {name}")))?;
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        Ok(Session { http, retry, root, headers, key, account })
    }

    /// An address below the API's root.
    pub fn address(&self, path: &[&str]) -> Url {
        let mut url = self.root.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        url
    }

    /// Asks once.
    pub async fn get(&self, url: Url) -> Result<Answer, Fault> {
        self.json(self.send(Method::GET, url, None, "").await?)
    }

    /// Asks once for a file's text.
    pub async fn text(&self, url: Url) -> Result<String, Fault> {
        Ok(self.send(Method::GET, url, None, "").await?.text)
    }

    /// Orders once. The same idempotency key orders the same thing once, with servers that know it.
    pub async fn post(&self, url: Url, body: &Value, idempotency_key: &str) -> Result<Answer, Fault> {
        self.json(self.send(Method::POST, url, Some(Content::Json(body)), idempotency_key).await?)
    }

    /// Uploads a text once, as a file for any purpose.
    pub async fn upload(&self, url: Url, name: &str, text: &str) -> Result<Answer, Fault> {
        self.json(self.send(Method::POST, url, Some(Content::File(name, text)), "").await?)
    }

    async fn send(&self, method: Method, url: Url, body: Option<Content<'_>>, key: &str) -> Result<Raw, Fault> {
        let tried = format!("{method} {url}");
        let hide = |fault: Fault| self.hide(fault, &tried);
        let mut request = self.http.request(method, url).headers(self.headers.clone());
        request = match body {
            Some(Content::Json(body)) => request.json(body),
            Some(Content::File(name, text)) => request.header(CONTENT_TYPE, FORM).body(form(name, text)),
            None => request,
        };
        if !key.is_empty() {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.map_err(|e| hide(Fault::no_answer(e)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.map_err(|e| hide(Fault::no_answer(e)))?;
        if status.is_success() {
            Ok(Raw { tried, status, headers, text })
        } else {
            Err(hide(Fault::answered(status, &headers, &text)))
        }
    }

    /// A fault as it may be told: with what was tried, and without the key.
    fn hide(&self, fault: Fault, tried: &str) -> Fault {
        fault.without(self.key.as_ref().map_or("", Secret::reveal)).context(tried)
    }

    fn json(&self, raw: Raw) -> Result<Answer, Fault> {
        let tried = raw.tried.clone();
        json(raw).map_err(|fault| self.hide(fault, &tried))
    }

    /// Makes calls again while they fail for a passing reason, with growing pauses. The server's wish for a pause goes first;
    /// one that is longer than the longest is not waited for.
    pub async fn repeat<T, F, C>(&self, calls: F) -> Result<T, Fault>
    where
        F: FnMut() -> C,
        C: Future<Output = Result<T, Fault>>,
    {
        let longest = self.retry.longest_pause;
        let pauses = ExponentialBuilder::default()
            .with_min_delay(self.retry.first_pause)
            .with_max_delay(longest)
            .with_max_times(self.retry.attempts.saturating_sub(1) as usize)
            .with_jitter();
        calls
            .retry(pauses)
            .sleep(tokio::time::sleep)
            .when(|fault| fault.passing)
            .adjust(|fault, pause| wish(fault.retry_after, pause, longest))
            .notify(|fault, pause| tracing::warn!(pause_ms = pause.as_millis() as u64, "calling again: {fault}"))
            .await
    }
}

/// The pause before the next attempt; none: there is to be no further one.
fn wish(asked: Option<Duration>, planned: Option<Duration>, longest: Duration) -> Option<Duration> {
    match (asked, planned?) {
        (Some(asked), _) if asked > longest => None,
        (Some(asked), _) => Some(asked),
        (None, planned) => Some(planned),
    }
}

/// What goes out with a call.
enum Content<'a> {
    Json(&'a Value),
    /// A file's name and text.
    File(&'a str, &'a str),
}

const FORM: &str = "multipart/form-data; boundary=agenthost-7d5c1f0e";

/// The form of an upload. Neither names nor texts of ours have the boundary, or a quote, in them.
fn form(name: &str, text: &str) -> String {
    let boundary = "--agenthost-7d5c1f0e";
    let part = "Content-Disposition: form-data; name=";
    format!(
        "{boundary}\r\n{part}\"purpose\"\r\n\r\nuser_data\r\n{boundary}\r\n{part}\"file\"; filename=\"{name}\"\r\nContent-Type: text/plain\r\n\r\n{text}\r\n{boundary}--\r\n"
    )
}

struct Raw {
    tried: String,
    status: reqwest::StatusCode,
    headers: HeaderMap,
    text: String,
}

fn json(raw: Raw) -> Result<Answer, Fault> {
    let request_id = header(&raw.headers, "x-request-id").map(Into::into);
    let strange = |problem: String| Err(Fault::strange(raw.status, problem, &raw.text));
    let body = match serde_json::from_str(&raw.text) {
        Ok(body @ Value::Object(_)) => body,
        Ok(_) => return strange("the answer is no JSON object".into()),
        Err(e) => return strange(format!("the answer is no JSON ({e})")),
    };
    if let Some(error) = complaint(&body) {
        return Err(Fault::said(raw.status, &raw.headers, error, &raw.text));
    }
    match numbers::rounded(&raw.text) {
        Some(number) => Err(Fault::inexact(raw.status, number, &raw.text)),
        None => Ok(Answer { body, request_id }),
    }
}
