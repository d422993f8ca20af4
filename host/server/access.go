package server

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agenthost/agenthost/host/access"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/gateway"
)

// callers is by what the callers of listen.grpc are known and judged.
type callers struct {
	guard        *access.Guard
	certificates *access.Certificates // nil without TLS
	log          *slog.Logger
	warned       string // what was said last
}

// issuersWait is how long a host that starts waits for the keys of access.issuers before it takes calls.
const issuersWait = 10 * time.Second

func openCallers(settings *config.Config, log *slog.Logger) (*callers, error) {
	c := &callers{log: log}
	if settings.Listen.TLS.Cert != "" {
		var err error
		if c.certificates, err = access.LoadCertificates(settings.Listen.TLS, log); err != nil {
			return nil, err
		}
	}
	c.guard = access.New(settings.Access, log)
	c.warn(settings)
	return c, nil
}

// warn tells, once, of what weakens the policy.
func (c *callers) warn(settings *config.Config) {
	var problems []string
	if len(settings.Access.Issuers) > 0 && c.certificates == nil {
		problems = append(problems, "callers' tokens come over plain gRPC, where others can read them, unless something in front of the host speaks TLS: set listen.tls")
	}
	if settings.Access.Seals() && settings.Create.Keys == "" {
		problems = append(problems, "access.rules name projects or domains, and create.keys is not set: only this host, for as long as its state_dir lasts, "+
			"can read what it seals; set it where there are several replicas")
	}
	if said := strings.Join(problems, "; "); said != c.warned {
		c.warned = said
		for _, problem := range problems {
			c.log.Warn("who may call is less certain than it could be", "problem", problem)
		}
	}
}

// register adds the metrics.
func (c *callers) register(metrics prometheus.Registerer) {
	metrics.MustRegister(c.guard)
	if c.certificates != nil {
		metrics.MustRegister(c.certificates)
	}
}

// into says it to the gateway.
func (c *callers) into(options gateway.Options) gateway.Options {
	options.Access = c.guard
	if c.certificates != nil {
		options.Credentials = c.certificates.Credentials()
		if c.certificates.AsksCallers() {
			options.MaxConnectionAge = access.MaxConnectionAge
		}
	}
	return options
}

// apply takes up what the configuration says now.
func (c *callers) apply(settings *config.Config) {
	c.guard.Apply(settings.Access)
	if c.certificates != nil {
		c.certificates.Reread()
	}
	c.warn(settings)
}

// run keeps the certificates as their files are, until ctx ends.
func (c *callers) run(ctx context.Context) {
	if c.certificates != nil {
		c.certificates.Run(ctx)
	}
}

// known waits until callers can be known, but not for long. The error says why some cannot.
func (c *callers) known(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, issuersWait)
	defer cancel()
	return c.guard.Tried(ctx)
}

// startedAndKnown is closed once the plugins have started and callers can be known, or some cannot.
func (h *host) startedAndKnown(ctx context.Context, waiting *sync.WaitGroup) <-chan struct{} {
	both := make(chan struct{})
	waiting.Go(func() {
		_ = h.callers.known(ctx) // whom it leaves out is told by the log, and to callers
		select {
		case <-h.readiness.first:
			close(both)
		case <-ctx.Done():
		}
	})
	return both
}

// CheckListenTLS says what is wrong with the certificates that the configuration names.
func CheckListenTLS(settings *config.Config) config.Errors {
	if settings.Listen.TLS.Cert == "" {
		return nil
	}
	var wrong *access.FileError
	if errors.As(access.Check(settings.Listen.TLS), &wrong) {
		return config.Errors{settings.ErrorAt(wrong.Err.Error(), "listen", "tls", wrong.Key)}
	}
	return nil
}

// CheckIssuers looks for the keys of access.issuers, and says which are not there.
func CheckIssuers(ctx context.Context, settings *config.Config) config.Errors {
	var errs config.Errors
	for i, issuer := range settings.Access.Issuers {
		if err := access.CheckIssuer(ctx, issuer); err != nil {
			errs = append(errs, settings.ErrorAt(err.Error(), "access", "issuers", strconv.Itoa(i), "issuer"))
		}
	}
	return errs
}
