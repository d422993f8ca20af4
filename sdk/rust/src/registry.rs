//! Which agent handles which task category.

use std::collections::BTreeMap;

use tonic::Status;

use crate::agent::Kind;
use crate::contract::flyteidl::admin::{Agent, TaskCategory};
use crate::plugin::Category;

#[derive(Clone)]
pub(crate) struct Registered {
    pub name: String,
    pub categories: Vec<Category>,
    pub kind: Kind,
}

#[derive(Default)]
pub(crate) struct Registry {
    agents: Vec<Registered>,
    by_name: BTreeMap<String, BTreeMap<i32, usize>>,
}

impl Registry {
    /// Adds an agent, or says what it contradicts.
    pub fn add(&mut self, agent: Registered) -> Result<(), String> {
        let is_sync = matches!(agent.kind, Kind::Sync(_));
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
                && matches!(self.agents.get(other).map(|a| &a.kind), Some(Kind::Sync(_))) != is_sync
                && other != self.agents.len()
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

    /// The agents as Flyte hears of them.
    pub fn listed(&self) -> Vec<Agent> {
        self.agents
            .iter()
            .map(|agent| {
                let category = |c: &Category| TaskCategory { name: c.name.clone(), version: c.version };
                Agent {
                    name: agent.name.clone(),
                    is_sync: matches!(agent.kind, Kind::Sync(_)),
                    supported_task_categories: agent.categories.iter().map(category).collect(),
                    ..Default::default()
                }
            })
            .collect()
    }
}
