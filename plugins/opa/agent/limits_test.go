package agent_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/plugins/opa/agent"
	"github.com/agenthost/agenthost/plugins/opa/opatest"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// endless takes longer than anybody waits.
const endless = "package endless\n\nallow if {\n\tsome i in numbers.range(1, 100000)\n\tsome j in numbers.range(1, 100000)\n\ti * j == -1\n}\n"

// limited gives both engines with one limit.
func limited(t *testing.T, key, limit string) map[string]*agenttest.Client {
	t.Helper()
	return engines(t, map[string]any{"timeout": "1m", key: limit}, map[string]string{"values.rego": values, "endless.rego": endless})
}

func TestADecisionIsAsLargeAsItMayBeAndNoLarger(t *testing.T) {
	const limit = 100_000
	clients := limited(t, "decision_limit", fmt.Sprintf("%dB", limit))
	frame := len(`{"allow":true,"dataset":"","n":1}`)
	for size, how := range map[int]string{limit: "allowed", limit + 1: "PolicyError", limit + 100_000: "PolicyError"} {
		dataset := strings.Repeat("x", size-frame)
		for engine, client := range clients {
			got := ended(t, client, everything(t, "values/sees", "", map[string]any{"dataset": dataset, "n": 1}))
			if got.How != how || how != "allowed" && !strings.Contains(got.Why, "config key decision_limit") {
				t.Errorf("%s, %d bytes: %s %.200s", engine, size, got.How, got.Why)
			}
		}
	}
}

func TestAnInputIsAsLargeAsItMayBeAndNoLarger(t *testing.T) {
	asked := everything(t, "values/length", "", map[string]any{"dataset": strings.Repeat("x", 10_000)})
	refusal := ended(t, limited(t, "input_limit", "1B")["embedded"], asked)
	told := regexp.MustCompile(`input is (\d+) bytes, more than 1B \(the plugin's config key input_limit\)`).FindStringSubmatch(refusal.Why)
	if refusal.How != "BadTask" || told == nil {
		t.Fatalf("%+v", refusal)
	}
	var size int
	if _, err := fmt.Sscan(told[1], &size); err != nil {
		t.Fatal(err)
	}
	for limit, how := range map[int]string{size: "allowed", size - 1: "BadTask"} {
		if got := endsSame(t, limited(t, "input_limit", fmt.Sprintf("%dB", limit)), asked); got.How != how {
			t.Errorf("a limit of %d bytes for %d: %+v; want %s", limit, size, got, how)
		}
	}
}

func TestAPolicyFileIsNoLargerThanItMayBe(t *testing.T) {
	dir := opatest.Write(t, map[string]string{"a.rego": "package a\n", "data.json": `{"x": "` + strings.Repeat("x", 2000) + `"}`})
	wrong := agenttest.Run(t, agent.Options()...).Configure(map[string]any{"policies": dir, "policy_file_limit": "1KiB"})
	if len(wrong) != 1 || wrong[0].Key != "policies" || !strings.Contains(wrong[0].Message, "data.json") || !strings.Contains(wrong[0].Message, "policy_file_limit") {
		t.Errorf("%v", wrong)
	}
}

func TestADecisionTakesNoLongerThanItMay(t *testing.T) {
	for engine, client := range limited(t, "timeout", "500ms") {
		got := ended(t, client, everything(t, "endless/allow", "", nil))
		if got.How != "EvaluationTimeout" || !strings.Contains(got.Why, "within 500ms (the plugin's config key timeout)") || got.Outputs != nil {
			t.Errorf("%s: %+v", engine, got)
		}
	}
}

// silent is a server that does not answer until it is told to, and then as OPA does.
func silent(t *testing.T) (url string, came <-chan struct{}, answer chan<- struct{}) {
	t.Helper()
	asked, may := make(chan struct{}, 10), make(chan struct{})
	opa := opatest.Start(t, always(t))
	proxy := opatest.StartProxy(t, opa.URL, func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body) // a server sees that a caller is gone only when it has read what it sent
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		asked <- struct{}{}
		select {
		case <-may:
			return false
		case <-r.Context().Done():
			return true
		}
	})
	return proxy.URL, asked, may
}

// callersLimit is so long that a tenth of it is enough for an answer on its way.
const callersLimit = 10 * time.Second

// hurried is how a task ends whose caller does not wait for long.
func hurried(t *testing.T, client *agenttest.Client) *agenttest.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callersLimit)
	defer cancel()
	result, err := client.Execute(ctx, everything(t, "a/allow", "", nil))
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func TestTheReasonArrivesBeforeTheCallersDeadline(t *testing.T) {
	t.Parallel()
	url, _, _ := silent(t)
	client := run(t, map[string]any{"server": map[string]any{"url": url}, "timeout": "10m"})
	result := hurried(t, client)
	if codeOf(result) != "EvaluationTimeout" || !strings.Contains(result.Message, "the caller's deadline") {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
}

func TestDecisionsWaitForTheirTurnAndSayWhyItDidNotCome(t *testing.T) {
	t.Parallel()
	url, came, answer := silent(t)
	client := run(t, map[string]any{"server": map[string]any{"url": url}, "timeout": "10m", "max_concurrent": 1})
	first := make(chan *agenttest.Result, 1)
	go func() {
		result, err := client.Execute(t.Context(), everything(t, "a/allow", "", nil))
		if err != nil {
			t.Error(err)
		}
		first <- result
	}()
	<-came
	result := hurried(t, client)
	if codeOf(result) != "Busy" || !strings.Contains(result.Message, "config key max_concurrent") {
		t.Errorf("%v: %s", result.Phase, result.Message)
	}
	close(answer)
	if result := <-first; result == nil || result.Phase != succeeded {
		t.Errorf("the one before: %v", result)
	}
	if result, err := client.Execute(t.Context(), everything(t, "a/allow", "", nil)); err != nil || result.Phase != succeeded {
		t.Errorf("the one after: %v, %v", result, err)
	}
}
