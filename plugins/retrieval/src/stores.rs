//! The stores behind locations, each made once and kept with its connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::{GcpCredential, GoogleCloudStorageBuilder};
use object_store::http::HttpBuilder;
use object_store::local::LocalFileSystem;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig, StaticCredentialProvider};

use crate::config::{Retry, Scope, Storage, Store};
use crate::credentials::Credentials;
use crate::fault::Fault;
use crate::location::{Access, Kind, Location};
use crate::web::Web;

/// How many stores are kept; beyond that all are made anew.
const KEPT: usize = 64;

#[derive(PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    authority: String,
    account: Option<String>,
    storage: Storage,
    credentials: Credentials,
}

/// Makes stores and keeps them.
pub struct Stores {
    retry: RetryConfig,
    made: Mutex<HashMap<Key, Arc<dyn ObjectStore>>>,
}

impl Stores {
    pub fn new(retry: &Retry) -> Stores {
        let backoff = BackoffConfig { init_backoff: retry.first_pause.0, max_backoff: retry.longest_pause.0, base: 2. };
        let retry = RetryConfig { backoff, max_retries: retry.attempts, retry_timeout: retry.timeout.0 };
        Stores { retry, made: Mutex::default() }
    }

    /// The store of a location, for a task of a scope.
    pub fn open(&self, at: &Location, scope: &Scope, credentials: &Credentials) -> Result<Arc<dyn ObjectStore>, Fault> {
        if matches!(at.kind, Kind::Http | Kind::Https) {
            return self.web(at, &scope.allowed); // its query and its rules are its own
        }
        let key = Key {
            kind: at.kind,
            authority: at.authority.clone(),
            account: at.account.clone(),
            storage: scope.storage.clone(),
            credentials: credentials.clone(),
        };
        if let Some(store) = self.made.lock().expect("no panic holds it").get(&key) {
            return Ok(store.clone());
        }
        let made: Result<Arc<dyn ObjectStore>, _> = match at.kind {
            Kind::S3 => self.s3(at, &scope.storage.s3, credentials),
            Kind::Gs => self.gs(at, &scope.storage.gs, credentials),
            Kind::Azure => self.azure(at, &scope.storage.azure, credentials),
            _ => Ok(Arc::new(LocalFileSystem::new())),
        };
        let store = made.map_err(|e| Fault::failed("StorageError", format!("{at} cannot be opened: {e}")))?;
        let mut kept = self.made.lock().expect("no panic holds it");
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, store.clone());
        Ok(store)
    }

    fn s3(&self, at: &Location, store: &Store, secrets: &Credentials) -> object_store::Result<Arc<dyn ObjectStore>> {
        let key = secrets.get("aws_access_key_id");
        let mut builder = if secrets.environment { AmazonS3Builder::from_env() } else { AmazonS3Builder::new() };
        if let (Some(id), Some(secret)) = (key, secrets.get("aws_secret_access_key")) {
            builder = AmazonS3Builder::new().with_access_key_id(id).with_secret_access_key(secret);
            if let Some(token) = secrets.get("aws_session_token") {
                builder = builder.with_token(token);
            }
        }
        let region = store.region.clone().or_else(|| std::env::var("AWS_REGION").ok());
        if let Some(region) = region.or_else(|| std::env::var("AWS_DEFAULT_REGION").ok()) {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &store.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let builder = builder
            .with_bucket_name(&at.authority)
            .with_client_options(ClientOptions::new().with_allow_http(store.allow_http))
            .with_virtual_hosted_style_request(store.virtual_hosted)
            .with_skip_signature(store.anonymous)
            .with_retry(self.retry.clone());
        Ok(Arc::new(builder.build()?))
    }

    fn gs(&self, at: &Location, store: &Store, secrets: &Credentials) -> object_store::Result<Arc<dyn ObjectStore>> {
        let mut builder =
            if secrets.environment { GoogleCloudStorageBuilder::from_env() } else { GoogleCloudStorageBuilder::new() };
        if let Some(account) = secrets.get("google_credentials") {
            builder = GoogleCloudStorageBuilder::new().with_service_account_key(account);
        }
        if let Some(endpoint) = &store.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        if store.anonymous {
            // object_store signs what it writes all the same, and would ask Google's metadata server for a token.
            let none = GcpCredential { bearer: String::new() };
            builder = builder.with_credentials(Arc::new(StaticCredentialProvider::new(none)));
        }
        let builder = builder
            .with_bucket_name(&at.authority)
            .with_client_options(ClientOptions::new().with_allow_http(store.allow_http))
            .with_skip_signature(store.anonymous)
            .with_retry(self.retry.clone());
        Ok(Arc::new(builder.build()?))
    }

    fn azure(&self, at: &Location, store: &Store, secrets: &Credentials) -> object_store::Result<Arc<dyn ObjectStore>> {
        let (key, sas) = (secrets.get("azure_storage_key"), secrets.get("azure_storage_sas_token"));
        let own = key.is_some() || sas.is_some();
        let mut builder =
            if secrets.environment && !own { MicrosoftAzureBuilder::from_env() } else { MicrosoftAzureBuilder::new() };
        let account = at.account.as_deref().or(secrets.get("azure_storage_account")).or(store.account.as_deref());
        if let Some(account) = account {
            builder = builder.with_account(account);
        }
        match (key, sas) {
            (Some(key), _) => builder = builder.with_access_key(key),
            (None, Some(sas)) => {
                use object_store::azure::AzureConfigKey::SasKey;
                builder = builder.with_config(SasKey, sas.trim_start_matches('?'));
            }
            (None, None) => {}
        }
        if let Some(endpoint) = &store.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        let builder = builder
            .with_container_name(&at.authority)
            .with_client_options(ClientOptions::new().with_allow_http(store.allow_http))
            .with_skip_signature(store.anonymous)
            .with_retry(self.retry.clone());
        Ok(Arc::new(builder.build()?))
    }

    fn web(&self, at: &Location, rules: &Access) -> Result<Arc<dyn ObjectStore>, Fault> {
        let scheme = if at.kind == Kind::Http { "http" } else { "https" };
        let query = at.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let builder = HttpBuilder::new()
            .with_url(format!("{scheme}://{}/{query}", at.authority))
            .with_retry(self.retry.clone())
            .with_http_connector(Web { rules: rules.clone() });
        let store =
            builder.build().map_err(|e| Fault::failed("StorageError", format!("{at} cannot be opened: {e}")))?;
        Ok(Arc::new(store))
    }
}
