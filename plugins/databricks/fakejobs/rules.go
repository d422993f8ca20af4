package fakejobs

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// checkRules says what in a submission of the right shape the API would not take.
func checkRules(body map[string]any) error {
	if token := text(body["idempotency_token"]); utf8.RuneCountInString(token) > 64 {
		return fmt.Errorf("idempotency_token must have at most 64 characters, got %d", len(token))
	}
	if len(text(body["run_name"])) > 4096 {
		return fmt.Errorf("run_name must have at most 4096 bytes")
	}
	if err := checkGitSource(body["git_source"]); err != nil {
		return err
	}
	environments, err := environmentKeys(body["environments"])
	if err != nil {
		return err
	}
	tasks, err := tasksOf(body)
	if err != nil {
		return err
	}
	for _, task := range tasks {
		if err := checkTask(task, body["git_source"] != nil, environments); err != nil {
			return fmt.Errorf("task %s: %w", text(task["task_key"]), err)
		}
	}
	return nil
}

// onlyRun are the fields of a submission that are no task's.
var onlyRun = []string{
	"access_control_list", "budget_policy_id", "email_notifications", "environments", "git_source", "health",
	"idempotency_token", "notification_settings", "queue", "run_as", "run_name", "tasks", "timeout_seconds", "webhook_notifications",
}

var taskKey = regexp.MustCompile(`^[\w-]{1,100}$`)

// tasksOf returns the tasks of both forms of a submission.
func tasksOf(body map[string]any) ([]map[string]any, error) {
	single := maps.Clone(body)
	for _, name := range onlyRun {
		delete(single, name)
	}
	items, _ := body["tasks"].([]any)
	switch {
	case len(items) > 0 && len(single) > 0:
		return nil, fmt.Errorf("%s must be in the tasks, since there are tasks", slices.Sorted(maps.Keys(single))[0])
	case len(items) == 0 && len(single) == 0:
		return nil, fmt.Errorf("at least one task must be given")
	case len(items) == 0:
		single["task_key"] = "single"
		return []map[string]any{single}, nil
	}
	var tasks []map[string]any
	seen := map[string]bool{}
	for i, item := range items {
		task := item.(map[string]any) //nolint:forcetypeassert // the shape was checked before
		key := text(task["task_key"])
		if !taskKey.MatchString(key) {
			return nil, fmt.Errorf("tasks[%d].task_key is required: 1 to 100 letters, digits, _ and -, got %q", i, key)
		}
		if seen[key] {
			return nil, fmt.Errorf("tasks[%d].task_key %q is not unique", i, key)
		}
		seen[key] = true
		tasks = append(tasks, task)
	}
	return tasks, nil
}

func checkTask(task map[string]any, git bool, environments map[string]bool) error {
	var kinds []string
	for name := range task {
		if strings.HasSuffix(name, "_task") && task[name] != nil {
			kinds = append(kinds, name)
		}
	}
	if len(kinds) != 1 {
		return fmt.Errorf("exactly one kind of task must be given, got %v", kinds)
	}
	if err := checkCompute(task, kinds[0], environments); err != nil {
		return err
	}
	details, _ := task[kinds[0]].(map[string]any)
	switch kinds[0] {
	case "spark_python_task":
		return checkFile(details, "python_file", git)
	case "notebook_task":
		return checkFile(details, "notebook_path", git)
	case "condition_task":
		return checkCondition(details)
	}
	return nil
}

func checkCondition(details map[string]any) error {
	for _, field := range []string{"op", "left", "right"} {
		if details[field] == nil {
			return fmt.Errorf("condition_task.%s is required", field)
		}
	}
	return nil
}

func checkCompute(task map[string]any, kind string, environments map[string]bool) error {
	var given []string
	for _, name := range []string{"existing_cluster_id", "new_cluster", "environment_key"} {
		if task[name] != nil {
			given = append(given, name)
		}
	}
	switch {
	case len(given) > 1:
		return fmt.Errorf("only one of %s may be given", strings.Join(given, ", "))
	case len(given) == 0 && kind == "notebook_task":
		return nil // serverless, with the notebook's own environment
	case len(given) == 0 && kind == "condition_task":
		return nil // it takes none
	case len(given) == 0:
		return fmt.Errorf("one of existing_cluster_id, new_cluster, environment_key must be given")
	}
	if key := text(task["environment_key"]); key != "" && !environments[key] {
		return fmt.Errorf("environment_key %q is not one of the environments", key)
	}
	if cluster, ok := task["new_cluster"].(map[string]any); ok {
		return checkCluster(cluster)
	}
	return nil
}

func checkCluster(cluster map[string]any) error {
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return cluster[name] != nil && cluster[name] != "" })
	}
	switch {
	case !has("spark_version"):
		return fmt.Errorf("new_cluster.spark_version is required")
	case !has("node_type_id", "instance_pool_id", "policy_id"):
		return fmt.Errorf("new_cluster needs a node_type_id, an instance_pool_id or a policy_id")
	case has("num_workers") && has("autoscale"):
		return fmt.Errorf("new_cluster.num_workers and new_cluster.autoscale exclude each other")
	case !has("num_workers", "autoscale", "policy_id", "is_single_node"):
		return fmt.Errorf("new_cluster needs num_workers or autoscale")
	}
	if image, ok := cluster["docker_image"].(map[string]any); ok && text(image["url"]) == "" {
		return fmt.Errorf("new_cluster.docker_image.url is required")
	}
	return nil
}

// checkFile checks where a program comes from: relative in a repository, else absolute or a URI.
func checkFile(task map[string]any, field string, git bool) error {
	path, source := text(task[field]), text(task["source"])
	fromGit := source == "GIT" || source == "" && git && field == "notebook_path"
	switch {
	case path == "":
		return fmt.Errorf("%s is required", field)
	case fromGit && !git:
		return fmt.Errorf("source is GIT, but there is no git_source")
	case fromGit && strings.HasPrefix(path, "/"):
		return fmt.Errorf("%s must be relative in a repository, got %s", field, path)
	case !fromGit && !strings.HasPrefix(path, "/") && !strings.Contains(path, ":/"):
		return fmt.Errorf("%s must be absolute, got %s", field, path)
	}
	return nil
}

func checkGitSource(value any) error {
	source, given := value.(map[string]any)
	if !given {
		return nil
	}
	revisions := 0
	for _, name := range []string{"git_branch", "git_tag", "git_commit"} {
		if source[name] != nil {
			revisions++
		}
	}
	switch {
	case text(source["git_url"]) == "":
		return fmt.Errorf("git_source.git_url is required")
	case text(source["git_provider"]) == "":
		return fmt.Errorf("git_source.git_provider is required")
	case revisions != 1:
		return fmt.Errorf("git_source needs exactly one of git_branch, git_tag, git_commit")
	}
	return nil
}

func environmentKeys(value any) (map[string]bool, error) {
	items, _ := value.([]any)
	keys := map[string]bool{}
	for i, item := range items {
		environment, _ := item.(map[string]any)
		key := text(environment["environment_key"])
		spec, _ := environment["spec"].(map[string]any)
		switch {
		case key == "":
			return nil, fmt.Errorf("environments[%d].environment_key is required", i)
		case keys[key]:
			return nil, fmt.Errorf("environments[%d].environment_key %q is not unique", i, key)
		case text(spec["client"]) == "" && text(spec["environment_version"]) == "":
			return nil, fmt.Errorf("environments[%d].spec needs a client or an environment_version", i)
		}
		keys[key] = true
	}
	return keys, nil
}

func text(value any) string {
	s, _ := value.(string)
	return s
}
