//! Parquet's INT96, which older writers made of instants: a day and its nanoseconds, of which DataFusion reads microseconds.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SessionState;
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use datafusion::parquet::arrow::{ProjectionMask, parquet_to_arrow_schema};
use datafusion::parquet::basic::Type;
use datafusion::parquet::file::metadata::ParquetMetaData;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource_parquet::metadata::DFParquetMetadata;
use datafusion_datasource_parquet::{CachedParquetFileReaderFactory, Int96Coercer, ParquetFileReaderFactory};
use futures_util::TryStreamExt;
use object_store::ObjectMeta;

use crate::fault::{self, Fault};
use crate::source::Source;

/// Refuses a file with instants that have nanoseconds. The columns that can have them are read for that.
pub async fn check(source: &Arc<Source>, file: &ObjectMeta, state: &SessionState) -> Result<(), Fault> {
    let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
    let metadata = DFParquetMetadata::new(&**source, file).with_file_metadata_cache(Some(cache.clone()));
    let metadata = metadata.fetch_metadata().await.map_err(|e| fault::of_engine(&e))?;
    let schema = metadata.file_metadata().schema_descr();
    let leaves: Vec<_> =
        (0..schema.num_columns()).filter(|i| schema.column(*i).physical_type() == Type::INT96).collect();
    if leaves.is_empty() {
        return Ok(());
    }
    let files = CachedParquetFileReaderFactory::new(source.clone(), cache);
    match with_nanos(&files, file, &metadata, &leaves).await.map_err(|e| fault::of_engine(&e))? {
        Some(column) => Err(Fault::failed(
            "BadInput",
            format!(
                "{} has nanoseconds in the column {column:?}, an INT96, of which DataFusion 55 reads microseconds: write it as a TIMESTAMP of nanoseconds, or as text",
                source.uri(&file.location)
            ),
        )),
        None => Ok(()),
    }
}

/// The first column that has nanoseconds. Read as these, an instant wraps outside of the years 1677 to 2262; less what it is in
/// microseconds it is the rest all the same.
async fn with_nanos(
    files: &CachedParquetFileReaderFactory,
    file: &ObjectMeta,
    metadata: &Arc<ParquetMetaData>,
    leaves: &[usize],
) -> Result<Option<String>, DataFusionError> {
    let schema = metadata.file_metadata().schema_descr();
    let read = |unit: TimeUnit| {
        let plain = parquet_to_arrow_schema(schema, None)?;
        let wanted = Int96Coercer::new(schema, &plain, &unit).coerce().unwrap_or(plain);
        let options = ArrowReaderOptions::new().with_schema(Arc::new(wanted)).with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::try_new(metadata.clone(), options)?;
        let file = PartitionedFile::new_from_meta(file.clone());
        let reader: Box<dyn AsyncFileReader> = files.create_reader(0, file, None, &ExecutionPlanMetricsSet::new())?;
        let columns = ProjectionMask::leaves(schema, leaves.iter().copied());
        let stream = ParquetRecordBatchStreamBuilder::new_with_metadata(reader, metadata).with_projection(columns);
        stream.build().map_err(DataFusionError::from)
    };
    let (mut nanos, mut micros) = (read(TimeUnit::Nanosecond)?, read(TimeUnit::Microsecond)?);
    while let (Some(nanos), Some(micros)) = (nanos.try_next().await?, micros.try_next().await?) {
        for (i, field) in nanos.schema().fields().iter().enumerate() {
            if differ(nanos.column(i), micros.column(i)) {
                return Ok(Some(field.name().clone()));
            }
        }
    }
    Ok(None)
}

fn differ(nanos: &ArrayRef, micros: &ArrayRef) -> bool {
    match (nanos.data_type(), micros.data_type()) {
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            let nanos = nanos.as_primitive::<TimestampNanosecondType>().iter();
            let pairs = nanos.zip(micros.as_primitive::<TimestampMicrosecondType>());
            pairs.into_iter().any(|(n, m)| n.zip(m).is_some_and(|(n, m)| n != m.wrapping_mul(1000)))
        }
        (DataType::List(_), _) => differ(nanos.as_list::<i32>().values(), micros.as_list::<i32>().values()),
        (DataType::Struct(_), _) => {
            let pairs = nanos.as_struct().columns().iter().zip(micros.as_struct().columns());
            pairs.into_iter().any(|(n, m)| differ(n, m))
        }
        (DataType::Map(..), _) => {
            let (nanos, micros) = (nanos.as_map().entries().columns(), micros.as_map().entries().columns());
            nanos.iter().zip(micros).any(|(n, m)| differ(n, m))
        }
        _ => false,
    }
}
