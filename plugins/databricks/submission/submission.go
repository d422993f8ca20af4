// Package submission makes the body of a runs/submit request from a task's template, key by key as flytekit's own
// connector does. It knows neither Flyte's services nor Databricks'.
package submission

import (
	"errors"
	"fmt"
	"maps"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// The program that flytekit's tasks are started by, unless they name one.
const (
	entrypointURL        = "https://github.com/flyteorg/flytetools"
	entrypointProvider   = "gitHub"
	entrypointCommit     = "572298df1f971fb58c258398bd70a6372f811c96"
	entrypoint           = "flytekitplugins/databricks/entrypoint.py"
	entrypointServerless = "flytekitplugins/databricks/entrypoint_serverless.py"
)

// failOnError makes the entrypoint end with an error where the task did, so that the run fails and not only the task.
const failOnError = "FLYTE_FAIL_ON_ERROR"

// Task is what a run is made from. Body changes none of it.
type Task struct {
	// Conf is databricksConf: a runs/submit body, more or less. What is not named here goes through as it is.
	Conf map[string]any
	// SparkConf is the conf of a new cluster that has none.
	SparkConf map[string]any
	// NotebookPath, where there is one, is run in place of the container's command.
	NotebookPath       string
	NotebookParameters map[string]any
	// CredentialProvider is the name of Databricks' service credential that serverless code gets to storage by.
	CredentialProvider string
	Container          *core.Container
}

// Body returns the request's body.
func (t *Task) Body() (map[string]any, error) {
	kind, err := t.compute()
	if err != nil {
		return nil, err
	}
	if t.NotebookPath == "" && t.Container == nil {
		return nil, errors.New("the task has no container: its arguments are the program that Databricks runs")
	}
	body := maps.Clone(t.Conf)
	if t.NotebookPath != "" {
		return body, t.notebook(body, kind)
	}
	return body, t.pythonFile(body, kind)
}

type compute int

const (
	classic compute = iota
	serverless
)

func (t *Task) compute() (compute, error) {
	if t.Conf["existing_cluster_id"] != nil || t.Conf["new_cluster"] != nil {
		return classic, nil
	}
	if given(t.Conf["environment_key"]) || given(t.Conf["environments"]) {
		return serverless, nil
	}
	return 0, errors.New("databricks_conf names no compute: it needs one of existing_cluster_id, new_cluster, " +
		"environment_key (serverless) or environments (serverless)")
}

func (t *Task) pythonFile(body map[string]any, kind compute) error {
	program, parameters := entrypoint, append([]string{}, t.Container.GetArgs()...)
	if kind == serverless {
		program = entrypointServerless
		if t.CredentialProvider != "" {
			parameters = append(parameters, "--flyte-credential-provider="+t.CredentialProvider)
		}
	}
	task := map[string]any{"python_file": program, "source": "GIT", "parameters": parameters}
	if given(body["python_file"]) {
		task["python_file"] = body["python_file"]
	}
	if !given(body["git_source"]) {
		body["git_source"] = map[string]any{
			"git_url": entrypointURL, "git_provider": entrypointProvider, "git_commit": entrypointCommit,
		}
	}
	delete(body, "python_file")
	return t.place(body, kind, "flyte_task", "spark_python_task", task)
}

func (t *Task) notebook(body map[string]any, kind compute) error {
	task := map[string]any{"notebook_path": t.NotebookPath}
	if len(t.NotebookParameters) > 0 {
		task["base_parameters"] = t.NotebookParameters
	}
	if given(body["git_source"]) {
		task["source"] = "GIT"
	} else {
		delete(body, "git_source")
	}
	return t.place(body, kind, "flyte_notebook_task", "notebook_task", task)
}

// place puts the task into the body, with the compute that it runs on.
func (t *Task) place(body map[string]any, kind compute, key, field string, task map[string]any) error {
	if kind == classic {
		body[field] = task
		return t.newCluster(body)
	}
	environment, err := t.environment(body)
	body["tasks"] = []any{map[string]any{"task_key": key, field: task, "environment_key": environment}}
	return err
}

// newCluster completes a cluster that is made for the run. One that exists has its own image and variables.
func (t *Task) newCluster(body map[string]any) error {
	if body["existing_cluster_id"] != nil || body["new_cluster"] == nil {
		return nil
	}
	cluster, err := object(body["new_cluster"], "new_cluster")
	if err != nil {
		return err
	}
	variables, err := object(cluster["spark_env_vars"], "new_cluster.spark_env_vars")
	if err != nil {
		return err
	}
	if !given(cluster["docker_image"]) {
		cluster["docker_image"] = map[string]any{"url": t.Container.GetImage()}
	}
	if !given(cluster["spark_conf"]) {
		cluster["spark_conf"] = orEmpty(t.SparkConf)
	}
	maps.Copy(variables, t.variables())
	cluster["spark_env_vars"] = variables
	body["new_cluster"] = cluster
	return nil
}

// environment completes the serverless environment that the task runs in, and returns its key.
func (t *Task) environment(body map[string]any) (string, error) {
	key := "default"
	if named, ok := body["environment_key"]; ok {
		if key, ok = named.(string); !ok {
			return "", fmt.Errorf("databricks_conf.environment_key must be a string, got %v", named)
		}
	}
	delete(body, "environment_key")
	var environments []any
	if body["environments"] != nil {
		var ok bool
		if environments, ok = body["environments"].([]any); !ok {
			return "", errors.New("databricks_conf.environments must be a list")
		}
	}
	found := -1
	copies := make([]any, len(environments), len(environments)+1)
	for i, item := range environments {
		environment, err := object(item, fmt.Sprintf("environments[%d]", i))
		if err != nil {
			return "", err
		}
		copies[i] = environment
		if found < 0 && environment["environment_key"] == key {
			found = i
		}
	}
	if found < 0 {
		found = len(copies)
		copies = append(copies, map[string]any{"environment_key": key, "spec": map[string]any{"client": "1"}})
	}
	chosen := copies[found].(map[string]any)
	where := fmt.Sprintf("environments[%d].spec", found)
	spec, err := object(chosen["spec"], where)
	if err != nil {
		return "", err
	}
	variables, err := object(spec["environment_vars"], where+".environment_vars")
	if err != nil {
		return "", err
	}
	maps.Copy(variables, t.variables())
	spec["environment_vars"], chosen["spec"], body["environments"] = variables, spec, copies
	return key, nil
}

func (t *Task) variables() map[string]any {
	variables := map[string]any{}
	for _, pair := range t.Container.GetEnv() {
		variables[pair.GetKey()] = pair.GetValue()
	}
	variables[failOnError] = "true"
	return variables
}

// object returns a copy of a part of databricks_conf that must be an object; an empty one where there is none.
func object(value any, name string) (map[string]any, error) {
	if value == nil {
		return map[string]any{}, nil
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("databricks_conf.%s must be an object, got %T", name, value)
	}
	return orEmpty(maps.Clone(fields)), nil
}

func orEmpty(fields map[string]any) map[string]any {
	if fields == nil {
		return map[string]any{}
	}
	return fields
}

// given says whether a value is there, as Python takes it: an empty one is not.
func given(value any) bool {
	switch v := value.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case bool:
		return v
	case float64:
		return v != 0
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	}
	return true
}
