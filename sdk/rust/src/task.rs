//! What an agent is asked to do.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use serde::de::DeserializeOwned;

use crate::category::Category;
use crate::connection::Connection;
use crate::contract::flyteidl::admin::TaskExecutionMetadata;
use crate::contract::flyteidl::core::{
    Literal, LiteralType, TaskTemplate, VariableMap, WorkflowExecutionIdentifier, task_template,
};
use crate::error::{Error, Result};
use crate::exact::together;
use crate::literal::{decode, decode_struct};
use crate::outputtypes::OutputTypes;
use crate::secret::Secret;
use crate::value::{FromValue, Value};

/// A task to run.
#[derive(Clone, Debug, Default)]
pub struct Task {
    /// Its type and version.
    pub category: Category,
    /// The template as Flyte sent it.
    pub template: TaskTemplate,
    /// The folder that outputs too large for an answer go to. Opaque, and empty where Flyte sent none.
    pub output_prefix: String,
    /// Who runs it: execution, namespace, labels, identity.
    pub metadata: TaskExecutionMetadata,
    /// A name for the task attempt, the same in every repetition of the call: name the external job by it, and find that job
    /// again. 64 hex digits; empty where Flyte sent no execution.
    pub idempotency_key: String,
    /// What Flyte 2 sent to reach the outside system; empty from Flyte 1.
    pub connection: Connection,
    /// When the caller stops waiting, where it says so.
    pub deadline: Option<Instant>,
    /// The most bytes of a dataset that the caller takes in a sync answer; 0: not said.
    pub max_dataset_size: i64,
    pub(crate) inputs: HashMap<String, Literal>,
}

impl Task {
    /// Reads an input, as `task.input::<i64>("limit")`: see [`FromValue`] for the types. `Option` takes one that is absent or
    /// None. The error is INVALID_ARGUMENT and names the input, what it is and what is needed.
    ///
    /// ```
    /// # use agenthost::{Plugin, Resource, Result, SyncAgent, Task, testing::{TestTask, run}};
    /// struct Double;
    ///
    /// #[agenthost::async_trait]
    /// impl SyncAgent for Double {
    ///     async fn execute(&self, task: Task) -> Result<Resource> {
    ///         let n: i64 = task.input("n")?;
    ///         let times: Option<i64> = task.input("times")?;
    ///         Ok(Resource::succeeded([("n", n * times.unwrap_or(2))]))
    ///     }
    /// }
    /// # #[tokio::main]
    /// # async fn main() {
    /// # let client = run(Plugin::new("double", "1").sync_agent("double", Double)).await;
    /// # let result = client.execute(TestTask::new("double").input("n", 21)).await.unwrap();
    /// # assert_eq!(result.output::<i64>("n"), 42);
    /// # let wrong = client.execute(TestTask::new("double")).await.unwrap_err();
    /// # assert!(wrong.message().contains("an int is needed"), "{wrong}");
    /// # }
    /// ```
    pub fn input<T: FromValue>(&self, name: &str) -> Result<T> {
        let Some(literal) = self.inputs.get(name) else {
            return T::absent()
                .ok_or_else(|| Error::invalid_argument(format!("input {name:?} is missing: {} is needed", T::WANTS)));
        };
        decode(literal).and_then(T::from_value).map_err(|e| Error::invalid_argument(format!("input {name:?} {e}")))
    }

    /// Reads an input, with a default for one that is absent or None.
    pub fn input_or<T: FromValue>(&self, name: &str, default: T) -> Result<T> {
        Ok(self.input::<Option<T>>(name)?.unwrap_or(default))
    }

    /// Reads all inputs into one type, by serde. The error is INVALID_ARGUMENT and names every input that does not fit.
    ///
    /// ```
    /// # use agenthost::{Plugin, Resource, Result, StructuredDataset, SyncAgent, Task, Value, testing::{TestTask, run}};
    /// #[derive(serde::Deserialize)]
    /// struct Query {
    ///     statement: String,
    ///     table: StructuredDataset,
    ///     limit: Option<i64>,
    /// }
    ///
    /// struct Warehouse;
    ///
    /// #[agenthost::async_trait]
    /// impl SyncAgent for Warehouse {
    ///     async fn execute(&self, task: Task) -> Result<Resource> {
    ///         let query: Query = task.inputs_as()?;
    ///         Ok(Resource::succeeded([("ran", format!("{} on {}, {:?}", query.statement, query.table.uri, query.limit))]))
    ///     }
    /// }
    /// # #[tokio::main]
    /// # async fn main() {
    /// # let client = run(Plugin::new("warehouse", "1").sync_agent("warehouse", Warehouse)).await;
    /// # let table = StructuredDataset { uri: "s3://b/t".into(), ..Default::default() };
    /// # let task = TestTask::new("warehouse").input("statement", "select 1").input("table", table).input("limit", Value::None);
    /// # assert_eq!(client.execute(task).await.unwrap().output::<String>("ran"), "select 1 on s3://b/t, None");
    /// # }
    /// ```
    pub fn inputs_as<T: DeserializeOwned>(&self) -> Result<T> {
        let given = |(name, value): (String, Value)| match value.for_serde() {
            Ok(packed) => Ok((name, packed)),
            Err(error) => Err(Error::invalid_argument(format!("input {name:?} {error}"))),
        };
        let values = self.inputs()?.into_iter().map(given).collect::<Result<_>>()?;
        together(values).map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|(path, why)| unfit(&path, &why)).collect();
            Error::invalid_argument(faults.join("; "))
        })
    }

    /// All inputs.
    pub fn inputs(&self) -> Result<BTreeMap<String, Value>> {
        self.inputs.keys().map(|name| Ok((name.clone(), self.input::<Value>(name)?))).collect()
    }

    /// The inputs as Flyte sent them.
    pub fn literals(&self) -> &HashMap<String, Literal> {
        &self.inputs
    }

    /// Reads the template's custom part. The error is INVALID_ARGUMENT and names the field.
    pub fn custom<T: DeserializeOwned>(&self) -> Result<T> {
        let custom = match self.template.custom.as_ref().map(decode_struct) {
            None => serde_json::json!({}),
            Some(Value::Json(custom)) => custom,
            Some(_) => return Err(Error::invalid_argument("the task's custom part has a number that JSON lacks")),
        };
        serde_path_to_error::deserialize(custom).map_err(|e| {
            let path = e.path().to_string();
            let at = if path == "." { String::new() } else { format!(" at {path}") };
            Error::invalid_argument(format!("the task's custom part is wrong{at}: {}", e.inner()))
        })
    }

    /// The template's config, a map of strings.
    pub fn config(&self) -> &HashMap<String, String> {
        &self.template.config
    }

    /// The statement of an SQL task.
    pub fn sql(&self) -> Option<&str> {
        match &self.template.target {
            Some(task_template::Target::Sql(sql)) => Some(&sql.statement),
            _ => None,
        }
    }

    /// The inputs that the task declares, by name.
    pub fn input_types(&self) -> HashMap<String, LiteralType> {
        types(self.template.interface.as_ref().and_then(|i| i.inputs.as_ref()))
    }

    /// The outputs that the task declares, by name.
    pub fn output_types(&self) -> OutputTypes {
        types(self.template.interface.as_ref().and_then(|i| i.outputs.as_ref())).into()
    }

    /// The project that the execution belongs to; empty where Flyte did not say.
    pub fn project(&self) -> &str {
        self.execution().map_or("", |e| &e.project)
    }

    /// The domain that the execution belongs to.
    pub fn domain(&self) -> &str {
        self.execution().map_or("", |e| &e.domain)
    }

    fn execution(&self) -> Option<&WorkflowExecutionIdentifier> {
        self.metadata.task_execution_id.as_ref()?.node_execution_id.as_ref()?.execution_id.as_ref()
    }

    /// The secret of the task's connection, or else the plugin's.
    pub fn secret(&self, key: &str) -> Result<Secret> {
        self.connection.secret(key)
    }
}

/// What serde says of inputs, in the words of [`Task::input`].
fn unfit(path: &str, why: &str) -> String {
    if let Some(name) = why.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'))
        && path == "."
    {
        return format!("input {name:?} is missing");
    }
    match path.split_once(['.', '[']) {
        _ if path == "." => format!("the inputs do not fit: {why}"),
        Some((input, _)) => format!("input {input:?} does not fit at {path}: {why}"),
        None => format!("input {path:?} does not fit: {why}"),
    }
}

fn types(declared: Option<&VariableMap>) -> HashMap<String, LiteralType> {
    let variables = declared.map(|d| d.variables.clone()).unwrap_or_default();
    variables.into_iter().filter_map(|(name, variable)| Some((name, variable.r#type?))).collect()
}
