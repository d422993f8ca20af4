//! What Flyte keeps of a batch, as this plugin and as flytekit's connector write it.

use agenthost::{Error, Result, json_meta};
use serde::{Deserialize, Serialize};
use serde_pickle::DeOptions;

#[derive(Debug, Serialize, Deserialize)]
pub struct Meta {
    pub batch_id: String,
    #[serde(default)]
    pub openai_org: Option<String>,
    #[serde(default)]
    pub account: String,
}

/// Begins what stands in the place of a batch's id where a task was refused. No id begins so.
const REFUSED: &str = "refused: ";

impl Meta {
    /// Of a task that no batch can be made of: an error would be repeated by Flyte for each retry, to the same end.
    pub fn refused(reason: &str) -> Self {
        Meta { batch_id: format!("{REFUSED}{reason}"), openai_org: None, account: String::new() }
    }

    /// Why there is no batch, if there is none.
    pub fn refusal(&self) -> Option<&str> {
        self.batch_id.strip_prefix(REFUSED)
    }

    /// Reads either. flytekit's connector writes a pickle, which begins like no JSON.
    pub fn decode(meta: &[u8]) -> Result<Self> {
        match meta {
            [0x80, ..] => of_flytekit(meta),
            _ => json_meta(meta),
        }
    }
}

/// Reads a pickle as data: of an object its fields count, no class is looked up, and a pickle that calls anything is refused.
fn of_flytekit(pickle: &[u8]) -> Result<Meta> {
    serde_pickle::from_slice(pickle, DeOptions::new()).map_err(|e| {
        Error::invalid_argument(format!(
            "the resource_meta is a Python pickle, but none of a batch by flytekit's connector: {e}; only the agent that created the job can read it"
        ))
    })
}
