package server

import (
	"log/slog"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/route"
)

func TestAnUpgradeWaitsForThePluginsOfTheConfigurationInEffect(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	plugins := fleet.New(fleet.Options{Routes: &route.Current{}, Log: log})
	h := &host{options: Options{Config: config.Default()}}
	h.reloader = newReloader(Options{Config: h.options.Config, Log: log}, plugins, notifier{log})
	if got := h.syncLimit(); got != syncReserve {
		t.Errorf("without a plugin it waits %v", got)
	}
	slow := config.DefaultPlugin()
	slow.Address, slow.StartTimeout = []string{"127.0.0.1:1"}, 10*time.Minute // where nobody listens
	changed := config.Default()
	changed.Plugins["slow"] = slow
	h.reloader.changed(changed, nil, byFile)
	if got := h.syncLimit(); got != 10*time.Minute+syncReserve {
		t.Errorf("with a slow one, of a reload, it waits %v", got)
	}
	plugins.Stop(t.Context())
}
