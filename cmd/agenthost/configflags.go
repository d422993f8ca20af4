package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
)

// defaultConfigFiles are where a configuration is looked for when neither --config nor AGENTHOST_CONFIG says where. The first
// one that exists is taken.
var defaultConfigFiles = []string{"agenthost.yaml", "/etc/agenthost/agenthost.yaml"}

// configShortcuts are flags of their own for the keys that people set most.
var configShortcuts = []struct{ flag, key, usage string }{
	{"grpc", "listen.grpc", "`host:port` for FlytePropeller (listen.grpc)"},
	{"admin", "listen.admin", "`host:port` for operators, or unix:/path; empty for none (listen.admin)"},
	{"log-level", "log.level", "least `level` to log: debug, info, warn or error (log.level)"},
	{"log-format", "log.format", "`format` of the log: text or json (log.format)"},
}

// bindConfigFlags gives a command the flags that loadConfig reads.
func bindConfigFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayP("config", "c", nil,
		"configuration `file` (YAML, JSON or TOML); may be repeated, later ones override. Default: $AGENTHOST_CONFIG (several joined by ':'), else "+
			strings.Join(defaultConfigFiles, ", else "))
	flags.StringArray("set", nil, "set one configuration `key=value`, such as plugins.duckdb.stop_timeout=5s; may be repeated")
	for _, s := range configShortcuts {
		flags.String(s.flag, "", s.usage)
	}
	fixed := func(values ...string) cobra.CompletionFunc {
		return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
	}
	for name, complete := range map[string]cobra.CompletionFunc{
		"config": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml", "json", "toml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		"set":        completeSet,
		"log-level":  fixed("debug", "info", "warn", "error"),
		"log-format": fixed("text", "json"),
	} {
		if err := cmd.RegisterFlagCompletionFunc(name, complete); err != nil {
			panic(err) // the flag was added above
		}
	}
}

// completeSet proposes keys for --set, with those of the configured plugins if the configuration can be read.
func completeSet(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var plugins []string
	if settings, err := loadConfig(cmd); err == nil {
		plugins = slices.Sorted(maps.Keys(settings.Plugins))
	}
	keys := config.Keys(plugins)
	for i := range keys {
		keys[i] += "="
	}
	return keys, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// loadConfig reads the configuration that a command's flags and the environment name. With errNoConfig it is what flags and
// defaults say.
func loadConfig(cmd *cobra.Command) (*config.Config, error) {
	sources, err := configSources(cmd)
	if err != nil {
		return nil, err
	}
	settings, err := config.Load(sources)
	if err == nil && len(sources.Files) == 0 && len(settings.Plugins) == 0 {
		return settings, errNoConfig
	}
	return settings, err
}

var errNoConfig = fmt.Errorf("no configuration: there is no %s; give a file with --config, or name it in AGENTHOST_CONFIG",
	strings.Join(defaultConfigFiles, " and no "))

// configSources says what there is to read, without reading it.
func configSources(cmd *cobra.Command) (config.Sources, error) {
	flags := cmd.Flags()
	set := map[string]any{}
	for _, s := range configShortcuts {
		if flags.Changed(s.flag) {
			set[s.key], _ = flags.GetString(s.flag)
		}
	}
	assignments, _ := flags.GetStringArray("set")
	for _, assignment := range assignments {
		key, value, ok := strings.Cut(assignment, "=")
		if !ok {
			return config.Sources{}, usageError(fmt.Errorf("--set %s: expected key=value, such as log.level=debug", assignment))
		}
		set[key] = value
	}
	files, _ := flags.GetStringArray("config")
	if len(files) == 0 {
		files = filepath.SplitList(os.Getenv("AGENTHOST_CONFIG"))
	}
	if len(files) == 0 {
		for _, file := range defaultConfigFiles {
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				files = []string{file}
				break
			}
		}
	}
	return config.Sources{Files: files, Environ: os.Environ(), Flags: set}, nil
}
