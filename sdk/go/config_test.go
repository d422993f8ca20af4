package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

type limits struct {
	Memory  agent.Size     `json:"memory,omitempty"`
	Threads int            `json:"threads,omitempty" jsonschema:"minimum=1,description=How many threads a query may use."`
	Extra   map[string]int `json:"extra,omitempty"`
}

type testConfig struct {
	Region   string         `json:"region" jsonschema:"required,enum=eu,enum=us"`
	Timeout  agent.Duration `json:"timeout,omitempty"`
	Limits   limits         `json:"limits,omitempty"`
	Hosts    []limits       `json:"hosts,omitempty"`
	Small    int8           `json:"small,omitempty"`
	Deadline time.Time      `json:"deadline,omitzero"`
}

func (c *testConfig) SetDefaults() { c.Timeout, c.Limits.Threads = agent.Duration(time.Minute), 4 }

func (c *testConfig) Validate() []agent.ConfigError {
	if c.Limits.Threads == 13 {
		return []agent.ConfigError{{Key: "limits.threads", Message: "13 brings bad luck"}}
	}
	return nil
}

func configured(t *testing.T, into *testConfig) *agenttest.Client {
	t.Helper()
	return agenttest.Run(t, agent.Async("query", funcs{}), agent.Configure(func(_ context.Context, c testConfig) error {
		*into = c
		return nil
	}))
}

func TestConfigurationArrivesAsTheAuthorsTypeOverItsDefaults(t *testing.T) {
	var got testConfig
	client := configured(t, &got)
	errs := client.Configure(map[string]any{"region": "eu", "limits": map[string]any{"memory": "2GiB"}, "hosts": []any{map[string]any{"threads": 2}}})
	want := testConfig{
		Region: "eu", Timeout: agent.Duration(time.Minute), Limits: limits{Memory: 2 << 30, Threads: 4}, Hosts: []limits{{Threads: 2}},
	}
	if len(errs) > 0 || !cmp.Equal(got, want) {
		t.Errorf("config = %+v, %v; want %+v", got, errs, want)
	}
	if _, err := client.Create(t.Context(), agenttest.Task{Type: "query"}); err != nil {
		t.Error(err)
	}
}

func TestEveryWrongKeyIsNamedWithWhatWouldBeRight(t *testing.T) {
	for block, want := range map[string][]string{
		`{"regoin": "eu"}`: {"region: is required", `regoin: unknown key: did you mean "region"?`},
		`{"region": "eu", "limits": {"Memory": "1B"}}`:            {`limits.Memory: unknown key: did you mean "memory"?`},
		`{"region": "eu", "limits": {"colour": 1}}`:               {"limits.colour: unknown key: the keys are extra, memory, threads"},
		`{"region": "eu", "hosts": [{}, {"thread": 1}]}`:          {`hosts[1].thread: unknown key: did you mean "threads"?`},
		`{"region": "asia"}`:                                      {"region: must be one of eu, us, got \"asia\""},
		`{"region": 3}`:                                           {"region: must be a string, got 3"},
		`{"region": "eu", "limits": []}`:                          {"limits: must be a mapping, got a list"},
		`{"region": null}`:                                        {"region: must be a string, got null"},
		`{"region": "eu", "limits": {"threads": 1.5}}`:            {"limits.threads: must be an integer, got 1.5"},
		`{"region": "eu", "limits": {"threads": 0}}`:              {"limits.threads: must be at least 1, got 0"},
		`{"region": "eu", "limits": {"extra": {"a": "b"}}}`:       {`limits.extra.a: must be an integer, got "b"`},
		`{"region": "eu", "timeout": 30}`:                         {"timeout: must be a duration such as 30s or 1h30m, got 30"},
		`{"region": "eu", "timeout": "soon"}`:                     {`timeout: must be a duration such as 30s or 1h30m, got "soon"`},
		`{"region": "eu", "limits": {"memory": "lots"}}`:          {`limits.memory: must be a size such as 2GiB or 512MB, got "lots"`},
		`{"region": "eu", "limits": {"memory": "9999999999TiB"}}`: {`limits.memory: must be a size such as 2GiB or 512MB, got "9999999999TiB"`},
		`{"region": "eu", "small": 300}`:                          {"small: must be an integer of 8 bits, got 300"},
		`{"region": "eu", "deadline": "tomorrow"}`:                {"deadline: "},
		`{"region": "eu", "limits": {"threads": 13}}`:             {"limits.threads: 13 brings bad luck"},
		`[]`:    {"the block must be a mapping of keys to values: it is a list"},
		`"x"`:   {"it is a string"},
		`null`:  {"it is null"},
		`{`:     {"the block must be a mapping"},
		`{} {}`: {"the block must be a mapping"},
		`{"region": "eu", "timeout": "99999999999999h"}`: {"timeout: must be a duration such as 30s or 1h30m"},
	} {
		var got testConfig
		client := configured(t, &got)
		errs := client.Configure(block)
		for _, part := range want {
			if !slices.ContainsFunc(errs, func(e agent.ConfigError) bool { return strings.Contains(e.Error(), part) }) {
				t.Errorf("%s: errors %q, want %q", block, errs, part)
			}
		}
		if len(errs) > 2 || got.Region != "" {
			t.Errorf("%s: errors %q, config %+v", block, errs, got)
		}
		_, err := client.Create(t.Context(), agenttest.Task{Type: "query"})
		wantStatus(t, err, codes.FailedPrecondition, "no configuration yet")
		if errs := client.Configure(`{"region": "us"}`); len(errs) > 0 || got.Region != "us" {
			t.Errorf("%s: a right block after it is refused: %v", block, errs)
		}
	}
}

func TestTheConfigFunctionCanRefuse(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want []agent.ConfigError
	}{
		"plain":  {errors.New("no network"), []agent.ConfigError{{Message: "no network"}}},
		"keyed":  {fmt.Errorf("wrapped: %w", agent.ConfigError{Key: "a.b", Message: "no"}), []agent.ConfigError{{Key: "a.b", Message: "no"}}},
		"joined": {errors.Join(agent.ConfigError{Key: "a", Message: "x"}, errors.New("y")), []agent.ConfigError{{Key: "a", Message: "x"}, {Message: "y"}}},
	} {
		client := agenttest.Run(t, agent.Async("query", funcs{}), agent.Configure(func(context.Context, struct{}) error { return c.err }))
		if errs := client.Configure("{}"); !cmp.Equal(errs, c.want) {
			t.Errorf("%s: errors = %v, want %v", name, errs, c.want)
		}
	}
}

// checkedConfig validates with a single error.
type checkedConfig struct{ A int }

func (c checkedConfig) Validate() error {
	if c.A == 0 {
		return agent.ConfigError{Key: "A", Message: "must be set"}
	}
	return nil
}

func TestValidateMayReturnAPlainError(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}), agent.Configure(func(context.Context, checkedConfig) error { return nil }))
	if errs := client.Configure("{}"); len(errs) != 1 || errs[0].Key != "A" {
		t.Errorf("errors = %v", errs)
	}
}

func TestConfigurationComesOnceAndItsPanicsAreGuarded(t *testing.T) {
	var got testConfig
	client := configured(t, &got)
	client.Configure(`{"region": "eu"}`)
	failing := agenttest.Run(t, agent.Async("query", funcs{}), agent.Configure(func(context.Context, struct{}) error { panic("boom") }))
	for want, c := range map[string]*agenttest.Client{"configured already": client, "panicked in Configure: boom": failing} {
		if err := configureError(t, c); !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
}

func TestWhatIsAwayIsNoMistakeOfTheConfiguration(t *testing.T) {
	away := agenttest.Run(t, agent.Async("query", funcs{}), agent.Configure(func(context.Context, struct{}) error {
		return fmt.Errorf("jobs: %w", agent.Unavailable("no route to the store"))
	}))
	if err := configureError(t, away); status.Code(err) != codes.Unavailable || !strings.Contains(fmt.Sprint(err), "no route to the store") {
		t.Errorf("error = %v, want UNAVAILABLE", err)
	}
}

func TestAPluginWithoutConfigurationRefusesABlock(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}))
	errs := client.Configure(map[string]any{"a": 1})
	if len(errs) != 1 || errs[0].Key != "" || !strings.Contains(errs[0].Message, "takes no configuration: remove the `config:` block") {
		t.Errorf("errors = %v", errs)
	}
	if errs := client.Configure(""); len(errs) > 0 {
		t.Errorf("no block: %v", errs)
	}
	if schema := client.Describe().GetConfigSchema(); schema != "" {
		t.Errorf("schema = %s", schema)
	}
}

func TestAnAgentsPromiseHoldsForItsCategoriesAndThatOfAllAgentsForThePlugin(t *testing.T) {
	quick := agent.Sync("quick", syncFunc(succeed))
	query := agent.Async("query", funcs{}, agent.IdempotentCreate(), agent.Also(agent.Category{Name: "report", Version: 2}))
	for name, c := range map[string]struct {
		options     []agent.Option
		all, single string
	}{
		"one of two":       {[]agent.Option{query, agent.Async("shell", funcs{}), quick}, "[]", "[query/0 report/2]"},
		"all asynchronous": {[]agent.Option{query, quick}, "[idempotent_create]", "[]"},
		"the plugin":       {[]agent.Option{query, agent.Async("shell", funcs{}), agent.IdempotentCreate()}, "[idempotent_create]", "[]"},
		"none":             {[]agent.Option{agent.Async("shell", funcs{})}, "[]", "[]"},
	} {
		described := agenttest.RunPlugin(t, agent.Plugin{Name: "p"}, c.options...).Describe()
		single := []string{}
		for _, promised := range described.GetCategoryCapabilities() {
			single = append(single, fmt.Sprintf("%s/%d", promised.GetName(), promised.GetVersion()))
			if got := promised.GetCapabilities(); len(got) != 1 || got[0] != "idempotent_create" {
				t.Errorf("%s: %v", name, promised)
			}
		}
		if all := fmt.Sprint(described.GetCapabilities()); all != c.all || fmt.Sprint(single) != c.single {
			t.Errorf("%s: capabilities %s for all, %v for single categories", name, all, single)
		}
	}
}

func TestDescribeTellsNameVersionSDKCapabilitiesAndSchema(t *testing.T) {
	client := agenttest.RunPlugin(t, agent.Plugin{Name: "duck", Version: "1.4.0"}, agent.Async("query", funcs{}), agent.IdempotentCreate(),
		agent.Configure(func(context.Context, testConfig) error { return nil }))
	described := client.Describe()
	if described.GetName() != "duck" || described.GetVersion() != "1.4.0" || described.GetSdk().GetName() != "agenthost-go" ||
		!strings.HasPrefix(described.GetSdk().GetLanguage(), "go1.") || fmt.Sprint(described.GetCapabilities()) != "[idempotent_create]" {
		t.Errorf("described = %v", described)
	}
	var schema struct {
		Schema               string `json:"$schema"`
		AdditionalProperties bool   `json:"additionalProperties"`
		Required             []string
		Properties           map[string]map[string]any
		Defs                 map[string]struct{ Properties map[string]map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal([]byte(described.GetConfigSchema()), &schema); err != nil {
		t.Fatalf("%v:\n%s", err, described.GetConfigSchema())
	}
	if !strings.Contains(schema.Schema, "2020-12") || schema.AdditionalProperties || fmt.Sprint(schema.Required) != "[region]" ||
		schema.Properties["timeout"]["default"] != "1m0s" ||
		schema.Defs["limits"].Properties["threads"]["description"] != "How many threads a query may use." {
		t.Errorf("schema:\n%s", described.GetConfigSchema())
	}
}

func TestSizesAndDurationsAreReadAndWrittenAlike(t *testing.T) {
	for text, want := range map[string]agent.Size{
		"0B": 0, "7B": 7, "1.5KiB": 1536, "512MB": 512_000_000, "2 GiB": 2 << 30, "3TB": 3e12, "1kB": 1000, "1TiB": 1 << 40,
	} {
		var size agent.Size
		if err := size.UnmarshalText([]byte(text)); err != nil || size != want || size.Bytes() != int64(want) {
			t.Errorf("%s = %d, %v; want %d", text, size, err, want)
		}
		var again agent.Size
		if err := again.UnmarshalText([]byte(size.String())); err != nil || again != size {
			t.Errorf("%s is written as %s, which is read as %d, %v", text, size, again, err)
		}
	}
	for _, text := range []string{"", "5", "GiB", "-1B", "NaNB", "1e30TiB", "InfB"} {
		if err := new(agent.Size).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is read as a size", text)
		}
	}
	var duration agent.Duration
	if err := duration.UnmarshalText([]byte("1h30m")); err != nil || duration.Std() != 90*time.Minute || duration.String() != "1h30m0s" {
		t.Errorf("1h30m = %s, %v", duration, err)
	}
}
