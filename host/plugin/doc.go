// Package plugin is one instance of a plugin: one subprocess, from its spec to its end.
package plugin
