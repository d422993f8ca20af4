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
        | E::AlreadyExists { .. }
        | E::UnknownConfigurationKey { .. } => Fault::failed("StorageError", format!("{uri}: {error}")),
        E::JoinError { source } if source.is_panic() => Fault::failed("Internal", format!("{uri}: {error}")),
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
                _ => of_system(error, said),
            }
        }
    }
}

/// The fault behind what the operating system said: a network or a disk can be better the next time.
fn of_system(error: &(dyn std::error::Error + 'static), said: String) -> Fault {
    use std::io::ErrorKind as K;
    let mut causes = causes(error);
    let kind = causes.find_map(|cause| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind));
    match kind {
        Some(K::PermissionDenied | K::ReadOnlyFilesystem) => Fault::failed("AccessDenied", said),
        Some(K::NotFound) => Fault::failed("NotFound", said),
        Some(
            K::IsADirectory
            | K::NotADirectory
            | K::AlreadyExists
            | K::InvalidInput
            | K::InvalidFilename
            | K::FileTooLarge
            | K::Unsupported,
        ) => Fault::failed("StorageError", said),
        _ => Fault::passing("StorageUnavailable", said),
    }
}

/// An error and what is behind it. One of the operating system's can carry another, which it does not call its cause.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    let next = |error: &&'a (dyn std::error::Error + 'static)| {
        let error: &'a (dyn std::error::Error + 'static) = *error;
        match error.downcast_ref::<std::io::Error>() {
            Some(system) => system.get_ref().map(|carried| carried as &(dyn std::error::Error + 'static)),
            None => error.source(),
        }
    };
    std::iter::successors(Some(error), next)
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
        DataFusionError::ExecutionJoin(joined) if joined.is_cancelled() => Fault::passing("QueryFailed", said),
        DataFusionError::IoError(_) => of_system(error, said),
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
    causes(error).find_map(|error| {
        if let Some(DataFusionError::Collection(errors)) = error.downcast_ref() {
            return errors.iter().find_map(|error| storage_within(error));
        }
        let fault = error.downcast_ref::<FaultError>().map(|fault| fault.0.clone());
        let named = || error.downcast_ref::<Storage>().map(|error| of_store(&error.uri, &error.source));
        let bare = || error.downcast_ref::<object_store::Error>().map(|error| of_store("storage", error));
        fault.or_else(named).or_else(bare)
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use datafusion::arrow::error::ArrowError;
    use datafusion::parquet::errors::ParquetError;
    use object_store::Error as Store;

    use super::*;

    fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Store {
        Store::Generic { store: "S3", source: source.into() }
    }

    async fn panicked() -> tokio::task::JoinError {
        tokio::spawn(async { panic!("on purpose") }).await.expect_err("a panic")
    }

    async fn cancelled() -> tokio::task::JoinError {
        let task = tokio::spawn(std::future::pending::<()>());
        task.abort();
        task.await.expect_err("a cancellation")
    }

    /// Every class of errors that a store has, whether trying again may help, and the code.
    async fn of_stores() -> Vec<(Store, bool, &'static str)> {
        let why = || -> Box<dyn std::error::Error + Send + Sync> { "why".into() };
        let path = || "p".to_string();
        let status = |status: u16| generic(format!("Server returned non-2xx status code: {status} Oh: "));
        let system = |kind: io::ErrorKind| generic(io::Error::new(kind, "why"));
        vec![
            (Store::NotFound { path: path(), source: why() }, false, "NotFound"),
            (
                Store::InvalidPath { source: object_store::path::Path::parse("a//b").expect_err("a path") },
                false,
                "StorageError",
            ),
            (Store::JoinError { source: panicked().await }, false, "Internal"),
            (Store::JoinError { source: cancelled().await }, true, "StorageUnavailable"),
            (Store::NotSupported { source: why() }, false, "StorageError"),
            (Store::AlreadyExists { path: path(), source: why() }, false, "StorageError"),
            (Store::Precondition { path: path(), source: why() }, true, "StorageUnavailable"),
            (Store::NotModified { path: path(), source: why() }, true, "StorageUnavailable"),
            (Store::NotImplemented { operation: path(), implementer: path() }, false, "StorageError"),
            (Store::PermissionDenied { path: path(), source: why() }, false, "AccessDenied"),
            (Store::Unauthenticated { path: path(), source: why() }, false, "AccessDenied"),
            (Store::UnknownConfigurationKey { store: "S3", key: path() }, false, "StorageError"),
            (status(301), false, "StorageError"),
            (status(400), false, "StorageError"),
            (status(401), false, "AccessDenied"),
            (status(403), false, "AccessDenied"),
            (status(404), false, "NotFound"),
            (status(408), true, "StorageUnavailable"),
            (status(429), true, "StorageUnavailable"),
            (status(500), true, "StorageUnavailable"),
            (status(503), true, "StorageUnavailable"),
            (generic("a redirect to http://127.0.0.1/ is not allowed"), false, "NotAllowed"),
            (generic("connection reset"), true, "StorageUnavailable"),
            (system(io::ErrorKind::PermissionDenied), false, "AccessDenied"),
            (system(io::ErrorKind::NotFound), false, "NotFound"),
            (system(io::ErrorKind::IsADirectory), false, "StorageError"),
            (system(io::ErrorKind::NotADirectory), false, "StorageError"),
            (system(io::ErrorKind::InvalidFilename), false, "StorageError"),
            (system(io::ErrorKind::StorageFull), true, "StorageUnavailable"),
            (system(io::ErrorKind::TimedOut), true, "StorageUnavailable"),
            (system(io::ErrorKind::ConnectionReset), true, "StorageUnavailable"),
            (generic(FaultError(Fault::failed("ScanLimit", "too much"))), false, "ScanLimit"),
            (generic(Storage { uri: "s3://b/k".into(), source: status(503) }), true, "StorageUnavailable"),
        ]
    }

    /// What stands between a store's error and what the engine says of it.
    fn wrapped() -> Vec<fn(Store) -> DataFusionError> {
        vec![
            |e| DataFusionError::ObjectStore(Box::new(e)),
            |e| DataFusionError::External(Box::new(e)),
            |e| DataFusionError::Context("writing".into(), Box::new(DataFusionError::ObjectStore(Box::new(e)))),
            |e| DataFusionError::Shared(Arc::new(DataFusionError::ObjectStore(Box::new(e)))),
            |e| DataFusionError::IoError(io::Error::other(e)),
            |e| DataFusionError::IoError(io::Error::other(DataFusionError::IoError(io::Error::from(e)))),
            |e| DataFusionError::from(ArrowError::ExternalError(Box::new(e))),
            |e| DataFusionError::from(ArrowError::IoError("why".into(), io::Error::other(e))),
            |e| DataFusionError::from(ParquetError::External(Box::new(io::Error::other(e)))),
            |e| {
                DataFusionError::Collection(vec![
                    DataFusionError::Plan("first".into()),
                    DataFusionError::ObjectStore(Box::new(e)),
                ])
            },
        ]
    }

    #[tokio::test]
    async fn every_error_of_a_store_is_known_however_it_is_wrapped() {
        for wrap in wrapped() {
            for (error, retryable, code) in of_stores().await {
                let said = format!("{error:?}");
                let fault = of_engine(&wrap(error));
                assert_eq!((fault.retryable, fault.code), (retryable, code), "{said}: {}", fault.message);
            }
        }
    }

    #[tokio::test]
    async fn only_what_may_pass_is_retryable_of_what_the_engine_says() {
        let text = || "why".to_string();
        let parser = datafusion::sql::sqlparser::parser::ParserError::ParserError(text());
        let field = datafusion::common::SchemaError::AmbiguousReference { field: Box::new("a".into()) };
        let note = datafusion::common::Diagnostic::new_error("why", None);
        for (error, retryable, code) in [
            (DataFusionError::from(ArrowError::DivideByZero), false, "QueryFailed"),
            (DataFusionError::from(ArrowError::ArithmeticOverflow(text())), false, "QueryFailed"),
            (DataFusionError::from(ArrowError::CastError(text())), false, "QueryFailed"),
            (DataFusionError::from(ArrowError::CsvError(text())), false, "QueryFailed"),
            (DataFusionError::from(ArrowError::JsonError(text())), false, "QueryFailed"),
            (DataFusionError::from(ArrowError::ParquetError(text())), false, "QueryFailed"),
            (DataFusionError::from(ParquetError::General(text())), false, "QueryFailed"),
            (DataFusionError::from(ParquetError::EOF(text())), false, "QueryFailed"),
            (DataFusionError::IoError(io::ErrorKind::StorageFull.into()), true, "StorageUnavailable"),
            (DataFusionError::IoError(io::ErrorKind::PermissionDenied.into()), false, "AccessDenied"),
            (DataFusionError::SQL(Box::new(parser), None), false, "BadSQL"),
            (DataFusionError::NotImplemented(text()), false, "BadSQL"),
            (DataFusionError::Internal(text()), false, "QueryFailed"),
            (DataFusionError::Plan(text()), false, "BadSQL"),
            (DataFusionError::Configuration(text()), false, "QueryFailed"),
            (DataFusionError::SchemaError(Box::new(field), Box::new(None)), false, "BadSQL"),
            (DataFusionError::Execution(text()), false, "QueryFailed"),
            (DataFusionError::ExecutionJoin(Box::new(panicked().await)), false, "QueryFailed"),
            (DataFusionError::ExecutionJoin(Box::new(cancelled().await)), true, "QueryFailed"),
            (DataFusionError::ResourcesExhausted(text()), false, "MemoryLimit"),
            (DataFusionError::External(text().into()), false, "QueryFailed"),
            (DataFusionError::Context(text(), Box::new(DataFusionError::Plan(text()))), false, "BadSQL"),
            (DataFusionError::Substrait(text()), false, "QueryFailed"),
            (DataFusionError::Diagnostic(Box::new(note), Box::new(DataFusionError::Plan(text()))), false, "BadSQL"),
            (DataFusionError::Collection(vec![DataFusionError::Plan(text())]), false, "BadSQL"),
            (DataFusionError::Shared(Arc::new(DataFusionError::Execution(text()))), false, "QueryFailed"),
            (DataFusionError::Ffi(text()), false, "QueryFailed"),
        ] {
            let said = format!("{error:?}");
            let fault = of_engine(&error);
            assert_eq!((fault.retryable, fault.code), (retryable, code), "{said}: {}", fault.message);
        }
    }
}
