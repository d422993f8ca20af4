//! One batch for each attempt of a task: the attempt's key is written into the batch, and looked for before one is created.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;
use tokio::sync::{Mutex, MutexGuard};

use crate::call::Session;
use crate::fault::Fault;

/// Where a batch keeps the key of the attempt that it was made for.
pub const KEY: &str = "agenthost_key";

/// How many batches or files the server tells of in a call, at the most.
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
    Ok(search(session, batches(session), lookback, |batch| batch["metadata"][KEY] == key, true).await?.pop())
}

/// All batches of an attempt: two processes may have created it in the same instant.
pub async fn find_all(session: &Session, key: &str, lookback: Duration) -> Result<Vec<Value>, Fault> {
    search(session, batches(session), lookback, |batch| batch["metadata"][KEY] == key, false).await
}

/// Whether the attempt was abandoned: then there is a file of this name. Where files cannot be listed, or may
/// not be with this key, nobody could abandon it.
pub async fn is_abandoned(session: &Session, key: &str, lookback: Duration) -> Result<bool, Fault> {
    let mut files = session.address(&["files"]);
    files.query_pairs_mut().append_pair("purpose", "user_data");
    let name = tombstone(key);
    match search(session, files, lookback, |file| file["filename"] == name, true).await {
        Err(fault) if fault.is_closed() => Ok(false),
        found => Ok(!found?.is_empty()),
    }
}

/// Leaves word that the attempt was abandoned.
pub async fn abandon(session: &Session, key: &str) -> Result<(), Fault> {
    let text = "This attempt of a task was abandoned: agenthost creates no batch for it.";
    session.upload(session.address(&["files"]), &tombstone(key), text).await.map(|_| ())
}

fn tombstone(key: &str) -> String {
    format!("agenthost-abandoned-{key}.txt")
}

fn batches(session: &Session) -> Url {
    session.address(&["batches"])
}

/// What a list has that is wanted and was created within the time to look back: the newest alone, or all.
async fn search(
    session: &Session,
    list: Url,
    lookback: Duration,
    wanted: impl Fn(&Value) -> bool,
    newest: bool,
) -> Result<Vec<Value>, Fault> {
    let oldest = chrono::Utc::now().timestamp() - lookback.as_secs() as i64;
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut url = list.clone();
        url.query_pairs_mut().append_pair("limit", &PAGE.to_string());
        if let Some(after) = &after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let page = session.get(url).await?.body;
        let entries = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        found.extend(entries.iter().filter(|entry| wanted(entry)).cloned());
        if newest && !found.is_empty() {
            found.truncate(1);
            return Ok(found);
        }
        // The newest come first.
        let Some(last) = entries.last().filter(|last| last["created_at"].as_i64().unwrap_or(0) >= oldest) else {
            return Ok(found);
        };
        let next = last["id"].as_str().map(str::to_string);
        if page["has_more"] != true || next.is_none() || next == after {
            return Ok(found);
        }
        after = next;
    }
}
