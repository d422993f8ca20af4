//! What an attempt is called.

use ring::digest::{Context, SHA256};

use crate::contract::flyteidl::core::TaskExecutionIdentifier;

/// Names a task attempt as the host does, for callers that did not send its name: the SHA-256 of ten fields, each with its length
/// before it. Empty where there is no execution.
pub(crate) fn idempotency_key(id: Option<&TaskExecutionIdentifier>, output_prefix: &str) -> String {
    let id = id.cloned().unwrap_or_default();
    let node = id.node_execution_id.unwrap_or_default();
    let execution = node.execution_id.unwrap_or_default();
    let task = id.task_id.unwrap_or_default();
    if execution.name.is_empty() {
        return String::new();
    }
    let retry = id.retry_attempt.to_string();
    let mut hash = Context::new(&SHA256);
    for field in [
        // The execution, the node in its workflow, the task, and which try it is.
        &execution.project,
        &execution.domain,
        &execution.name,
        &node.node_id,
        &task.project,
        &task.domain,
        &task.name,
        &task.version,
        &retry,
        output_prefix,
    ] {
        hash.update(&u32::try_from(field.len()).expect("a field of less than 4 GiB").to_be_bytes());
        hash.update(field.as_bytes());
    }
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::idempotency_key;
    use crate::contract::flyteidl::core::{
        Identifier, NodeExecutionIdentifier, TaskExecutionIdentifier, WorkflowExecutionIdentifier,
    };

    #[derive(Deserialize)]
    struct Golden {
        name: String,
        execution: Execution,
        node: String,
        task: Task,
        retry_attempt: u32,
        output_prefix: String,
        key: String,
    }

    #[derive(Deserialize)]
    struct Execution {
        project: String,
        domain: String,
        name: String,
    }

    #[derive(Deserialize)]
    struct Task {
        project: String,
        domain: String,
        name: String,
        version: String,
    }

    /// Hosts and the SDKs of all languages agree on the keys: the contract has them in one file.
    #[test]
    fn idempotency_keys_are_those_of_the_contract() {
        let cases: Vec<Golden> = serde_json::from_str(include_str!("../tests/idempotency_keys.json")).unwrap();
        assert!(cases.len() >= 12, "there are {} cases", cases.len());
        for case in cases {
            let execution = WorkflowExecutionIdentifier {
                project: case.execution.project,
                domain: case.execution.domain,
                name: case.execution.name,
                ..Default::default()
            };
            let task = Identifier {
                project: case.task.project,
                domain: case.task.domain,
                name: case.task.name,
                version: case.task.version,
                ..Default::default()
            };
            let id = TaskExecutionIdentifier {
                task_id: Some(task),
                node_execution_id: Some(NodeExecutionIdentifier { node_id: case.node, execution_id: Some(execution) }),
                retry_attempt: case.retry_attempt,
            };
            assert_eq!(idempotency_key(Some(&id), &case.output_prefix), case.key, "{}", case.name);
        }
        assert_eq!(idempotency_key(None, "s3://b/p"), "");
    }
}
