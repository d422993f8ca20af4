package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/state"
)

// keepInterval is how often the host looks after its files. What cleans up by age counts in days.
const keepInterval = time.Minute

// keepFiles keeps the host's directories from those who clean up after others, until ctx ends.
func keepFiles(ctx context.Context, runRoot *process.RunRoot, stateDir *state.Dir, log *slog.Logger) {
	ticker := time.NewTicker(keepInterval)
	defer ticker.Stop()
	told := ""
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		remade, err := runRoot.Keep()
		if len(remade) > 0 {
			log.Warn("somebody removed files of this host, which has made them anew: exclude run_dir from what cleans up there", "files", remade)
		}
		if err == nil {
			err = stateDir.Keep()
		}
		trouble := ""
		if err != nil {
			trouble = err.Error()
		}
		if trouble != told && trouble != "" {
			log.Error("the host's files cannot be kept; plugins may not start", "error", err)
		}
		told = trouble
	}
}
