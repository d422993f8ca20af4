//! The files of one table, and nothing else of the store that they are in.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use percent_encoding::percent_decode_str;

use crate::fault::{self, Fault, FaultError, Storage};
use crate::location::{Access, Kind, Location};

/// What a query has read so far.
#[derive(Debug, Default)]
pub struct Read {
    bytes: AtomicU64,
    files: Mutex<HashSet<String>>,
    limit: Option<u64>,
}

impl Read {
    pub fn within(limit: Option<u64>) -> Read {
        Read { limit, ..Read::default() }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn files(&self) -> usize {
        self.files.lock().expect("no panic holds it").len()
    }

    fn add(&self, uri: &str, bytes: u64) -> Result<(), Fault> {
        let sum = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let mut files = self.files.lock().expect("no panic holds it");
        if !files.contains(uri) {
            files.insert(uri.to_string());
        }
        match self.limit {
            Some(limit) if sum > limit => Err(Fault::failed(
                "ScanLimit",
                format!(
                    "the query reads more than the {limit} bytes that scan_limit in the plugin's configuration allows: select fewer columns, or narrow the files"
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Files that have been found, as a store of their own: it answers for them from what is known, reads them and counts.
pub struct Source {
    at: Location,
    store: Arc<dyn ObjectStore>,
    files: BTreeMap<Path, ObjectMeta>,
    /// The `key=value` folders of each file, below what the task named.
    folders: BTreeMap<Path, Vec<(String, Option<String>)>>,
    read: Arc<Read>,
    /// Files that are kept whole: small ones of text, which are read twice, and those of servers that answer no ranges.
    whole: tokio::sync::Mutex<HashMap<Path, Bytes>>,
    whole_limit: u64,
    /// How many bytes of text are kept, or are about to be.
    kept: AtomicU64,
}

/// The file in which flytekit writes a csv dataset, within the folder that it names.
pub const CSV_DATASET: &str = ".csv";

/// How many bytes of text are kept from its first reading, which finds the columns' types, for the second.
const KEPT: u64 = 16 << 20;

impl Source {
    /// Finds the files that lie at places of one store. A folder's hidden and empty files do not count.
    pub async fn find(
        places: &[Location],
        store: Arc<dyn ObjectStore>,
        read: Arc<Read>,
        rules: &Access,
        whole_limit: u64,
    ) -> Result<Source, Fault> {
        let at = places.first().cloned().ok_or_else(|| Fault::failed("BadInput", "an empty list names no file"))?;
        if let Some(other) = places.iter().find(|place| !place.same_store(&at)) {
            return Err(Fault::failed(
                "BadInput",
                format!("{at} and {other} are in different stores: one table's files must be in one"),
            ));
        }
        let (mut files, mut folders) = (BTreeMap::new(), BTreeMap::new());
        for place in places {
            rules.check(place, "allowed")?;
            for meta in found(place, &*store).await? {
                check_link(place, &meta, rules)?;
                folders.insert(meta.location.clone(), partitions(place, &meta.location));
                files.insert(meta.location.clone(), meta);
            }
        }
        Ok(Source { at, store, files, folders, read, whole: Default::default(), whole_limit, kept: AtomicU64::new(0) })
    }

    /// The files, in order.
    pub fn files(&self) -> impl Iterator<Item = &ObjectMeta> {
        self.files.values()
    }

    /// The `key=value` folders that a file is in, below what the task named. Hive's name for no value is NULL.
    pub fn folders(&self, path: &Path) -> &[(String, Option<String>)] {
        self.folders.get(path).map_or(&[], Vec::as_slice)
    }

    /// The files' bytes that may be held in memory at once.
    pub fn memory(&self) -> u64 {
        self.whole_limit
    }

    /// The bytes of a file of text, from its beginning. They are kept for the next time if they are few.
    pub async fn text(&self, path: &Path) -> Result<BoxStream<'static, Result<Bytes>>> {
        let size = self.known(path)?.size;
        let limit = KEPT.min(self.whole_limit);
        let fits = |kept: u64| kept.checked_add(size).filter(|sum| *sum <= limit);
        let keep = self.kept.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok();
        let found = self.get_opts(path, GetOptions::default()).await?;
        if !keep {
            return Ok(found.into_stream());
        }
        let whole = found.bytes().await?;
        self.whole.lock().await.insert(path.clone(), whole.clone());
        Ok(stream::once(std::future::ready(Ok(whole))).boxed())
    }

    /// The bytes of the one file, up to what may be held in memory.
    pub async fn only(&self) -> Result<Bytes, Fault> {
        let mut files = self.files.values();
        let (Some(file), None) = (files.next(), files.next()) else {
            return Err(Fault::failed("BadInput", format!("{} is no file", self.at)));
        };
        if file.size > self.whole_limit {
            return Err(Fault::failed(
                "MemoryLimit",
                format!("{} is larger than memory_limit in the plugin's configuration", self.at),
            ));
        }
        let bytes = async { self.get_opts(&file.location, GetOptions::default()).await?.bytes().await };
        bytes.await.map_err(|e| fault::of_store(&self.uri(&file.location), &e))
    }

    /// A file's name, for people.
    pub fn uri(&self, path: &Path) -> String {
        self.at.sibling(path).to_string()
    }

    fn known(&self, path: &Path) -> Result<&ObjectMeta> {
        let missing = || Error::NotFound { path: path.to_string(), source: "it is no file of this table".into() };
        self.files.get(path).ok_or_else(missing)
    }

    /// The same error, with the file's name.
    fn named(&self, path: &Path, source: Error) -> Error {
        Error::Generic { store: "source", source: Box::new(Storage { uri: self.uri(path), source }) }
    }

    fn count(&self, path: &Path, bytes: u64) -> Result<()> {
        self.read.add(&self.uri(path), bytes).map_err(over)
    }

    /// A file that its server does not give in parts.
    async fn whole(&self, path: &Path) -> Result<Bytes> {
        let mut kept = self.whole.lock().await;
        if let Some(bytes) = kept.get(path) {
            return Ok(bytes.clone());
        }
        let held: u64 = kept.values().map(|bytes| bytes.len() as u64).sum();
        if held + self.known(path)?.size > self.whole_limit {
            return Err(over(Fault::failed(
                "MemoryLimit",
                format!(
                    "{} is read as a whole, since its server answers no ranges, and is larger than memory_limit in the plugin's configuration",
                    self.uri(path)
                ),
            )));
        }
        let bytes = async { self.store.get_opts(path, GetOptions::default()).await?.bytes().await };
        let bytes = bytes.await.map_err(|e| self.named(path, e))?;
        self.count(path, bytes.len() as u64)?;
        kept.insert(path.clone(), bytes.clone());
        Ok(bytes)
    }

    /// A part of such a file.
    async fn part(&self, path: &Path, range: Range<u64>) -> Result<Bytes> {
        let whole = self.whole(path).await?;
        let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
        Ok(whole.slice(at(range.start)..at(range.end)))
    }
}

/// The file at a place, or the files below it.
async fn found(place: &Location, store: &dyn ObjectStore) -> Result<Vec<ObjectMeta>, Fault> {
    let at = |e: &Error| fault::of_store(&place.to_string(), e);
    if !place.path.as_ref().is_empty() {
        let options = GetOptions { head: true, ..GetOptions::default() };
        match store.get_opts(&place.path, options).await {
            Ok(found) => return Ok(vec![found.meta]),
            Err(Error::NotFound { .. }) if !matches!(place.kind, Kind::Http | Kind::Https) => {}
            Err(e) if place.kind == Kind::Disk && is_folder(place) => drop(e),
            Err(e) => return Err(at(&e)),
        }
    } else if matches!(place.kind, Kind::Http | Kind::Https) {
        return Err(Fault::failed("BadInput", format!("{place} is no file, and HTTP has no folders: name the files")));
    }
    let all: Vec<ObjectMeta> = store.list(Some(&place.path)).try_collect().await.map_err(|e| at(&e))?;
    let files: Vec<_> = all.into_iter().filter(|meta| meta.size > 0 && is_data(place, &meta.location)).collect();
    if files.is_empty() {
        return Err(Fault::failed(
            "NotFound",
            format!("{place} is not there: there is neither such a file nor a folder with files"),
        ));
    }
    Ok(files)
}

fn is_folder(place: &Location) -> bool {
    std::path::Path::new("/").join(place.path.as_ref()).is_dir()
}

/// Whether no part of a path below the folder is hidden, as `_SUCCESS` and `.crc` files are.
fn is_data(folder: &Location, path: &Path) -> bool {
    let hidden = |part: &str| part.starts_with('.') || (part.starts_with('_') && !part.contains('='));
    let Some(parts) = path.prefix_match(&folder.path) else { return false };
    let parts: Vec<_> = parts.collect();
    let dataset = parts.len() == 1 && parts[0].as_ref() == CSV_DATASET;
    dataset || !parts.iter().any(|part| hidden(part.as_ref()))
}

/// The `key=value` folders on the way from a place to a file.
fn partitions(place: &Location, path: &Path) -> Vec<(String, Option<String>)> {
    let Some(parts) = path.prefix_match(&place.path) else { return Vec::new() };
    let mut names: Vec<_> = parts.map(|part| part.as_ref().to_string()).collect();
    names.pop();
    let pairs = names.iter().filter_map(|name| name.split_once('='));
    pairs
        .filter(|(key, value)| !key.is_empty() && !value.contains('='))
        .map(|(key, value)| (key.to_string(), (value != "__HIVE_DEFAULT_PARTITION__").then(|| unescaped(value))))
        .collect()
}

/// A folder's name as it was before it was made fit for one, with `%20` for a space.
fn unescaped(name: &str) -> String {
    percent_decode_str(name).decode_utf8().map_or_else(|_| name.to_string(), String::from)
}

/// A link on disk must not lead out of what is allowed.
fn check_link(place: &Location, meta: &ObjectMeta, rules: &Access) -> Result<(), Fault> {
    if place.kind != Kind::Disk {
        return Ok(());
    }
    let file = std::path::Path::new("/").join(meta.location.as_ref());
    let wrong = |e: &dyn fmt::Display| Fault::failed("NotFound", format!("{}: {e}", file.display()));
    let real = file.canonicalize().map_err(|e| wrong(&e))?;
    let target = Location::parse(&real.to_string_lossy()).map_err(|e| wrong(&e))?;
    if ["/proc", "/sys", "/dev"].iter().any(|system| real.starts_with(system)) {
        return Err(Fault::failed("NotAllowed", format!("{} is none of the machine's data files", file.display())));
    }
    rules.check(&target, "allowed")
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.at)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.at)
    }
}

#[async_trait]
impl ObjectStore for Source {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let meta = self.known(location)?.clone();
        if options.head {
            let nothing = GetResultPayload::Stream(stream::empty().boxed());
            return Ok(GetResult { payload: nothing, range: 0..0, meta, attributes: Default::default() });
        }
        let range = options.range.clone();
        if let Some(whole) = self.whole.lock().await.get(location).cloned() {
            let wrong = |e| Error::Generic { store: "source", source: Box::new(e) };
            let range = range.map_or(Ok(0..meta.size), |range| range.as_range(meta.size)).map_err(wrong)?;
            let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
            let part = whole.slice(at(range.start)..at(range.end));
            let payload = GetResultPayload::Stream(stream::once(std::future::ready(Ok(part))).boxed());
            return Ok(GetResult { payload, range, meta, attributes: Default::default() });
        }
        let mut result = match (self.store.get_opts(location, options).await, range) {
            (Ok(result), _) => result,
            (Err(Error::NotSupported { .. }), Some(range)) => {
                let wrong = |e| Error::Generic { store: "source", source: Box::new(e) };
                let range = range.as_range(meta.size).map_err(wrong)?;
                let part = self.part(location, range.clone()).await?;
                let payload = GetResultPayload::Stream(stream::once(std::future::ready(Ok(part))).boxed());
                return Ok(GetResult { payload, range, meta, attributes: Default::default() });
            }
            (Err(e), _) => return Err(self.named(location, e)),
        };
        self.count(location, result.range.end - result.range.start)?;
        if let GetResultPayload::Stream(stream) = result.payload {
            let uri = self.uri(location);
            let named = move |source| Error::Generic {
                store: "source",
                source: Box::new(Storage { uri: uri.clone(), source }),
            };
            result.payload = GetResultPayload::Stream(stream.map_err(named).boxed());
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.known(location)?;
        let read = match self.store.get_ranges(location, ranges).await {
            Ok(read) => read,
            Err(Error::NotSupported { .. }) => {
                let mut parts = Vec::new();
                for range in ranges {
                    parts.push(self.part(location, range.clone()).await?);
                }
                return Ok(parts);
            }
            Err(e) => return Err(self.named(location, e)),
        };
        self.count(location, read.iter().map(|part| part.len() as u64).sum())?;
        Ok(read)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let below = |meta: &&ObjectMeta| prefix.is_none_or(|prefix| meta.location.prefix_matches(prefix));
        let files: Vec<_> = self.files.values().filter(below).cloned().map(Ok).collect();
        stream::iter(files).boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(refused("list_with_delimiter"))
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(refused("put"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(refused("put_multipart"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(std::future::ready(Err(refused("delete")))).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("copy"))
    }
}

fn over(fault: Fault) -> Error {
    Error::Generic { store: "source", source: Box::new(FaultError(fault)) }
}

fn refused(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.into(), implementer: "a table's source, which is read-only".into() }
}
