package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/proto/nearest"
)

const envPrefix = "AGENTHOST_"

// reservedEnv are the variables with our prefix that are no configuration keys.
var reservedEnv = []string{
	"AGENTHOST_CONFIG",   // the files to read, for the command line
	"AGENTHOST_ADDRESS",  // the host that `agenthost task run` talks to
	"AGENTHOST_PLUGIN",   // the plugin contract's magic cookie
	"AGENTHOST_TAKEOVER", // what an upgrade hands over
}

// Kubernetes puts variables for each Service into every pod of its namespace: for one that is called agenthost, or
// agenthost-something, they carry our prefix. They must not keep the host from starting.
var kubernetesEnv = regexp.MustCompile(`^[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// variable is one environment variable that sets a key.
type variable struct{ name, value string }

// variables picks ours out of an environment, in the order of their names, so that a mapping as a whole comes before
// its keys.
func variables(environ []string) []variable {
	var out []variable
	for _, assignment := range environ {
		name, value, _ := strings.Cut(assignment, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(reservedEnv, name) {
			continue
		}
		if !strings.Contains(name, "__") && kubernetesEnv.MatchString(name) {
			continue
		}
		out = append(out, variable{name, value})
	}
	slices.SortStableFunc(out, func(a, b variable) int { return strings.Compare(a.name, b.name) })
	return out
}

// node makes a layer of the variable. Names lose their case and dashes on the way into a variable, so the keys that
// lower layers have set are matched without regard to either.
func (v variable) node(merged map[string]any) (node, Errors) {
	at := Origin{Source: "environment variable " + v.name}
	path, existing, problem := locate(strings.Split(strings.TrimPrefix(v.name, envPrefix), "__"), merged)
	if problem != "" {
		return node{}, Errors{{Source: at.Source, Message: problem}}
	}
	_, keepsText := existing.(string)
	return nest(path, node{Origin: at, value: v.value, text: !keepsText}), nil
}

// locate finds the key that a variable's parts mean and the value that it has so far; or says why there is none.
func locate(parts []string, merged map[string]any) (path []string, existing any, problem string) {
	s := configShape
	existing = merged
	for _, part := range parts {
		below, _ := existing.(map[string]any)
		var name string
		switch s.kind {
		case object:
			i := slices.IndexFunc(s.fields, func(f field) bool { return strings.EqualFold(f.name, part) })
			if i < 0 {
				return nil, nil, unknownVariable(parts, merged)
			}
			name, s = s.fields[i].name, s.fields[i].shape
		case table, free:
			var same []string
			for _, key := range sortedKeys(below) {
				if envForm(key) == envForm(part) {
					same = append(same, key)
				}
			}
			switch {
			case len(same) > 1:
				return nil, nil, fmt.Sprintf("%s means both %s and %s; set it in a file", part, keyName(append(path, same[0])), keyName(append(path, same[1])))
			case len(same) == 1:
				name = same[0]
			default:
				name = newKey(part, s)
			}
			if s.kind == table {
				s = s.elem
			}
		case list:
			whole := strings.Join(parts[:len(path)], "__")
			return nil, nil, fmt.Sprintf("%s is a list, which is set as a whole: %s%s=[…]", keyName(path), envPrefix, whole)
		default:
			return nil, nil, unknownVariable(parts, merged)
		}
		path = append(path, name)
		existing = below[name]
	}
	return path, existing, ""
}

// newKey is the key that a part makes where no file has it: a variable's name stays, anything else is lower case.
func newKey(part string, s *shape) string {
	switch s.keys {
	case rules["plugin_env"]:
		return part
	case rules["plugin_name"]:
		return strings.ReplaceAll(strings.ToLower(part), "_", "-")
	}
	return strings.ToLower(part)
}

func unknownVariable(parts []string, merged map[string]any) string {
	plugins, _ := merged["plugins"].(map[string]any)
	known := variableNames(configShape, strings.TrimSuffix(envPrefix, "_"), "_", sortedKeys(plugins))
	message := "no configuration key has this name"
	if near := nearest.Name(envPrefix+strings.Join(parts, "__"), known); near != "" {
		message += fmt.Sprintf("; did you mean %s?", near)
	}
	return message + " (two underscores between levels)"
}

// variableNames gives the variable of every key that has one, for the plugins that are configured.
func variableNames(s *shape, prefix, separator string, plugins []string) []string {
	var names []string
	for _, f := range s.fields {
		name := prefix + separator + envForm(f.name)
		names = append(names, name)
		names = append(names, variableNames(f.shape, name, "__", plugins)...)
		if f.shape.kind == table && f.shape.elem.kind == object {
			for _, plugin := range plugins {
				names = append(names, variableNames(f.shape.elem, name+"__"+envForm(plugin), "__", nil)...)
			}
		}
	}
	return names
}

var notInEnv = regexp.MustCompile(`[^A-Z0-9]`)

// envForm is how a key is written in a variable's name.
func envForm(key string) string { return notInEnv.ReplaceAllString(strings.ToUpper(key), "_") }
