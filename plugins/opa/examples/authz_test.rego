package flyte.authz_test

import data.flyte.authz

grants := {"flights": {"read": ["s3://lake/flights"], "write": ["s3://lake/flights"]}}

ask(dataset, action) := {
	"inputs": {"dataset": dataset},
	"action": action,
	"execution": {"project": "flights", "domain": "development"},
	"identity": {"k8s_service_account": "default"},
}

test_granted if {
	authz.decision == {"allow": true, "reasons": set()} with input as ask("s3://lake/flights", "read")
		with data.grants as grants
}

test_other_datasets_are_denied_by_name if {
	authz.deny == {"project flights may not read s3://lake/salaries"} with input as ask("s3://lake/salaries", "read")
		with data.grants as grants
}

test_strangers_are_denied if {
	not authz.allow with input as object.union(ask("s3://lake/flights", "read"), {"execution": {"project": "other"}})
		with data.grants as grants
}

test_production_is_written_by_pipelines if {
	production := object.union(ask("s3://lake/flights", "write"), {"execution": {"domain": "production"}})
	count(authz.deny) == 1 with input as production with data.grants as grants
	pipelines := object.union(production, {"identity": {"k8s_service_account": "pipelines"}})
	authz.allow with input as pipelines with data.grants as grants
}

test_no_dataset_is_denied if {
	not authz.allow with input as object.remove(ask("", "read"), ["inputs"]) with data.grants as grants
}
