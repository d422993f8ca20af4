package main

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// pluginEnv is what a plugin that is started by hand gets beside its configuration, as flags say it.
type pluginEnv struct{ secrets, env []string }

func (p *pluginEnv) bind(flags *pflag.FlagSet) {
	flags.StringArrayVar(&p.secrets, "secret", nil, "`name=uri` of a secret of the plugin, such as token=file:///run/token or token=env:TOKEN; may be repeated")
	flags.StringArrayVar(&p.env, "env", nil, "`NAME=value` for the plugin, or NAME to pass on this shell's; may be repeated")
}

func (p *pluginEnv) given() bool { return len(p.secrets) > 0 || len(p.env) > 0 }

// addTo adds the flags of the form name=value to what there is.
func (p *pluginEnv) addTo(secrets, env *map[string]string, inherited *[]string) error {
	for _, pair := range p.secrets {
		name, uri, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return fmt.Errorf("--secret %q: expected name=uri", name)
		}
		put(secrets, name, uri)
	}
	for _, pair := range p.env {
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case name == "":
			return fmt.Errorf("--env %q: expected NAME=value, or NAME", pair)
		case ok:
			put(env, name, value)
		default:
			*inherited = append(*inherited, name)
		}
	}
	return nil
}

func put(to *map[string]string, name, value string) {
	if *to == nil {
		*to = map[string]string{}
	}
	(*to)[name] = value
}
