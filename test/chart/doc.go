// Package chart holds charts/agenthost to what it promises, without a cluster: it renders the chart with Helm's own library, and
// decodes what comes out strictly as the API server's types.
package chart
