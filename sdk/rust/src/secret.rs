//! Secrets, by flytekit's convention.

use std::{env, fmt, fs, io::ErrorKind, path::PathBuf};

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
/// its end. It is read anew each time. A missing one is FAILED_PRECONDITION and says where it was looked for.
pub fn secret(key: &str) -> Result<Secret> {
    if key.is_empty() || key.contains(['/', '\\']) {
        return Err(Error::invalid_argument(format!("a secret's key must be a plain name, got {key:?}")));
    }
    let setting = |name: &str, default: &str| {
        env::var(name).ok().filter(|setting| !setting.is_empty()).unwrap_or_else(|| default.to_string())
    };
    let variable = setting("FLYTE_SECRETS_ENV_PREFIX", "_FSEC_") + &key.to_uppercase();
    if let Ok(value) = env::var(&variable) {
        return Ok(Secret::new(value.trim_end_matches(['\n', '\r']).to_string()));
    }
    let file = PathBuf::from(setting("FLYTE_SECRETS_DEFAULT_DIR", "/etc/secrets"))
        .join(setting("FLYTE_SECRETS_FILE_PREFIX", "") + &key.to_lowercase());
    match fs::read_to_string(&file) {
        Ok(value) => Ok(Secret::new(value.trim_end_matches(['\n', '\r']).to_string())),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::failed_precondition(format!(
            "there is no secret {key:?}: neither the environment variable {variable} nor the file {} exists; add it to the plugin's `secrets:` in the host's configuration",
            file.display()
        ))),
        Err(error) => {
            Err(Error::failed_precondition(format!("secret {key:?} cannot be read: {}: {error}", file.display())))
        }
    }
}
