package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// goldenConfig has every type of configuration, as sdk/testdata/config.json describes it.
type goldenConfig struct {
	Region  string           `json:"region" jsonschema:"required,enum=eu,enum=us"`
	Name    string           `json:"name,omitempty"`
	Retries int              `json:"retries,omitempty"`
	Rate    float64          `json:"rate,omitempty"`
	DryRun  bool             `json:"dry_run,omitempty"`
	Timeout agent.Duration   `json:"timeout,omitempty"`
	Memory  agent.Size       `json:"memory,omitempty"`
	Limits  *goldenLimits    `json:"limits,omitempty"`
	Hosts   []string         `json:"hosts,omitempty"`
	Pools   []goldenPool     `json:"pools,omitempty"`
	Weights map[string]int   `json:"weights,omitempty"`
	Token   *agent.SecretRef `json:"token,omitempty"`
}

type goldenLimits struct {
	CPU    int        `json:"cpu,omitempty"`
	Memory agent.Size `json:"memory,omitempty"`
}

type goldenPool struct {
	Name string     `json:"name" jsonschema:"required"`
	Size agent.Size `json:"size,omitempty"`
}

func (c *goldenConfig) SetDefaults() {
	c.Name, c.Retries, c.Timeout = "agenthost", 3, agent.Duration(60e9)
}

// read is the configuration as the golden file writes it.
func (c *goldenConfig) read(t *testing.T) map[string]any {
	read := map[string]any{
		"region": c.Region, "name": c.Name, "retries": c.Retries, "rate": c.Rate, "dry_run": c.DryRun, "timeout": c.Timeout.Std().Seconds(),
		"memory": c.Memory.Bytes(), "hosts": c.Hosts, "weights": c.Weights,
	}
	if c.Limits != nil {
		read["limits"] = map[string]any{"cpu": c.Limits.CPU, "memory": c.Limits.Memory.Bytes()}
	}
	if c.Token != nil {
		secret, err := c.Token.Get()
		if err != nil {
			t.Error(err)
		}
		read["token"] = secret.Reveal()
	}
	data, err := json.Marshal(read)
	if err != nil {
		t.Fatal(err)
	}
	clear(read)
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	return read
}

func TestEveryTypeOfConfigurationIsReadAndRefusedAsInAllLanguages(t *testing.T) {
	data, err := os.ReadFile("../testdata/config.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Environment map[string]string
		Good        []struct {
			Name   string
			Config any
			Read   map[string]any
		}
		Bad []struct {
			Name   string
			Config any
			Errors []agent.ConfigError
		}
	}
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	for name, value := range golden.Environment {
		t.Setenv(name, value)
	}
	for _, c := range golden.Good {
		got := goldenConfig{}
		if errs := configuredAsGolden(t, &got).Configure(c.Config); len(errs) > 0 {
			t.Errorf("%s: %v", c.Name, errs)
			continue
		}
		read := got.read(t)
		for key, want := range c.Read {
			if diff := cmp.Diff(want, read[key]); diff != "" {
				t.Errorf("%s: %s is (-wanted +read)\n%s", c.Name, key, diff)
			}
		}
	}
	for _, c := range golden.Bad {
		if diff := cmp.Diff(c.Errors, configuredAsGolden(t, &goldenConfig{}).Configure(c.Config), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: errors are (-wanted +given)\n%s", c.Name, diff)
		}
	}
	if len(golden.Good) < 20 || len(golden.Bad) < 40 {
		t.Errorf("the golden file has %d good and %d bad configurations", len(golden.Good), len(golden.Bad))
	}
}

func configuredAsGolden(t *testing.T, into *goldenConfig) *agenttest.Client {
	return agenttest.Run(t, agent.Async("query", funcs{}), agent.Configure(func(_ context.Context, c goldenConfig) error {
		*into = c
		return nil
	}))
}

func TestASecretReferenceIsFoundWhereverItStands(t *testing.T) {
	type login struct {
		Token agent.SecretRef `json:"token,omitempty"`
	}
	type config struct {
		login
		Logins []login                    `json:"logins,omitempty"`
		ByName map[string]agent.SecretRef `json:"by_name,omitempty"`
	}
	client := agenttest.Run(t, agent.Async("query", funcs{}), agent.Configure(func(context.Context, config) error { return nil }))
	errs := client.Configure(`{"logins": [{}, {"token": "a"}], "by_name": {"x": "b"}}`)
	if len(errs) != 2 || errs[0].Key != "by_name.x" || errs[1].Key != "logins[1].token" {
		t.Errorf("errors = %v", fmt.Sprint(errs))
	}
}
