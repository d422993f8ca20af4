// Package badplugin is one program with many characters: a plugin as it should be, and plugins that misbehave in every
// way that has been seen. Tests launch it as a real subprocess, by running their own binary again:
//
//	func TestMain(m *testing.M) {
//		badplugin.Main() // does not return in the subprocess
//		goleak.VerifyTestMain(m)
//	}
//
//	spec := plugin.Spec{Name: "echo", Command: badplugin.Command("good", "-agents", "echo:async:echo_task@1")}
//
// `good` and everything that gets as far as serving is written with go-plugin's own Serve, so that what the host is held
// against is the real peer. What its agents do is scripted by the task that they get: see Script.
package badplugin
