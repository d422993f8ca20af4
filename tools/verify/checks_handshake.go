package verify

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/process"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

func handshakeChecks() []*Check {
	return []*Check{
		{
			Name:   "handshake/cookie",
			Reason: "a person who runs the program by hand must be told what it is, instead of waiting for a server that nobody calls",
			Advice: fmt.Sprintf("where %s is not %q, print a hint for people and exit with a code other than 0, before anything else", pluginv1.MagicCookieKey, pluginv1.MagicCookieValue),
			run:    func(ctx context.Context, k *kit) (string, error) { return k.refusesCookie(ctx, "") },
		},
		{
			Name:   "handshake/wrong-cookie",
			Reason: "a program that is a plugin for another host must not be taken for one of this host's",
			Advice: fmt.Sprintf("compare the value of %s with %q", pluginv1.MagicCookieKey, pluginv1.MagicCookieValue),
			run: func(ctx context.Context, k *kit) (string, error) {
				return k.refusesCookie(ctx, "plugin-of-another-host")
			},
		},
		{
			Name:   "handshake/line",
			Reason: "the host learns from this line where the plugin's server is; without it there is no plugin",
			Advice: "print " + rightLine + " and a line break on stdout, and flush it, once the server listens",
			run: func(ctx context.Context, k *kit) (string, error) {
				began := time.Now()
				i, err := k.at(ctx, handshaken)
				if err != nil {
					return "", err
				}
				return fmt.Sprintf("%s after %v", i.shake.network, time.Since(began).Round(time.Millisecond)), nil
			},
		},
		{
			Name:   "handshake/stdout-before",
			Reason: "go-plugin reads the first line of stdout as the handshake, whatever it is",
			Advice: "print to stderr; look for what libraries and launchers print, such as the JVM's \"Picked up JAVA_TOOL_OPTIONS\"",
			run:    stdoutBefore,
		},
		{
			Name:   "handshake/versions",
			Reason: "a host that speaks more than one version of the protocol offers them all, in any order",
			Advice: "split PLUGIN_PROTOCOL_VERSIONS at the commas and answer with the highest version that you speak, which is 1",
			run:    versionsOffered,
		},
		{
			Name:   "handshake/unknown-versions",
			Reason: "a plugin that claims a version it does not speak would be called in ways that it does not understand",
			Advice: "when no offered version is yours, exit with a message, or answer with your own version and let the host refuse",
			run:    versionsUnknown,
		},
		{
			Name:   "handshake/address",
			Reason: "the directory is private to the plugin and removed with it; anything else can be reached by others, or is left behind",
			Advice: "listen on a unix socket in PLUGIN_UNIX_SOCKET_DIR, or on 127.0.0.1 where the language has no unix sockets",
			run:    addressIsPrivate,
		},
		{
			Name:   "handshake/certificate",
			Reason: "the host trusts the certificate in the handshake line and nothing else",
			Advice: "make a self-signed certificate for localhost, and put its DER form, base64 without padding, into the sixth field",
			run: func(ctx context.Context, k *kit) (string, error) {
				i, err := k.at(ctx, addressed)
				if err != nil {
					return "", err
				}
				if i.identity == nil {
					return "none, with tls: off", nil
				}
				certificate, err := i.shake.parseCertificate()
				if err != nil {
					return "", err // cannot be: it was parsed to get here
				}
				return fmt.Sprintf("%v, valid until %s", certificate.PublicKeyAlgorithm, certificate.NotAfter.Format(time.DateOnly)),
					checkCertificate(certificate, time.Now())
			},
		},
	}
}

// refusesCookie starts the program as a person would, or as another host.
func (k *kit) refusesCookie(ctx context.Context, cookie string) (string, error) {
	o := k.asTheHost()
	o.cookie, o.ignoreLogs = cookie, true
	i, err := k.launch(ctx, o)
	if err != nil {
		return "", &blocked{"handshake/line", err}
	}
	defer i.kill()
	if i.awaitLine(ctx, k.startTimeout()) {
		return "", failed("it made its handshake all the same: %.60q", i.line)
	}
	if !i.awaitEnd(ctx, k.startTimeout()) {
		return "", failed("it did not end within %v", k.startTimeout())
	}
	exit := i.proc.Exit()
	hint := i.proc.LastOutput()
	switch {
	case exit.Code == 0:
		return "", failed("it exited with code 0, as if all were well")
	case exit.Signal != 0:
		return "", failed("it %s", i.obituary())
	case len(hint) == 0:
		return "", failed("it exited with code %d and without a word", exit.Code)
	}
	return fmt.Sprintf("exit code %d, %q", exit.Code, shorten(hint[0])), nil
}

func stdoutBefore(ctx context.Context, k *kit) (string, error) {
	i, err := k.at(ctx, handshaken)
	if err != nil {
		return "", err
	}
	lines, _ := i.printed.of(process.Stdout)
	for n, line := range lines {
		before, found := strings.CutSuffix(strings.TrimSpace(line), i.line)
		switch {
		case !found:
		case n > 0:
			return "", failed("it printed %d lines before its handshake, the first being %.80q", n, lines[0])
		case before != "":
			return "", failed("it printed %.80q before its handshake, on the same line", before)
		default:
			return "", nil
		}
	}
	return "", failed("its handshake line came after more than %d others", maxLines)
}

func versionsOffered(ctx context.Context, k *kit) (string, error) {
	if _, err := k.at(ctx, handshaken); err != nil {
		return "", err
	}
	o := k.asTheHost()
	o.versions = "99,1,57"
	i, err := k.launch(ctx, o)
	if err != nil {
		return "", err
	}
	defer i.kill()
	if err := k.handshake(ctx, i); err != nil {
		return "", fmt.Errorf("of versions %s: %w", o.versions, err)
	}
	return "takes 1 of " + o.versions, nil
}

func versionsUnknown(ctx context.Context, k *kit) (string, error) {
	if _, err := k.at(ctx, handshaken); err != nil {
		return "", err
	}
	o := k.asTheHost()
	o.versions, o.ignoreLogs = "99", true
	i, err := k.launch(ctx, o)
	if err != nil {
		return "", err
	}
	defer i.kill()
	if !i.awaitLine(ctx, k.startTimeout()) {
		if !i.awaitEnd(ctx, k.startTimeout()) {
			return "", failed("offered only version 99, it neither answers nor ends")
		}
		if i.proc.Exit().Code == 0 {
			return "", failed("offered only version 99, it exits with code 0, as if all were well")
		}
		return "offered 99, it " + i.proc.Exit().String(), nil
	}
	if fields := strings.Split(i.line, "|"); len(fields) > 1 && fields[1] == "99" {
		return "", failed("offered only version 99, it says that it speaks it")
	}
	return fmt.Sprintf("offered 99, it says %.8q", i.line), nil
}

func addressIsPrivate(ctx context.Context, k *kit) (string, error) {
	i, err := k.at(ctx, handshaken)
	if err != nil {
		return "", err
	}
	address := i.shake.address
	if i.shake.network == "tcp" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return "", failed("its address %q is not host:port: %v", address, err)
		}
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			return "", failed("it listens on %s, which others may reach: not a loopback address", address)
		}
		return "TCP on loopback; a unix socket would be reachable by this user only", nil
	}
	if filepath.Dir(address) != i.dir.Path() {
		return "", failed("its socket %s is not in PLUGIN_UNIX_SOCKET_DIR", address)
	}
	info, err := os.Stat(address)
	if err != nil {
		return "", failed("its socket is not there: %v", err)
	}
	if info.Mode().Type() != os.ModeSocket {
		return "", failed("%s is not a socket", address)
	}
	return "unix socket " + filepath.Base(address), nil
}
