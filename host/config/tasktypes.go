package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// checkTaskTypes finds task types that several plugins are to serve, where no route says which of their tasks goes where.
func (c *Config) checkTaskTypes() Errors {
	var errs Errors
	named := map[string]string{}
	for _, name := range sortedKeys(c.Plugins) {
		for i, task := range c.Plugins[name].TaskTypes {
			other, twice := named[task]
			named[task] = name
			bare, _, _ := strings.Cut(task, "@")
			if twice && !slices.ContainsFunc(c.Routes, func(r Route) bool { return r.Task == task || r.Task == bare }) {
				errs = append(errs, c.ErrorAt(fmt.Sprintf("is %s, as in plugins.%s.task_types; say in routes: which project or domain goes to which of the two", task, other),
					"plugins", name, "task_types", strconv.Itoa(i)))
			}
		}
	}
	return errs
}

func checkTaskTypes(types []string) error {
	if len(types) == 0 {
		return errors.New("the list is empty: expected the task types that the plugin may serve; without task_types it may serve all that it lists")
	}
	for i, name := range types {
		if slices.Contains(types[:i], name) {
			return fmt.Errorf("%s is given twice", name)
		}
	}
	return nil
}
