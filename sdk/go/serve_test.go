package agent_test

const pluginMode = "SDK_TEST_PLUGIN"

func servePlugin(mode string) {}
