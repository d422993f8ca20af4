package plugin

import (
	"fmt"
	"slices"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// String is the category as people write it: "spark", and "spark v2" for a version other than 0.
func (c Category) String() string {
	if c.Version == 0 {
		return fmt.Sprintf("%q", c.Name)
	}
	return fmt.Sprintf("%q v%d", c.Name, c.Version)
}

// IdempotentCreate says that the plugin makes one job of all CreateTask calls for the category with one idempotency key.
func (m Manifest) IdempotentCreate(c Category) bool {
	return slices.Contains(m.Capabilities, pluginv1.CapabilityIdempotentCreate) ||
		slices.Contains(m.CategoryCapabilities[c], pluginv1.CapabilityIdempotentCreate)
}
