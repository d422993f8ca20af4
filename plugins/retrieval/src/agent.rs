//! The agent: a task in, how it ended out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use agenthost::contract::flyteidl::core::{Literal, LiteralOffloadedMetadata, literal, scalar};
use agenthost::{ConfigError, File, Outputs, Resource, StructuredDataset, SyncAgent, Task, Value, async_trait};
use datafusion::common::ParamValues;
use datafusion::common::metadata::ScalarAndMetadata;
use datafusion::dataframe::{DataFrame, DataFrameWriteOptions};
use object_store::ObjectStoreExt;
use prost::Message;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use url::Url;

use crate::answer::{self, Limits, Shape};
use crate::config::{Config, Scope, Settings};
use crate::credentials::Credentials;
use crate::engine;
use crate::fault::{self, Fault};
use crate::job::Job;
use crate::location::Location;
use crate::source::{CSV_DATASET, Read, Source};
use crate::statement::{Statement, with_parameters};
use crate::stores::Stores;
use crate::table::Format;
use crate::target::Target;

/// What is left of the caller's time for the answer itself.
const FAREWELL: Duration = Duration::from_millis(500);

/// How many objects may lead from one to the next. Flyte's do not lead on at all.
const MOST_OBJECTS: usize = 16;

/// Answers tasks of the type `data_retrieval`.
#[derive(Clone, Default)]
pub struct Retrieval {
    state: Arc<RwLock<Option<Arc<State>>>>,
    queries: Arc<Queries>,
}

/// What a configuration makes.
struct State {
    settings: Settings,
    stores: Stores,
    turns: Arc<Semaphore>,
    threads: usize,
}

/// The threads that queries run on: those that serve calls stay free for health checks.
#[derive(Default)]
struct Queries(OnceLock<Option<Runtime>>);

impl Queries {
    fn runtime(&self, threads: usize) -> Result<&Runtime, Fault> {
        let make = || {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .thread_name("query")
                .enable_all()
                .build()
                .ok()
        };
        self.0
            .get_or_init(make)
            .as_ref()
            .ok_or_else(|| Fault::passing("Internal", "no threads can be started for queries"))
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        if let Some(Some(runtime)) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// How a query went.
struct Done {
    outputs: Outputs,
    rows: u64,
    written: Option<u64>,
}

impl Retrieval {
    /// Takes a configuration.
    pub fn configure(&self, config: Config) -> Result<(), Vec<ConfigError>> {
        let settings = Settings::new(config)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let state = State {
            stores: Stores::new(&settings.config.retry),
            turns: Arc::new(Semaphore::new(settings.config.max_concurrent)),
            threads: settings.config.threads.unwrap_or(cores),
            settings,
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(state));
        Ok(())
    }
}

#[async_trait]
impl SyncAgent for Retrieval {
    async fn execute(&self, task: Task) -> agenthost::Result<Resource> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner).clone();
        let state =
            state.ok_or_else(|| agenthost::Error::failed_precondition("the plugin has no configuration yet"))?;
        let credentials = Credentials::of(&task, state.settings.scope(task.project(), task.domain()));
        let (project, domain) = (task.project().to_string(), task.domain().to_string());
        let read = Arc::new(Read::within(state.settings.config.scan_limit.map(|limit| limit.0)));
        let begun = Instant::now();
        let outcome = self.run(state, task, credentials.clone(), read.clone()).await;
        let resource = told(outcome, &credentials, &read, begun);
        tracing::info!(
            project,
            domain,
            phase = ?resource.phase(),
            files = read.files(),
            bytes = read.bytes(),
            elapsed = begun.elapsed().as_secs_f64(),
            "{}",
            resource.message()
        );
        Ok(resource)
    }
}

impl Retrieval {
    /// Runs the query on the queries' threads, in its turn and within its time. It ends with the call.
    async fn run(
        &self,
        state: Arc<State>,
        task: Task,
        credentials: Credentials,
        read: Arc<Read>,
    ) -> Result<Done, Fault> {
        let limit = state.settings.config.query_timeout.0;
        let left = task.deadline.map(|at| at.saturating_duration_since(Instant::now()).saturating_sub(FAREWELL));
        let runtime = self.queries.runtime(state.threads)?;
        let mut query = JoinSet::new(); // aborts what is in it when it is dropped
        query.spawn_on(
            async move {
                let _turn = state.turns.clone().acquire_owned().await;
                state.query(&task, &credentials, read).await
            },
            runtime.handle(),
        );
        match tokio::time::timeout(left.unwrap_or(limit).min(limit), query.join_next()).await {
            Ok(Some(Ok(outcome))) => outcome,
            Ok(Some(Err(error))) => Err(Fault::failed("Internal", format!("the query's thread ended: {error}"))),
            Ok(None) => Err(Fault::failed("Internal", "the query was not started")),
            Err(_) if left.is_some_and(|left| left < limit) => Err(Fault::passing(
                "DeadlineExceeded",
                "the query was not done when its caller stopped waiting: narrow it, or let the caller wait longer",
            )),
            Err(_) => Err(Fault::failed(
                "Timeout",
                format!(
                    "the query was not done within {}, its wait for a turn included: that is query_timeout in the plugin's configuration",
                    humantime::format_duration(limit)
                ),
            )),
        }
    }
}

impl State {
    async fn query(&self, task: &Task, credentials: &Credentials, read: Arc<Read>) -> Result<Done, Fault> {
        let scope = self.settings.scope(task.project(), task.domain());
        let mut job = Job::of(task)?;
        let shape = Shape::of(task.output_types().into())?;
        let statement = Statement::parse(&with_parameters(&job.sql)?)?;
        let config = &self.settings.config;
        let context = engine::session(config.memory_limit.0, self.threads).map_err(|e| fault::of_engine(&e))?;
        let tables = statement.tables(&context.state(), |name| job.names(name))?;
        self.fetch(&mut job, &tables, scope, credentials, &read).await?;
        for name in tables {
            let table = job.table(&name)?;
            let store = self.stores.open(&table.places[0], scope, credentials)?;
            let source =
                Source::find(&table.places, store, read.clone(), &scope.allowed, config.memory_limit.0).await?;
            table.register(&name, source, &context).await?;
        }
        let plan = statement.plan(&context.state()).await?;
        let wanted = plan.get_parameter_names().map_err(|e| fault::of_engine(&e))?;
        let wanted: BTreeSet<_> = wanted.iter().map(|name| name.trim_start_matches('$').to_string()).collect();
        self.fetch(&mut job, &wanted, scope, credentials, &read).await?;
        let parameters = job.parameters(wanted)?;
        let parameters = parameters.into_iter().map(|(name, value)| (name, ScalarAndMetadata::from(value))).collect();
        let frame = DataFrame::new(context.state(), plan);
        let frame = frame.with_param_values(ParamValues::Map(parameters)).map_err(|e| fault::of_engine(&e))?;
        match shape {
            Shape::Nothing => {
                let stream = frame.execute_stream().await.map_err(|e| fault::of_engine(&e))?;
                Ok(Done { outputs: Outputs::new(), rows: answer::count(stream).await?, written: None })
            }
            Shape::Values(declared) => {
                let limits = Limits {
                    rows: config.inline_rows,
                    bytes: usize::try_from(config.inline_bytes.0).unwrap_or(usize::MAX),
                };
                let stream = frame.execute_stream().await.map_err(|e| fault::of_engine(&e))?;
                let result = answer::collect(stream, limits).await?;
                let outputs = answer::outputs(&declared, &result)?;
                Ok(Done { outputs, rows: result.num_rows() as u64, written: None })
            }
            Shape::File { output, format, dataset } => {
                let (at, uri) = destination(&job, task, scope, &output, dataset && format == Format::Csv)?;
                let frame = answer::stored(frame, format)?;
                let columns = answer::columns(&Arc::new(frame.schema().as_arrow().clone()));
                let (rows, bytes) = self.write(frame, &at, format, scope, credentials).await?;
                let format = format.name().to_string();
                let value: Value = match dataset {
                    true => StructuredDataset { uri, format, columns }.into(),
                    false => File { uri, format }.into(),
                };
                Ok(Done { outputs: Outputs::new().with(output, value), rows, written: Some(bytes) })
            }
        }
    }

    /// Reads the inputs of these names that Flyte has put into storage for their size. They must be within what the task may read.
    async fn fetch(
        &self,
        job: &mut Job,
        names: &BTreeSet<String>,
        scope: &Scope,
        credentials: &Credentials,
        read: &Arc<Read>,
    ) -> Result<(), Fault> {
        let inputs: Vec<_> = job.inputs(names).collect();
        let mut left = self.settings.config.memory_limit.0;
        for (name, input) in inputs {
            let named = |fault: Fault| fault.about(format!("input {name:?}, which is offloaded"));
            let mut pending = vec![(input, 0)]; // each with the number of objects that led to it
            while let Some((literal, mut through)) = pending.pop() {
                while let Some(literal::Value::OffloadedMetadata(from)) = &literal.value {
                    let (from, hash) = (from.clone(), literal.hash.clone());
                    through += 1;
                    if through > MOST_OBJECTS {
                        let said = format!(
                            "{} is reached through {MOST_OBJECTS} others, which Flyte does not write: does one of them name itself?",
                            from.uri
                        );
                        return Err(named(Fault::failed("BadInput", said)));
                    }
                    let whole = self.offloaded(&from, &hash, &mut left, scope, credentials, read).await;
                    *literal = whole.map_err(named)?;
                }
                match &mut literal.value {
                    Some(literal::Value::Collection(list)) => {
                        pending.extend(list.literals.iter_mut().map(|item| (item, through)));
                    }
                    Some(literal::Value::Map(map)) => {
                        pending.extend(map.literals.values_mut().map(|item| (item, through)));
                    }
                    Some(literal::Value::Scalar(scalar)) => {
                        if let Some(scalar::Value::Union(union)) = &mut scalar.value {
                            pending.extend(union.value.as_deref_mut().map(|item| (item, through)));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Reads a value, of at most so many bytes as are left. It must be the one that Flyte wrote: of the size that it tells, and with
    /// the literal's own hash where it has one.
    async fn offloaded(
        &self,
        from: &LiteralOffloadedMetadata,
        hash: &str,
        left: &mut u64,
        scope: &Scope,
        credentials: &Credentials,
        read: &Arc<Read>,
    ) -> Result<Literal, Fault> {
        let uri = &from.uri;
        let wrong = |why: String| Fault::failed("BadInput", format!("{uri} {why}"));
        let at = Location::parse(uri).map_err(|e| Fault::failed("BadInput", e))?;
        let store = self.stores.open(&at, scope, credentials)?;
        let file = Source::find(&[at], store, read.clone(), &scope.allowed, *left).await?;
        let data = file.only().await?;
        *left = left.saturating_sub(data.len().max(1) as u64);
        if from.size_bytes != 0 && from.size_bytes != data.len() as u64 {
            let sizes = format!("has {} bytes, and Flyte wrote {}", data.len(), from.size_bytes);
            return Err(wrong(format!("{sizes} there: it was changed since")));
        }
        let whole = Literal::decode(data).map_err(|e| wrong(format!("is no literal: {e}")))?;
        if !hash.is_empty() && !whole.hash.is_empty() && hash != whole.hash {
            let hashes = format!("has a value with the hash {}, and Flyte wrote one with {hash}", whole.hash);
            return Err(wrong(format!("{hashes} there: it was changed since")));
        }
        match whole.value {
            None => Err(wrong("has no value".into())),
            Some(_) => Ok(whole),
        }
    }

    /// Writes a result to a file, and says how many rows and bytes it has.
    async fn write(
        &self,
        frame: DataFrame,
        at: &Location,
        format: Format,
        scope: &Scope,
        credentials: &Credentials,
    ) -> Result<(u64, u64), Fault> {
        let store = self.stores.open(at, scope, credentials)?;
        let mut url = Url::parse("result://result/").expect("a URL");
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.clear().extend(at.path.parts().map(|part| part.as_ref().to_string()));
        }
        let target = Target::new(store.clone(), at);
        frame.task_ctx().runtime_env().register_object_store(&url, target.clone());
        let single = DataFrameWriteOptions::new().with_single_file_output(true);
        let written = match format {
            Format::Parquet => frame.write_parquet(url.as_str(), single, None).await,
            Format::Csv | Format::Tsv => frame.write_csv(url.as_str(), single, None).await,
            Format::Json => frame.write_json(url.as_str(), single, None).await,
        };
        let why = |e| target.fault().unwrap_or_else(|| fault::of_engine(&e)).about(format!("writing {at}"));
        let counts = written.map_err(why)?;
        let meta = store.head(&at.path).await.map_err(|e| fault::of_store(&at.to_string(), &e))?;
        Ok((rows_written(&counts), meta.size))
    }
}

/// What DataFusion answers when it has written: the number of rows.
fn rows_written(counts: &[datafusion::arrow::array::RecordBatch]) -> u64 {
    use datafusion::arrow::array::{AsArray, types::UInt64Type};
    counts.iter().filter_map(|b| b.column(0).as_primitive_opt::<UInt64Type>()).flat_map(|c| c.values().to_vec()).sum()
}

/// Where the result goes, and its URI: where the task says and the configuration lets it, else below Flyte's own prefix. A csv
/// dataset is a folder, within which flytekit reads the file `.csv`.
fn destination(job: &Job, task: &Task, scope: &Scope, output: &str, csv: bool) -> Result<(Location, String), Fault> {
    let within = |uri: &str| if csv { format!("{}/{CSV_DATASET}", uri.trim_end_matches('/')) } else { uri.to_string() };
    if let Some(uri) = &job.destination {
        let wrong = |e: String| Fault::failed("BadInput", format!("custom.destination: {e}"));
        let at = Location::parse(&within(uri)).map_err(wrong)?;
        scope.destinations.check(&at, "destinations")?;
        return Ok((at, uri.clone()));
    }
    if task.output_prefix.is_empty() {
        return Err(Fault::failed(
            "BadInput",
            format!(
                "there is no place for output {output:?}: Flyte sent no output prefix, and the task has no custom.destination"
            ),
        ));
    }
    let folder = format!("{}/{output}", task.output_prefix.trim_end_matches('/'));
    let uri = if csv { folder } else { format!("{folder}/00000") };
    let at =
        Location::parse(&within(&uri)).map_err(|e| Fault::failed("BadInput", format!("the output prefix: {e}")))?;
    Ok((at, uri))
}

/// How it ended, with what it took, and nothing secret.
fn told(outcome: Result<Done, Fault>, credentials: &Credentials, read: &Read, begun: Instant) -> Resource {
    let elapsed = begun.elapsed();
    let resource = match outcome {
        Ok(done) => {
            let message = format!(
                "{} from {}, {} bytes read in {:.1} s",
                counted(done.rows, "row"),
                counted(read.files() as u64, "file"),
                read.bytes(),
                elapsed.as_secs_f64()
            );
            let resource = Resource::succeeded(done.outputs).with_message(message).with_info("rows", done.rows);
            match done.written {
                Some(bytes) => resource.with_info("bytes_written", bytes),
                None => resource,
            }
        }
        Err(fault) => Fault { message: credentials.redact(&fault.message), ..fault }.resource(),
    };
    resource
        .with_info("bytes_scanned", read.bytes())
        .with_info("files", read.files() as u64)
        .with_info("elapsed_seconds", elapsed.as_secs_f64())
}

fn counted(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}
