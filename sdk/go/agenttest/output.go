package agenttest

type output struct{}
