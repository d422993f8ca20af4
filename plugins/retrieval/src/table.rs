//! Files as tables of a query.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Buf;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::csv::ReaderBuilder;
use datafusion::arrow::csv::reader::Format as Dialect;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::ViewTable;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionContext;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, LogicalPlan, Union, cast, lit};
use datafusion::prelude::ident;
use datafusion::scalar::ScalarValue;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use crate::exact;
use crate::fault::{self, Fault};
use crate::files::{AT_ONCE, Files, InFolders};
use crate::int96;
use crate::location::Location;
use crate::look::{Object, Seen};
use crate::source::{CSV_DATASET, Source};
use crate::unite::{may_fail, unite};

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
    /// 0 leaves each column of CSV text. Types are found by all rows, whatever else is here.
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

/// Files that are read alike.
struct Part {
    format: Arc<dyn FileFormat>,
    schema: SchemaRef,
    files: Vec<ObjectMeta>,
}

impl Table {
    /// Makes the files a table of a name.
    pub async fn register(self, name: &str, source: Source, context: &SessionContext) -> Result<(), Fault> {
        let at = self.places[0].to_string();
        let wrong = |fault: Fault| match fault.message.contains(&at) {
            true => fault,
            false => fault.about(format!("table {name} from {at}")),
        };
        let store = root(name)?;
        let source = Arc::new(source);
        context.runtime_env().register_object_store(store.as_ref(), source.clone());
        let parts = match self.format(&source)? {
            Format::Parquet => parquet(&source, context).await,
            Format::Csv => self.text(&source, ',').await,
            Format::Tsv => self.text(&source, '\t').await,
            Format::Json => json(&source).await,
        };
        let parts = parts.map_err(wrong)?.into_iter().flat_map(|part| in_folders(part, &source, &store)).collect();
        let table = united(parts, context).map_err(wrong)?;
        context.register_table(TableReference::bare(name), table).map_err(|e| wrong(fault::of_engine(&e)))?;
        Ok(())
    }

    /// By the declared format, else by the files' names, else parquet, as flytekit writes datasets.
    fn format(&self, source: &Source) -> Result<Format, Fault> {
        if !self.format.is_empty() {
            return Format::of(&self.format).ok_or_else(|| {
                let format = &self.format;
                Fault::failed(
                    "BadInput",
                    format!("{}: the format {format:?} is none of parquet, csv, tsv, json, ndjson", self.places[0]),
                )
            });
        }
        let mut first: Option<(Format, &Path)> = None;
        for file in source.files() {
            let format = by_name(&file.location)?.unwrap_or(Format::Parquet);
            match first {
                Some((known, path)) if known != format => {
                    return Err(Fault::failed(
                        "BadInput",
                        format!(
                            "{} is {}, but {} is {}: one table's files must be of one format",
                            source.uri(&file.location),
                            format.name(),
                            source.uri(path),
                            known.name()
                        ),
                    ));
                }
                Some(_) => {}
                None => first = Some((format, &file.location)),
            }
        }
        Ok(first.map_or(Format::Parquet, |(format, _)| format))
    }

    /// Files of CSV, each read by its own header. All of them are read to find the types: by a part of them, DataFusion takes a
    /// code 01234 for 1234.
    async fn text(&self, source: &Source, delimiter: char) -> Result<Vec<Part>, Fault> {
        let text = Text::new(&self.options, delimiter)?;
        let looks = stream::iter(source.files().cloned()).map(|file| text.look(source, file)).buffered(AT_ONCE);
        let looks: Vec<(Vec<String>, Vec<Seen>)> = looks.try_collect().await?;
        let mut types: HashMap<&str, Seen> = HashMap::new();
        for (names, seen) in &looks {
            for (name, seen) in names.iter().zip(seen) {
                types.entry(name).and_modify(|all| all.merge(seen)).or_insert_with(|| seen.clone());
            }
        }
        check_delimiter(source, &looks, text.delimiter)?;
        let as_text = self.options.infer_rows == Some(0);
        let kind = |name: &str| types.get(name).filter(|_| !as_text).map_or(DataType::Utf8, Seen::kind);
        let mut parts: BTreeMap<&[String], Vec<ObjectMeta>> = BTreeMap::new();
        for ((names, _), file) in looks.iter().zip(source.files()) {
            parts.entry(names.as_slice()).or_default().push(file.clone());
        }
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_by(|(_, a), (_, b)| a[0].location.cmp(&b[0].location));
        let part = |(names, files): (&[String], Vec<ObjectMeta>)| {
            let fields: Vec<_> = names.iter().map(|name| Field::new(name, kind(name), true)).collect();
            Part { format: Arc::new(text.format()), schema: Arc::new(Schema::new(fields)), files }
        };
        Ok(parts.into_iter().map(part).collect())
    }
}

/// A file with another delimiter than the others' would have one column of a strange name.
fn check_delimiter(source: &Source, looks: &[(Vec<String>, Vec<Seen>)], delimiter: u8) -> Result<(), Fault> {
    let several = looks.iter().any(|(names, _)| names.len() > 1);
    let odd = |names: &[String]| match names {
        [only] if several => {
            [',', ';', '\t', '|'].into_iter().find(|d| *d != char::from(delimiter) && only.contains(*d))
        }
        _ => None,
    };
    let found = looks.iter().zip(source.files()).find_map(|((names, _), file)| Some((odd(names)?, &names[0], file)));
    let Some((other, column, file)) = found else { return Ok(()) };
    Err(Fault::failed(
        "BadInput",
        format!(
            "{} has the one column {column:?}, which looks like several with the delimiter {other:?}, and its table is read with {:?}: write its files with one delimiter",
            source.uri(&file.location),
            char::from(delimiter)
        ),
    ))
}

/// The place in the engine that a table's files have, by its name.
fn root(name: &str) -> Result<ObjectStoreUrl, Fault> {
    let host = name.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let wrong = |e: &dyn std::fmt::Display| Fault::failed("BadInput", format!("a table cannot be named {name:?}: {e}"));
    let mut url = Url::parse("source://table/").expect("a URL");
    url.set_host(Some(&host)).map_err(|e| wrong(&e))?;
    ObjectStoreUrl::parse(url.as_str()).map_err(|e| wrong(&e))
}

/// The format that a file's name tells. Compressed text is refused by name: it would be read as garbage.
fn by_name(path: &Path) -> Result<Option<Format>, Fault> {
    if path.filename() == Some(CSV_DATASET) {
        return Ok(Some(Format::Csv));
    }
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

/// How CSV is written.
struct Text {
    delimiter: u8,
    quote: u8,
    escape: Option<u8>,
    comment: Option<u8>,
    header: bool,
}

impl Text {
    fn new(options: &Options, delimiter: char) -> Result<Text, Fault> {
        let byte = |name: &str, c: Option<char>| match c {
            Some(c) if !c.is_ascii() => {
                Err(Fault::failed("BadInput", format!("the option {name} is {c:?}, which is no ASCII character")))
            }
            c => Ok(c.map(|c| c as u8)),
        };
        Ok(Text {
            delimiter: byte("delimiter", options.delimiter.or(Some(delimiter)))?.unwrap_or(b','),
            quote: byte("quote", options.quote)?.unwrap_or(b'"'),
            escape: byte("escape", options.escape)?,
            comment: byte("comment", options.comment)?,
            header: options.header.unwrap_or(true),
        })
    }

    fn format(&self) -> CsvFormat {
        CsvFormat::default()
            .with_has_header(self.header)
            .with_delimiter(self.delimiter)
            .with_quote(self.quote)
            .with_escape(self.escape)
            .with_comment(self.comment)
            .with_newlines_in_values(true)
    }

    /// The columns of a file, and what all their values are.
    async fn look(&self, source: &Source, file: ObjectMeta) -> Result<(Vec<String>, Vec<Seen>), Fault> {
        let uri = source.uri(&file.location);
        let wrong = |e: datafusion::arrow::error::ArrowError| {
            Fault::failed("QueryFailed", format!("{uri} cannot be read as CSV: {e}"))
        };
        let stored = |e: object_store::Error| fault::of_store(&uri, &e);
        let mut chunks = source.text(&file.location).await.map_err(stored)?;
        let mut head = Vec::new();
        while head.len() < HEADER {
            let Some(chunk) = chunks.try_next().await.map_err(stored)? else { break };
            head.extend_from_slice(&chunk);
        }
        let names = self.names(&head).map_err(wrong)?;
        let fields: Vec<_> = (0..names.len()).map(|i| Field::new(i.to_string(), DataType::Utf8, true)).collect();
        let mut builder = ReaderBuilder::new(Arc::new(Schema::new(fields)))
            .with_header(self.header)
            .with_delimiter(self.delimiter)
            .with_quote(self.quote);
        if let Some(escape) = self.escape {
            builder = builder.with_escape(escape);
        }
        if let Some(comment) = self.comment {
            builder = builder.with_comment(comment);
        }
        let (mut decoder, mut seen) = (builder.build_decoder(), vec![Seen::default(); names.len()]);
        let (mut rest, mut ended) = (bytes::Bytes::from(head), false);
        loop {
            while rest.is_empty() && !ended {
                match chunks.try_next().await.map_err(stored)? {
                    Some(chunk) => rest = chunk,
                    None => ended = true,
                }
            }
            let read = decoder.decode(&rest).map_err(wrong)?;
            rest.advance(read);
            if read > 0 {
                continue;
            }
            // The batch is full, or the file has ended.
            let Some(batch) = decoder.flush().map_err(wrong)? else { return Ok((names, seen)) };
            for (column, seen) in batch.columns().iter().zip(&mut seen) {
                column.as_string::<i32>().iter().flatten().for_each(|value| seen.add(value));
            }
        }
    }

    fn names(&self, head: &[u8]) -> Result<Vec<String>, datafusion::arrow::error::ArrowError> {
        let mut dialect =
            Dialect::default().with_header(self.header).with_delimiter(self.delimiter).with_quote(self.quote);
        if let Some(escape) = self.escape {
            dialect = dialect.with_escape(escape);
        }
        if let Some(comment) = self.comment {
            dialect = dialect.with_comment(comment);
        }
        let (schema, _) = dialect.infer_schema(head, Some(0))?;
        let name = |field: &Arc<Field>| field.name().trim_start_matches('\u{feff}').to_string();
        Ok(schema.fields().iter().map(name).collect())
    }
}

/// How many files of JSON are opened before they are looked at.
const AHEAD: usize = 8;

/// A header is within so many bytes.
const HEADER: usize = 1 << 20;

/// Files of parquet, by the columns that they have.
async fn parquet(source: &Arc<Source>, context: &SessionContext) -> Result<Vec<Part>, Fault> {
    let state = context.state();
    // Nanoseconds of an INT96 would wrap outside of the years 1677 to 2262; a file that has them is refused.
    let format: Arc<dyn FileFormat> = Arc::new(ParquetFormat::default().with_coerce_int96(Some("us".into())));
    let store: Arc<dyn ObjectStore> = source.clone();
    let schema = |file: ObjectMeta| {
        let (state, store, format) = (&state, &store, &format);
        async move {
            let schema = format.infer_schema(state, store, std::slice::from_ref(&file)).await;
            let schema = schema.map_err(|e| fault::of_engine(&e))?;
            int96::check(source, &file, state).await?;
            Ok::<_, Fault>((plain(&schema), file))
        }
        .boxed()
    };
    let schemas: Vec<(SchemaRef, ObjectMeta)> =
        stream::iter(source.files().cloned()).map(schema).buffered(AT_ONCE).try_collect().await?;
    let mut parts: Vec<Part> = Vec::new();
    let mut places: HashMap<SchemaRef, usize> = HashMap::new();
    for (schema, file) in schemas {
        let place = *places.entry(schema.clone()).or_insert_with(|| {
            parts.push(Part { format: format.clone(), schema, files: Vec::new() });
            parts.len() - 1
        });
        parts[place].files.push(file);
    }
    Ok(parts)
}

/// A schema's names and types alone, by which files are read alike.
fn plain(schema: &Schema) -> SchemaRef {
    let field = |field: &Arc<Field>| Field::new(field.name(), field.data_type().clone(), true);
    Arc::new(Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>()))
}

/// Files of JSON: objects, one after the other or in an array. All of them are read to find the types: by the first 1000,
/// DataFusion makes 2 of a 2.5 that comes later, and drops the columns that only later ones have.
async fn json(source: &Source) -> Result<Vec<Part>, Fault> {
    let (mut all, mut lines, mut arrays) = (Object::default(), Vec::new(), Vec::new());
    let open = |file: ObjectMeta| async move {
        let text = source.text(&file.location).await;
        text.map(|text| (file.clone(), text)).map_err(|e| fault::of_store(&source.uri(&file.location), &e))
    };
    let mut opened = stream::iter(source.files().cloned()).map(open).buffered(AHEAD);
    while let Some((file, text)) = opened.try_next().await? {
        match look(source, &file, text, &mut all).await? {
            true => arrays.push(file),
            false => lines.push(file),
        }
    }
    let schema = Arc::new(Schema::new(all.fields()));
    let part = |files: Vec<ObjectMeta>, array: bool| Part {
        format: Arc::new(JsonFormat::default().with_newline_delimited(!array)),
        schema: schema.clone(),
        files,
    };
    Ok([part(lines, false), part(arrays, true)].into_iter().filter(|part| !part.files.is_empty()).collect())
}

/// Looks at every object of a file, and says whether it is an array of them.
async fn look(
    source: &Source,
    file: &ObjectMeta,
    mut chunks: BoxStream<'static, object_store::Result<bytes::Bytes>>,
    all: &mut Object,
) -> Result<bool, Fault> {
    let uri = source.uri(&file.location);
    let wrong = |e: &dyn std::fmt::Display| Fault::failed("BadInput", format!("{uri} {e}"));
    let stored = |e: object_store::Error| fault::of_store(&uri, &e);
    let (mut text, mut array, mut records, mut ended) = (Vec::new(), None, 0_u64, false);
    while !ended {
        match chunks.try_next().await.map_err(stored)? {
            Some(chunk) => text.extend_from_slice(&chunk),
            None => ended = true,
        }
        if text.len() as u64 > source.memory() {
            return Err(Fault::failed(
                "MemoryLimit",
                format!("{uri} has an object that is larger than memory_limit in the plugin's configuration"),
            ));
        }
        let mut done = 0;
        loop {
            let separator = |b: &u8| b.is_ascii_whitespace() || (array == Some(true) && *b == b',');
            done += text[done..].iter().take_while(|b| separator(b)).count();
            match (text.get(done), array) {
                (None, _) => break,
                (Some(b'['), None) => {
                    array = Some(true);
                    done += 1;
                    continue;
                }
                (Some(b']'), Some(true)) => {
                    done += 1;
                    continue;
                }
                _ => array = array.or(Some(false)),
            }
            let mut values = serde_json::Deserializer::from_slice(&text[done..]).into_iter::<&RawValue>();
            match values.next() {
                Some(Ok(raw)) => {
                    records += 1;
                    all.record(raw).map_err(|e| wrong(&format!("{e} (in its object {records})")))?;
                    done += values.byte_offset();
                }
                Some(Err(e)) if e.is_eof() && !ended => break,
                Some(Err(e)) => return Err(wrong(&format!("cannot be read as JSON: after {records} objects, {e}"))),
                None => break,
            }
        }
        text.drain(..done);
    }
    Ok(array == Some(true))
}

/// The files of a part by the folders that they are in, each with the name of one of its files. What the files have themselves
/// wins over a folder.
fn in_folders(part: Part, source: &Source, store: &ObjectStoreUrl) -> Vec<(String, Files)> {
    let mut by_keys: Vec<(Vec<String>, Vec<InFolders>)> = Vec::new();
    for meta in part.files {
        let pairs = source.folders(&meta.location).iter().filter(|(key, _)| part.schema.field_with_name(key).is_err());
        let (keys, values): (Vec<_>, Vec<_>) = pairs.cloned().unzip();
        let file = InFolders { meta, values };
        match by_keys.iter_mut().find(|(known, _)| *known == keys) {
            Some((_, files)) => files.push(file),
            None => by_keys.push((keys, vec![file])),
        }
    }
    let made = |(keys, files): (Vec<String>, Vec<InFolders>)| {
        let first = source.uri(&files[0].meta.location);
        (first, Files::new(store.clone(), part.format.clone(), part.schema.clone(), &keys, files))
    };
    by_keys.into_iter().map(made).collect()
}

/// All parts as one table, by their columns' names.
fn united(parts: Vec<(String, Files)>, context: &SessionContext) -> Result<Arc<dyn TableProvider>, Fault> {
    let schemas: Vec<_> = parts.iter().map(|(file, part)| (file.clone(), part.schema())).collect();
    let columns = unite(&schemas)?;
    let mut plans = Vec::new();
    for (file, part) in parts {
        let schema = part.schema();
        if plans.is_empty() && schemas.len() == 1 {
            return Ok(Arc::new(part));
        }
        let column = |column: &Arc<Field>| {
            let (name, to) = (column.name(), column.data_type());
            let value = match schema.field_with_name(name).map(Field::data_type) {
                Err(_) => null(to)?,
                Ok(own) if own == to => ident(name),
                Ok(DataType::Null) => null(to)?,
                Ok(own) if may_fail(own, to) => exact::widened(ident(name), name, &file, own, to),
                Ok(_) => cast(ident(name), to.clone()),
            };
            Ok(value.alias(name))
        };
        let columns = columns.iter().map(column).collect::<Result<Vec<Expr>, DataFusionError>>();
        let plan = columns.and_then(|columns| context.read_table(Arc::new(part))?.select(columns));
        plans.push(Arc::new(plan.map(DataFrame::into_unoptimized_plan).map_err(|e| fault::of_engine(&e))?));
    }
    let union = Union::try_new(plans).map_err(|e| fault::of_engine(&e))?;
    Ok(Arc::new(ViewTable::new(LogicalPlan::Union(union), None)))
}

fn null(kind: &DataType) -> Result<Expr, DataFusionError> {
    Ok(lit(ScalarValue::try_from(kind)?))
}
