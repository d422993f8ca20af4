//! What a call used, for Flyte's custom info.

use std::time::{Duration, Instant};

use agenthost::Resource;
use serde_json::{Value, json};

use crate::config::Config;

/// A resource with the answer's model, its use of tokens, and what they cost where that is known.
pub fn with_usage(resource: Resource, config: &Config, model: &str, usage: &Value, price_factor: f64) -> Resource {
    let mut resource = if model.is_empty() { resource } else { resource.with_info("model", model) };
    let count = |names: [&str; 2]| names.iter().find_map(|name| usage.get(*name)?.as_u64());
    let input = count(["prompt_tokens", "input_tokens"]);
    let output = count(["completion_tokens", "output_tokens"]);
    for (name, count) in
        [("input_tokens", input), ("output_tokens", output), ("total_tokens", count(["total_tokens"; 2]))]
    {
        if let Some(count) = count {
            resource = resource.with_info(name, count);
        }
    }
    match (config.price(model), input) {
        (Some(price), Some(input)) => {
            let cost = (input as f64 * price.input + output.unwrap_or(0) as f64 * price.output) * price_factor / 1e6;
            resource.with_info("cost_estimate", cost)
        }
        _ => resource,
    }
}

/// How long something took, as people measure it.
pub fn milliseconds(since: Instant) -> Value {
    json!(Duration::as_millis(&since.elapsed()) as u64)
}
