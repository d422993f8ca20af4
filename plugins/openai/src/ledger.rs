//! One batch for each attempt of a task: the attempt's key is written into the batch, and looked for before one is created.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use crate::call::Session;
use crate::fault::Fault;

/// Where a batch keeps the key of the attempt that it was made for.
pub const KEY: &str = "agenthost_key";

/// How many batches the server tells of in a call, at the most.
const PAGE: usize = 100;

/// Lets the creations of one attempt happen one after another; those of others mostly beside each other.
pub struct Turns([Mutex<()>; 64]);

impl Default for Turns {
    fn default() -> Self {
        Turns(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Turns {
    pub async fn take(&self, key: &str) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.0[(hasher.finish() % self.0.len() as u64) as usize].lock().await
    }
}

/// The batch of an attempt, among those that were created within the time to look back.
pub async fn find(session: &Session, key: &str, lookback: Duration) -> Result<Option<Value>, Fault> {
    let oldest = chrono::Utc::now().timestamp() - lookback.as_secs() as i64;
    let mut after: Option<String> = None;
    loop {
        let mut url = session.address(&["batches"]);
        url.query_pairs_mut().append_pair("limit", &PAGE.to_string());
        if let Some(after) = &after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let page = session.get(url).await?.body;
        let batches = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        if let Some(found) = batches.iter().find(|batch| batch["metadata"][KEY] == key) {
            return Ok(Some(found.clone()));
        }
        // The newest come first.
        let Some(last) = batches.last().filter(|last| last["created_at"].as_i64().unwrap_or(0) >= oldest) else {
            return Ok(None);
        };
        let next = last["id"].as_str().map(str::to_string);
        if page["has_more"] != true || next.is_none() || next == after {
            return Ok(None);
        }
        after = next;
    }
}
