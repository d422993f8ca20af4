//! Files as tables of a query.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use object_store::path::Path;
use serde::Deserialize;
use url::Url;

use crate::fault::{self, Fault};
use crate::location::Location;
use crate::source::Source;

/// How files are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Parquet,
    Csv,
    Tsv,
    Json,
}

impl Format {
    /// A format by its name, as Flyte's types and files' names have it.
    pub fn of(name: &str) -> Option<Format> {
        match name.to_ascii_lowercase().trim_start_matches('.') {
            "parquet" | "pq" | "parq" => Some(Format::Parquet),
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "json" | "ndjson" | "jsonl" => Some(Format::Json),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Parquet => "parquet",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Json => "json",
        }
    }
}

/// How text is read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    delimiter: Option<char>,
    quote: Option<char>,
    escape: Option<char>,
    comment: Option<char>,
    header: Option<bool>,
    infer_rows: Option<usize>,
}

/// A table that a query can read: where its files are, and how they are stored.
#[derive(Clone, Debug)]
pub struct Table {
    pub places: Vec<Location>,
    /// The declared format; empty where there is none.
    pub format: String,
    pub options: Options,
}

impl Table {
    /// Makes the files a table of a name.
    pub async fn register(self, name: &str, source: Source, context: &SessionContext) -> Result<(), Fault> {
        let format = self.format(&source).await?;
        let urls = self.urls(name, &source)?;
        let root = urls[0].get_url().join("/").expect("a root");
        context.runtime_env().register_object_store(&root, Arc::new(source));
        let at = self.places[0].to_string();
        let wrong = |e: DataFusionError| match fault::of_engine(&e) {
            fault if fault.message.contains(&at) => fault,
            fault => fault.about(format!("table {name} from {at}")),
        };
        let table = listing(format, urls, context).await.map_err(wrong)?;
        context.register_table(datafusion::common::TableReference::bare(name), Arc::new(table)).map_err(wrong)?;
        Ok(())
    }

    /// By the declared format, else by the first file's name, else parquet, as flytekit writes datasets.
    async fn format(&self, source: &Source) -> Result<Arc<dyn FileFormat>, Fault> {
        let path = source.paths().next().cloned().unwrap_or_default();
        let named = match self.format.as_str() {
            "" => by_name(&path)?,
            name => Some(Format::of(name).ok_or_else(|| {
                Fault::failed(
                    "BadInput",
                    format!("{}: the format {name:?} is none of parquet, csv, tsv, json, ndjson", self.places[0]),
                )
            })?),
        };
        Ok(match named.unwrap_or(Format::Parquet) {
            Format::Parquet => Arc::new(ParquetFormat::default()),
            Format::Csv => Arc::new(self.text(',')?),
            Format::Tsv => Arc::new(self.text('\t')?),
            Format::Json => {
                let start = source.head(64).await?;
                let array = start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
                let rows = self.options.infer_rows.unwrap_or(1000);
                Arc::new(JsonFormat::default().with_schema_infer_max_rec(rows).with_newline_delimited(!array))
            }
        })
    }

    fn text(&self, delimiter: char) -> Result<CsvFormat, Fault> {
        let byte = |name: &str, c: Option<char>| match c {
            Some(c) if !c.is_ascii() => {
                Err(Fault::failed("BadInput", format!("the option {name} is {c:?}, which is no ASCII character")))
            }
            c => Ok(c.map(|c| c as u8)),
        };
        let o = &self.options;
        Ok(CsvFormat::default()
            .with_has_header(o.header.unwrap_or(true))
            .with_delimiter(byte("delimiter", o.delimiter.or(Some(delimiter)))?.unwrap_or(b','))
            .with_quote(byte("quote", o.quote)?.unwrap_or(b'"'))
            .with_escape(byte("escape", o.escape)?)
            .with_comment(byte("comment", o.comment)?)
            .with_newlines_in_values(true)
            .with_schema_infer_max_rec(o.infer_rows.unwrap_or(1000)))
    }

    /// The files' places within their store, by which the engine finds them.
    fn urls(&self, name: &str, source: &Source) -> Result<Vec<ListingTableUrl>, Fault> {
        let url = |place: &Location| {
            let mut url = Url::parse("source://table/").expect("a URL");
            let host = name.bytes().map(|b| format!("{b:02x}")).collect::<String>();
            url.set_host(Some(&host))
                .map_err(|e| Fault::failed("BadInput", format!("a table cannot be named {name:?}: {e}")))?;
            if let Ok(mut parts) = url.path_segments_mut() {
                parts.clear().extend(place.path.parts().map(|part| part.as_ref().to_string()));
                if !source.paths().any(|file| *file == place.path) {
                    parts.push("");
                }
            }
            ListingTableUrl::try_new(url, None).map_err(|e| fault::of_engine(&e))
        };
        self.places.iter().map(url).collect()
    }
}

/// The format that a file's name tells. Compressed text is refused by name: it would be read as garbage.
fn by_name(path: &Path) -> Result<Option<Format>, Fault> {
    match path.extension() {
        Some(zip @ ("gz" | "bz2" | "xz" | "zst")) => Err(Fault::failed(
            "BadInput",
            format!(
                "{path} is compressed as {zip}, which this plugin does not read: use parquet, or the duckdb plugin"
            ),
        )),
        extension => Ok(extension.and_then(Format::of)),
    }
}

/// A table over all files, with the columns of all of them, and those that `key=value` folders make.
async fn listing(
    format: Arc<dyn FileFormat>,
    urls: Vec<ListingTableUrl>,
    context: &SessionContext,
) -> Result<ListingTable, DataFusionError> {
    let state = context.state();
    let options = ListingOptions::new(format).with_file_extension("");
    let mut schemas = Vec::new();
    for url in &urls {
        schemas.push(options.infer_schema(&state, url).await?.as_ref().clone());
    }
    let schema = Arc::new(Schema::try_merge(schemas)?);
    let config = ListingTableConfig::new_with_multi_paths(urls).with_listing_options(options);
    ListingTable::try_new(config.infer_partitions_from_path(&state).await?.with_schema(schema))
}
