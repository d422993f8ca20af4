package agent

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// Connection is what Flyte 2 sends with a call so that an agent can reach the system it works for. Its secrets show
// themselves only through Secret; printing and logging it shows their names.
type Connection struct {
	// TaskType is the kind of task that the connection is for.
	TaskType string
	// Configs are its settings.
	Configs map[string]string

	secrets map[string]SecretValue
}

// Secret returns one of the connection's secrets. It is safe on a nil connection.
func (c *Connection) Secret(key string) (SecretValue, bool) {
	if c == nil {
		return SecretValue{}, false
	}
	value, ok := c.secrets[key]
	return value, ok
}

// String shows the connection without its secrets' values.
func (c *Connection) String() string {
	if c == nil {
		return "no connection"
	}
	return fmt.Sprintf("connection for %q, configs %v, secrets %v", c.TaskType, slices.Sorted(maps.Keys(c.Configs)), slices.Sorted(maps.Keys(c.secrets)))
}

// LogValue shows the connection as String does.
func (c *Connection) LogValue() slog.Value { return slog.StringValue(c.String()) }

// secret returns the connection's secret of that name, or else the plugin's.
func (c *Connection) secret(key string) (SecretValue, error) {
	if value, ok := c.Secret(key); ok {
		return value, nil
	}
	return Secret(key)
}
