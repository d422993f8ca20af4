package gateway

import "github.com/agenthost/agenthost/host/guarantee"

// record counts that guarantees saved a call, and notes it with the call.
func (g *Gateway) record(c *routedCall, applied ...guarantee.ID) {
	g.recordAll(c, guarantee.SetOf(applied...))
}

func (g *Gateway) recordAll(c *routedCall, applied guarantee.Set) {
	c.note.save(applied)
	applied.Each(func(id guarantee.ID) {
		c.trace.Guarantee(id.String(), id.Name())
		g.metrics.guarantees.WithLabelValues(id.String(), c.route.Target.Plugin(), c.route.Category.Name).Inc()
	})
}
