//! The plugin's `config:` block.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use agenthost::ConfigError;
use reqwest::Url;
use schemars::JsonSchema;
use serde::Deserialize;

/// The secret of tasks whose account names none; flytekit's agent reads the same.
const API_KEY: &str = "FLYTE_OPENAI_API_KEY";

/// Whom to call, as whom, and how patiently.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Config {
    /// The root of the API: OpenAI's, or that of a server which speaks it, such as `http://vllm.ml:8000/v1`.
    #[serde(default = "openai")]
    pub base_url: String,
    /// The OpenAI organization of tasks that name none.
    #[serde(default)]
    pub organization: Option<String>,
    /// The OpenAI project that calls are counted to.
    #[serde(default)]
    pub openai_project: Option<String>,
    /// Calls carry no key, for servers that want none.
    #[serde(default)]
    pub anonymous: bool,
    /// Who the tasks of some Flyte projects and domains are for OpenAI. The first that fits counts; else the keys above and the
    /// secret FLYTE_OPENAI_API_KEY.
    #[serde(default)]
    pub accounts: Vec<Account>,
    /// A file of certificates (PEM) to trust beside the usual ones.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one attempt of a call may take, such as `90s`.
    #[serde(default = "seconds::<60>", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub call_timeout: Duration,
    /// How long reaching the server may take, such as `10s`.
    #[serde(default = "seconds::<10>", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub connect_timeout: Duration,
    /// How calls that failed for a passing reason are made again.
    #[serde(default)]
    pub retry: Retry,
    /// How far back a task attempt's batch is looked for, such as `48h`: longer than a batch may take.
    #[serde(default = "seconds::<172800>", with = "humantime_serde")]
    #[schemars(with = "String")]
    pub lookback: Duration,
    /// What tokens cost, by model; then custom info has a `cost_estimate`.
    #[serde(default)]
    pub prices: BTreeMap<String, Price>,
    /// What a batch costs of that: OpenAI takes half.
    #[serde(default = "half")]
    pub batch_price_factor: f64,
}

/// Who the tasks of a Flyte project and domain are for OpenAI. What is missing is taken from the block around it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Account {
    /// Its name. Jobs remember it, so it must stay until they have ended.
    pub name: String,
    /// The Flyte project; without it, every one.
    #[serde(default)]
    pub project: Option<String>,
    /// The Flyte domain; without it, every one.
    #[serde(default)]
    pub domain: Option<String>,
    /// The name of the secret that holds its API key.
    #[serde(default = "api_key")]
    pub secret: String,
    /// Its OpenAI organization.
    #[serde(default)]
    pub organization: Option<String>,
    /// Its OpenAI project.
    #[serde(default)]
    pub openai_project: Option<String>,
    /// Its API's root.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Its calls carry no key.
    #[serde(default)]
    pub anonymous: Option<bool>,
}

/// How calls that failed for a passing reason are made again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Retry {
    /// How often a call is made at the most.
    pub attempts: u32,
    /// The pause after the first attempt; it doubles from one to the next.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub first_pause: Duration,
    /// The longest pause. A server that asks for a longer one is not called again.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Retry { attempts: 4, first_pause: Duration::from_millis(500), longest_pause: Duration::from_secs(8) }
    }
}

/// What a million of a model's tokens costs.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Price {
    /// Tokens read.
    pub input: f64,
    /// Tokens written.
    #[serde(default)]
    pub output: f64,
}

impl Config {
    /// Everything that is wrong with the values.
    pub fn mistakes(&self) -> Vec<ConfigError> {
        let mut mistakes = Vec::new();
        let mut tell = |key: String, message: String| mistakes.push(ConfigError::new(key, message));
        if let Err(message) = root(&self.base_url) {
            tell("base_url".into(), message);
        }
        let mut names = BTreeSet::new();
        for (i, account) in self.accounts.iter().enumerate() {
            if account.name.is_empty() || !names.insert(&account.name) {
                tell(format!("accounts[{i}].name"), "must be there, and different from every other".into());
            }
            if let Some(Err(message)) = account.base_url.as_deref().map(root) {
                tell(format!("accounts[{i}].base_url"), message);
            }
        }
        if self.retry.attempts == 0 {
            tell("retry.attempts".into(), "must be at least 1: that is the call itself".into());
        }
        for (key, value) in [("call_timeout", self.call_timeout), ("connect_timeout", self.connect_timeout)] {
            if value.is_zero() {
                tell(key.into(), "must be longer than nothing, such as 30s".into());
            }
        }
        mistakes
    }

    /// The account of a Flyte project's and domain's tasks.
    pub fn account_for(&self, project: &str, domain: &str) -> Account {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        let found = self.accounts.iter().find(|a| fits(&a.project, project) && fits(&a.domain, domain));
        found.map_or_else(|| self.common(), |account| self.filled(account))
    }

    /// The account that a job remembers.
    pub fn account_named(&self, name: &str) -> Option<Account> {
        if name.is_empty() {
            return Some(self.common());
        }
        self.accounts.iter().find(|a| a.name == name).map(|account| self.filled(account))
    }

    /// What a model's tokens cost. Servers answer with a model's dated name, such as gpt-4o-2024-08-06: the longest name that it
    /// begins with counts.
    pub fn price(&self, model: &str) -> Option<&Price> {
        let fits = self.prices.iter().filter(|(name, _)| model.starts_with(name.as_str()));
        fits.max_by_key(|(name, _)| name.len()).map(|(_, price)| price)
    }

    fn common(&self) -> Account {
        Account {
            name: String::new(),
            project: None,
            domain: None,
            secret: api_key(),
            organization: self.organization.clone(),
            openai_project: self.openai_project.clone(),
            base_url: Some(self.base_url.clone()),
            anonymous: Some(self.anonymous),
        }
    }

    fn filled(&self, account: &Account) -> Account {
        let common = self.common();
        Account {
            organization: account.organization.clone().or(common.organization),
            openai_project: account.openai_project.clone().or(common.openai_project),
            base_url: account.base_url.clone().or(common.base_url),
            anonymous: account.anonymous.or(common.anonymous),
            ..account.clone()
        }
    }
}

/// An API's root as an address that paths can be appended to.
pub fn root(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("is no address: {e}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("must begin with http:// or https://, and begins with {}:", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("must have neither a user nor a query: keys belong into secrets".into());
    }
    Ok(url)
}

fn openai() -> String {
    "https://api.openai.com/v1".into()
}

fn api_key() -> String {
    API_KEY.into()
}

fn half() -> f64 {
    0.5
}

fn seconds<const N: u64>() -> Duration {
    Duration::from_secs(N)
}
