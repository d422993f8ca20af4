package admin

// Waits is what an operation waits for, told every second while it does.
type Waits struct {
	// The plugins, by name; absent where it is a new host as a whole.
	Plugins []WaitedFor `json:"plugins,omitempty"`
	// For how long it has waited.
	Seconds float64 `json:"seconds"`
	// For how long it may wait for the slowest of them; absent where that is not known.
	LimitSeconds float64 `json:"limit_seconds,omitempty"`
}

// WaitedFor is a plugin that is waited for.
type WaitedFor struct {
	// The plugin's name.
	Name string `json:"name"`
	// The state of what is on its way, as in PluginStatus.
	State string `json:"state"`
	// How much of its image has come; absent while none is pulled.
	Pulling string `json:"pulling,omitempty"`
}
