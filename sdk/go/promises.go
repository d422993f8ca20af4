package agent

import (
	"slices"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// promises are the capabilities as Describe has them: for the plugin, and for single categories. What every asynchronous
// agent promises is the plugin's promise, so that hosts that know no others hear of it too.
func (s *Server) promises() (plugin []string, single []*pluginv1.CategoryCapabilities) {
	plugin = slices.Clone(s.capabilities)
	for _, registered := range s.registry.all {
		for _, capability := range registered.capabilities {
			if registered.async != nil && s.allPromise(capability) && !slices.Contains(plugin, capability) {
				plugin = append(plugin, capability)
			}
		}
	}
	for _, registered := range s.registry.all {
		left := slices.DeleteFunc(slices.Clone(registered.capabilities), func(c string) bool { return slices.Contains(plugin, c) })
		if len(left) == 0 {
			continue
		}
		for _, category := range registered.categories {
			single = append(single, &pluginv1.CategoryCapabilities{Name: category.Name, Version: category.Version, Capabilities: left})
		}
	}
	return plugin, single
}

func (s *Server) allPromise(capability string) bool {
	for _, registered := range s.registry.all {
		if registered.async != nil && !slices.Contains(registered.capabilities, capability) {
			return false
		}
	}
	return true
}
