//! The secrets by which stores are opened, and how they stay secret.

use agenthost::Task;

use crate::config::Scope;

/// The names of secrets, as the duckdb plugin has them, too.
const NAMES: [&str; 7] = [
    "aws_access_key_id",
    "aws_secret_access_key",
    "aws_session_token",
    "google_credentials",
    "azure_storage_account",
    "azure_storage_key",
    "azure_storage_sas_token",
];

/// The values of those secrets that there are, in the order of their names.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    values: [Option<String>; NAMES.len()],
    /// Whether the environment may be asked where there are no secrets.
    pub environment: bool,
}

impl Credentials {
    /// Reads the secrets of a task's scope. A connection of Flyte 2 goes first.
    pub fn of(task: &Task, scope: &Scope) -> Credentials {
        let name = |name: &str| scope.secrets.as_ref().map_or_else(|| name.to_string(), |own| format!("{own}_{name}"));
        let value = |key: &str| task.secret(&name(key)).ok().map(|secret| secret.reveal().to_string());
        Credentials {
            values: NAMES.map(value).map(|v| v.filter(|v| !v.is_empty())),
            environment: scope.secrets.is_none(),
        }
    }

    /// One of them.
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.values[at].as_deref()
    }

    /// A text without anything secret: neither these values, nor the queries of URLs, where signatures stand.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_string();
        for value in self.values.iter().flatten().filter(|value| value.len() > 3) {
            text = text.replace(value.as_str(), "[secret]");
            for part in value.split('&').filter_map(|pair| pair.strip_prefix("sig=")) {
                text = text.replace(part, "[secret]");
            }
        }
        without_queries(&text)
    }
}

/// Cuts the queries off URLs.
fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at + 3);
        out.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>)`,".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        match url.split_once('?') {
            Some((bare, _)) => {
                out.push_str(bare);
                out.push_str("?…");
            }
            None => out.push_str(url),
        }
        rest = after;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::without_queries;

    #[test]
    fn signatures_in_urls_are_cut_off() {
        let text = "GET https://a.example/b?sig=abc%2B (after 2 retries), then s3://bucket/key and \"http://x/?y=z\"";
        assert_eq!(
            without_queries(text),
            "GET https://a.example/b?… (after 2 retries), then s3://bucket/key and \"http://x/?…\""
        );
    }
}
