//! What the agents share: the configuration as it was last taken, and one pool of connections.

use std::sync::{Arc, RwLock};

use agenthost::{ConfigError, Connection, Error, Job, Result, Task};
use reqwest::{Certificate, Client};

use crate::call::Session;
use crate::config::{Account, Config};

/// The service, once there is a configuration.
#[derive(Clone, Default)]
pub struct Configured(Arc<RwLock<Option<Arc<Service>>>>);

/// A configuration, and the connections made for it.
pub struct Service {
    pub config: Config,
    http: Client,
}

impl Configured {
    /// Takes a configuration, or says what is wrong with it.
    pub fn take(&self, config: Config) -> Result<(), Vec<ConfigError>> {
        let mistakes = config.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let http = client(&config).map_err(|e| vec![e])?;
        *self.0.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(Service { config, http }));
        Ok(())
    }

    /// The service as it is configured now.
    pub fn service(&self) -> Result<Arc<Service>> {
        let service = self.0.read().unwrap_or_else(|e| e.into_inner());
        service.clone().ok_or_else(|| Error::failed_precondition("the plugin has no configuration yet"))
    }
}

fn client(config: &Config) -> Result<Client, ConfigError> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // an error says that there is one
    let mut builder = Client::builder()
        .user_agent(concat!("agenthost-openai/", env!("CARGO_PKG_VERSION")))
        .timeout(config.call_timeout)
        .connect_timeout(config.connect_timeout)
        .redirect(reqwest::redirect::Policy::none()); // a redirect would carry the key elsewhere
    if let Some(file) = &config.ca_file {
        let wrong = |e: String| ConfigError::new("ca_file", format!("{} cannot be used: {e}", file.display()));
        let pem = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
        for certificate in Certificate::from_pem_bundle(&pem).map_err(|e| wrong(e.to_string()))? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|e| ConfigError::new("", format!("there can be no HTTP client: {e}")))
}

impl Service {
    /// The calls of a task, as its project's and domain's account and the organization that it names itself.
    pub fn session_of_task(self: &Arc<Self>, task: &Task, organization: Option<String>) -> Result<Session> {
        let mut account = self.config.account_for(task.project(), task.domain());
        account.organization = organization.filter(|o| !o.is_empty()).or(account.organization);
        self.session(account, &task.connection)
    }

    /// The calls of a job, as the account that it remembers.
    pub fn session_of_job<M>(
        self: &Arc<Self>,
        job: &Job<M>,
        account: &str,
        organization: Option<String>,
    ) -> Result<Session> {
        let mut known = self.config.account_named(account).ok_or_else(|| {
            Error::failed_precondition(format!(
                "the job was created with the account {account:?}, which accounts: in the plugin's config does not have any more: put it back until its jobs have ended"
            ))
        })?;
        known.organization = organization;
        self.session(known, &job.connection)
    }

    fn session(self: &Arc<Self>, account: Account, connection: &Connection) -> Result<Session> {
        let anonymous = account.anonymous.unwrap_or_default();
        let key = if anonymous { None } else { Some(connection.secret(&account.secret)?) };
        Session::new(self.http.clone(), self.config.retry.clone(), account, key)
    }
}
