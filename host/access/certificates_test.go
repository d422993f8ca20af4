package access

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/test/identity"
)

// volume is a folder as Kubernetes mounts a secret: files are links into a folder that a link names.
type volume struct{ dir string }

func (v volume) write(t *testing.T, version string, pair identity.Pair) (cert, key string) {
	t.Helper()
	folder := filepath.Join(v.dir, version)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	pair.Write(t, folder)
	link := filepath.Join(v.dir, "..tmp")
	if err := errors.Join(os.Symlink(version, link), os.Rename(link, filepath.Join(v.dir, "..data"))); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		_ = os.Symlink(filepath.Join("..data", name), filepath.Join(v.dir, name)) // it is there from the second time on
	}
	return filepath.Join(v.dir, "tls.crt"), filepath.Join(v.dir, "tls.key")
}

func TestCertificatesAreTakenUpHoweverTheyRotateAndStayWhereThatFails(t *testing.T) {
	authority := identity.NewAuthority(t)
	until := time.Now().Add(time.Hour)
	files := volume{t.TempDir()}
	cert, key := files.write(t, "..1", authority.Issue(t, until, "CN=first"))
	var log bytes.Buffer
	c, err := LoadCertificates(config.ListenTLS{Cert: cert, Key: key, ClientCA: authority.File(t)}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when, name, problem string) {
		t.Helper()
		c.Reread()
		c.Reread() // and says it once
		if got := c.current.Load().leaf.Subject.CommonName; got != name || (c.Problem() == "") != (problem == "") || !strings.Contains(c.Problem(), problem) {
			t.Errorf("%s: %s is in use, and the problem is %q", when, got, c.Problem())
		}
		if n := strings.Count(log.String(), "the one before stays"); n != map[bool]int{true: 1}[problem != ""] {
			t.Errorf("%s: it is logged %d times", when, n)
		}
		log.Reset()
	}
	expect("at first", "first", "")
	files.write(t, "..2", authority.Issue(t, until, "CN=second"))
	expect("after a swap of links", "second", "")
	third := authority.Issue(t, until, "CN=third")
	if err := os.WriteFile(cert, third.Cert, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("with half a pair", "second", "are no pair")
	if err := os.WriteFile(key, third.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	expect("with the whole", "third", "")
	if err := os.Truncate(key, 0); err != nil {
		t.Fatal(err)
	}
	expect("with an empty key", "third", "are no pair")
	if err := os.Remove(cert); err != nil {
		t.Fatal(err)
	}
	expect("without its file", "third", "listen.tls.cert: cannot be read")
	files.write(t, "..3", authority.Issue(t, time.Now().Add(-time.Minute), "CN=expired"))
	if err := os.Symlink("..data/tls.crt", cert); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	expect("with one that has expired", "third", "has expired, at ")
	if err := testutil.CollectAndCompare(c, strings.NewReader("# HELP agenthost_tls_certificate_stale 1 while the certificate's files hold what cannot be used, and the one before is in use.\n"+
		"# TYPE agenthost_tls_certificate_stale gauge\nagenthost_tls_certificate_stale 1\n"), "agenthost_tls_certificate_stale"); err != nil {
		t.Error(err)
	}
	files.write(t, "..4", authority.Issue(t, until, "CN=fourth"))
	expect("when all is well again", "fourth", "")
}

func TestFilesThatCannotBeUsedAreToldByTheirKey(t *testing.T) {
	authority := identity.NewAuthority(t)
	cert, key := authority.Issue(t, time.Now().Add(time.Hour), "localhost").Write(t, t.TempDir())
	_, otherKey := authority.Issue(t, time.Now().Add(time.Hour), "localhost").Write(t, t.TempDir())
	old, oldKey := authority.Issue(t, time.Now().Add(-time.Minute), "localhost").Write(t, t.TempDir())
	for want, files := range map[string]config.ListenTLS{
		"listen.tls.cert: cannot be read":                          {Cert: cert + ".no", Key: key},
		"listen.tls.key: cannot be read":                           {Cert: cert, Key: key + ".no"},
		"listen.tls.cert: " + cert + " and the key in " + otherKey: {Cert: cert, Key: otherKey},
		"listen.tls.client_ca: cannot be read":                     {Cert: cert, Key: key, ClientCA: cert + ".no"},
		"listen.tls.client_ca: " + key + " holds no certificate":   {Cert: cert, Key: key, ClientCA: key},
		"listen.tls.cert: " + old + " has expired":                 {Cert: old, Key: oldKey},
	} {
		if err := Check(files); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if err := Check(config.ListenTLS{Cert: cert, Key: key, ClientCA: cert}); err != nil {
		t.Error(err)
	}
}

// lockedLog is a log that is read while it is written.
type lockedLog struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *lockedLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(line)
}

func (l *lockedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

func TestTheEndOfACertificateIsToldBeforeItComesAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		authority := identity.NewAuthority(t)
		cert, key := authority.Issue(t, time.Now().Add(9*time.Hour), "localhost").Write(t, t.TempDir()) // made an hour ago
		var log lockedLog
		c, err := LoadCertificates(config.ListenTLS{Cert: cert, Key: key}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		go c.Run(t.Context())
		for _, want := range []struct {
			after         time.Duration
			soon, expired int
		}{{7 * time.Hour, 0, 0}, {90 * time.Minute, 1, 0}, {time.Hour, 1, 1}, {24 * time.Hour, 1, 1}} {
			time.Sleep(want.after)
			synctest.Wait()
			if soon, expired := strings.Count(log.String(), "expires soon"), strings.Count(log.String(), "has expired"); soon != want.soon || expired != want.expired {
				t.Errorf("after %v: told %d and %d times, want %d and %d", want.after, soon, expired, want.soon, want.expired)
			}
		}
	})
}
