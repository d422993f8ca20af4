package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/secret"
	"github.com/agenthost/agenthost/host/takeover"
)

// adminTokens are what operates the host over TCP: a token of the host's own, which it writes where only its user reads, and
// those of listen.admin_token.
type adminTokens struct {
	source string
	own    []admin.Token // one or none
	file   string        // where the own one is; empty: nowhere
	log    *slog.Logger

	mu         sync.Mutex // guards what follows
	read       time.Time
	configured []admin.Token
	problem    string
}

const (
	// ownTokenName is what audit lines call the host's own token.
	ownTokenName = "of the host's user"
	// tokensReread is for how long tokens are good that were read, and tokensTimeout for how long a store is asked.
	tokensReread  = 10 * time.Second
	tokensTimeout = 5 * time.Second
	// minTokenLength is what of a token nobody guesses.
	minTokenLength = 16
)

// openAdminTokens makes the host's own token, which ends with the host, in its run directory, where admin listens on TCP. The file's
// name has the port, by which the command line tells whose it is.
func openAdminTokens(settings config.Listen, listener *takeover.Pausable, runRoot *process.RunRoot, log *slog.Logger) (*adminTokens, error) {
	t := &adminTokens{source: settings.AdminToken, log: log}
	if listener == nil {
		return t, nil
	}
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		return t, nil
	}
	dir, err := runRoot.Make()
	if err != nil {
		return nil, err
	}
	token := rand.Text()
	name := admin.TokenFileName(address.Port)
	if err := dir.Write(name, []byte(token+"\n")); err != nil {
		return nil, fmt.Errorf("run_dir: cannot write the token for operators: %w", err)
	}
	t.own, t.file = []admin.Token{{Name: ownTokenName, Secret: token}}, dir.Path()+"/"+name
	if ip := address.IP; !ip.IsLoopback() {
		log.Warn("listen.admin can be reached from other machines, which get health and metrics there, and all else with a token: listen.probe is for them",
			"admin", address.String())
	}
	return t, nil
}

// all are the tokens that hold now.
func (t *adminTokens) all(ctx context.Context) []admin.Token {
	if t.source == "" {
		return t.own
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.read) > tokensReread {
		t.read = time.Now()
		configured, err := ReadAdminTokens(ctx, t.source)
		if err != nil { // the last ones stay
			t.failed(err)
		} else {
			t.configured, t.problem = configured, ""
		}
	}
	return append(t.configured[:len(t.configured):len(t.configured)], t.own...)
}

// failed logs what is wrong, once.
func (t *adminTokens) failed(err error) {
	if why := err.Error(); why != t.problem {
		t.problem = why
		t.log.Error("the tokens for operators cannot be read", "error", err)
	}
}

// ReadAdminTokens reads the tokens at a source as listen.admin_token names it. Errors never show a token.
func ReadAdminTokens(ctx context.Context, source string) ([]admin.Token, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tokensTimeout) // whoever asked may go away
	defer cancel()
	text, err := secret.Read(ctx, source)
	if err != nil {
		return nil, fmt.Errorf("listen.admin_token: %w", err)
	}
	var tokens []admin.Token
	for i, line := range bytes.Split(text, []byte("\n")) {
		words := strings.Fields(string(line))
		if len(words) == 0 {
			continue
		}
		token := admin.Token{Name: fmt.Sprintf("of line %d", i+1), Secret: words[len(words)-1]}
		switch {
		case len(words) > 2:
			return nil, fmt.Errorf("listen.admin_token: line %d has more than a name and a token", i+1)
		case len(token.Secret) < minTokenLength:
			return nil, fmt.Errorf("listen.admin_token: the token of line %d is shorter than %d characters: make one with `openssl rand -hex 32`", i+1, minTokenLength)
		case len(words) == 2:
			token.Name = words[0]
		}
		tokens = append(tokens, token)
	}
	if len(tokens) == 0 {
		return nil, errors.New("listen.admin_token: there is no token: make one with `openssl rand -hex 32`")
	}
	return tokens, nil
}
