//! Waits until a file or an object of S3 is there: task type `file_sensor`, with the inputs `uri` and, if it may give up, `until`. Each poll
//! looks once, by what Flyte keeps, so that it goes on waiting in whatever process there is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use agenthost::{AsyncAgent, Error, File, Job, Outputs, Plugin, Registration, Resource, Result, Task, async_trait};
use chrono::{DateTime, Utc};
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

fn main() {
    let sensor = Registration::new("file_sensor").idempotent_create(); // what Flyte keeps is made of the inputs alone
    Plugin::new("file_sensor", "1.0.0").agent(sensor, FileSensor::default()).serve()
}

/// The agent, with a client for each bucket that it has looked into.
#[derive(Default)]
struct FileSensor(Mutex<HashMap<String, Arc<dyn ObjectStore>>>);

/// What Flyte keeps of a task.
#[derive(Serialize, Deserialize)]
struct Awaited {
    uri: String,
    until: Option<DateTime<Utc>>,
}

#[async_trait]
impl AsyncAgent for FileSensor {
    type Meta = Awaited;

    async fn create(&self, task: Task) -> Result<Awaited> {
        let uri: String = task.input("uri")?;
        self.open(&uri)?; // what nothing can be found by is told now
        Ok(Awaited { uri, until: task.input("until")? })
    }

    async fn get(&self, job: Job<Awaited>) -> Result<Resource> {
        let Awaited { uri, until } = job.meta;
        let (store, path) = self.open(&uri)?;
        match store.head(&path).await {
            Ok(found) => {
                let format = path.extension().unwrap_or_default().to_string();
                let size = i64::try_from(found.size)?;
                Ok(Resource::succeeded(Outputs::new().with("file", File { uri, format }).with("size", size)))
            }
            Err(object_store::Error::NotFound { .. }) => match until {
                Some(until) if until < Utc::now() => {
                    Ok(Resource::failed(format!("{uri} was not there by {until}")).with_user_error("NotThere"))
                }
                _ => Ok(Resource::running(format!("{uri} is not there yet"))),
            },
            Err(
                refused @ (object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }),
            ) => Ok(Resource::failed(format!("the plugin may not look for {uri}: {refused}"))
                .with_system_error("Forbidden")),
            Err(error) => Err(Error::unavailable(format!("{uri} cannot be looked for: {error}"))),
        }
    }

    async fn delete(&self, _: Job<Awaited>) -> Result<()> {
        Ok(())
    }
}

impl FileSensor {
    /// Where a file is looked for.
    fn open(&self, uri: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let unfit =
            |why: &str| Error::invalid_argument(format!("input \"uri\": {uri:?} is no address of a file: {why}"));
        let (store, path): (Arc<dyn ObjectStore>, _) = match uri.strip_prefix("s3://") {
            Some(object) => {
                let (bucket, key) = object.split_once('/').ok_or_else(|| unfit("it needs to be s3://bucket/key"))?;
                (self.bucket(bucket)?, Path::parse(key))
            }
            None => {
                let file = uri.strip_prefix("file://").unwrap_or(uri);
                if !file.starts_with('/') {
                    return Err(unfit("it needs to be an absolute path, file:///path or s3://bucket/key"));
                }
                (Arc::new(LocalFileSystem::new()), Path::from_absolute_path(file))
            }
        };
        Ok((store, path.map_err(|e| unfit(&e.to_string()))?))
    }

    /// A bucket's client, by the environment: `AWS_REGION`, `AWS_ENDPOINT_URL`, credentials.
    fn bucket(&self, name: &str) -> Result<Arc<dyn ObjectStore>> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(name) {
            return Ok(client.clone());
        }
        let client: Arc<dyn ObjectStore> = Arc::new(AmazonS3Builder::from_env().with_bucket_name(name).build()?);
        clients.insert(name.to_string(), client.clone());
        Ok(client)
    }
}
