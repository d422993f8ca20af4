//! Secrets, by flytekit's convention.

use std::{env, fmt, fs, path::PathBuf};

use crate::error::{Error, Result};

/// A secret's value. It prints as `[secret]`, so that no log or error shows it by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(value: String) -> Self {
        Secret(value)
    }

    /// The value itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A secret of the plugin, by the name that it has under `secrets:` in the host's file: the variable `_FSEC_<KEY>`, or else
/// the file `<key>` in the directory that `FLYTE_SECRETS_DEFAULT_DIR` names (default /etc/secrets), without the line break at
/// its end. A missing one is UNAUTHENTICATED and says where it was looked for.
pub fn secret(key: &str) -> Result<Secret> {
    let setting = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_string());
    let variable = setting("FLYTE_SECRETS_ENV_PREFIX", "_FSEC_") + &key.to_uppercase();
    if let Ok(value) = env::var(&variable) {
        return Ok(Secret::new(value.trim_end_matches(['\n', '\r']).to_string()));
    }
    let file = PathBuf::from(setting("FLYTE_SECRETS_DEFAULT_DIR", "/etc/secrets"))
        .join(setting("FLYTE_SECRETS_FILE_PREFIX", "") + &key.to_lowercase());
    match fs::read_to_string(&file) {
        Ok(value) => Ok(Secret::new(value.trim_end_matches(['\n', '\r']).to_string())),
        Err(error) => Err(Error::unauthenticated(format!(
            "the secret {key:?} is not there: neither the variable {variable} nor the file {} ({error}); give it to the plugin under secrets: in the host's configuration",
            file.display()
        ))),
    }
}
