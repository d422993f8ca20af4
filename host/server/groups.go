package server

import (
	"log/slog"
	"path/filepath"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/process"
)

// openGroups makes the host's cgroups, named as its run directory is, and says what is missing of them.
func openGroups(runRoot *process.RunRoot, log *slog.Logger) *cgroup.Groups {
	groups := cgroup.Open(filepath.Base(runRoot.Path()))
	if groups.Complete() {
		log.Info("plugins get cgroups", "controllers", groups.String())
	} else {
		log.Warn("plugins are not limited by cgroups as they could be", "cgroups", groups.String())
	}
	return groups
}
