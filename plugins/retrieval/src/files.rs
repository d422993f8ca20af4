//! Files that are read alike, as a table: they have the same columns, and are in the same kinds of folders.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::ColumnStatistics;
use datafusion::common::{DFSchema, Result, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::datasource::{TableProvider, TableType};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::scalar::ScalarValue;
use datafusion_datasource::compute_all_files_statistics;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectMeta, ObjectStore};

/// How many files are asked about at once.
pub const AT_ONCE: usize = 32;

/// One file, with the values of its folders.
#[derive(Clone, Debug)]
pub struct InFolders {
    pub meta: ObjectMeta,
    pub values: Vec<Option<String>>,
}

/// The table. DataFusion's own reads a folder; it takes columns of text by their places in the first file, and has no NULL for
/// a folder's value.
#[derive(Debug)]
pub struct Files {
    store: ObjectStoreUrl,
    format: Arc<dyn FileFormat>,
    schema: TableSchema,
    files: Vec<PartitionedFile>,
}

impl Files {
    /// `schema` is that of the files, and `folders` are the names of the columns that folders make.
    pub fn new(
        store: ObjectStoreUrl,
        format: Arc<dyn FileFormat>,
        schema: SchemaRef,
        folders: &[String],
        files: Vec<InFolders>,
    ) -> Files {
        let text = datafusion::arrow::datatypes::DataType::Utf8;
        let columns: Vec<FieldRef> =
            folders.iter().map(|name| Arc::new(Field::new(name, text.clone(), true))).collect();
        let files = files.into_iter().map(|file| {
            let values = file.values.into_iter().map(ScalarValue::Utf8).collect();
            PartitionedFile::new_from_meta(file.meta).with_partition_values(values)
        });
        let schema = TableSchema::builder(schema).with_table_partition_cols(columns).build();
        Files { store, format, schema, files: files.collect() }
    }

    /// The files whose folders' values pass the filters that are about these alone.
    fn kept(&self, state: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let columns = self.schema.table_partition_cols();
        let about_folders = |filter: &&Expr| {
            let used = filter.column_refs();
            !filter.is_volatile()
                && !used.is_empty()
                && used.iter().all(|column| columns.iter().any(|known| known.name() == &column.name))
        };
        let Some(filter) = conjunction(filters.iter().filter(about_folders).cloned()) else {
            return Ok(self.files.clone());
        };
        let arrays = (0..columns.len())
            .map(|i| ScalarValue::iter_to_array(self.files.iter().map(|file| file.partition_values[i].clone())));
        let schema = Arc::new(Schema::new(columns.clone()));
        let options = RecordBatchOptions::new().with_row_count(Some(self.files.len()));
        let values = RecordBatch::try_new_with_options(schema.clone(), arrays.collect::<Result<_>>()?, &options)?;
        let passes = state.create_physical_expr(filter, &DFSchema::try_from(schema)?)?;
        let passes = passes.evaluate(&values)?.into_array(self.files.len())?;
        let passing = self.files.iter().zip(passes.as_boolean()).filter(|(_, passes)| *passes == Some(true));
        Ok(passing.map(|(file, _)| file.clone()).collect())
    }

    /// The same file with what is known of its values.
    async fn measured(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        mut file: PartitionedFile,
    ) -> Result<PartitionedFile> {
        let columns = self.schema.file_schema().clone();
        let mut found = self.format.infer_stats(state, store, columns, &file.object_meta).await?;
        found.column_statistics.extend(file.partition_values.iter().map(|_| ColumnStatistics::new_unknown()));
        file.statistics = Some(Arc::new(found));
        Ok(file)
    }
}

#[async_trait]
impl TableProvider for Files {
    fn schema(&self) -> SchemaRef {
        self.schema.table_schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.kept(state, filters)?;
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(project_schema(&self.schema(), projection)?)));
        }
        let store = state.runtime_env().object_store(&self.store)?;
        let measured = stream::iter(files).map(|file| self.measured(state, &store, file)).buffered(AT_ONCE);
        let groups = FileGroup::new(measured.try_collect().await?).split_files(state.config().target_partitions());
        let (groups, statistics) = compute_all_files_statistics(groups, self.schema(), true, false)?;
        let config = FileScanConfigBuilder::new(self.store.clone(), self.format.file_source(self.schema.clone()))
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.format.create_physical_plan(state, config).await
    }
}
