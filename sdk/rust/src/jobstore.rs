//! Jobs in files, which outlive the process: for agents whose jobs have no service behind them that remembers.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::marker::PhantomData;
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The version of the files: those of a higher one are left alone.
const FORMAT: u64 = 1;

/// A folder of jobs, one JSON file a job, which is replaced as a whole: whoever reads sees one state or the next, also after a crash. Any
/// number of processes use it at a time, such as a newer generation of the plugin while the older one drains. A job's type may get further
/// fields, with `#[serde(default)]`. The methods wait for the disk, which an agent's calls may.
///
/// ```
/// use agenthost::JobStore;
///
/// # let folder = std::env::temp_dir().join(format!("jobs-{}", std::process::id()));
/// let store = JobStore::<String>::open(&folder)?; // sandbox: {write: [/var/lib/queue]}
/// let (job, made) = store.add("the attempt's key", "queued".to_string())?; // in create: the first of an attempt counts
/// assert_eq!((job.as_str(), made), ("queued", true));
/// store.update("the attempt's key", |job| *job = "running".into())?; // behind the calls
/// assert_eq!(store.get("the attempt's key")?, "running"); // in get
/// store.delete("the attempt's key")?;
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), agenthost::Error>(())
/// ```
pub struct JobStore<J> {
    folder: PathBuf,
    jobs: PhantomData<fn() -> J>,
}

#[derive(Deserialize)]
struct Version {
    format: u64,
}

#[derive(Serialize, Deserialize)]
struct Kept<J> {
    format: u64,
    job: J,
}

impl<J: Serialize + DeserializeOwned> JobStore<J> {
    /// Opens a folder, which is made where it is missing, for its owner alone.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|e| {
            let place = folder.display();
            Error::failed_precondition(format!(
                "the job store {place} cannot be opened (does the plugin's sandbox have it in `write:`?): {e}"
            ))
        })?;
        Ok(JobStore { folder, jobs: PhantomData })
    }

    /// Adds the job of an attempt, unless there is one: then that is returned, and false.
    pub fn add(&self, key: &str, job: J) -> Result<(J, bool)> {
        let path = self.path(key)?;
        let written = self.written(&job)?;
        match fs::hard_link(written.path(), &path) {
            Ok(()) => self.sync().map(|()| (job, true)).map_err(|e| failed("written", &path, &e)),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => self.get(key).map(|job| (job, false)),
            Err(e) => Err(failed("written", &path, &e)),
        }
    }

    /// Reads a job. One that is not there is NOT_FOUND; a file that cannot be read, or that a newer version wrote, is
    /// FAILED_PRECONDITION, and named.
    pub fn get(&self, key: &str) -> Result<J> {
        let path = self.path(key)?;
        let text = fs::read(&path).map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::not_found(format!("there is no job {key}")),
            _ => failed("read", &path, &e),
        })?;
        let broken = |e: serde_json::Error| {
            Error::failed_precondition(format!("{} is not the file of a job: {e}", path.display()))
        };
        let Version { format } = serde_json::from_slice(&text).map_err(broken)?;
        if format > FORMAT {
            return Err(Error::failed_precondition(format!(
                "{} has format {format}, and this version of the plugin reads up to {FORMAT}: a newer one has written it",
                path.display()
            )));
        }
        serde_json::from_slice(&text).map(|kept: Kept<J>| kept.job).map_err(broken)
    }

    /// Changes a job, while nobody else does.
    pub fn update(&self, key: &str, change: impl FnOnce(&mut J)) -> Result<J> {
        let path = self.path(key)?;
        let _lock = self.lock().map_err(|e| failed("locked", &path, &e))?;
        let mut job = self.get(key)?;
        change(&mut job);
        let written = self.written(&job)?;
        let replaced = written.persist(&path).map_err(|e| e.error).and_then(|_| self.sync());
        replaced.map(|()| job).map_err(|e| failed("written", &path, &e))
    }

    /// Takes a job away. One that is gone is as good as deleted.
    pub fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        let _lock = self.lock().map_err(|e| failed("locked", &path, &e))?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("deleted", &path, &e)),
            _ => Ok(()),
        }
    }

    /// The keys of all jobs.
    pub fn keys(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder).map_err(|e| failed("read", &self.folder, &e))?;
        let mut keys = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| failed("read", &self.folder, &e))?.file_name();
            let name = name.to_string_lossy();
            keys.extend(name.strip_suffix(".json").filter(|_| !name.starts_with('.')).and_then(unescaped));
        }
        keys.sort();
        Ok(keys)
    }

    /// Where a job is. A key may be any text: what a file's name cannot hold is its number.
    fn path(&self, key: &str) -> Result<PathBuf> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let escaped = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        let name: String = key.bytes().map(escaped).collect();
        if name.is_empty() || name.len() > 200 {
            return Err(Error::invalid_argument(format!("a job's key is a text of up to 200 characters, got {key:?}")));
        }
        Ok(self.folder.join(name + ".json"))
    }

    /// The job in a file that has no name of a job yet.
    fn written(&self, job: &J) -> Result<tempfile::NamedTempFile> {
        let text = serde_json::to_vec(&Kept { format: FORMAT, job })
            .map_err(|e| Error::internal(format!("the job cannot be written as JSON: {e}")))?;
        let write = || {
            let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(&self.folder)?;
            file.write_all(&text)?;
            file.as_file().sync_all()?;
            Ok(file)
        };
        write().map_err(|e: io::Error| failed("written", &self.folder, &e))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    /// Held until it is dropped, by one of all processes.
    fn lock(&self) -> io::Result<File> {
        let file = File::create(self.folder.join(".lock"))?;
        // Safety: the descriptor is open for as long as the file is.
        while unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0 {
            let error = io::Error::last_os_error();
            if error.kind() != ErrorKind::Interrupted {
                return Err(error);
            }
        }
        Ok(file)
    }
}

fn unescaped(name: &str) -> Option<String> {
    let mut parts = name.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.bytes());
    }
    String::from_utf8(bytes).ok()
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Error {
    Error::internal(format!("{} cannot be {what}: {error}", path.display()))
}
