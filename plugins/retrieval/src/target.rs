//! The store that a result is written to. DataFusion drops the cause of what fails when a file is finished; here it is kept.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::fault::{Fault, of_store};
use crate::location::Location;

/// Writes to a place, and does nothing else.
pub struct Target {
    store: Arc<dyn ObjectStore>,
    failure: Failure,
}

impl Target {
    pub fn new(store: Arc<dyn ObjectStore>, at: &Location) -> Arc<Self> {
        Arc::new(Target { store, failure: Failure { uri: at.to_string(), first: Arc::default() } })
    }

    /// Why writing failed, if the store was the cause.
    pub fn fault(&self) -> Option<Fault> {
        self.failure.first.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What failed first; the rest follows from it.
#[derive(Clone, Debug)]
struct Failure {
    uri: String,
    first: Arc<Mutex<Option<Fault>>>,
}

impl Failure {
    fn note<T>(&self, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| of_store(&self.uri, error));
        }
        done
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.failure.uri)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.failure.uri)
    }
}

#[async_trait]
impl ObjectStore for Target {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.failure.note(self.store.put_opts(location, payload, options).await)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.failure.note(self.store.put_multipart_opts(location, options).await)?;
        Ok(Box::new(Parts { upload, failure: self.failure.clone() }))
    }

    async fn get_opts(&self, _: &Path, _: GetOptions) -> Result<GetResult> {
        Err(refused("get"))
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::once(std::future::ready(Err(refused("list")))).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(refused("list_with_delimiter"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(std::future::ready(Err(refused("delete")))).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("copy"))
    }
}

fn refused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "a result's target, which is write-only".into() }
}

/// A large file on its way.
#[derive(Debug)]
struct Parts {
    upload: Box<dyn MultipartUpload>,
    failure: Failure,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, failure) = (self.upload.put_part(data), self.failure.clone());
        Box::pin(async move { failure.note(part.await) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.failure.note(self.upload.complete().await)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
