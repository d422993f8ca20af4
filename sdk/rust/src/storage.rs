//! Writes what an agent leaves beside its outputs, by [`object_store`]: files, which are outputs by their uri, and a deck. With the crate's
//! feature `storage`.
//!
//! ```
//! use agenthost::storage;
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! # let folder = tempfile::tempdir()?;
//! # let prefix = folder.path().to_str().unwrap(); // task.output_prefix, in an agent
//! let report = storage::write(prefix, "report.csv", "city,rows".as_bytes()).await?;
//! storage::write_deck(prefix, "<h1>Report</h1>").await?;
//! assert_eq!((report.format.as_str(), std::fs::read_to_string(&report.uri)?.as_str()), ("csv", "city,rows"));
//! # Ok::<(), agenthost::Error>(())
//! # })?;
//! # Ok::<(), agenthost::Error>(())
//! ```
//!
//! A prefix is a folder (an absolute path, or `file://`) or in a bucket of S3, whose client is configured by the environment: `AWS_REGION`,
//! `AWS_ENDPOINT_URL`, and the credentials of a pod, an instance or in variables. Other buckets are those that a plugin's own `object_store`
//! has: `gs://` with its feature `gcp`, `abfs://` with `azure`. What fails for a while is asked for again as that crate does it. The plugin's
//! sandbox must have a folder in `write:`.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Attribute, Attributes, ObjectStore};
use tokio::io::{AsyncRead, AsyncWriteExt};
use url::Url;

use crate::error::{Error, Result};
use crate::value::File;

/// The file below an output prefix that Flyte shows as the task's deck.
const DECK: &str = "deck.html";

/// What the variables of the environment that are meant for clients of buckets begin with.
const SETTINGS: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];

/// Writes a file below a task's output prefix, whole or not at all, and returns it as the task's output. The name may have folders in it; its
/// ending is the file's format.
///
/// A name that is no plain one, and a task without a prefix, are INVALID_ARGUMENT. What will work again by itself is UNAVAILABLE, and
/// FAILED_PRECONDITION what will not, such as a bucket that is not there or may not be written to.
pub async fn write(prefix: &str, name: &str, content: impl AsyncRead + Send) -> Result<File> {
    written(prefix, name, content, settings()).await
}

/// Writes the HTML that Flyte's console shows as the task's deck. It is shown to users as it is: what is not HTML in it must be escaped, as
/// the crate `html-escape` does.
pub async fn write_deck(prefix: &str, html: &str) -> Result<()> {
    write(prefix, DECK, html.as_bytes()).await.map(|_| ())
}

/// Settings of clients, by the names of their variables.
type Settings = Vec<(String, String)>;

fn settings() -> Settings {
    let texts = std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    texts.filter(|(name, _)| SETTINGS.iter().any(|prefix| name.starts_with(prefix))).collect()
}

async fn written(prefix: &str, name: &str, content: impl AsyncRead + Send, settings: Settings) -> Result<File> {
    if !plain(name) {
        return Err(Error::invalid_argument(format!(
            "a file below the output prefix must have a plain name, got {name:?}"
        )));
    }
    if prefix.is_empty() {
        return Err(Error::invalid_argument(format!("{name} cannot be written: the task has no output prefix")));
    }
    put(Place::of(prefix, name, settings)?, content)
        .await
        .map_err(|error| told(&format!("{name} cannot be written below {prefix}"), error))?;
    let format = std::path::Path::new(name).extension().unwrap_or_default().to_string_lossy().into_owned();
    Ok(File { uri: format!("{}/{name}", prefix.trim_end_matches('/')), format })
}

fn plain(name: &str) -> bool {
    name.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Where a file is written to.
struct Place {
    store: Arc<dyn ObjectStore>,
    path: Path,
    /// What is kept of a file beside its content.
    attributes: Attributes,
}

impl Place {
    fn of(prefix: &str, name: &str, settings: Settings) -> Result<Self> {
        let opened = |error: &dyn StdError| {
            Error::failed_precondition(format!("the output prefix {prefix} cannot be opened: {error}"))
        };
        let folder = prefix.strip_prefix("file://").unwrap_or(prefix);
        let (store, base, attributes): (Arc<dyn ObjectStore>, _, _) = if folder.starts_with('/') {
            let base = Path::from_absolute_path(folder).map_err(|e| opened(&e))?;
            (Arc::new(LocalFileSystem::new()), base, Attributes::new()) // files have none
        } else {
            let url = Url::parse(prefix).map_err(|e| opened(&e))?;
            // An endpoint that is written as http:// is meant so.
            let plain = settings.iter().any(|(name, is)| name.starts_with("AWS_ENDPOINT") && is.starts_with("http://"));
            let settings = [("AWS_ALLOW_HTTP".to_string(), plain.to_string())].into_iter().chain(settings);
            let (store, base) = object_store::parse_url_opts(&url, settings).map_err(|e| match url.scheme() {
                "s3" | "s3a" => opened(&e),
                scheme => Error::failed_precondition(format!(
                    "{}; {scheme}:// may be one for a feature of object_store in the plugin's own Cargo.toml, such as gcp or azure",
                    opened(&e)
                )),
            })?;
            let kind = mime_guess::from_path(name).first_raw();
            (store.into(), base, kind.map(|kind| (Attribute::ContentType, kind)).into_iter().collect())
        };
        let path = Path::parse(format!("{base}/{name}"));
        let path =
            path.map_err(|e| Error::invalid_argument(format!("{name} cannot be written below {prefix}: {e}")))?;
        Ok(Place { store, path, attributes })
    }
}

async fn put(place: Place, content: impl AsyncRead + Send) -> io::Result<()> {
    let mut writer = BufWriter::new(place.store, place.path).with_attributes(place.attributes);
    let mut content = std::pin::pin!(content);
    match tokio::io::copy(&mut content, &mut writer).await {
        Ok(_) => writer.shutdown().await,
        Err(error) => {
            let _ = writer.abort().await; // why it was not written is what matters
            Err(error)
        }
    }
}

/// An error about a file as users are told it.
fn told(tried: &str, error: io::Error) -> Error {
    let (stays, error) = match error.downcast::<object_store::Error>() {
        Ok(refused) => (stays(&refused), Error::from(refused)),
        Err(error) => (stays(&error), Error::from(error)),
    };
    let message = format!("{tried}: {}", error.message());
    if stays { Error::failed_precondition(message) } else { Error::unavailable(message) }
}

/// Whether trying again cannot help, for the error or what caused it.
fn stays(error: &(dyn StdError + 'static)) -> bool {
    use object_store::Error::{NotFound, PermissionDenied, Unauthenticated};
    std::iter::successors(Some(error), |error| (*error).source()).any(|error| {
        matches!(error.downcast_ref(), Some(NotFound { .. } | PermissionDenied { .. } | Unauthenticated { .. }))
            || error.downcast_ref().is_some_and(|error: &io::Error| {
                use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem};
                matches!(error.kind(), IsADirectory | NotADirectory | NotFound | PermissionDenied | ReadOnlyFilesystem)
            })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;
    use std::path::Path;
    use std::pin::Pin;
    use std::sync::{Arc, Mutex};
    use std::task::{Context, Poll};

    use axum::http::header::{CONTENT_TYPE, ETAG};
    use axum::http::{HeaderMap, Method, StatusCode, Uri};
    use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
    use tonic::Code;

    use super::{write, write_deck, written};
    use crate::value::File;

    /// The files below a folder, by their names in it.
    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                all.extend(files(&path).into_iter().map(|(below, content)| (format!("{name}/{below}"), content)));
            } else {
                all.insert(name, std::fs::read(path).unwrap());
            }
        }
        all
    }

    #[tokio::test]
    async fn a_file_is_written_below_a_folder() {
        for scheme in ["", "file://"] {
            let folder = tempfile::tempdir().unwrap();
            let prefix = format!("{scheme}{}/a b/0", folder.path().display());
            let file = write(&prefix, "tables/report.csv", "1,2\n".as_bytes()).await.unwrap();
            assert_eq!(file, File { uri: format!("{prefix}/tables/report.csv"), format: "csv".into() });
            write_deck(&format!("{prefix}/"), "<p>").await.unwrap();
            let wanted = [("a b/0/deck.html", "<p>"), ("a b/0/tables/report.csv", "1,2\n")];
            assert_eq!(files(folder.path()), wanted.map(|(name, content)| (name.into(), content.into())).into());
        }
    }

    struct Broken;

    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::other("the source broke")))
        }
    }

    #[tokio::test]
    async fn a_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().to_str().unwrap();
        for size in [1 << 10, 25 << 20] {
            let breaks = tokio::io::repeat(b'x').take(size).chain(Broken);
            let error = write(prefix, "report.csv", breaks).await.unwrap_err();
            assert_eq!(error.message(), format!("report.csv cannot be written below {prefix}: the source broke"));
            assert_eq!(error.code(), Code::Unavailable);
            assert_eq!(files(folder.path()).keys().next(), None);
        }
        write(prefix, "report.csv", tokio::io::repeat(b'x').take(25 << 20)).await.unwrap();
        assert_eq!(files(folder.path())["report.csv"].len(), 25 << 20);
    }

    #[tokio::test]
    async fn what_is_no_name_or_no_prefix_is_refused() {
        for name in ["", "../a", "/a", "a/../b", "a//b", "a\nb"] {
            let error = write("/tmp", name, "".as_bytes()).await.unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument, "{name:?}");
        }
        for (prefix, code, said) in [
            ("", Code::InvalidArgument, "a cannot be written: the task has no output prefix"),
            ("relative/a", Code::FailedPrecondition, "the output prefix relative/a cannot be opened: relative URL"),
            ("ftp://b/a", Code::FailedPrecondition, "the output prefix ftp://b/a cannot be opened: "),
            ("/dev/null", Code::FailedPrecondition, "a cannot be written below /dev/null: "),
        ] {
            let error = write(prefix, "a", "".as_bytes()).await.unwrap_err();
            assert!(error.code() == code && error.message().starts_with(said), "{prefix:?}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_written_to_a_bucket() {
        let put = Arc::new(Mutex::new(String::new()));
        let seen = Arc::clone(&put);
        let bucket =
            axum::Router::new().fallback(async move |method: Method, uri: Uri, headers: HeaderMap, body: String| {
                *seen.lock().unwrap() = format!("{method} {uri} {:?} {body}", headers.get(CONTENT_TYPE));
                let status = match uri.path() {
                    "/outputs/closed/a" => StatusCode::FORBIDDEN,
                    "/outputs/gone/a" => StatusCode::NOT_FOUND,
                    _ => StatusCode::OK,
                };
                (status, [(ETAG, "0")])
            });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, bucket).await });
        let settings = || {
            let of_s3 = [("ENDPOINT_URL", endpoint.as_str()), ("ACCESS_KEY_ID", "key"), ("SECRET_ACCESS_KEY", "hush")];
            let all = of_s3.into_iter().chain([("REGION", "eu-west-1")]);
            all.map(|(name, value)| (format!("AWS_{name}"), value.to_string())).collect()
        };

        let file = written("s3://outputs/a/0", "deck.html", "<p>".as_bytes(), settings()).await.unwrap();
        assert_eq!(file, File { uri: "s3://outputs/a/0/deck.html".into(), format: "html".into() });
        assert_eq!(*put.lock().unwrap(), "PUT /outputs/a/0/deck.html Some(\"text/html\") <p>");
        for closed in ["s3://outputs/closed", "s3://outputs/gone"] {
            let error = written(closed, "a", "".as_bytes(), settings()).await.unwrap_err();
            let said = format!("a cannot be written below {closed}: ");
            assert!(error.code() == Code::FailedPrecondition && error.message().starts_with(&said), "{error:?}");
        }
    }
}
