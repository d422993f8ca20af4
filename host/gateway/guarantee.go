package gateway

import (
	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
)

// acted counts that guarantees saved a call for a route.
func (g *Gateway) acted(found route.Route, acted ...guarantee.ID) {
	g.actedAll(found, guarantee.SetOf(acted...))
}

func (g *Gateway) actedAll(found route.Route, acted guarantee.Set) {
	acted.Each(func(id guarantee.ID) {
		g.metrics.guarantees.WithLabelValues(id.String(), found.Target.Plugin(), found.Category.Name).Inc()
	})
}
