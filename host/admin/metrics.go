package admin

import (
	"net/http"
	"runtime"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
)

// metricsHandler answers scrapes. It compresses faster than promhttp does, and a little less: with hundreds of plugins that was a third of
// what a scrape cost.
func metricsHandler(metrics prometheus.Gatherer, options promhttp.HandlerOpts) http.Handler {
	options.DisableCompression = true
	options.ErrorHandling = promhttp.ContinueOnError // a plugin's own metrics may contradict each other in ways that only the registry sees
	compressed, err := gzhttp.NewWrapper(gzhttp.CompressionLevel(gzip.BestSpeed))
	if err != nil {
		panic(err) // the level is one that there is
	}
	return compressed(promhttp.HandlerFor(metrics, options))
}

func registerMetrics(options Options) {
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "agenthost_build_info", Help: "1, with the host's version.",
		ConstLabels: prometheus.Labels{"version": options.Version, "go": runtime.Version()},
	})
	build.Set(1)
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "agenthost_ready", Help: "1 while Flyte may send work.",
	}, func() float64 { return truth(options.Ready()) })
	valid := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "agenthost_config_valid", Help: "1 while the configuration's files are sound; 0 while the last sound one is in effect instead.",
	}, func() float64 { return truth(options.Config.refused() == nil) })
	lastSound := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "agenthost_config_last_sound", Help: "1 while the configuration is in effect that a host kept as the last sound one, because there was none in the files when this host was started.",
	}, func() float64 { return truth(options.Config.lastSound() != nil) })
	watched := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "agenthost_config_watched", Help: "1 while the system notifies of changes of the configuration's files; 0 while they are only looked for now and then.",
	}, func() float64 { return truth(options.WatchError() == "") })
	rollbacks := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "agenthost_rollbacks_total", Help: "Generations that failed their probation, so that the one before came back.",
	}, func() float64 { return float64(options.Rollbacks()) })
	logLost := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "agenthost_log_lines_lost_total", Help: "Lines of the host's log that could not be written: nobody read it, or not fast enough, or the disk was full.",
	}, func() float64 { lines, _ := options.LogLost(); return float64(lines) })
	if options.Artifacts != nil {
		registerArtifacts(options.Metrics, options.Artifacts)
	}
	options.Metrics.MustRegister(build, ready, valid, lastSound, watched, rollbacks, logLost, &pluginCollector{options}, &standingCollector{options}, &generationCollector{options.Plugins}, &ownCollector{options.OwnMetrics},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// registerArtifacts tells of images and their registries.
func registerArtifacts(metrics prometheus.Registerer, stats func() artifact.Stats) {
	counter := func(name, help string, value func(artifact.Stats) int64) {
		metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value(stats())) }))
	}
	counter("agenthost_image_pulls_total", "Images of plugins that were pulled, checked and unpacked.", func(s artifact.Stats) int64 { return s.Pulls })
	counter("agenthost_image_pull_failures_total", "Images of plugins that could not be had: no registry, another content or no signature.", func(s artifact.Stats) int64 { return s.Failures })
	counter("agenthost_image_bytes_total", "Bytes of images that registries have sent.", func(s artifact.Stats) int64 { return s.Loaded })
}

// pluginCollector reads the plugins' status when it is asked for metrics: nothing is counted twice.
type pluginCollector struct{ options Options }

var (
	pluginState = prometheus.NewDesc("agenthost_plugin_state",
		"1 for the state that the plugin is in.", []string{"plugin", "state"}, nil)
	pluginSwapFailed = prometheus.NewDesc("agenthost_plugin_swap_failed",
		"1 while the plugin's newest configuration does not serve and the one before goes on.", []string{"plugin"}, nil)
	pluginInfo = prometheus.NewDesc("agenthost_plugin_info",
		"1, with the plugin's own version and SDK.", []string{"plugin", "version", "sdk"}, nil)
	pluginDegraded = prometheus.NewDesc("agenthost_plugin_sandbox_degraded",
		"1 while the plugin's process runs with less than its sandbox, because this machine cannot grant all of it.", []string{"plugin"}, nil)
	pluginRestarts = prometheus.NewDesc("agenthost_plugin_restarts_total",
		"Processes started after the plugin's first.", []string{"plugin"}, nil)
	pluginMemoryRestarts = prometheus.NewDesc("agenthost_plugin_memory_restarts_total",
		"Restarts because the plugin reached its memory limit, or took more than its share while the container was nearly full.", []string{"plugin"}, nil)
	pluginSecretReads = prometheus.NewDesc("agenthost_plugin_secret_reads_total",
		"Secrets of the running plugin that were read again from their stores, by outcome: unchanged, changed, failed.", []string{"plugin", "outcome"}, nil)
	pluginSecretsUnread = prometheus.NewDesc("agenthost_plugin_secrets_unread",
		"How many secrets of the plugin could not be read from their stores when that was last tried: its processes keep the values that they have.", []string{"plugin"}, nil)
	pluginOOMKills = prometheus.NewDesc("agenthost_plugin_oom_kills_total",
		"Processes of the plugin, or started by one, that the kernel has ended for want of memory (OOM).", []string{"plugin"}, nil)
	pluginDraining = prometheus.NewDesc("agenthost_plugin_draining_calls",
		"Calls under way in generations and processes of the plugin that are to go.", []string{"plugin"}, nil)
	pluginLastHealth = prometheus.NewDesc("agenthost_plugin_last_health_time_seconds",
		"When the plugin's running processes last answered a health check, as Unix time: of several the one that has not for longest.", []string{"plugin"}, nil)
	pluginNextStart = prometheus.NewDesc("agenthost_plugin_next_start_time_seconds",
		"When the next process of the plugin is started, as Unix time; only while one is waited for.", []string{"plugin"}, nil)
	pluginRolloutStep = prometheus.NewDesc("agenthost_rollout_step",
		"The step that the plugin's rollout is in, from 1, while it has steps.", []string{"plugin"}, nil)
	pluginRolloutAborts = prometheus.NewDesc("agenthost_rollout_aborts_total",
		"Canaries that were withdrawn because they were worse than the current generation (rollout.abort_if).", []string{"plugin"}, nil)
	pluginStarted = prometheus.NewDesc("agenthost_plugin_start_time_seconds",
		"When the running process was started, as Unix time.", []string{"plugin"}, nil)
	pluginInFlight = prometheus.NewDesc("agenthost_plugin_calls_in_flight",
		"Calls that the plugin is answering.", []string{"plugin"}, nil)
	pluginPending = prometheus.NewDesc("agenthost_creations_on_record",
		"Tasks for the plugin that were accepted and have no job yet.", []string{"plugin"}, nil)
	pluginJobs = prometheus.NewDesc("agenthost_plugin_jobs",
		"Jobs that run, by the plugin that this host asked about each last; plugin is empty where no plugin serves their task type.", []string{"plugin"}, nil)
	pluginProcesses = prometheus.NewDesc("agenthost_plugin_processes",
		"Running processes of the plugin's current generation.", []string{"plugin"}, nil)
	pluginMemory = prometheus.NewDesc("agenthost_plugin_memory_bytes",
		"Resident memory of the plugin's processes and of what they have started.", []string{"plugin"}, nil)
	pluginMemoryLimit = prometheus.NewDesc("agenthost_plugin_memory_limit_bytes",
		"What each of the plugin's processes may take of memory with what it has started (sandbox.memory).", []string{"plugin"}, nil)
	pluginCPU = prometheus.NewDesc("agenthost_plugin_cpu_seconds_total",
		"Processor time of the plugin's running processes and of what they have started.", []string{"plugin"}, nil)
)

// Describe implements prometheus.Collector.
func (c *pluginCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{
		pluginState, pluginSwapFailed, pluginInfo, pluginDegraded, pluginRestarts, pluginMemoryRestarts, pluginOOMKills, pluginDraining, pluginLastHealth, pluginNextStart,
		pluginSecretReads, pluginSecretsUnread, pluginRolloutStep, pluginRolloutAborts, pluginStarted, pluginInFlight, pluginPending, pluginJobs, pluginProcesses, pluginMemory, pluginMemoryLimit, pluginCPU,
		callsWaiting, callsWaitingOldest, pluginLimit, pluginLimited,
	} {
		descs <- desc
	}
}

// Collect implements prometheus.Collector.
func (c *pluginCollector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	counter := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value, labels...)
	}
	pending := map[string]int{}
	for _, p := range c.options.Pending() {
		pending[p.Plugin]++
	}
	running := map[string]int{}
	counts, _ := c.options.Jobs()
	for _, count := range counts {
		running[count.Plugin] += count.Running
	}
	seen := map[string]bool{}
	plugins := c.options.Plugins()
	draining := map[string]int{}
	for _, p := range plugins {
		draining[p.Name] += drainingCalls(p)
	}
	for _, p := range plugins {
		if seen[p.Name] {
			continue // removed and wanted again: the old one only drains
		}
		seen[p.Name] = true
		for _, state := range fleet.States {
			gauge(pluginState, truth(p.State == state), p.Name, string(state))
		}
		gauge(pluginSwapFailed, truth(p.SwapError != nil), p.Name)
		counter(pluginRestarts, float64(p.Restarts), p.Name)
		counter(pluginRolloutAborts, float64(p.Aborts), p.Name)
		if p.Rollout != nil && p.Rollout.Step != nil {
			gauge(pluginRolloutStep, float64(p.Rollout.Step.Number), p.Name)
		}
		counter(pluginMemoryRestarts, float64(p.MemoryRestarts), p.Name)
		counter(pluginOOMKills, float64(p.OOMKills), p.Name)
		if !p.SecretsRead.IsZero() {
			counter(pluginSecretReads, float64(p.SecretReads.Unchanged), p.Name, "unchanged")
			counter(pluginSecretReads, float64(p.SecretReads.Changed), p.Name, "changed")
			counter(pluginSecretReads, float64(p.SecretReads.Failed), p.Name, "failed")
			gauge(pluginSecretsUnread, float64(len(p.SecretErrors)), p.Name)
		}
		gauge(pluginInFlight, float64(p.InFlight), p.Name)
		gauge(pluginProcesses, float64(processes(p)), p.Name)
		gauge(pluginDraining, float64(draining[p.Name]), p.Name)
		health, next := lastAndNext(p)
		if !health.IsZero() {
			gauge(pluginLastHealth, seconds(health), p.Name)
		}
		if !next.IsZero() {
			gauge(pluginNextStart, seconds(next), p.Name)
		}
		gauge(pluginPending, float64(pending[p.Name]), p.Name)
		gauge(pluginJobs, float64(running[p.Name]), p.Name)
		delete(pending, p.Name)
		delete(running, p.Name)
		if p.Manifest != nil {
			gauge(pluginInfo, 1, p.Name, p.Manifest.Version, p.Manifest.SDK)
		}
		if p.Sandbox != nil {
			gauge(pluginDegraded, truth(p.Sandbox.Degraded()), p.Name)
		}
		if p.MemoryLimit > 0 {
			gauge(pluginMemoryLimit, float64(p.MemoryLimit), p.Name)
		}
		if p.PID != 0 {
			gauge(pluginStarted, seconds(p.Started), p.Name)
			gauge(pluginMemory, float64(p.MemoryBytes), p.Name)
			counter(pluginCPU, p.CPUSeconds, p.Name)
		}
	}
	c.collectWaits(metrics, plugins)
	for name, tasks := range pending { // of plugins that were taken out of the configuration
		gauge(pluginPending, float64(tasks), name)
	}
	for name, jobs := range running {
		gauge(pluginJobs, float64(jobs), name)
	}
}

// processes counts what MemoryBytes is the sum of.
func processes(p fleet.Status) (running int) {
	for _, g := range p.Generations {
		for _, instance := range g.Instances {
			if g.Role == fleet.RoleCurrent && instance.PID != 0 {
				running++
			}
		}
	}
	return running
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// drainingCalls are the calls under way in what is to go.
func drainingCalls(p fleet.Status) (calls int) {
	for _, g := range p.Generations {
		for _, i := range g.Instances {
			if i.State == fleet.Draining {
				calls += i.InFlight
			}
		}
	}
	return calls
}

// lastAndNext are the oldest last answer to a health check of the current instances that run, and the next start of one.
func lastAndNext(p fleet.Status) (health, next time.Time) {
	earliest := func(of *time.Time, at time.Time) {
		if !at.IsZero() && (of.IsZero() || at.Before(*of)) {
			*of = at
		}
	}
	for _, g := range p.Generations {
		if g.Role != fleet.RoleCurrent {
			continue
		}
		for _, i := range g.Instances {
			earliest(&health, i.HealthAt)
			earliest(&next, i.NextStart)
		}
	}
	return health, next
}

var (
	callsWaiting = prometheus.NewDesc("agenthost_calls_waiting",
		"Calls that wait, by what they wait for: concurrency, rate, plugin, removed, start, gate, job, retry, memory. Plugin is empty where it is not known yet.", []string{"plugin", "on"}, nil)
	callsWaitingOldest = prometheus.NewDesc("agenthost_calls_waiting_oldest_seconds",
		"For how long the one of these calls has waited that has for longest.", []string{"plugin", "on"}, nil)
	pluginLimit = prometheus.NewDesc("agenthost_plugin_limit",
		"What the plugin's limits are: concurrency (calls of CreateTask and ExecuteTaskSync under way) and rate (calls a second).", []string{"plugin", "limit"}, nil)
	pluginLimited = prometheus.NewDesc("agenthost_plugin_limited_calls",
		"Calls under way that count for the plugin's limits.concurrency.", []string{"plugin"}, nil)
)

// collectWaits tells which calls wait, and what holds them back. What a plugin's calls may wait for longest has its series from the first
// moment.
func (c *pluginCollector) collectWaits(metrics chan<- prometheus.Metric, plugins []fleet.Status) {
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	type key struct{ plugin, on string }
	waiting := map[key]bool{}
	for _, w := range c.options.Waiting() {
		waiting[key{w.Plugin, string(w.On)}] = true
		gauge(callsWaiting, float64(w.Calls), w.Plugin, string(w.On))
		gauge(callsWaitingOldest, time.Since(w.Oldest).Seconds(), w.Plugin, string(w.On))
	}
	usual := func(plugin string, on gateway.WaitsOn) {
		if k := (key{plugin, string(on)}); !waiting[k] {
			waiting[k] = true
			gauge(callsWaiting, 0, k.plugin, k.on)
			gauge(callsWaitingOldest, 0, k.plugin, k.on)
		}
	}
	for _, p := range plugins {
		usual(p.Name, gateway.OnPlugin)
	}
	for _, l := range c.options.Limits() {
		if l.Concurrency > 0 {
			usual(l.Plugin, gateway.OnConcurrency)
			gauge(pluginLimit, float64(l.Concurrency), l.Plugin, "concurrency")
			gauge(pluginLimited, float64(l.UnderWay), l.Plugin)
		}
		if l.Rate > 0 {
			usual(l.Plugin, gateway.OnRate)
			gauge(pluginLimit, l.Rate, l.Plugin, "rate")
		}
	}
}

// standingCollector reads how it stands with the plugins when it is asked for metrics.
type standingCollector struct{ options Options }

var (
	pluginStanding = prometheus.NewDesc("agenthost_plugin_standing",
		"1 for how it stands with what the configuration says of the plugin: as configured, pending, failing, refused, excused.", []string{"plugin", "standing"}, nil)
	readyWithout = prometheus.NewDesc("agenthost_ready_without_plugins",
		"How many plugins of its configuration the host is ready without, after ready.give_up, that do not run as configured still.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *standingCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- pluginStanding
	descs <- readyWithout
}

// Collect implements prometheus.Collector.
func (c *standingCollector) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.MustNewConstMetric(readyWithout, prometheus.GaugeValue, float64(len(c.options.readiness().Without)))
	if c.options.Config.Standings == nil {
		return
	}
	for _, s := range c.options.Config.Standings() {
		for _, stand := range fleet.Stands {
			metrics <- prometheus.MustNewConstMetric(pluginStanding, prometheus.GaugeValue, truth(s.Stand == stand), s.Plugin, string(stand))
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
