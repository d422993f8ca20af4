//! Which agent handles which task category.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tonic::Status;

use crate::agent::Kind;
use crate::apart::Apart;
use crate::category::Category;
use crate::contract::flyteidl::admin::{Agent, TaskCategory};

#[derive(Clone)]
pub(crate) struct Registered {
    pub name: String,
    pub categories: Vec<Category>,
    pub kind: Kind,
    pub idempotent_create: bool,
    pub apart: Arc<Apart>,
}

impl Registered {
    pub fn is_sync(&self) -> bool {
        matches!(self.kind, Kind::Sync(_))
    }

    /// Whether it finds jobs by their key.
    pub fn finds(&self) -> bool {
        matches!(&self.kind, Kind::Async(agent) if agent.finds())
    }
}

#[derive(Default)]
pub(crate) struct Registry {
    agents: Vec<Registered>,
    by_name: BTreeMap<String, BTreeMap<i32, usize>>,
}

impl Registry {
    /// Adds an agent, or says what it contradicts.
    pub fn add(&mut self, agent: Registered) -> Result<(), String> {
        let is_sync = agent.is_sync();
        if self.agents.iter().any(|other| other.name == agent.name && other.is_sync() != is_sync) {
            return Err(format!("agent {} is registered as sync and as async: give them two names", agent.name));
        }
        for category in &agent.categories {
            if category.name.is_empty() {
                return Err(format!("agent {} has a task category without a name", agent.name));
            }
            let versions = self.by_name.entry(category.name.clone()).or_default();
            if let Some(&other) = versions.get(&category.version) {
                return Err(format!(
                    "agents {} and {} both handle task category {category}",
                    self.agents[other].name, agent.name
                ));
            }
            if let Some(&other) = versions.values().next()
                && other != self.agents.len()
                && self.agents[other].is_sync() != is_sync
            {
                return Err(format!(
                    "task category {} has agents of both kinds: Flyte keeps one kind a name",
                    category.name
                ));
            }
            versions.insert(category.version, self.agents.len());
        }
        self.agents.push(agent);
        Ok(())
    }

    pub fn agents(&self) -> &[Registered] {
        &self.agents
    }

    /// The agent for a category: of the exact version, or else of the highest one.
    pub fn find(&self, category: &Category) -> Result<&Registered, Status> {
        let found =
            self.by_name.get(&category.name).and_then(|v| v.get(&category.version).or_else(|| v.values().next_back()));
        let index = found.ok_or_else(|| {
            Status::not_found(format!("no agent here handles task category {category}: there are {}", self.names()))
        })?;
        Ok(&self.agents[*index])
    }

    fn names(&self) -> String {
        self.by_name.keys().cloned().collect::<Vec<_>>().join(", ")
    }

    /// The agents as Flyte hears of them, sorted by name. Within an agent the highest version of a category comes last, which is
    /// the one that Flyte 1 keeps.
    #[allow(deprecated)] // supported_task_types is what Flyte before 1.13 reads
    pub fn listed(&self) -> Vec<Agent> {
        #[derive(Default)]
        struct Named<'a> {
            is_sync: bool,
            categories: BTreeSet<(&'a str, i32)>,
        }
        let mut by_name: BTreeMap<&str, Named> = BTreeMap::new();
        for agent in &self.agents {
            let named = by_name.entry(&agent.name).or_default();
            named.is_sync = agent.is_sync();
            named.categories.extend(agent.categories.iter().map(|c| (c.name.as_str(), c.version)));
        }
        let listed = |(name, agents): (&str, Named)| {
            let mut types: Vec<String> = agents.categories.iter().map(|(name, _)| name.to_string()).collect();
            types.dedup();
            let category = |(name, version): (&str, i32)| TaskCategory { name: name.into(), version };
            Agent {
                name: name.into(),
                is_sync: agents.is_sync,
                supported_task_types: types,
                supported_task_categories: agents.categories.into_iter().map(category).collect(),
            }
        };
        by_name.into_iter().map(listed).collect()
    }
}
