//! A query's result as the outputs that a task declares.

use std::collections::HashMap;
use std::sync::Arc;

use agenthost::contract::flyteidl::core::{LiteralType, SimpleType, literal_type::Type};
use agenthost::{Outputs, Value};
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DataType, Field, Fields, SchemaRef, TimeUnit};
use datafusion::common::DataFusionError;
use datafusion::dataframe::DataFrame;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, cast};
use datafusion::prelude::{Column, col};
use futures_util::TryStreamExt;

use crate::exact;
use crate::fault::{self, Fault};
use crate::table::Format;
use crate::value;

/// What a task wants to have.
pub enum Shape {
    /// Nothing: the query runs, and its rows are counted.
    Nothing,
    /// The whole result as a file: a dataset, or a file of a format.
    File { output: String, format: Format, dataset: bool },
    /// Values in the answer itself.
    Values(HashMap<String, LiteralType>),
}

impl Shape {
    pub fn of(outputs: HashMap<String, LiteralType>) -> Result<Shape, Fault> {
        let stored = |t: &LiteralType| {
            matches!(
                value::unwrapped(Some(t)).and_then(|t| t.r#type.as_ref()),
                Some(Type::StructuredDatasetType(_) | Type::Blob(_) | Type::Schema(_))
            )
        };
        match outputs.iter().find(|(_, declared)| stored(declared)) {
            _ if outputs.is_empty() => Ok(Shape::Nothing),
            None => Ok(Shape::Values(outputs)),
            Some(_) if outputs.len() > 1 => Err(Fault::failed(
                "OutputMismatch",
                "a StructuredDataset or a file takes the whole result: it must be the task's only output",
            )),
            Some((name, declared)) => {
                let (format, dataset) = match value::unwrapped(Some(declared)).and_then(|t| t.r#type.as_ref()) {
                    Some(Type::Blob(blob)) => (blob.format.as_str(), false),
                    Some(Type::StructuredDatasetType(table)) => (table.format.as_str(), true),
                    _ => ("", true),
                };
                let known = if format.is_empty() { Some(Format::Parquet) } else { Format::of(format) };
                let format =
                    known.filter(|f| *f != Format::Tsv && (!dataset || *f == Format::Parquet || *f == Format::Csv));
                let format = format.ok_or_else(|| {
                    Fault::failed("OutputMismatch", format!("output {name:?} cannot be written: a dataset is parquet or csv, a file parquet, csv or json"))
                })?;
                Ok(Shape::File { output: name.clone(), format, dataset })
            }
        }
    }
}

/// How much an answer may hold.
#[derive(Clone, Copy)]
pub struct Limits {
    pub rows: usize,
    pub bytes: usize,
}

/// The rows of a result, as far as they fit in an answer.
pub async fn collect(mut stream: SendableRecordBatchStream, limits: Limits) -> Result<RecordBatch, Fault> {
    let schema = stream.schema();
    let (mut batches, mut rows, mut bytes) = (Vec::new(), 0, 0);
    while let Some(batch) = stream.try_next().await.map_err(|e| fault::of_engine(&e))? {
        rows += batch.num_rows();
        bytes += size(&batch);
        if rows > limits.rows {
            return Err(too_large(format!("more than the {} rows that inline_rows", limits.rows)));
        }
        if bytes > limits.bytes {
            return Err(too_large(format!("more than the {} bytes that inline_bytes", limits.bytes)));
        }
        batches.push(batch);
    }
    concat_batches(&schema, &batches).map_err(|e| fault::of_engine(&e.into()))
}

/// How many rows a result has, none of which are kept.
pub async fn count(mut stream: SendableRecordBatchStream) -> Result<u64, Fault> {
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await.map_err(|e| fault::of_engine(&e))? {
        rows += batch.num_rows() as u64;
    }
    Ok(rows)
}

fn size(batch: &RecordBatch) -> usize {
    let column = |c: &ArrayRef| c.to_data().get_slice_memory_size().unwrap_or_else(|_| c.get_array_memory_size());
    batch.columns().iter().map(column).sum()
}

fn too_large(what: String) -> Fault {
    Fault::failed(
        "TooLarge",
        format!(
            "the result has {what} in the plugin's configuration allows as values: narrow it with WHERE or LIMIT, aggregate it, or let the task's output be a StructuredDataset, which has no limit"
        ),
    )
}

/// The outputs, each from the column of its name; a single output takes an only column whatever its name.
pub fn outputs(declared: &HashMap<String, LiteralType>, result: &RecordBatch) -> Result<Outputs, Fault> {
    let (single, schema) = (declared.len() == 1, result.schema());
    let mut outputs = Outputs::new();
    for (name, declared) in declared {
        let place = column(name, single, result, declared);
        let read = match place {
            Some(place) => Some(of_column(result.column(place), result, declared)),
            None if single => of_rows(result, declared),
            None => None,
        };
        let read = read.ok_or_else(|| {
            let columns: Vec<_> = schema.fields().iter().map(|f| f.name().clone()).collect();
            Fault::failed(
                "OutputMismatch",
                format!("there is no column for output {name:?}: the result has {}", columns.join(", ")),
            )
        })?;
        let from = place.map(|place| schema.field(place));
        let from =
            from.map(|field| format!(", column {:?} ({}),", field.name(), field.data_type())).unwrap_or_default();
        let named = |error: String| Fault::failed("OutputMismatch", format!("output {name:?}{from} {error}"));
        let value = read.map_err(named)?;
        agenthost::encode(&value, Some(declared)).map_err(|error| match value {
            Value::None => named("is NULL, but its type is not optional: make it optional, or use coalesce".into()),
            _ => named(error),
        })?;
        outputs = outputs.with(name.clone(), value);
    }
    Ok(outputs)
}

fn column(name: &str, single: bool, result: &RecordBatch, declared: &LiteralType) -> Option<usize> {
    let dicts = wants_dicts(declared);
    let only = || (single && !dicts && result.num_columns() == 1).then_some(0);
    result.schema().index_of(name).ok().or_else(only)
}

/// Whether an output is a dict, or a list of them: then it can take whole rows.
fn wants_dicts(declared: &LiteralType) -> bool {
    let structured = |t: &LiteralType| value::simple(Some(t)) == Some(SimpleType::Struct);
    structured(declared) || item(declared).is_some_and(structured)
}

fn item(declared: &LiteralType) -> Option<&LiteralType> {
    match value::unwrapped(Some(declared))?.r#type.as_ref()? {
        Type::CollectionType(item) => Some(item),
        _ => None,
    }
}

/// How many lists there are within each other.
fn depth(kind: &DataType) -> usize {
    match kind {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => 1 + depth(item.data_type()),
        DataType::Dictionary(_, of) => depth(of),
        DataType::RunEndEncoded(_, of) => depth(of.data_type()),
        _ => 0,
    }
}

fn declared_depth(declared: &LiteralType) -> usize {
    item(declared).map_or(0, |item| 1 + declared_depth(item))
}

/// A list takes the column, or the one row's value where that is a list of its kind itself; anything else takes the one row's
/// value.
fn of_column(column: &ArrayRef, result: &RecordBatch, declared: &LiteralType) -> Result<Value, String> {
    let itself = result.num_rows() == 1 && depth(column.data_type()) >= declared_depth(declared);
    match item(declared) {
        Some(item) if !itself => value::values(column, Some(item)).map(Value::List),
        _ => one_row(result).and_then(|()| value::value(column, 0, Some(declared))),
    }
}

/// A dict takes the one row, and a list of dicts all of them.
fn of_rows(result: &RecordBatch, declared: &LiteralType) -> Option<Result<Value, String>> {
    if !wants_dicts(declared) {
        return None;
    }
    let rows = value::rows(result);
    Some(match item(declared) {
        Some(_) => rows.map(Value::List),
        None => one_row(result).and(rows).map(|mut rows| rows.remove(0)),
    })
}

fn one_row(result: &RecordBatch) -> Result<(), String> {
    match result.num_rows() {
        1 => Ok(()),
        rows => Err(format!(
            "takes one value, and the result has {rows} rows: make the output a list, or let the query return one row"
        )),
    }
}

/// The columns of a dataset, with their types.
pub fn columns(schema: &SchemaRef) -> Vec<agenthost::Column> {
    let column =
        |f: &Arc<Field>| agenthost::Column { name: f.name().clone(), r#type: value::column_type(f.data_type()) };
    schema.fields().iter().map(column).collect()
}

/// The same result with columns of types that the readers of its file know. A type that they would take for another is refused.
pub fn stored(frame: DataFrame, format: Format) -> Result<DataFrame, Fault> {
    let schema = frame.schema().clone();
    let column = |i: usize| -> Result<Expr, Fault> {
        let (qualifier, field) = schema.qualified_field(i);
        let (name, from) = (field.name(), field.data_type());
        let wrong = |why: String| {
            Fault::failed("OutputMismatch", format!("the column {name:?} is {from}, {why}: cast it in the SQL"))
        };
        let to = storable(from).map_err(wrong)?;
        let own = col(Column::new(qualifier.cloned(), name));
        let expr = if to == *from { own } else { cast(own, to.clone()) };
        let expr = if format == Format::Json { exact::finite(expr, name) } else { expr };
        Ok(expr.alias(name))
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<Vec<_>, _>>()?;
    frame.select(columns).map_err(|e: DataFusionError| fault::of_engine(&e))
}

/// The type that is written in place of one that files have no equal of: parquet has no seconds, no days in milliseconds, no
/// intervals, and its readers no dictionaries of numbers, no runs and no views.
fn storable(kind: &DataType) -> Result<DataType, String> {
    let field = |field: &Arc<Field>| Ok(Arc::new(field.as_ref().clone().with_data_type(storable(field.data_type())?)));
    Ok(match kind {
        DataType::Timestamp(TimeUnit::Second, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Date64 => DataType::Timestamp(TimeUnit::Millisecond, None),
        DataType::Time32(TimeUnit::Second) => DataType::Time32(TimeUnit::Millisecond),
        DataType::Float16 => DataType::Float32,
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, of) => storable(of)?,
        DataType::RunEndEncoded(_, of) => storable(of.data_type())?,
        DataType::List(item) | DataType::ListView(item) | DataType::FixedSizeList(item, _) => {
            DataType::List(field(item)?)
        }
        DataType::LargeList(item) | DataType::LargeListView(item) => DataType::LargeList(field(item)?),
        DataType::Struct(fields) if fields.is_empty() => return Err("which files cannot hold: it has no fields".into()),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect::<Result<Fields, String>>()?),
        DataType::Map(entries, sorted) => DataType::Map(field(entries)?, *sorted),
        DataType::Interval(_) => return Err("which readers of files would take for bytes or numbers".into()),
        DataType::Union(..) => return Err("which files cannot hold".into()),
        // Each by its name, so that a new type of Arrow's does not compile before somebody has thought of it.
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Date32
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..)
        | DataType::Duration(_)
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::FixedSizeBinary(_)
        | DataType::Utf8
        | DataType::LargeUtf8 => kind.clone(),
    })
}
