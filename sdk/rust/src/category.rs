//! What calls are routed by, and how an agent is registered for it.

use std::fmt;

/// A kind of task: its type, and the version of the type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Category {
    /// The task type, such as `warehouse_query`.
    pub name: String,
    /// Its version, mostly 0.
    pub version: i32,
}

impl Category {
    /// A task type at a version.
    pub fn new(name: impl Into<String>, version: i32) -> Self {
        Category { name: name.into(), version }
    }
}

impl From<&str> for Category {
    fn from(name: &str) -> Self {
        Category::new(name, 0)
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} version {}", self.name, self.version)
    }
}

/// How an agent is registered: for which categories, under which name, with which promise.
///
/// ```
/// use agenthost::{Category, Registration};
///
/// // Both versions of a task type, listed under one name; its creations may be repeated.
/// let both = Registration::new("warehouse_query")
///     .also(Category::new("warehouse_query", 2))
///     .named("warehouse")
///     .idempotent_create();
/// # assert_eq!(both.categories().len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub(crate) categories: Vec<Category>,
    pub(crate) name: Option<String>,
    pub(crate) idempotent_create: bool,
}

impl Registration {
    /// For one category: a task type at version 0, or a [`Category`].
    pub fn new(category: impl Into<Category>) -> Self {
        Registration { categories: vec![category.into()], name: None, idempotent_create: false }
    }

    /// For one category more.
    pub fn also(mut self, category: impl Into<Category>) -> Self {
        self.categories.push(category.into());
        self
    }

    /// Names the agent in ListAgents and in errors; otherwise it is called as its first category. Registrations of one name are
    /// listed as one agent.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Promises that two `create` calls with one [`idempotency_key`](crate::Task::idempotency_key) make one job: then the host
    /// may repeat a call whose answer was lost in a crash.
    pub fn idempotent_create(mut self) -> Self {
        self.idempotent_create = true;
        self
    }

    /// What the agent is registered for.
    pub fn categories(&self) -> &[Category] {
        &self.categories
    }
}

impl From<&str> for Registration {
    fn from(task_type: &str) -> Self {
        Registration::new(task_type)
    }
}

impl From<Category> for Registration {
    fn from(category: Category) -> Self {
        Registration::new(category)
    }
}
