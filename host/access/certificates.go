package access

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"

	"github.com/agenthost/agenthost/host/config"
)

const (
	// certificatesReread is how often the files are read again.
	certificatesReread = 5 * time.Second
	// MaxConnectionAge is for how long callers with certificates keep one connection, after which they connect anew and lose no call: an
	// authority that was taken out, and a certificate that has expired, count no longer than that.
	MaxConnectionAge = 10 * time.Minute
)

// Certificates are those of a listener, as its files hold them. What is rotated is in use from the next connection on; files
// that are no pair, such as half-written ones, change nothing.
type Certificates struct {
	files config.ListenTLS
	log   *slog.Logger

	current atomic.Pointer[loaded]
	problem atomic.Pointer[string] // why what the files hold is not in use; nil where it is

	mu     sync.Mutex        // guards what follows
	sum    [sha256.Size]byte // of what the files held last
	warned string            // what was said last of the expiry
}

// loaded is what the files held.
type loaded struct {
	config *tls.Config
	leaf   *x509.Certificate
}

// FileError is what is wrong with the file of a key below listen.tls.
type FileError struct {
	Key string
	Err error
}

func (e *FileError) Error() string { return "listen.tls." + e.Key + ": " + e.Err.Error() }
func (e *FileError) Unwrap() error { return e.Err }

// LoadCertificates reads the files. Errors are *FileError.
func LoadCertificates(files config.ListenTLS, log *slog.Logger) (*Certificates, error) {
	c := &Certificates{files: files, log: log}
	held, sum, err := c.read()
	if err != nil {
		return nil, err
	}
	c.current.Store(held)
	c.sum = sum
	c.watchExpiry()
	return c, nil
}

// Check says what is wrong with the files, as a *FileError; nil where nothing is.
func Check(files config.ListenTLS) error {
	held, _, err := (&Certificates{files: files}).read()
	if err == nil && time.Now().After(held.leaf.NotAfter) {
		return expired(files.Cert, held.leaf)
	}
	return err
}

func expired(file string, leaf *x509.Certificate) error {
	return &FileError{"cert", fmt.Errorf("%s has expired, at %s", file, leaf.NotAfter.UTC().Format(time.RFC3339))}
}

// Credentials are for a server of the listener.
func (c *Certificates) Credentials() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c.current.Load().config, nil },
		// A session that is resumed is not checked anew, and connections are few and long.
		SessionTicketsDisabled: true,
	})
}

// AsksCallers says whether callers are asked for certificates.
func (c *Certificates) AsksCallers() bool { return c.files.ClientCA != "" }

// read reads the files, and says by a sum what they held.
func (c *Certificates) read() (*loaded, [sha256.Size]byte, error) {
	digest := sha256.New()
	failed := func(key, format string, args ...any) (*loaded, [sha256.Size]byte, error) {
		err := &FileError{key, fmt.Errorf(format, args...)}
		fmt.Fprint(digest, err)
		return nil, [sha256.Size]byte(digest.Sum(nil)), err
	}
	var texts [3][]byte
	for i, file := range []struct{ key, path string }{{"cert", c.files.Cert}, {"key", c.files.Key}, {"client_ca", c.files.ClientCA}} {
		if file.path == "" {
			continue
		}
		text, err := os.ReadFile(file.path)
		if err != nil {
			return failed(file.key, "cannot be read: %w: check that the file is mounted and that the host's user may read it", err)
		}
		texts[i] = text
		fmt.Fprintf(digest, "%d %s", len(text), text)
	}
	pair, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return failed("cert", "%s and the key in %s are no pair: %w: both are PEM files, the key without a passphrase and that of the certificate", c.files.Cert, c.files.Key, err)
	}
	held := &loaded{leaf: pair.Leaf, config: &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}, SessionTicketsDisabled: true,
	}}
	if texts[2] != nil {
		held.config.ClientCAs, held.config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if c.files.ClientCertificates == config.Optional {
			held.config.ClientAuth = tls.VerifyClientCertIfGiven
		}
		if !held.config.ClientCAs.AppendCertsFromPEM(texts[2]) {
			return failed("client_ca", "%s holds no certificate in PEM form", c.files.ClientCA)
		}
	}
	return held, [sha256.Size]byte(digest.Sum(nil)), nil
}

// Reread takes up what the files hold now.
func (c *Certificates) Reread() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.watchExpiry()
	held, sum, err := c.read()
	if bytes.Equal(sum[:], c.sum[:]) {
		return
	}
	c.sum = sum
	before := c.current.Load()
	if now := time.Now(); err == nil && now.After(held.leaf.NotAfter) && now.Before(before.leaf.NotAfter) {
		err = expired(c.files.Cert, held.leaf)
	}
	if err != nil {
		why := err.Error()
		c.problem.Store(&why)
		c.log.Error("the changed certificate of listen.grpc is not in use; the one before stays", "expires", before.leaf.NotAfter, "error", err)
		return
	}
	c.problem.Store(nil)
	c.current.Store(held)
	c.log.Info("listen.grpc has a new certificate", "expires", held.leaf.NotAfter, "names", namesOf(held.leaf))
}

// Problem is why what the files hold is not in use; empty where it is.
func (c *Certificates) Problem() string {
	if c == nil {
		return ""
	}
	if why := c.problem.Load(); why != nil {
		return *why
	}
	return ""
}

// watchExpiry warns once of a certificate that is near its end, and once of one that is past it.
func (c *Certificates) watchExpiry() {
	leaf := c.current.Load().leaf
	left := time.Until(leaf.NotAfter)
	said := ""
	switch {
	case left <= 0:
		said = "has expired"
	case left < leaf.NotAfter.Sub(leaf.NotBefore)/10:
		said = "expires soon"
	}
	about := said + leaf.SerialNumber.String()
	if said != "" && about != c.warned {
		c.log.Warn("the certificate of listen.grpc "+said+", and its files hold no newer one", "expires", leaf.NotAfter, "file", c.files.Cert)
	}
	c.warned = about
}

// Run reads the files again and again until ctx ends.
func (c *Certificates) Run(ctx context.Context) {
	ticker := time.NewTicker(certificatesReread)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			c.Reread()
		case <-ctx.Done():
			return
		}
	}
}

var (
	certificateBegin = prometheus.NewDesc("agenthost_tls_certificate_begin_timestamp_seconds",
		"From when on the certificate of listen.grpc that is in use is valid, as Unix time.", nil, nil)
	certificateExpiry = prometheus.NewDesc("agenthost_tls_certificate_expiry_timestamp_seconds",
		"When the certificate of listen.grpc that is in use expires, as Unix time.", nil, nil)
	certificateStale = prometheus.NewDesc("agenthost_tls_certificate_stale",
		"1 while the certificate's files hold what cannot be used, and the one before is in use.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *Certificates) Describe(descs chan<- *prometheus.Desc) {
	descs <- certificateBegin
	descs <- certificateExpiry
	descs <- certificateStale
}

// Collect implements prometheus.Collector.
func (c *Certificates) Collect(metrics chan<- prometheus.Metric) {
	stale := 0.0
	if c.Problem() != "" {
		stale = 1
	}
	leaf := c.current.Load().leaf
	metrics <- prometheus.MustNewConstMetric(certificateBegin, prometheus.GaugeValue, float64(leaf.NotBefore.Unix()))
	metrics <- prometheus.MustNewConstMetric(certificateExpiry, prometheus.GaugeValue, float64(leaf.NotAfter.Unix()))
	metrics <- prometheus.MustNewConstMetric(certificateStale, prometheus.GaugeValue, stale)
}
