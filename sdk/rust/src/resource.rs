//! How a job is.

use std::collections::BTreeMap;
use std::fmt;

use crate::contract::flyteidl::admin::{AgentError, Resource as Wire, agent_error};
use crate::contract::flyteidl::core::execution_error::ErrorKind;
use crate::contract::flyteidl::core::{LiteralMap, TaskLog, task_log};
use crate::error::{Error, Result, bounded};
use crate::literal::{encode, to_struct};
use crate::outputtypes::OutputTypes;
use crate::value::Value;

pub use crate::contract::flyteidl::core::task_execution::Phase;

/// A job's outputs, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs(BTreeMap<String, Value>);

impl Outputs {
    /// No outputs yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The value of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl<N: Into<String>, V: Into<Value>, const K: usize> From<[(N, V); K]> for Outputs {
    fn from(pairs: [(N, V); K]) -> Self {
        Outputs(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl FromIterator<(String, Value)> for Outputs {
    fn from_iter<I: IntoIterator<Item = (String, Value)>>(pairs: I) -> Self {
        Outputs(pairs.into_iter().collect())
    }
}

/// A link that Flyte's console shows for a task.
///
/// ```
/// use agenthost::{Link, Resource};
///
/// let console = Link::new("Console", "https://example.com/1").while_pending().until_finished();
/// let queued = Resource::queued("in line").with_link_of(console);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    name: String,
    url: String,
    while_pending: bool,
    until_finished: bool,
}

impl Link {
    /// A link that is shown from when the task runs.
    pub fn new(name: impl Into<String>, url: impl Into<String>) -> Self {
        Link { name: name.into(), url: url.into(), ..Default::default() }
    }

    /// Shows it before the task runs, too.
    pub fn while_pending(mut self) -> Self {
        self.while_pending = true;
        self
    }

    /// Takes it away when the task has ended.
    pub fn until_finished(mut self) -> Self {
        self.until_finished = true;
        self
    }
}

/// How a job is. A job that failed is a resource; an [`Error`] says that the *call* went wrong.
///
/// ```
/// use agenthost::{Phase, Resource};
///
/// let running = Resource::running("40 %").with_link("Console", "https://example.com/1").with_info("rows", 3);
/// let failed = Resource::failed("no such table").with_user_error("BadSQL");
/// # assert_eq!((running.phase(), failed.phase()), (Phase::Running, Phase::Failed));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Resource {
    phase: Phase,
    message: String,
    outputs: Option<Outputs>,
    types: OutputTypes,
    links: Vec<Link>,
    info: BTreeMap<String, serde_json::Value>,
    code: Option<String>,
    kind: ErrorKind,
}

impl Resource {
    fn of(phase: Phase, message: impl fmt::Display) -> Self {
        Resource { phase, message: message.to_string(), ..Default::default() }
    }

    /// It waits for its turn.
    pub fn queued(message: impl fmt::Display) -> Self {
        Self::of(Phase::Queued, message)
    }

    /// It waits for a machine, a warehouse, a quota.
    pub fn waiting_for_resources(message: impl fmt::Display) -> Self {
        Self::of(Phase::WaitingForResources, message)
    }

    /// It is about to run.
    pub fn initializing(message: impl fmt::Display) -> Self {
        Self::of(Phase::Initializing, message)
    }

    /// It runs; the message says how far it is.
    pub fn running(message: impl fmt::Display) -> Self {
        Self::of(Phase::Running, message)
    }

    /// It is done. Without outputs where it wrote `outputs.pb` itself: `Outputs::new()`.
    pub fn succeeded(outputs: impl Into<Outputs>) -> Self {
        let outputs = outputs.into();
        let outputs = if outputs == Outputs::default() { None } else { Some(outputs) };
        Resource { phase: Phase::Succeeded, outputs, ..Default::default() }
    }

    /// It failed, and a repetition would fail too.
    pub fn failed(message: impl fmt::Display) -> Self {
        Self::of(Phase::Failed, message)
    }

    /// It failed, and a repetition may help: spends one of the task's retries.
    pub fn retryable_failed(message: impl fmt::Display) -> Self {
        Self::of(Phase::RetryableFailed, message)
    }

    /// It was ended by somebody.
    pub fn aborted(message: impl fmt::Display) -> Self {
        Self::of(Phase::Aborted, message)
    }

    /// Says more to people.
    pub fn with_message(mut self, message: impl fmt::Display) -> Self {
        self.message = message.to_string();
        self
    }

    /// Adds a link that Flyte's console shows.
    pub fn with_link(self, name: impl Into<String>, url: impl Into<String>) -> Self {
        self.with_link_of(Link::new(name, url))
    }

    /// Adds a link that says when it is shown.
    pub fn with_link_of(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    /// Adds a fact, which Flyte shows as custom info.
    pub fn with_info(mut self, key: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.info.insert(key.into(), value.into());
        self
    }

    /// Says how far it is: a fraction from 0 to 1, and in words, such as `4 of 10 files`. The message becomes `40%: 4 of 10 files`, and the
    /// custom info has the fraction as `progress`.
    pub fn with_progress(mut self, fraction: f64, text: impl fmt::Display) -> Self {
        let fraction = if fraction > 0.0 { fraction.min(1.0) } else { 0.0 }; // NaN, too
        self.message = format!("{:.0}%", (fraction * 100.0 + 1e-9).floor());
        let text = text.to_string();
        if !text.is_empty() {
            self.message += &format!(": {text}");
        }
        self.with_info("progress", fraction)
    }

    /// Gives a failure its code, such as `Expired`, where it is open whose fault it is. The code leads the message, because
    /// Flyte drops codes of polled jobs.
    pub fn with_code(self, code: impl Into<String>) -> Self {
        self.with_error(code, ErrorKind::Unknown)
    }

    /// Gives a failure that the task's author can mend its code, such as `BadSQL`.
    pub fn with_user_error(self, code: impl Into<String>) -> Self {
        self.with_error(code, ErrorKind::User)
    }

    /// Gives a failure that the task's author cannot mend its code, such as `QuotaExceeded`.
    pub fn with_system_error(self, code: impl Into<String>) -> Self {
        self.with_error(code, ErrorKind::System)
    }

    fn with_error(mut self, code: impl Into<String>, kind: ErrorKind) -> Self {
        self.code = Some(code.into());
        self.kind = kind;
        self
    }

    /// Says which types the outputs are declared with: an int becomes a float where the task says so, and a name that is missing or
    /// not declared fails the job. Sync agents need not; an async agent keeps [`Task::output_types`](crate::Task::output_types) in its
    /// metadata.
    pub fn with_output_types(mut self, types: impl Into<OutputTypes>) -> Self {
        self.types = types.into();
        self
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What is said to people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The outputs.
    pub fn outputs(&self) -> Option<&Outputs> {
        self.outputs.as_ref()
    }

    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed | Phase::Aborted | Phase::RetryableFailed)
    }

    /// What a poll is answered with. Outputs that do not fit would not at the next one either: the job has failed.
    pub(crate) fn polled(self) -> Result<Wire> {
        let wrong = match self.wire(&OutputTypes::default()) {
            Ok(wire) => return Ok(wire),
            Err(error) => error,
        };
        Self::failed(wrong.message()).with_system_error("BadOutputs").wire(&OutputTypes::default())
    }

    /// The message that crosses the wire.
    pub(crate) fn wire(self, declared: &OutputTypes) -> Result<Wire> {
        let types = if self.types.is_empty() { declared } else { &self.types };
        let outputs = self.outputs.as_ref().map(|outputs| literals(outputs, types)).transpose()?;
        let message = match &self.code {
            Some(code) if !self.message.starts_with(code.as_str()) => {
                format!("{code}: {}", self.message)
            }
            _ => self.message,
        };
        let kind = if self.phase == Phase::RetryableFailed {
            agent_error::Kind::Recoverable
        } else {
            agent_error::Kind::NonRecoverable
        };
        let origin = self.kind;
        let link = |link: Link| TaskLog {
            name: link.name,
            uri: link.url,
            show_while_pending: link.while_pending,
            hide_once_finished: link.until_finished,
            message_format: task_log::MessageFormat::Unknown.into(),
            ..Default::default()
        };
        Ok(Wire {
            phase: self.phase.into(),
            message: bounded(message),
            outputs,
            log_links: self.links.into_iter().map(link).collect(),
            custom_info: (!self.info.is_empty()).then(|| to_struct(self.info)),
            agent_error: self.code.map(|code| AgentError { code, kind: kind.into(), origin: origin.into() }),
            ..Default::default()
        })
    }
}

fn literals(outputs: &Outputs, types: &OutputTypes) -> Result<LiteralMap> {
    let mut declared: Vec<_> = types.keys().map(String::as_str).collect();
    declared.sort_unstable();
    if let Some(missing) = declared.iter().find(|name| outputs.get(name).is_none()) {
        return Err(Error::internal(format!("output {missing:?} is declared but missing")));
    }
    let literal = |(name, value): (&String, &Value)| {
        if !types.is_empty() && !types.contains_key(name) {
            let declared = declared.join(", ");
            return Err(Error::internal(format!("output {name:?} is not one that the task declares: {declared}")));
        }
        match encode(value, types.get(name)) {
            Ok(literal) => Ok((name.clone(), literal)),
            Err(error) => Err(Error::internal(format!("output {name:?} {error}"))),
        }
    };
    Ok(LiteralMap { literals: outputs.0.iter().map(literal).collect::<Result<_>>()? })
}
