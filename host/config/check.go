package config

import (
	"fmt"
	"net"
	"slices"
	"strings"
)

// check finds what is wrong with the configuration as a whole, each part of which is right.
func (c *Config) check() Errors {
	errs := c.missing(nil)
	if c.Listen.Admin != "" && sameAddress(c.Listen.GRPC, c.Listen.Admin) {
		errs = append(errs, c.ErrorAt(fmt.Sprintf("is %s, as listen.grpc; the two need different ports", c.Listen.Admin), "listen", "admin"))
	}
	for _, name := range sortedKeys(c.Plugins) {
		restart := c.Plugins[name].Restart
		if restart.InitialBackoff > restart.MaxBackoff {
			errs = append(errs, c.ErrorAt(
				fmt.Sprintf("is %s, more than restart.max_backoff, which is %s", restart.InitialBackoff, restart.MaxBackoff),
				"plugins", name, "restart", "initial_backoff"))
		}
	}
	return errs
}

// missing finds the keys that must be there and are not, except those that were there and wrong.
func (c *Config) missing(wrong Errors) Errors {
	var errs Errors
	for _, name := range sortedKeys(c.Plugins) {
		key := keyName([]string{"plugins", name, "command"})
		if len(c.Plugins[name].Command) > 0 || slices.ContainsFunc(wrong, func(e KeyError) bool { return strings.HasPrefix(e.Key, key) }) {
			continue
		}
		missing := c.ErrorAt("the key is missing: expected a list of the program and its arguments, such as [/plugins/duckdb/duckdb]", "plugins", name)
		missing.Key = key
		errs = append(errs, missing)
	}
	return errs
}

func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	everywhere := func(host string) bool { return host == "" || host == "0.0.0.0" || host == "::" }
	return errA == nil && errB == nil && portA == portB && portA != "0" && (hostA == hostB || everywhere(hostA) || everywhere(hostB))
}
