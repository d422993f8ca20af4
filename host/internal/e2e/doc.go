// Package e2e has no code of its own: its tests run the whole of agenthost, as users run it. They build the host and the
// plugins, start `agenthost serve` on them, and drive it with the model of Flyte in host/internal/propeller.
package e2e
