//! One query in DataFusion: a session of its own, with its own memory, that knows no store but those of its tables.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::context::{SessionContext, SessionState};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::analyzer::function_rewrite::ApplyFunctionRewrites;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::prelude::SessionConfig;
use object_store::ObjectStore;
use url::Url;

use crate::exact;

/// A session for one query. Names are case-sensitive as they are written: those of inputs and of columns are, too.
pub fn session(memory: u64, threads: usize) -> Result<SessionContext> {
    let config = SessionConfig::new()
        .with_target_partitions(threads)
        .with_information_schema(false)
        .set_bool("datafusion.sql_parser.enable_ident_normalization", false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false)
        .set_bool("datafusion.execution.listing_table_ignore_subdirectory", false)
        .set_bool("datafusion.execution.parquet.schema_force_view_types", false)
        // By Arrow's own schema readers find the types that parquet lacks, such as durations.
        .set_bool("datafusion.execution.parquet.skip_arrow_metadata", false)
        .set_str("datafusion.execution.parquet.compression", "zstd(3)");
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(usize::try_from(memory).unwrap_or(usize::MAX))))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled))
        .with_object_store_registry(Arc::new(Registered::default()))
        .build_arc()?;
    let state: SessionState = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .with_analyzer_rule(Arc::new(ApplyFunctionRewrites::new(vec![Arc::new(exact::Checked)])))
        .with_physical_optimizer_rule(Arc::new(PauseInJoins))
        .build();
    let context = SessionContext::new_with_state(state);
    for aggregate in exact::aggregates() {
        context.register_udaf(aggregate);
    }
    Ok(context)
}

/// Lets joins pause now and then. DataFusion pauses where files are read; a join can make billions of rows of what was read
/// once, and could else not be ended before that.
#[derive(Debug)]
struct PauseInJoins;

impl PhysicalOptimizerRule for PauseInJoins {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let pausing = plan.transform_up(|node| {
            Ok(match node.name().ends_with("JoinExec") {
                true => Transformed::yes(Arc::new(CooperativeExec::new(node)) as _),
                false => Transformed::no(node),
            })
        });
        pausing.data()
    }

    fn name(&self) -> &str {
        "pause_in_joins"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The stores that were registered, and no others: DataFusion's own registry knows the local disk.
#[derive(Debug, Default)]
struct Registered(Mutex<HashMap<String, Arc<dyn ObjectStore>>>);

fn root(url: &Url) -> String {
    url[..url::Position::BeforePath].to_string()
}

impl ObjectStoreRegistry for Registered {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        self.0.lock().expect("no panic holds it").insert(root(url), store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let stores = self.0.lock().expect("no panic holds it");
        stores
            .get(&root(url))
            .cloned()
            .ok_or_else(|| DataFusionError::Plan(format!("{} is no table of this query", root(url))))
    }
}
