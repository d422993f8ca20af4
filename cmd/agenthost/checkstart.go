package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/server"
	"github.com/agenthost/agenthost/tools/terminal"
)

// checkedPlugin is one plugin in the report of a check.
type checkedPlugin struct {
	Name string `json:"name"`
	// Error is why it did not start, or could not be served beside the others; empty where it could.
	Error string `json:"error,omitempty"`
	// Away is why it did not start, where that is a service's fault and not the configuration's or its own; absent otherwise.
	Away string `json:"away,omitempty"`
	// ConfigErrors are the plugin's own words on its `config:` block.
	ConfigErrors config.Errors `json:"config_errors,omitempty"`
	// Seconds is how long it took to be ready.
	Seconds float64 `json:"seconds,omitempty"`
	// Sandbox is what this machine grants of its sandbox; absent for one that runs elsewhere.
	Sandbox *sandboxReport `json:"sandbox,omitempty"`
	// Manifest is what it said of itself; absent without --start.
	Manifest *manifestReport `json:"manifest,omitempty"`

	killed error // how it had to be stopped; nil where it ended by itself
}

type manifestReport struct {
	Name         string          `json:"name"`
	Version      string          `json:"version"`
	SDK          string          `json:"sdk"`
	Capabilities []string        `json:"capabilities"`
	Agents       []agentReport   `json:"agents"`
	ConfigSchema json.RawMessage `json:"config_schema,omitempty"`
}

type agentReport struct {
	Name       string   `json:"name"`
	Sync       bool     `json:"sync"`
	Categories []string `json:"categories"`
	// Capabilities are what the plugin promises for single categories, by category.
	Capabilities map[string][]string `json:"capabilities,omitempty"`
}

// startEach starts the plugins one after the other, so that each has the machine to itself, fills the report in, and gives the table of
// what they would serve together. The error is for what keeps all of them from starting.
func startEach(ctx context.Context, settings *config.Config, sources config.Sources, groups *cgroup.Groups, report []checkedPlugin, progress io.Writer) (*route.Table, error) {
	runRoot, err := process.OpenRunRoot(settings.RunDir)
	if err != nil {
		return nil, err
	}
	defer runRoot.Close()
	images, err := server.OpenArtifacts(settings, sources, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer images.Close() // what it leaves, the next host removes
	server.ResolveImages(ctx, settings, images, slog.New(slog.DiscardHandler))
	env := plugin.Environment{Artifacts: images, RunRoot: runRoot, Groups: groups, Private: settings.Private(), Log: slog.New(slog.DiscardHandler)} // an error carries the last lines
	var rules route.Rules
	for _, r := range settings.Routes {
		rules = append(rules, route.Rule{Task: r.Task, Version: r.Version, Project: r.Project, Domain: r.Domain, Plugin: r.Plugin})
	}
	var claims []route.Claim
	for i := range report {
		checked := &report[i]
		verb := "starting"
		if settings.Plugins[checked.Name].Remote() {
			verb = "reaching"
		}
		fmt.Fprintf(progress, "%s %s …\n", verb, checked.Name)
		stop := newWaitingLine(progress).during(verb+" "+checked.Name, settings.Plugins[checked.Name].StartTimeout)
		manifest := checked.start(ctx, settings, env)
		stop()
		if ctx.Err() != nil {
			return nil, &exitError{code: exitInterrupted, err: errors.New("interrupted; the plugins are stopped")}
		}
		if manifest == nil {
			continue
		}
		claims = append(claims, route.Claim{
			Target: nameOnly(checked.Name), Manifest: *manifest, Only: route.ParseTaskTypes(settings.Plugins[checked.Name].TaskTypes),
		})
	}
	table, unserved := rules.Table(claims...)
	for i := range report {
		report[i].leaveOut(unserved)
	}
	return table, nil
}

// leaveOut takes what a plugin lists and would not serve for a fault of the configuration, unless that is what it asks for.
func (p *checkedPlugin) leaveOut(unserved []route.Unserved) {
	for _, u := range unserved {
		if u.Plugin == p.Name && u.Why != route.NotAllowed && p.Error == "" {
			p.Error = u.Error()
		}
	}
}

// start starts and stops one plugin; the manifest is nil where it did not start.
func (p *checkedPlugin) start(ctx context.Context, settings *config.Config, env plugin.Environment) *plugin.Manifest {
	configured := settings.Plugins[p.Name]
	began := time.Now()
	spec := plugin.SpecOf(p.Name, configured)
	spec.Image = settings.ImageOf(p.Name)
	instance, err := startOrConnect(ctx, spec, env)
	if err != nil {
		if plugin.FaultOf(err) == plugin.FaultOfService {
			p.Away = err.Error()
			return nil
		}
		p.Error = err.Error()
		var failed *plugin.StartError
		if errors.As(err, &failed) {
			p.ConfigErrors = failed.KeyErrors(settings)
		}
		return nil
	}
	p.Seconds = time.Since(began).Seconds()
	manifest := instance.Manifest()
	p.Manifest = newManifestReport(manifest)
	switch err := stopPlugin(instance, configured); {
	case errors.Is(err, plugin.ErrKilled): // as a host would do it, and go on
		p.killed = err
	case err != nil:
		p.Error = fmt.Sprintf("it started, but stopping it failed: %v", err)
	}
	return &manifest
}

// nameOnly is a target that is never called: a check only asks the table who would serve what.
type nameOnly string

func (n nameOnly) Plugin() string { return string(n) }

func (n nameOnly) TryAcquire(route.Want) (route.Lease, bool) { return route.Lease{}, false }

func (n nameOnly) Acquire(context.Context, route.Want) (route.Lease, error) {
	trouble, _ := n.Trouble()
	return route.Lease{}, trouble
}

func (n nameOnly) Trouble() (route.Trouble, bool) {
	return route.Trouble{Reason: fmt.Sprintf("plugin %q is only being checked", string(n))}, true
}

func newManifestReport(m plugin.Manifest) *manifestReport {
	report := &manifestReport{Name: m.Name, Version: m.Version, SDK: m.SDK, Capabilities: m.Capabilities}
	if json.Valid([]byte(m.ConfigSchema)) {
		report.ConfigSchema = json.RawMessage(m.ConfigSchema)
	}
	for _, agent := range m.Agents {
		reported := agentReport{Name: agent.Name, Sync: agent.Sync, Categories: make([]string, len(agent.Categories))}
		for i, c := range agent.Categories {
			reported.Categories[i] = categoryName(c.Name, c.Version)
			if promised := m.CategoryCapabilities[c]; len(promised) > 0 {
				if reported.Capabilities == nil {
					reported.Capabilities = map[string][]string{}
				}
				reported.Capabilities[reported.Categories[i]] = promised
			}
		}
		report.Agents = append(report.Agents, reported)
	}
	return report
}

// categoryName writes a task category as people do: with its version only where it has one.
func categoryName(name string, version int32) string {
	if version == 0 {
		return name
	}
	return fmt.Sprintf("%s v%d", name, version)
}

func (p checkedPlugin) print(out io.Writer) {
	switch {
	case p.Away != "":
		fmt.Fprintf(out, "%s: AWAY: it waits for something that cannot be judged here\n", p.Name)
	case p.Error != "":
		fmt.Fprintf(out, "%s: FAILED: %s\n", p.Name, p.Error)
		for _, e := range p.ConfigErrors {
			fmt.Fprintf(out, "  %v\n", e)
		}
	default:
		fmt.Fprintf(out, "%s: ok, ready after %s\n", p.Name, time.Duration(p.Seconds*float64(time.Second)).Round(time.Millisecond))
	}
	if p.Sandbox != nil {
		fmt.Fprintf(out, "  sandbox       %s\n", p.Sandbox.line())
	}
	if line := p.Sandbox.memoryLine(); line != "" {
		fmt.Fprintf(out, "  memory        %s\n", line)
	}
	m := p.Manifest
	if m == nil {
		return
	}
	if named := terminal.Line(m.Name + " " + m.Version); named != p.Name { // an agent server elsewhere has no name of its own
		fmt.Fprintf(out, "  plugin        %s\n", named)
	}
	if m.SDK != "" {
		fmt.Fprintf(out, "  sdk           %s\n", terminal.Line(m.SDK))
	}
	if len(m.Capabilities) > 0 {
		fmt.Fprintf(out, "  capabilities  %s\n", terminal.Line(strings.Join(m.Capabilities, ", ")))
	}
	for _, a := range m.Agents {
		kind := "async"
		if a.Sync {
			kind = "sync"
		}
		categories := make([]string, len(a.Categories))
		for i, category := range a.Categories {
			categories[i] = category
			if promised := a.Capabilities[category]; len(promised) > 0 {
				categories[i] += " [" + strings.Join(promised, ", ") + "]"
			}
		}
		fmt.Fprintf(out, "  agent         %s (%s): %s\n", terminal.Line(a.Name), kind, terminal.Line(strings.Join(categories, ", ")))
	}
	for i, key := range configKeys(m.ConfigSchema) {
		label := ""
		if i == 0 {
			label = "config"
		}
		fmt.Fprintf(out, "  %-12s  %s\n", label, terminal.Line(key))
	}
}

// configKeys gives a line for each key of a plugin's own configuration: its name, type and description.
func configKeys(schema json.RawMessage) []string {
	var object struct {
		Properties map[string]struct {
			Type        any    `json:"type"`
			Description string `json:"description"`
		} `json:"properties"`
	}
	if json.Unmarshal(schema, &object) != nil { // a schema of another form: -o json shows it as it is
		return nil
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(object.Properties)) {
		line := name
		if kind, ok := object.Properties[name].Type.(string); ok {
			line += " (" + kind + ")"
		}
		if about := object.Properties[name].Description; about != "" {
			line += ": " + about
		}
		lines = append(lines, line)
	}
	return lines
}
