package flyteconfig

// native is a plugin of Flyte's own that serves task types an agent may serve, too.
type native struct {
	plugin string
	types  []string
}

// nativePlugins are those that FlytePropeller 1.14.1 and 1.16.8 are built with, as they register themselves.
var nativePlugins = []native{
	{"athena", []string{"hive", "presto"}},
	{"aws_array", []string{"container_array", "aws-batch"}},
	{"bigquery", []string{"bigquery_query_job_task"}},
	{"container", []string{"container", "python-task", "raw-container"}},
	{"dask", []string{"dask"}},
	{"databricks", []string{"spark"}},
	{"echo", []string{"echo"}},
	{"k8s-array", []string{"container_array"}},
	{"mpi", []string{"mpi"}},
	{"pod", []string{"container", "python-task", "raw-container", "sidecar"}},
	{"pytorch", []string{"pytorch"}},
	{"qubole-hive-executor", []string{"hive"}}, // not in 1.16 any more
	{"ray", []string{"ray"}},
	{"sidecar", []string{"sidecar"}},
	{"snowflake", []string{"snowflake"}},
	{"spark", []string{"spark"}},
	{"tensorflow", []string{"tensorflow"}},
}

// nativePlugins2 are those of Flyte 2.0.43, all of which are always there.
var nativePlugins2 = []native{
	{"clustered-task", []string{"clustered-task"}},
	{"container", []string{"container", "python", "raw-container"}},
	{"core-sleep", []string{"core-sleep"}},
	{"dask", []string{"dask"}},
	{"mpi", []string{"mpi"}},
	{"pod", []string{"container", "python", "raw-container", "sidecar"}},
	{"pytorch", []string{"pytorch"}},
	{"ray", []string{"ray"}},
	{"sidecar", []string{"sidecar"}},
	{"spark", []string{"spark"}},
	{"tensorflow", []string{"tensorflow"}},
}

// owners are the plugins of Flyte's own that serve a task type.
func (f Flyte) owners(taskType string) []string {
	plugins := nativePlugins
	if f.Two() {
		plugins = nativePlugins2
	}
	var found []string
	for _, p := range plugins {
		for _, served := range p.types {
			if served == taskType {
				found = append(found, p.plugin)
			}
		}
	}
	return found
}
