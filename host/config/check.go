package config

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/proto/nearest"
)

// check finds what is wrong with the configuration as a whole, each part of which is right.
func (c *Config) check() Errors {
	errs := c.missing(nil)
	errs = append(errs, c.checkListen()...)
	for _, name := range sortedKeys(c.Plugins) {
		errs = append(errs, c.checkPlugin(name, c.Plugins[name])...)
	}
	errs = append(append(errs, c.checkSandboxes()...), c.checkTaskTypes()...)
	errs = append(append(errs, c.checkAccess()...), c.checkArtifacts()...)
	return append(errs, c.checkRoutes()...)
}

// checkListen holds that no two listeners have one port.
func (c *Config) checkListen() Errors {
	var errs Errors
	listeners := []struct{ key, address string }{{"grpc", c.Listen.GRPC}, {"admin", c.Listen.Admin}, {"probe", c.Listen.Probe}}
	for i, later := range listeners {
		for _, earlier := range listeners[:i] {
			if later.address != "" && sameAddress(earlier.address, later.address) {
				errs = append(errs, c.ErrorAt(fmt.Sprintf("is %s, as listen.%s; the two need different ports", later.address, earlier.key), "listen", later.key))
			}
		}
	}
	return errs
}

func (c *Config) checkPlugin(name string, p Plugin) Errors {
	at := func(path ...string) []string { return append([]string{"plugins", name}, path...) }
	errs := c.checkKind(name, p)
	if p.Restart.InitialBackoff > p.Restart.MaxBackoff {
		errs = append(errs, c.ErrorAt(
			fmt.Sprintf("is %s, more than restart.max_backoff, which is %s", p.Restart.InitialBackoff, p.Restart.MaxBackoff),
			at("restart", "initial_backoff")...))
	}
	errs = append(errs, c.checkRollout(name, p.Rollout)...)
	if !p.Remote() {
		return errs
	}
	for _, key := range []string{"tls_ca", "tls_cert", "tls_key", "tls_server_name"} {
		if p.TLS == TLSOff && c.isSet(at(key)...) {
			errs = append(errs, c.ErrorAt("has no meaning with tls: off; remove one of the two", at(key)...))
		}
	}
	for key, other := range map[string]string{"tls_cert": "tls_key", "tls_key": "tls_cert"} {
		if c.isSet(at(key)...) && !c.isSet(at(other)...) {
			errs = append(errs, c.ErrorAt(fmt.Sprintf("is given without %s; a certificate and its key go together", other), at(key)...))
		}
	}
	return errs
}

// checkRollout holds that a plugin's rollout has either a share or steps, and that these go upward.
func (c *Config) checkRollout(name string, r Rollout) Errors {
	at := func(path ...string) []string { return append([]string{"plugins", name, "rollout"}, path...) }
	var errs Errors
	if len(r.Steps) > 0 && c.isSet(at("percent")...) {
		errs = append(errs, c.ErrorAt(fmt.Sprintf("is given beside steps (%s); a rollout has one of the two", c.Origin(at("steps")...)), at("percent")...))
	}
	if len(r.Steps) == 0 && c.isSet(at("abort_if")...) {
		errs = append(errs, c.ErrorAt("is given without steps, during which it acts", at("abort_if")...))
	}
	if times := r.AbortIf.LatencyP99; times > 0 && times < 1 {
		errs = append(errs, c.ErrorAt(fmt.Sprintf("expected %s, got %v", ruleNamed("times").want, times), at("abort_if", "latency_p99")...))
	}
	for i, step := range r.Steps {
		if i > 0 && step.Percent > 0 && step.Percent <= r.Steps[i-1].Percent {
			errs = append(errs, c.ErrorAt(fmt.Sprintf("is %d, not more than the %d of the step before it", step.Percent, r.Steps[i-1].Percent),
				at("steps", strconv.Itoa(i), "percent")...))
		}
	}
	return errs
}

// checkKind holds that a plugin has either a command or an address, and only the keys that go with it.
func (c *Config) checkKind(name string, p Plugin) Errors {
	if len(p.Command) > 0 && p.Remote() {
		command := c.Origin("plugins", name, "command")
		return Errors{c.ErrorAt(fmt.Sprintf("is given beside command (%s); a plugin has one of the two: a command that the host starts, "+
			"or the address of an agent server that runs elsewhere", command), "plugins", name, "address")}
	}
	kind, because := "command", "which the host starts by a command"
	if p.Remote() {
		kind, because = "address", "which runs elsewhere (address)"
	}
	var errs Errors
	for _, f := range pluginShape.fields {
		if f.only == "" || f.only == kind || !c.isSet("plugins", name, f.name) {
			continue
		}
		message := fmt.Sprintf("is for a plugin with %s; it has no meaning for %s, %s", article(f.only), name, because)
		if p.Remote() && f.name == "instances" {
			message += "; give several addresses instead"
		}
		errs = append(errs, c.ErrorAt(message, "plugins", name, f.name))
	}
	return errs
}

func article(kind string) string {
	if kind == "address" {
		return "an address"
	}
	return "a " + kind
}

// checkRoutes finds the routes that lead nowhere, and those that no call can ever reach.
func (c *Config) checkRoutes() Errors {
	var errs Errors
	for i, route := range c.Routes {
		index := strconv.Itoa(i)
		if _, known := c.Plugins[route.Plugin]; !known && route.Plugin != "" {
			errs = append(errs, c.ErrorAt(noPlugin(route.Plugin, sortedKeys(c.Plugins)), "routes", index, "plugin"))
		}
		before := slices.IndexFunc(c.Routes[:i], func(earlier Route) bool { return earlier.Covers(route) })
		if before < 0 || route.Task == "" {
			continue
		}
		earlier := c.Routes[before]
		which := fmt.Sprintf("routes.%d (%s)", before, c.Origin("routes", strconv.Itoa(before)))
		var message string
		switch {
		case !route.Covers(earlier):
			message = fmt.Sprintf("is never reached: %s comes before it and takes all of its calls; put the narrower route first", which)
		case earlier.Plugin == route.Plugin:
			message = fmt.Sprintf("says the same as %s; remove one of the two", which)
		default:
			message = fmt.Sprintf("contradicts %s: the same calls go to plugin %s there and to %s here; remove one of the two", which, earlier.Plugin, route.Plugin)
		}
		errs = append(errs, c.ErrorAt(message, "routes", index))
	}
	return errs
}

func noPlugin(name string, known []string) string {
	message := fmt.Sprintf("no plugin is called %s", name)
	switch near := nearest.Name(name, known); {
	case near != "":
		return message + fmt.Sprintf("; did you mean %s?", near)
	case len(known) > 0:
		return message + "; the plugins are " + strings.Join(known, ", ")
	}
	return message + "; none is configured"
}

// missing finds the keys that must be there and are not, except those that were there and wrong.
func (c *Config) missing(wrong Errors) Errors {
	var errs Errors
	absent := func(message string, path ...string) {
		key := keyName(path)
		above := keyName(path[:len(path)-1])
		if slices.ContainsFunc(wrong, func(e KeyError) bool { return strings.HasPrefix(e.Key, key) || e.Key == above }) {
			return
		}
		missing := c.ErrorAt("the key is missing: expected "+message, path[:len(path)-1]...)
		missing.Key = key
		errs = append(errs, missing)
	}
	for _, name := range sortedKeys(c.Plugins) {
		if p := c.Plugins[name]; len(p.Command) == 0 && p.Image == "" && !c.isSet("plugins", name, "image") && !p.Remote() && !c.isSet("plugins", name, "address") {
			absent("a list of the program and its arguments, such as [/plugins/duckdb/duckdb]; or address, for an agent server that runs elsewhere",
				"plugins", name, "command")
		}
	}
	required := func(s *shape, element any, path ...string) {
		for _, f := range s.fields {
			if f.required && f.in(reflect.ValueOf(element)).IsZero() {
				absent(f.shape.wants(), append(path, f.name)...)
			}
		}
	}
	for _, name := range sortedKeys(c.Plugins) {
		for i, step := range c.Plugins[name].Rollout.Steps {
			required(stepShape, step, "plugins", name, "rollout", "steps", strconv.Itoa(i))
		}
	}
	for i := range c.Routes {
		required(routeShape, c.Routes[i], "routes", strconv.Itoa(i))
	}
	for i := range c.Access.Issuers {
		required(issuerShape, c.Access.Issuers[i], "access", "issuers", strconv.Itoa(i))
	}
	for i := range c.Access.Rules {
		required(accessRuleShape, c.Access.Rules[i], "access", "rules", strconv.Itoa(i))
	}
	return errs
}

var (
	pluginShape = configShape.field("plugins").elem
	stepShape   = pluginShape.field("rollout").field("steps").elem
	routeShape  = configShape.field("routes").elem

	issuerShape     = configShape.field("access").field("issuers").elem
	accessRuleShape = configShape.field("access").field("rules").elem
)

// isSet says whether a layer set the key.
func (c *Config) isSet(path ...string) bool {
	_, set := c.origins[strings.Join(path, delim)]
	return set
}

func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	everywhere := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || everywhere(hostA) || everywhere(hostB))
}
