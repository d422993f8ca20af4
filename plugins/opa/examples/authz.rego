# Who may use which dataset. The task says what it wants in inputs; who asks comes from Flyte and cannot be chosen by a task.
package flyte.authz

# For a task with on_deny "fail", and no more to say.
default allow := false

allow if count(deny) == 0

# With reasons: the task's policy is flyte/authz/decision.
decision := {"allow": allow, "reasons": deny}

# Or as a set of reasons against it: flyte/authz/deny, with decision "denials".
deny contains sprintf("nobody has granted project %s anything", [input.execution.project]) if {
	not data.grants[input.execution.project]
}

deny contains sprintf("project %s may not %s %s", [input.execution.project, action, input.inputs.dataset]) if {
	grants := data.grants[input.execution.project]
	not input.inputs.dataset in object.get(grants, action, [])
}

deny contains "production data is written by the service account pipelines only" if {
	input.execution.domain == "production"
	action == "write"
	object.get(input, ["identity", "k8s_service_account"], "") != "pipelines"
}

default action := "read"

action := input.action

# A task that names no dataset is not one that may have all of them.
deny contains "the task has no input dataset" if {
	not is_string(object.get(input, ["inputs", "dataset"], null))
}
