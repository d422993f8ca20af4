//! What goes wrong in a call, as Flyte hears of it.

use std::fmt;

use tonic::{Code, Status};

/// The result of an agent's methods.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Says that a call went wrong. (A *job* that failed is no error but a [`Resource::failed`](crate::Resource::failed).)
///
/// Any other error becomes one through `?`, as INTERNAL; the constructors name another code.
///
/// ```
/// use agenthost::{Error, Result};
///
/// fn rows(text: &str) -> Result<u64> {
///     if text.is_empty() {
///         return Err(Error::unavailable("the warehouse is closed").context("counting rows"));
///     }
///     Ok(text.parse()?)
/// }
/// # assert_eq!(rows("").unwrap_err().message(), "counting rows: the warehouse is closed");
/// # assert_eq!(rows("many").unwrap_err().message(), "invalid digit found in string");
/// ```
pub struct Error {
    code: Code,
    message: String,
}

impl Error {
    fn new(code: Code, message: impl fmt::Display) -> Self {
        Error { code, message: message.to_string() }
    }

    /// The job is not known (any more): the host tells Flyte that it has failed, or takes it for deleted.
    pub fn not_found(message: impl fmt::Display) -> Self {
        Self::new(Code::NotFound, message)
    }

    /// The attempt was given up, and no job may be made for it: see [`Finder`](crate::Finder).
    pub fn abandoned(message: impl fmt::Display) -> Self {
        Self::new(Code::Aborted, message)
    }

    /// The task makes no sense: repeating it cannot help.
    pub fn invalid_argument(message: impl fmt::Display) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The system that the agent works for cannot be reached now.
    pub fn unavailable(message: impl fmt::Display) -> Self {
        Self::new(Code::Unavailable, message)
    }

    /// The credentials are missing or wrong.
    pub fn unauthenticated(message: impl fmt::Display) -> Self {
        Self::new(Code::Unauthenticated, message)
    }

    /// The credentials do not suffice.
    pub fn permission_denied(message: impl fmt::Display) -> Self {
        Self::new(Code::PermissionDenied, message)
    }

    /// Something has to happen first.
    pub fn failed_precondition(message: impl fmt::Display) -> Self {
        Self::new(Code::FailedPrecondition, message)
    }

    /// A quota is used up, or an answer too large.
    pub fn resource_exhausted(message: impl fmt::Display) -> Self {
        Self::new(Code::ResourceExhausted, message)
    }

    /// The agent does not do this.
    pub fn unimplemented(message: impl fmt::Display) -> Self {
        Self::new(Code::Unimplemented, message)
    }

    /// It took too long.
    pub fn deadline_exceeded(message: impl fmt::Display) -> Self {
        Self::new(Code::DeadlineExceeded, message)
    }

    /// Anything else.
    pub fn internal(message: impl fmt::Display) -> Self {
        Self::new(Code::Internal, message)
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same error with what was tried before its message.
    pub fn context(self, tried: impl fmt::Display) -> Self {
        Error { code: self.code, message: format!("{tried}: {}", self.message) }
    }

    /// The status of a call of an agent's method.
    pub(crate) fn status(&self, agent: &str, method: &str) -> Status {
        Status::new(self.code, bounded(format!("agent {agent}: {method}: {}", self.message)))
    }
}

/// How much of a message is kept, in bytes: Flyte stores it in a custom resource, which a long one wedges.
const MAX_MESSAGE: usize = 4 << 10;

/// Cuts what is too long out of the middle: the beginning says what was tried, the end why it failed.
pub(crate) fn bounded(message: String) -> String {
    if message.len() <= MAX_MESSAGE {
        return message;
    }
    let half = MAX_MESSAGE / 2;
    let head = (0..=half).rev().find(|&i| message.is_char_boundary(i)).unwrap_or(0);
    let tail = (message.len() - half..message.len()).find(|&i| message.is_char_boundary(i)).unwrap_or(message.len());
    format!("{} … [{} bytes left out] … {}", &message[..head], tail - head, &message[tail..])
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

/// With all its causes, which is where the reason mostly stands.
impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            source = cause.source();
        }
        Error::internal(message)
    }
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn a_long_message_keeps_both_ends() {
        let long = format!("began{}ended", "é".repeat(100_000));
        let cut = bounded(long);
        assert!(cut.len() < 5000 && cut.starts_with("began") && cut.ends_with("ended"), "{}", cut.len());
        assert_eq!(bounded("short".into()), "short");
    }
}
