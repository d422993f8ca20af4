package gateway

import (
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
)

// record counts that guarantees saved a call for a route.
func (g *Gateway) record(r route.Route, applied ...guarantee.ID) {
	g.recordAll(r, guarantee.SetOf(applied...))
}

func (g *Gateway) recordAll(r route.Route, applied guarantee.Set) {
	applied.Each(func(id guarantee.ID) {
		g.metrics.guarantees.WithLabelValues(id.String(), r.Target.Plugin(), r.Category.Name).Inc()
	})
}
