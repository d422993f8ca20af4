//! Calls to services that are busy now and then.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::error::{Error, Result};

/// How often a service is asked.
const TIMES: usize = 5;
/// The longest pause where the caller has no deadline.
const LONGEST: Duration = Duration::from_secs(60);

/// Why a service did not do what it was asked for, and whether it may if it is asked again.
#[derive(Debug)]
pub struct Refusal {
    error: Error,
    again: Option<Duration>,
}

impl Refusal {
    /// It may do it later.
    pub fn passing(error: Error) -> Self {
        Refusal { error, again: Some(Duration::ZERO) }
    }

    /// It may do it when so much time has gone by.
    pub fn passing_after(error: Error, pause: Duration) -> Self {
        Refusal { error, again: Some(pause) }
    }

    /// What a status of HTTP means that is no success, with the header `Retry-After` where there is one: 408, 425, 429, 500, 502, 503 and 504
    /// pass. The code of the error is the one that Flyte has for it.
    pub fn http(status: u16, retry_after: Option<&str>, message: impl fmt::Display) -> Self {
        let error = match status {
            400 | 422 => Error::invalid_argument(message),
            401 => Error::unauthenticated(message),
            403 => Error::permission_denied(message),
            404 | 410 => Error::not_found(message),
            408 | 425 | 429 | 500 | 502..=504 => Error::unavailable(message),
            _ => Error::internal(message),
        };
        let passes = matches!(status, 408 | 425 | 429 | 500 | 502..=504);
        Refusal { error, again: passes.then(|| retry_after.and_then(pause).unwrap_or_default()) }
    }
}

impl From<Error> for Refusal {
    /// It never will.
    fn from(error: Error) -> Self {
        Refusal { error, again: None }
    }
}

/// The pause that a `Retry-After` asks for: seconds, or until a time.
fn pause(header: &str) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(header).ok()?;
    Some((at.to_utc() - chrono::Utc::now()).to_std().unwrap_or_default())
}

/// Asks a service up to five times, with growing pauses in between, which are as long as it asks for at least. What cannot end before the
/// deadline, mostly [`Task::deadline`](crate::Task::deadline), ends at once, with the service's own error.
///
/// ```
/// use agenthost::{Error, Refusal, retry};
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut answers = [503, 200].into_iter();
/// let answer = retry(None, || {
///     let status = answers.next().unwrap();
///     async move { if status == 200 { Ok("done") } else { Err(Refusal::http(status, None, "it is busy")) } }
/// });
/// assert_eq!(answer.await.unwrap(), "done");
/// # });
/// ```
pub async fn retry<T, F>(deadline: Option<Instant>, ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, Refusal>>,
{
    let pauses = ExponentialBuilder::default().with_min_delay(Duration::from_millis(200)).with_jitter();
    asked(deadline, pauses.with_max_times(TIMES - 1).build(), ask).await
}

async fn asked<T, F>(
    deadline: Option<Instant>,
    mut pauses: impl Iterator<Item = Duration>,
    mut ask: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T, Refusal>>,
{
    loop {
        let Refusal { error, again } = match ask().await {
            Ok(answer) => return Ok(answer),
            Err(refusal) => refusal,
        };
        let Some((asked, pause)) = again.zip(pauses.next()) else { return Err(error) };
        let pause = pause.max(asked);
        let left = deadline.map_or(LONGEST, |at| at.saturating_duration_since(Instant::now()));
        if pause >= left {
            return Err(error.context(format!("it would be asked again in {pause:?}, and {left:?} are left")));
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic::Code;

    use super::{Refusal, asked, pause};

    #[test]
    fn retry_after_is_seconds_or_a_time() {
        assert_eq!(pause("120"), Some(Duration::from_secs(120)));
        assert_eq!(pause("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        assert!(pause("Fri, 31 Dec 2100 23:59:59 GMT").is_some_and(|pause| pause > Duration::from_secs(3600)));
        assert_eq!(pause("soon"), None);
    }

    #[tokio::test]
    async fn what_stays_is_asked_for_once_and_what_passes_as_often_as_there_are_pauses() {
        for (status, after, times, code) in [
            (404, None, 1, Code::NotFound),
            (418, None, 1, Code::Internal),
            (503, None, 3, Code::Unavailable),
            (503, Some("3600"), 1, Code::Unavailable),
        ] {
            let mut calls = 0;
            let refused = asked::<(), _>(None, [Duration::ZERO; 2].into_iter(), || {
                calls += 1;
                async move { Err(Refusal::http(status, after, "no")) }
            });
            assert_eq!(refused.await.unwrap_err().code(), code);
            assert_eq!(calls, times, "{status}");
        }
    }
}
