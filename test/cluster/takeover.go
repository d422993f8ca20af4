package main

import (
	"context"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
)

// databricksToken is what both flytekit's connector and our plugin show the workspace.
const databricksToken = "dapi-of-the-cluster"

// takeover has the chart take the place of Flyte's, whose pods run flytekit's own server, while there are jobs of both kinds: of
// Databricks, whose metadata our plugin reads, and of connectors that the plugin for flytekit's connectors goes on with.
func takeover(c *cell) {
	var released atomic.Bool
	workspace := fakejobs.New(fakejobs.Options{Tokens: map[string]string{databricksToken: "ada"}, Held: func() bool { return !released.Load() }})
	host, authority := c.serveTLS(workspace)
	volumes := c.python()
	secrets := values{"connectorSecret": values{"secretData": values{"stringData": values{
		"flyte_databricks_access_token": databricksToken, "authority.pem": string(authority),
	}}}}
	flyte := values{
		"command": []string{filepath.Join(c.Python, "pyflyte"), "serve", "connector", "--modules", "cluster_connectors"},
		"image":   c.chartValues(nil)["image"],
		// By the chart's default it takes longer to import flytekit than helm waits.
		"resources": values{"limits": values{"cpu": "2", "memory": "600Mi"}, "requests": values{"cpu": "50m"}},
		"podEnv": []values{
			{"name": "PYTHONPATH", "value": c.Modules}, {"name": "HOME", "value": "/tmp"},
			{"name": "FLYTE_DATABRICKS_INSTANCE", "value": host}, {"name": "SSL_CERT_FILE", "value": "/etc/secrets/authority.pem"},
		},
	}
	merge(flyte, secrets)
	merge(flyte, volumes)
	c.must(c.helm("install", c.Flyte, flyte, "--wait", "--timeout", "90s"))

	conn, fresh := c.byEndpoints(), freshly{"passthrough:///" + c.address()}
	jobs := []job{
		c.begin(conn, "takeover-databricks", c.compiled("existing-cluster")),
		c.begin(conn, "takeover-json", fileTask("file_json")),
		c.begin(conn, "takeover-pickle", fileTask("file_pickle")),
	}
	polled := c.poll(map[string]func(context.Context) error{
		"polls of Databricks by k8s://": polls(conn, jobs[0]), "polls of JSON by k8s://": polls(conn, jobs[1]), "polls of pickles by k8s://": polls(conn, jobs[2]),
		"polls of Databricks by the ClusterIP": polls(fresh, jobs[0]), "polls of pickles by the ClusterIP": polls(fresh, jobs[2]),
	})
	ours := c.chartValues(values{
		"databricks": values{
			"command": []string{"/plugins/databricks/databricks"},
			"config":  values{"instance": host, "ca_file": "/etc/secrets/authority.pem"},
			"secrets": values{"flyte_databricks_access_token": "file:///etc/secrets/flyte_databricks_access_token"},
			"sandbox": values{"read": []string{"/etc/secrets"}},
		},
		"flytekit": c.flytekit(),
	}, secrets, volumes)
	began := time.Now()
	// The values of the former chart must not stay, as they do without this flag.
	c.must(c.upgrade(ours, "--reset-values", "--wait"))
	c.note("the release of Flyte's chart was taken over after %.1f s", time.Since(began).Seconds())
	c.until("the former pod has gone", func() (string, bool) {
		pods := c.pods()
		return describe(pods), len(pods) == 1 && isReady(pods[0])
	})
	c.note("%d calls", c.over(polled))
	released.Store(true)
	c.signalFile("go")
	for _, j := range jobs {
		c.succeed(conn, j)
	}
	runs := len(workspace.Submitted())
	c.check(runs == 1, "there are %d runs in Databricks for one task", runs)
}

// compiled is a task that flytekit has compiled.
func (c *cell) compiled(name string) task {
	t := task{template: &core.TaskTemplate{}, inputs: &core.LiteralMap{}}
	for file, into := range map[string]proto.Message{"template.pb": t.template, "inputs.pb": t.inputs} {
		content, err := os.ReadFile(filepath.Join(c.Compiled, name, file))
		c.must(err)
		c.must(proto.Unmarshal(content, into))
	}
	return t
}
