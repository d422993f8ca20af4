package fleet

import (
	"context"
	"sync"

	"github.com/agenthost/agenthost/host/plugin"
)

// OwnMetrics is what one process of a plugin says of its own metrics, as text.
type OwnMetrics struct {
	Plugin, Generation string
	Instance           int
	Text               []byte
	Err                error // why it could not be asked
}

// Metrics asks the running processes of all plugins for their own metrics, all at once. Those that have none are not in it, nor
// are those that only drain.
func (f *Fleet) Metrics() []OwnMetrics {
	ctx, cancel := context.WithTimeout(context.Background(), plugin.MetricsWait)
	defer cancel()
	var (
		asked sync.WaitGroup
		mu    sync.Mutex
		all   []OwnMetrics
	)
	for _, supervisor := range f.all() {
		view := supervisor.view.Load()
		for _, g := range []*generation{view.current, view.canary} {
			if g == nil {
				continue
			}
			for _, slot := range *g.visible.Load() {
				slot.mu.Lock()
				running := slot.instance
				slot.mu.Unlock()
				if running == nil {
					continue
				}
				asked.Go(func() {
					text, err := running.Metrics(ctx)
					if text == nil && err == nil {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					all = append(all, OwnMetrics{Plugin: g.spec.Name, Generation: g.id, Instance: slot.number, Text: text, Err: err})
				})
			}
		}
	}
	asked.Wait()
	return all
}
