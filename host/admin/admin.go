// Package admin is the side of the host that its operators see: metrics, health and status over HTTP, and the operations on it, each
// for those who may (access.go) and with an audit line (operation.go). What anybody may see is at an address of its own (probe.go).
package admin

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/history"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/series"
)

// Options configure a Server.
type Options struct {
	// Version is the host's version, for status and metrics.
	Version string
	// GRPC, Admin and Probe are the addresses in use, host:port or unix:path, for status; Configured is listen.admin.
	GRPC, Admin, Probe, Configured string
	// Log gets a line for each operation, and for those that are refused.
	Log *slog.Logger
	// Tokens are what may operate the host over TCP; nil: none.
	Tokens func(context.Context) []Token
	// TokenFile is where the host has written one of them, for operators on its machine; empty: nowhere.
	TokenFile string
	// Profiles is whether Go's profiles of the host are served.
	Profiles bool
	// Plugins is what the plugins are doing.
	Plugins func() []fleet.Status
	// Ready is whether Flyte may send work.
	Ready func() bool
	// Readiness is the same with what there is to say of it; nil: nothing.
	Readiness func() Readiness
	// Events are those of a query, until the context ends or the host stops; see history.History.Events.
	Events func(context.Context, history.Query) iter.Seq[history.Event]
	// Tails are the last lines of the plugins; nil: there are none.
	Tails *logging.Tails
	// HistoryLost is how many events could not be kept for after the host's end, and why the last one could not; see LogLost.
	HistoryLost func() (events int64, why string)
	// Reload takes up the changed configuration, or with dry only plans it, and sends what happens line by line, the report
	// last.
	Reload func(ctx context.Context, dry bool, send func(ReloadLine))
	// Upgrade has a new host take over, and sends what happens line by line, the report last. With force it does so too where a
	// plugin that runs here does not run there.
	Upgrade func(ctx context.Context, force bool, send func(UpgradeLine))
	// Config is which configuration is in effect.
	Config Config
	// Operate carries out an operation on a plugin, and sends what happens line by line, the report last.
	Operate func(ctx context.Context, plugin string, what fleet.Operation, send func(OperationLine))
	// WatchError is why changes of the configuration's files are seen late; empty while they are seen at once.
	WatchError func() string
	// Artifacts is what the store of images has done; nil: there is none.
	Artifacts func() artifact.Stats
	// LogLost is how many lines of the log could not be written, and why the last one could not; empty while lines can be.
	LogLost func() (lines int64, why string)
	// StateDir is where the host keeps what must outlive it, StateWarning why that may not last; empty where it does.
	StateDir, StateWarning string
	// Cgroups is what of cgroups plugins get here, and what is missing.
	Cgroups string
	// CreateWarning is why tasks whose job cannot be made at once may not be accepted as they should be; empty where they are.
	CreateWarning func() string
	// Waiting are the calls that wait now, Limits what holds calls to plugins back, and Removed the plugins that were taken out of the
	// configuration a short while ago.
	Waiting func() []gateway.Waiting
	Limits  func() []gateway.InEffect
	Removed func() []route.Removed
	// Jobs are the jobs that run, and whether there are more than are counted.
	Jobs func() (counts []jobs.Count, full bool)
	// Pending are the accepted tasks that have no job yet, and CancelPending gives one up.
	Pending       func() []gateway.Pending
	CancelPending func(ctx context.Context, id string) error
	// Explain answers people who ask about tasks; nil: nobody does.
	Explain Explainer
	// Rollbacks is how often a generation failed its probation.
	Rollbacks func() int64
	// Series is the last steps of plugins, at most so many; see series.Recorder.Last.
	Series func(steps int, wanted func(plugin string) bool) series.Series
	// Page is what browsers are shown; nil: nothing.
	Page Page
	// Metrics is where the host's metrics are registered; the server adds its own to it.
	Metrics *prometheus.Registry
	// OwnMetrics asks the plugins for their own metrics; nil: nobody does.
	OwnMetrics func() []fleet.OwnMetrics
	// Exemplars says that some of the metrics have traces as examples, which only OpenMetrics can say.
	Exemplars bool
}

// Server answers operators: see endpoints.
type Server struct {
	options  Options
	started  time.Time
	http     *http.Server
	audit    *auditLog
	sessions *sessions

	streams    context.Context // ends with Shutdown
	endStreams context.CancelFunc
}

// New returns a server that is not serving yet.
func New(options Options) *Server {
	if options.Pending == nil {
		options.Pending = func() []gateway.Pending { return nil }
	}
	if options.Jobs == nil {
		options.Jobs = func() ([]jobs.Count, bool) { return nil, false }
	}
	if options.OwnMetrics == nil {
		options.OwnMetrics = func() []fleet.OwnMetrics { return nil }
	}
	if options.Waiting == nil {
		options.Waiting = func() []gateway.Waiting { return nil }
	}
	if options.Limits == nil {
		options.Limits = func() []gateway.InEffect { return nil }
	}
	if options.Removed == nil {
		options.Removed = func() []route.Removed { return nil }
	}
	if options.CreateWarning == nil {
		options.CreateWarning = func() string { return "" }
	}
	if options.Series == nil {
		options.Series = series.NewRecorder(&series.Tallies{}).Last
	}
	if options.LogLost == nil {
		options.LogLost = func() (int64, string) { return 0, "" }
	}
	if options.Tails == nil {
		options.Tails = &logging.Tails{}
	}
	if options.HistoryLost == nil {
		options.HistoryLost = func() (int64, string) { return 0, "" }
	}
	if options.Tokens == nil {
		options.Tokens = func(context.Context) []Token { return nil }
	}
	s := &Server{options: options, started: time.Now(), audit: newAuditLog(options.Log), sessions: newSessions(options.Admin)}
	s.streams, s.endStreams = context.WithCancel(context.Background())
	registerMetrics(options)
	mux := http.NewServeMux()
	for _, e := range s.endpoints() {
		if (!e.profile || options.Profiles) && (!e.page || options.Page != nil) {
			mux.Handle(e.pattern, s.guard(e))
		}
	}
	s.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10, ConnContext: withPeer}
	return s
}

// endpoint is one row of the API, of which docs/reference/admin-api.md is made.
type endpoint struct {
	pattern string
	// handler is made by Server.operation where the endpoint changes anything, whose access is operate.
	handler http.Handler
	access  access
	// profile marks those that are there with listen.pprof only.
	profile bool
	// body is what a request's body has to be; what pages of other sites can send without asking fits none but a form.
	body body
	// page marks those that are for browsers, and signed those that take no form but one that the host has shown.
	page, signed bool
	// parameters, answer and status are for people.
	parameters, answer, status string
}

func (s *Server) endpoints() []endpoint {
	metrics := s.options.Metrics
	return slices.Concat([]endpoint{
		{
			pattern: "GET /healthz", handler: http.HandlerFunc(serveHealth),
			answer: "`ok`, while the process is well: for a liveness probe", status: "200",
		},
		{
			pattern: "GET /readyz", handler: http.HandlerFunc(s.serveReady),
			answer: "`ok` while Flyte may send work, and the plugins that it is ready without (`ready.give_up`); else why not, and the plugins that it waits for: for a readiness probe", status: "200, 503",
		},
		{
			pattern: "GET /metrics", handler: metricsHandler(metrics, promhttp.HandlerOpts{Registry: metrics, EnableOpenMetrics: s.options.Exemplars}),
			answer: "Prometheus's metrics: [metrics.md](metrics.md)", status: "200",
		},
		{
			pattern: "GET /status", handler: http.HandlerFunc(s.serveStatus), access: read,
			answer: "[Status](#status), as JSON", status: "200",
		},
		{
			pattern: "GET /config", handler: http.HandlerFunc(s.serveConfig), access: read,
			answer: "[ConfigState](#configstate), as JSON: which configuration is in effect, and why not another", status: "200",
		},
		{
			pattern: "GET /events", handler: http.HandlerFunc(s.serveEvents), access: read,
			parameters: fmt.Sprintf("`since`: begin in the past, with an RFC 3339 time or that long ago, such as `90m`, `24h` or `7d`: the newest %d events at most, of the newest %d MiB that `state_dir` keeps over the host's end; `follow=1`: go on with what happens then, which is so without `since`; `plugin`: only what happens to this plugin", history.MaxEvents, history.MaxBytes>>20),
			answer:     "what happens from now on, until the host stops, or what has happened: [Events](#event), as newline-delimited JSON", status: "200, 400",
		},
		{
			pattern: "GET /series", handler: http.HandlerFunc(s.serveSeries), access: read,
			parameters: "`plugin`: only this one; `steps`: how many, the newest, by default all of one plugin and 12 of all",
			answer:     "[Series](#series), as JSON: what the calls of the last hour came to, and what they took", status: "200, 400",
		},
		{
			pattern: "POST /reload", handler: s.operation("reload", s.serveReload),
			parameters: "`dry_run=1`: only plan, and do nothing",
			answer:     "the configuration is read again, and what happens is told: [ReloadLines](#reloadline), as newline-delimited JSON", status: "200, also for a reload that fails: its report says so",
		},
		{
			pattern: "POST /upgrade", handler: s.operation("upgrade", s.serveUpgrade),
			parameters: "`force=1`: also where a plugin that runs does not run in the new host",
			answer:     "a new host is started from the program as it is now, takes over, and this one ends: [UpgradeLines](#upgradeline), as newline-delimited JSON. Answered on the host's own machine only", status: "200, also for an upgrade that fails: its report says so; 403",
		},
		{
			pattern: "GET /pending", handler: http.HandlerFunc(s.servePending), access: read,
			answer: "the accepted tasks that have no job yet: [PendingTasks](#pendingtasks), as JSON", status: "200",
		},
		{
			pattern: "POST /pending/{id}/cancel", handler: s.operation("cancel", s.serveCancel),
			parameters: "`id`: that of the task",
			answer:     "nothing, once the task is given up: no job is made for it. Else why it is not", status: "204, 409",
		},
		{
			pattern: "GET /plugins/{plugin}/logs", handler: http.HandlerFunc(s.serveLogs), access: read,
			parameters: fmt.Sprintf("`plugin`: its name; `tail`: how many of its last lines, by default %d; `follow=1`: go on with those that come", DefaultTail),
			answer: fmt.Sprintf("what the plugin has printed: [Lines](#line), as newline-delimited JSON. The host keeps the last %d KiB of each plugin in memory (less where there are more than %d), over the end of its processes; secrets of the plugin are taken out",
				logging.TailBytes>>10, logging.AllTailsBytes/logging.TailBytes), status: "200, 400, 404 where there is no such plugin",
		},
	}, s.explaining(), s.operations(), s.pageEndpoints(), []endpoint{
		{
			pattern: "GET /debug/pprof/", handler: http.HandlerFunc(pprof.Index), access: read, profile: true,
			answer: "the list of Go's profiles of the host, and below it each by its name, such as `/debug/pprof/heap`", status: "200",
		},
		{
			pattern: "GET /debug/pprof/profile", handler: http.HandlerFunc(pprof.Profile), access: read, profile: true,
			parameters: "`seconds`: how long, by default 30",
			answer:     "a profile of the processor", status: "200",
		},
		{
			pattern: "GET /debug/pprof/trace", handler: http.HandlerFunc(pprof.Trace), access: read, profile: true,
			parameters: "`seconds`: how long, by default 1",
			answer:     "a trace of the execution", status: "200",
		},
	})
}

// Serve answers on listener until Shutdown.
func (s *Server) Serve(listener net.Listener) error { return s.http.Serve(listener) }

// Shutdown ends streams of events and lets other requests under way end, until ctx does.
func (s *Server) Shutdown(ctx context.Context) error {
	s.endStreams()
	return s.http.Shutdown(ctx)
}

func serveHealth(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	s.options.readiness().serve(w, false)
}
