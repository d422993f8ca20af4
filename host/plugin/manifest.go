package plugin

// Manifest is what a plugin said of itself when it started. It never changes in the life of an instance.
type Manifest struct {
	// Name and Version are the plugin's own, from Describe; for a plugin without Describe, the name in the
	// configuration and an empty version.
	Name, Version string
	// SDK is what the plugin was built with, such as "agenthost-go 0.1.0 (go1.26)"; empty where it did not say.
	SDK string
	// Capabilities are what the plugin promises beyond the contract, such as "idempotent_create", for all its categories.
	Capabilities []string
	// CategoryCapabilities are what it promises for single categories in addition.
	CategoryCapabilities map[Category][]string
	// ConfigSchema is the JSON Schema of the plugin's `config:` block; empty where it takes none or did not say.
	ConfigSchema string
	// Agents are never empty, in the order in which the plugin listed them.
	Agents []Agent
}

// Agent is one agent of a plugin.
type Agent struct {
	Name string
	// Sync agents answer ExecuteTaskSync, the others the asynchronous calls.
	Sync bool
	// Categories are what the agent handles; never empty.
	Categories []Category
	// ByTaskType says that the agent listed only the deprecated supported_task_types: it routes by task_type.
	ByTaskType bool
}

// Category is Flyte's task category: what a call is routed by.
type Category struct {
	Name    string
	Version int32
}
