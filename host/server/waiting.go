package server

import (
	"context"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
)

const (
	// waitsEvery is how often those who wait for an operation are told what for.
	waitsEvery = time.Second
	// waitsLogged is how often the log says what the host waits for before it is ready.
	waitsLogged = 10 * time.Second
)

// waitsOf is what is on its way of the plugins; only leaves out others. There may be nothing.
func waitsOf(plugins *fleet.Fleet, settings *config.Config, began time.Time, only func(plugin string) bool) admin.Waits {
	waits := admin.Waits{Seconds: time.Since(began).Seconds()}
	pending := map[string]bool{}
	for _, s := range plugins.Standings() {
		pending[s.Plugin] = s.Stand == fleet.Pending && only(s.Plugin)
	}
	for _, s := range plugins.Status() {
		if !pending[s.Name] {
			continue
		}
		state := s.State
		if generations := len(s.Generations); generations > 0 { // the last is the newest
			state = s.Generations[generations-1].State
		}
		waits.Plugins = append(waits.Plugins, admin.WaitedFor{Name: s.Name, State: string(state), Pulling: s.Pulling})
		waits.LimitSeconds = max(waits.LimitSeconds, settings.Plugins[s.Name].StartTimeout.Seconds())
	}
	return waits
}

// tellWaits tells now and then what is waited for, where anything is, until stop is called.
func tellWaits(every time.Duration, look func() admin.Waits, tell func(admin.Waits)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var telling sync.WaitGroup
	telling.Go(func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				if waits := look(); len(waits.Plugins) > 0 || waits.LimitSeconds > 0 {
					tell(waits)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		telling.Wait()
	}
}

func everyPlugin(string) bool { return true }

// logWaits has the log say what the host waits for, until it is ready or stop is called.
func (h *host) logWaits() (stop func()) {
	began := time.Now()
	return tellWaits(waitsLogged, func() admin.Waits {
		if h.ready.Load() {
			return admin.Waits{}
		}
		return waitsOf(h.plugins, h.reloader.settings(), began, everyPlugin)
	}, func(waits admin.Waits) {
		names := make([]string, 0, len(waits.Plugins))
		for _, p := range waits.Plugins {
			names = append(names, p.Name+" ("+p.State+")")
		}
		h.options.Log.Info("agenthost waits for its plugins", "plugins", names, "waited", time.Since(began).Round(time.Second), "start_timeout", time.Duration(waits.LimitSeconds*float64(time.Second)))
	})
}
