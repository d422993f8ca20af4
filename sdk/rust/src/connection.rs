//! What Flyte 2 sends with a call so that an agent can reach the system that it works for.

use std::collections::HashMap;
use std::fmt;

use prost::Message;

use crate::error::Result;
use crate::secret::{Secret, secret};

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(string, tag = "1")]
    task_type: String,
    #[prost(map = "string, string", tag = "2")]
    secrets: HashMap<String, String>,
    #[prost(map = "string, string", tag = "3")]
    configs: HashMap<String, String>,
}

/// Settings and secrets of one task's connection. Printing it shows the secrets' names only.
#[derive(Clone, Default)]
pub struct Connection {
    /// The kind of task that the connection is for.
    pub task_type: String,
    /// Its settings.
    pub configs: HashMap<String, String>,
    secrets: HashMap<String, Secret>,
}

impl Connection {
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let wire = Wire::decode(bytes)?;
        let secrets = wire.secrets.into_iter().map(|(key, value)| (key, Secret::new(value))).collect();
        Ok(Connection { task_type: wire.task_type, configs: wire.configs, secrets })
    }

    /// The connection's secret of that name, or else the plugin's.
    pub fn secret(&self, key: &str) -> Result<Secret> {
        self.secrets.get(key).cloned().map_or_else(|| secret(key), Ok)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut secrets: Vec<_> = self.secrets.keys().collect();
        secrets.sort();
        f.debug_struct("Connection")
            .field("task_type", &self.task_type)
            .field("configs", &self.configs)
            .field("secrets", &secrets)
            .finish()
    }
}
