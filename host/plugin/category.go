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

// FindByKey says that the plugin finds the category's jobs by the idempotency key, and gives attempts up.
func (m Manifest) FindByKey(c Category) bool { return m.promises(c, pluginv1.CapabilityFindByKey) }

// KeepsUnclaimed says that the category's jobs are not deleted when nobody got the answer to their creation.
func (m Manifest) KeepsUnclaimed(c Category) bool {
	return m.promises(c, pluginv1.CapabilityKeepUnclaimed)
}

// IdempotentCreate says that the plugin makes one job of all CreateTask calls for the category with one idempotency key.
func (m Manifest) IdempotentCreate(c Category) bool {
	return m.promises(c, pluginv1.CapabilityIdempotentCreate)
}

// RereadsSecrets says that the plugin reads a secret's file whenever it needs the secret.
func (m Manifest) RereadsSecrets() bool {
	return slices.Contains(m.Capabilities, pluginv1.CapabilityRereadsSecrets)
}

func (m Manifest) promises(c Category, capability string) bool {
	return slices.Contains(m.Capabilities, capability) || slices.Contains(m.CategoryCapabilities[c], capability)
}
