package verify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// launchOptions say how a start differs from the host's.
type launchOptions struct {
	cookie     string // empty: none
	versions   string // the protocol versions offered
	noTLS      bool   // no PLUGIN_CLIENT_CERT
	keepGroup  bool
	ignoreLogs bool // what it prints is for people
}

// asTheHost is how the host starts a plugin.
func (k *kit) asTheHost() launchOptions {
	return launchOptions{cookie: pluginv1.MagicCookieValue, versions: fmt.Sprint(pluginv1.ProtocolVersion), noTLS: k.subject.TLS == "off"}
}

// instance is one process of the plugin.
type instance struct {
	proc     *process.Process
	dir      *process.RunDir
	identity *tls.Config // the host's side; nil without TLS
	printed  *transcript
	line     string // the handshake line; empty: none came
	shake    *handshake
	conn     *grpc.ClientConn // nil until addressed
	reached  stage

	expected bool // its end was ours to bring about
}

// launch starts the program. The error says that it cannot be started at all.
func (k *kit) launch(ctx context.Context, o launchOptions) (*instance, error) {
	dir, err := k.root.Make()
	if err != nil {
		return nil, err
	}
	i := &instance{dir: dir, printed: &transcript{}, reached: started}
	spec := plugin.Spec{Command: k.subject.Command, Dir: k.subject.Dir, Env: k.subject.Env, InheritEnv: k.subject.InheritEnv, Secrets: k.subject.Secrets}
	if err := spec.WriteSecrets(ctx, dir); err != nil {
		return nil, err
	}
	protocol := map[string]string{"PLUGIN_MIN_PORT": "10000", "PLUGIN_MAX_PORT": "25000", "PLUGIN_PROTOCOL_VERSIONS": o.versions}
	if o.cookie != "" {
		protocol[pluginv1.MagicCookieKey] = o.cookie
	}
	clientCert := ""
	if !o.noTLS {
		if i.identity, clientCert, err = plugin.NewIdentity(); err != nil {
			return nil, err
		}
	}
	i.proc = process.New(process.Config{
		Name: "the plugin", Command: k.subject.Command, Dir: k.subject.Dir, KeepGroup: o.keepGroup,
		Env: spec.Environ(environment(protocol), dir.Path(), clientCert),
		Watch: func(from process.Stream, line []byte, _ int) {
			afterHandshake := i.printed.add(from, line)
			switch {
			case o.ignoreLogs:
			case from == process.Stderr:
				k.logs.add(line)
			case afterHandshake:
				k.logs.addStray(line)
			}
		},
	})
	if err := i.proc.Start(ctx); err != nil {
		return nil, errors.Join(err, dir.Remove())
	}
	return i, nil
}

func environment(variables map[string]string) []string {
	entries := make([]string, 0, len(variables))
	for _, name := range slices.Sorted(maps.Keys(variables)) {
		entries = append(entries, name+"="+variables[name])
	}
	return entries
}

// awaitLine waits for the handshake line; false: the process ended, or closed its stdout, or took too long.
func (i *instance) awaitLine(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	came := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(i.proc.Stdout()).ReadString('\n') // an end without a line is an empty one
		came <- strings.TrimSuffix(line, "\n")
	}()
	select {
	case i.line = <-came:
	case <-ctx.Done():
		_ = i.proc.Stdout().Close() // lets the reader go
	}
	return i.line != ""
}

// awaitEnd waits until the process has ended and all that it printed is read.
func (i *instance) awaitEnd(ctx context.Context, limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return i.proc.Wait(ctx) == nil
}

func (i *instance) ended() bool {
	select {
	case <-i.proc.Done():
		return true
	default:
		return false
	}
}

// exitGrace is how long after something that looks like its end a process is given to end.
const exitGrace = 500 * time.Millisecond

// diedUnasked says that the process has ended though nobody wanted it to. It takes a moment where that is likely.
func (i *instance) diedUnasked(likely bool) bool {
	if i.expected {
		return false
	}
	if likely {
		return i.awaitEnd(context.Background(), exitGrace)
	}
	return i.ended()
}

// obituary is such as `exited with code 2; last output: …`.
func (i *instance) obituary() string {
	text := "runs on"
	if i.ended() {
		text = i.proc.Exit().String()
	}
	return text + i.lastWords()
}

func (i *instance) lastWords() string { return lastWords(i.proc) }

func lastWords(p *process.Process) string {
	lines := p.LastOutput()
	if len(lines) == 0 {
		return ""
	}
	return "; last output: " + process.Excerpt(lines, 5)
}

// dial makes a connection with the given credentials; nil: plaintext.
func (i *instance) dial(tlsConfig *tls.Config) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if tlsConfig != nil {
		creds = credentials.NewTLS(tlsConfig)
	}
	return grpc.NewClient("passthrough:///localhost",
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, i.shake.network, i.shake.address)
		}),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)))
}

// open makes the connection that the host would, which is not established yet.
func (i *instance) open() error {
	tlsConfig, err := i.trusted()
	if err != nil {
		return err
	}
	i.conn, err = i.dial(tlsConfig)
	return err
}

// followPrints reads what go-plugin's Go side prints while it serves: it comes by a stream instead of the pipes, which a
// plugin that prints would wait for if nobody read it.
func (i *instance) followPrints() {
	stream, err := i.conn.NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/plugin.GRPCStdio/StreamStdio")
	if err != nil {
		return
	}
	if stream.SendMsg(&emptypb.Empty{}) != nil || stream.CloseSend() != nil {
		return
	}
	for stream.RecvMsg(&emptypb.Empty{}) == nil {
	}
}

// kill ends the process at once, as a crash would.
func (i *instance) kill() {
	i.expected = true
	_ = i.proc.Kill(context.Background()) // one that cannot be killed is told by the run root's removal
	<-i.proc.Done()
	i.discard()
}

// discard removes what is left of an instance whose process has ended.
func (i *instance) discard() {
	if i.conn != nil {
		_ = i.conn.Close()
	}
	_ = i.dir.Remove() // the run root's removal tries again
}

// maxLines is how many lines of each pipe a transcript keeps.
const maxLines = 100

// transcript is what a process printed, from its beginning.
type transcript struct {
	mu     sync.Mutex
	lines  map[process.Stream][]string
	total  map[process.Stream]int
	shaken bool // the handshake line was seen
}

// add takes down a line, and says whether it is one of stdout after the handshake.
func (t *transcript) add(from process.Stream, line []byte) (stray bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		t.lines, t.total = map[process.Stream][]string{}, map[process.Stream]int{}
	}
	t.total[from]++
	if len(t.lines[from]) < maxLines {
		t.lines[from] = append(t.lines[from], string(line))
	}
	if from != process.Stdout {
		return false
	}
	stray = t.shaken
	t.shaken = t.shaken || bytes.Contains(line, []byte("|grpc"))
	return stray
}

// of is the first lines of a pipe, and how many there were.
func (t *transcript) of(from process.Stream) (lines []string, total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.lines[from]), t.total[from]
}
