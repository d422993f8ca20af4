//! Whose fault a failure is: what a task's author can mend fails for good, what may pass can be tried again.

use std::error::Error as _;

use agenthost::Resource;
use datafusion::error::DataFusionError;

/// How a query failed.
#[derive(Clone, Debug)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
    pub retryable: bool,
}

impl Fault {
    /// Trying again would not help.
    pub fn failed(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), retryable: false }
    }

    /// Trying again may help.
    pub fn passing(code: &'static str, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), retryable: true }
    }

    /// The same with what was tried before its message.
    pub fn about(self, tried: impl std::fmt::Display) -> Fault {
        Fault { message: format!("{tried}: {}", self.message), ..self }
    }

    /// What Flyte hears.
    pub fn resource(self) -> Resource {
        let resource =
            if self.retryable { Resource::retryable_failed(self.message) } else { Resource::failed(self.message) };
        resource.with_code(self.code)
    }
}

/// An error of a store, which names the file that it is about.
#[derive(Debug)]
pub struct Storage {
    pub uri: String,
    pub source: object_store::Error,
}

impl std::fmt::Display for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.uri, self.source)
    }
}

impl std::error::Error for Storage {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The fault behind an error of a store.
pub fn of_store(uri: &str, error: &object_store::Error) -> Fault {
    use object_store::Error as E;
    if let Some(fault) = error.source().and_then(|e| e.downcast_ref::<FaultError>()) {
        return fault.0.clone();
    }
    if let Some(inner) = error.source().and_then(|e| e.downcast_ref::<Storage>()) {
        return of_store(&inner.uri, &inner.source);
    }
    match error {
        E::NotFound { .. } => Fault::failed("NotFound", format!("{uri} is not there")),
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => {
            Fault::failed("AccessDenied", format!("{uri} is not open to the plugin's credentials: {error}"))
        }
        E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. } => Fault::failed("StorageError", format!("{uri}: {error}")),
        _ => {
            let said = format!("{uri}: {}", chain(error));
            match status(&said) {
                Some(401 | 403) => Fault::failed("AccessDenied", said),
                Some(404) => Fault::failed("NotFound", format!("{uri} is not there")),
                Some(408 | 429) => Fault::passing("StorageUnavailable", said),
                Some(300..500) => Fault::failed("StorageError", said),
                _ if said.contains("is not allowed") || said.contains("is not named in `allowed`") => {
                    Fault::failed("NotAllowed", said)
                }
                _ => Fault::passing("StorageUnavailable", said),
            }
        }
    }
}

/// The status that a server answered. object_store says it in words only.
fn status(text: &str) -> Option<u16> {
    text.split("status code: ").nth(1)?.get(..3)?.parse().ok()
}

/// An error with its causes, each once.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text
}

/// A fault on its way through DataFusion.
#[derive(Debug)]
pub struct FaultError(pub Fault);

impl std::fmt::Display for FaultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for FaultError {}

/// The fault behind an error of the engine.
pub fn of_engine(error: &DataFusionError) -> Fault {
    if let Some(fault) = storage_within(error) {
        return fault;
    }
    let said = error.strip_backtrace();
    match error.find_root() {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::NotImplemented(_)
        | DataFusionError::Diagnostic(..)
        | DataFusionError::Collection(_) => Fault::failed("BadSQL", said),
        DataFusionError::ResourcesExhausted(_) => Fault::failed(
            "MemoryLimit",
            format!(
                "the query needs more memory than memory_limit in the plugin's configuration gives it: select fewer rows or columns, or use an engine that spills, such as the duckdb plugin: {said}"
            ),
        ),
        _ => Fault::failed("QueryFailed", said),
    }
}

/// The fault of a store that an error of the engine carries, wherever in it.
fn storage_within(error: &(dyn std::error::Error + 'static)) -> Option<Fault> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(fault) = error.downcast_ref::<FaultError>() {
            return Some(fault.0.clone());
        }
        if let Some(error) = error.downcast_ref::<Storage>() {
            return Some(of_store(&error.uri, &error.source));
        }
        if let Some(error) = error.downcast_ref::<object_store::Error>() {
            return Some(of_store("storage", error));
        }
        if let Some(DataFusionError::ObjectStore(error)) = error.downcast_ref::<DataFusionError>() {
            return Some(of_store("storage", error));
        }
        next = error.source();
    }
    None
}
