//! The plugin's configuration.

use std::borrow::Cow;
use std::time::Duration;

use agenthost::{ByteSize, ConfigError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

use crate::location::Access;

/// The `config:` block.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// URI prefixes that tasks may read, such as `s3://bucket/tables`, `https://data.example.org/`, `/srv/data`. A scheme alone, such
    /// as `https://`, is all of it. By default whatever the credentials open on s3, gs and azure, and nothing on http or disk.
    pub allowed: Vec<String>,
    /// URI prefixes that a task's `custom.destination` may write to. By default none: results go where Flyte says.
    pub destinations: Vec<String>,
    /// How the object stores are reached.
    pub storage: Storage,
    /// What is different for the tasks of some Flyte projects and domains. The first entry that fits counts.
    pub projects: Vec<Project>,
    /// How many queries run at a time; others wait for their turn.
    #[schemars(range(min = 1))]
    pub max_concurrent: usize,
    /// Threads that the queries share. By default one a core.
    #[schemars(range(min = 1))]
    pub threads: Option<usize>,
    /// Memory of one query. It does not spill: what needs more fails.
    pub memory_limit: ByteSize,
    /// The most rows that an answer holds as values.
    #[schemars(range(min = 1))]
    pub inline_rows: usize,
    /// The most bytes that an answer holds as values.
    pub inline_bytes: ByteSize,
    /// The most bytes that one query may read from storage. By default any number.
    pub scan_limit: Option<ByteSize>,
    /// How long a query may take, its wait included, such as `2m`.
    pub query_timeout: Span,
    /// Requests to storage that failed for a passing reason are made again.
    pub retry: Retry,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            allowed: ["s3://", "gs://", "azure://"].map(String::from).to_vec(),
            destinations: Vec::new(),
            storage: Storage::default(),
            projects: Vec::new(),
            max_concurrent: 4,
            threads: None,
            memory_limit: ByteSize(1 << 30),
            inline_rows: 10_000,
            inline_bytes: ByteSize(2 << 20),
            scan_limit: None,
            query_timeout: Span(Duration::from_secs(120)),
            retry: Retry::default(),
        }
    }
}

/// How the object stores are reached.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(default)]
pub struct Storage {
    /// S3, and what speaks its protocol.
    pub s3: Store,
    /// Google Cloud Storage.
    pub gs: Store,
    /// Azure Blob Storage.
    pub azure: Store,
}

/// How one kind of object store is reached.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(default)]
pub struct Store {
    /// Another server than the cloud's, such as `http://minio:9000`.
    pub endpoint: Option<String>,
    /// The region, for s3. By default `AWS_REGION`, else us-east-1.
    pub region: Option<String>,
    /// The storage account, for azure, where neither a URI nor a secret names one.
    pub account: Option<String>,
    /// Whether the endpoint may be spoken to without TLS.
    pub allow_http: bool,
    /// Whether requests go unsigned, for public data.
    pub anonymous: bool,
    /// Whether s3 names buckets in the host and not in the path.
    pub virtual_hosted: bool,
}

/// What is different for some projects and domains.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Project {
    /// The Flyte project; any if it is left out.
    pub project: Option<String>,
    /// The Flyte domain; any if it is left out.
    pub domain: Option<String>,
    /// What the names of their secrets begin with: `research` makes `aws_access_key_id` into `research_aws_access_key_id`. The
    /// plugin's own secrets, and its environment, are then not used.
    pub secrets: Option<String>,
    /// Their own `allowed`.
    pub allowed: Option<Vec<String>>,
    /// Their own `destinations`.
    pub destinations: Option<Vec<String>>,
    /// Their own `storage`.
    pub storage: Option<Storage>,
}

/// How requests to storage are repeated.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// How often a request is made again.
    pub attempts: usize,
    /// The pause before the first repetition; it doubles from one to the next.
    pub first_pause: Span,
    /// The longest pause.
    pub longest_pause: Span,
    /// How long a request is repeated at all.
    pub timeout: Span,
}

impl Default for Retry {
    fn default() -> Self {
        Retry {
            attempts: 5,
            first_pause: Span(Duration::from_millis(100)),
            longest_pause: Span(Duration::from_secs(5)),
            timeout: Span(Duration::from_secs(30)),
        }
    }
}

/// A span of time in a configuration, such as `30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let span = humantime::parse_duration(&text).ok().filter(|span| !span.is_zero());
        span.map(Span)
            .ok_or_else(|| D::Error::custom(format!("must be a span of time such as 30s or 2m, got {text:?}")))
    }
}

impl JsonSchema for Span {
    fn schema_name() -> Cow<'static, str> {
        "Span".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "examples": ["30s", "2m", "250ms"]})
    }
}

/// What holds for the tasks of one project and domain.
#[derive(Clone, Debug)]
pub struct Scope {
    project: Option<String>,
    domain: Option<String>,
    pub secrets: Option<String>,
    pub allowed: Access,
    pub destinations: Access,
    pub storage: Storage,
}

impl Scope {
    fn fits(&self, project: &str, domain: &str) -> bool {
        self.project.as_deref().is_none_or(|p| p == project) && self.domain.as_deref().is_none_or(|d| d == domain)
    }
}

/// A configuration that has been checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub config: Config,
    scopes: Vec<Scope>,
}

impl Settings {
    /// Checks what a schema cannot.
    pub fn new(config: Config) -> Result<Settings, Vec<ConfigError>> {
        let mut errors = Vec::new();
        let mut rules = |prefixes: &[String], key: String| {
            Access::new(prefixes).unwrap_or_else(|(i, error)| {
                errors.push(ConfigError::new(format!("{key}[{i}]"), error));
                Access::default()
            })
        };
        let whole = Scope {
            project: None,
            domain: None,
            secrets: None,
            allowed: rules(&config.allowed, "allowed".into()),
            destinations: rules(&config.destinations, "destinations".into()),
            storage: config.storage.clone(),
        };
        let mut scopes = Vec::new();
        for (i, p) in config.projects.iter().enumerate() {
            let mut own = |prefixes: &Option<Vec<String>>, key: &str, default: &Access| match prefixes {
                Some(prefixes) => rules(prefixes, format!("projects[{i}].{key}")),
                None => default.clone(),
            };
            scopes.push(Scope {
                project: p.project.clone(),
                domain: p.domain.clone(),
                secrets: p.secrets.clone(),
                allowed: own(&p.allowed, "allowed", &whole.allowed),
                destinations: own(&p.destinations, "destinations", &whole.destinations),
                storage: p.storage.clone().unwrap_or_else(|| whole.storage.clone()),
            });
        }
        check_endpoints(&config.storage, "storage", &mut errors);
        for (i, p) in config.projects.iter().enumerate() {
            if let Some(storage) = &p.storage {
                check_endpoints(storage, &format!("projects[{i}].storage"), &mut errors);
            }
        }
        scopes.push(whole);
        if errors.is_empty() { Ok(Settings { config, scopes }) } else { Err(errors) }
    }

    /// What holds for a project and a domain.
    pub fn scope(&self, project: &str, domain: &str) -> &Scope {
        self.scopes.iter().find(|scope| scope.fits(project, domain)).expect("the last scope fits all")
    }
}

fn check_endpoints(storage: &Storage, key: &str, errors: &mut Vec<ConfigError>) {
    for (name, store) in [("s3", &storage.s3), ("gs", &storage.gs), ("azure", &storage.azure)] {
        let Some(endpoint) = &store.endpoint else { continue };
        let key = format!("{key}.{name}.endpoint");
        match url::Url::parse(endpoint) {
            Ok(url) if url.scheme() == "http" && !store.allow_http => {
                errors.push(ConfigError::new(key, "is without TLS: use https, or set allow_http beside it"));
            }
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {}
            _ => errors.push(ConfigError::new(key, "must be a URL such as https://minio.example.org:9000")),
        }
    }
}
