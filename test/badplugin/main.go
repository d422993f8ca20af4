package badplugin

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// marker is the first argument of a test binary that is to be a plugin.
const marker = "agenthost-badplugin"

// Command is the command line that makes the running test binary a plugin of the given mode. Flags follow in args.
func Command(mode string, args ...string) []string {
	self, err := os.Executable()
	if err != nil {
		panic(err) // a test binary that does not know where it is cannot test anything
	}
	return append([]string{self, marker, mode}, args...)
}

// Main makes this process a plugin, and ends it, if it was started by Command. Otherwise it does nothing.
func Main() {
	if len(os.Args) < 3 || os.Args[1] != marker {
		return
	}
	mode, args := os.Args[2], os.Args[3:]
	modes := allModes()
	run, ok := modes[mode]
	if !ok {
		fmt.Fprintf(os.Stderr, "badplugin: no mode %q; there are %s\n", mode, strings.Join(Modes(), ", "))
		os.Exit(2)
	}
	opts := &options{}
	opts.flags().Parse(args) //nolint:errcheck // it exits
	run(opts)
	os.Exit(0)
}

// Modes are the names of all modes, sorted.
func Modes() []string { return slices.Sorted(maps.Keys(allModes())) }

func allModes() map[string]func(*options) {
	all := maps.Clone(modes)
	maps.Copy(all, contractModes)
	maps.Copy(all, exchangeModes)
	return all
}

// options are the flags of all modes. Each mode looks at those that concern it.
type options struct {
	agents       string
	byTaskType   bool
	name         string
	version      string
	capabilities string
	schema       string
	record       string
	script       string
	strict       bool

	code   int
	text   string
	delay  time.Duration
	calls  int
	block  int
	setsid bool
}

func (o *options) flags() *flag.FlagSet {
	flags := flag.NewFlagSet(marker, flag.ExitOnError)
	flags.StringVar(&o.agents, "agents", "echo:async:echo_task;echo_sync:sync:echo_sync_task",
		"agents, as name:async|sync:category[@version],…;…")
	flags.BoolVar(&o.byTaskType, "by-task-type", false, "list only the deprecated supported_task_types")
	flags.StringVar(&o.name, "name", "badplugin", "name in Describe")
	flags.StringVar(&o.version, "version", "1.2.3", "version in Describe")
	flags.StringVar(&o.capabilities, "capabilities", "", "capabilities in Describe, comma-separated; as category=capability for one category at version 0")
	flags.StringVar(&o.schema, "schema", "", "config schema in Describe")
	flags.StringVar(&o.record, "record", "", "file to which every message received is appended; see ReadRecords")
	flags.StringVar(&o.script, "script", "", "a Script as JSON, merged over that of every task")
	flags.BoolVar(&o.strict, "strict", false, "refuse task categories that are not listed, and unknown keys of the configuration (the only one is threads)")
	flags.IntVar(&o.code, "code", 3, "exit code")
	flags.StringVar(&o.text, "text", "cannot find libduckdb.so", "what is printed")
	flags.DurationVar(&o.delay, "delay", 300*time.Millisecond, "how late")
	flags.IntVar(&o.calls, "calls", 3, "agent calls until the one that goes wrong")
	flags.IntVar(&o.block, "block", 64<<10, "bytes of memory that a message leaks")
	flags.BoolVar(&o.setsid, "setsid", false, "let the child leave the process group")
	return flags
}
