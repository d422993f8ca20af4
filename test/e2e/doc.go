// Package e2e has no code of its own: its tests run the whole of agenthost, as users run it. They build the host and the
// plugins, start `agenthost serve` on them, and drive it with the model of Flyte in test/propeller.
//
// Go's test cache does not see what those programs, and the Python scripts beside this file, are made of. After a change
// of theirs run
//
//	go test -count=1 ./test/e2e/
package e2e
