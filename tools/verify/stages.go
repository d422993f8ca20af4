package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// stage is how far the shared process got, in the order in which the host goes.
type stage int

const (
	started    stage = iota - 1
	handshaken       // its handshake line came
	addressed        // it says how to connect to it
	connected        // a gRPC server answers there, with TLS as asked for
	serving          // health says SERVING
	ready            // it accepted its configuration
)

// responsible is the check that tells why a stage was not reached.
var responsible = map[stage]string{
	handshaken: "handshake/line", addressed: "handshake/certificate", connected: "tls/mutual", serving: "health/serving", ready: "configure/accepts",
}

// at is the shared process, brought to a stage. The error blocks every check but the responsible one.
func (k *kit) at(ctx context.Context, want stage) (*instance, error) {
	for reached := handshaken; reached <= want; reached++ {
		if err := k.broken[reached]; err != nil {
			return nil, &blocked{responsible[reached], err}
		}
	}
	if k.shared != nil && !k.shared.ended() && k.shared.reached >= want {
		return k.shared, nil
	}
	if k.shared != nil && k.shared.ended() {
		k.drop()
	}
	if k.shared == nil {
		launched, err := k.launch(ctx, k.asTheHost())
		if err != nil {
			k.broken[handshaken] = err
			return nil, &blocked{responsible[handshaken], err}
		}
		k.shared = launched
	}
	if reached, err := k.bring(ctx, k.shared, want); err != nil {
		if ctx.Err() == nil {
			k.broken[reached] = err
		}
		return nil, &blocked{responsible[reached], err}
	}
	return k.shared, nil
}

// able is the shared process as far as it gets: ready for work or, where it does not take its configuration, serving.
// There is enough to see of such a plugin, too.
func (k *kit) able(ctx context.Context) (*instance, error) {
	if i, err := k.at(ctx, ready); err == nil {
		return i, nil
	}
	return k.at(ctx, serving)
}

// fresh is a process of its own for a check, brought as far as the shared one. The check ends it.
func (k *kit) fresh(ctx context.Context, o launchOptions) (*instance, error) {
	shared, err := k.able(ctx)
	if err != nil {
		return nil, err // what does not get there once is not tried again
	}
	i, err := k.launch(ctx, o)
	if err != nil {
		return nil, err
	}
	if reached, err := k.bring(ctx, i, shared.reached); err != nil {
		i.kill()
		return nil, fmt.Errorf("a further process of the plugin did not get past %s: %w", responsible[reached], err)
	}
	return i, nil
}

// bring brings a process to a stage, and says at which one it stopped.
func (k *kit) bring(ctx context.Context, i *instance, want stage) (stage, error) {
	steps := []func(context.Context, *instance) error{k.handshake, k.address, k.connect, k.awaitServing, k.configureIt}
	for ; i.reached < want; i.reached++ {
		if err := steps[i.reached+1](ctx, i); err != nil {
			return i.reached + 1, err
		}
	}
	return want, nil
}

func (k *kit) handshake(ctx context.Context, i *instance) error {
	limit := k.startTimeout()
	if !i.awaitLine(ctx, limit) {
		i.expected = true // whether it ended is told here
		if problem := i.proc.HandshakeProblem(); problem != "" {
			return failed("no handshake line came: %s", problem)
		}
		if i.awaitEnd(ctx, exitGrace) {
			return failed("no handshake line came: it %s", i.obituary())
		}
		return failed("no handshake line came on its stdout within %v%s", limit, i.lastWords())
	}
	shake, err := parseHandshake(i.line)
	if err != nil {
		return failed("the handshake line %.120q is wrong: %v", i.line, err)
	}
	i.shake = shake
	return nil
}

func (k *kit) address(_ context.Context, i *instance) error {
	if i.identity == nil && i.shake.certificate != "" {
		return failed("the handshake line has a certificate, though PLUGIN_CLIENT_CERT is not set")
	}
	return i.open()
}

// connect waits until the connection is made, which takes a server that speaks HTTP/2 and, with TLS, takes the host's
// certificate.
func (k *kit) connect(ctx context.Context, i *instance) error {
	ctx, cancel := k.call(ctx)
	defer cancel()
	i.conn.Connect()
	for state := i.conn.GetState(); state != connectivity.Ready; state = i.conn.GetState() {
		if state == connectivity.TransientFailure {
			_, err := healthpb.NewHealthClient(i.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService})
			return failed("no connection to %s %s: %s", i.shake.network, i.shake.address, describeError(err))
		}
		if !i.conn.WaitForStateChange(ctx, state) {
			return failed("its server at %s %s accepts the connection and then says nothing for %v", i.shake.network, i.shake.address, k.options.CallTimeout)
		}
	}
	go i.followPrints()
	return nil
}

// healthInterval is how long a plugin that is not SERVING yet is left alone.
const healthInterval = 20 * time.Millisecond

func (k *kit) awaitServing(ctx context.Context, i *instance) error {
	ctx, cancel := context.WithTimeout(ctx, k.startTimeout())
	defer cancel()
	last := "nothing"
	for {
		answer, err := healthpb.NewHealthClient(i.conn).Check(ctx, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService})
		switch {
		case err == nil && answer.GetStatus() == healthpb.HealthCheckResponse_SERVING:
			return nil
		case err == nil:
			last = answer.GetStatus().String()
		case status.Code(err) == codes.Unimplemented:
			return failed("it does not serve grpc.health.v1.Health")
		case ctx.Err() == nil:
			last = describeError(err)
		}
		select {
		case <-time.After(healthInterval):
		case <-i.proc.Done():
			return failed("it %s before it was SERVING; its health service last said: %s", i.obituary(), last)
		case <-ctx.Done():
			return failed("its health service never said SERVING for %q within %v, but last: %s", pluginv1.HealthService, k.startTimeout(), last)
		}
	}
}

// configureIt hands over the configuration that the plugin must accept.
func (k *kit) configureIt(ctx context.Context, i *instance) error {
	block := k.subject.Config
	if block == nil {
		block = map[string]any{}
	}
	encoded, err := json.Marshal(block)
	if err != nil {
		return fmt.Errorf("the sample configuration cannot be written as JSON: %w", err)
	}
	refused, err := k.sendConfig(ctx, i, string(encoded))
	switch {
	case status.Code(err) == codes.Unimplemented && len(block) == 0:
		k.takesNoConfig = true
		return nil
	case status.Code(err) == codes.Unimplemented:
		return advise(failed("it serves no Configure, but there is a configuration for it"), "serve agenthost.plugin.v1.PluginService, or leave --config out")
	case err != nil:
		return failed("Configure failed: %s", describeError(err))
	case len(refused) > 0:
		return failed("it refuses its configuration %s: %s", encoded, describeConfigErrors(refused))
	}
	return nil
}

func (k *kit) sendConfig(ctx context.Context, i *instance, block string) ([]*pluginv1.ConfigError, error) {
	ctx, cancel := context.WithTimeout(ctx, k.startTimeout()) // the host gives it what is left of the start's time
	defer cancel()
	answer, err := pluginv1.NewPluginServiceClient(i.conn).Configure(ctx, &pluginv1.ConfigureRequest{Config: block})
	return answer.GetErrors(), err
}

func describeConfigErrors(errs []*pluginv1.ConfigError) string {
	said := make([]string, len(errs))
	for n, e := range errs {
		said[n] = strings.TrimPrefix(e.GetKey()+": "+e.GetMessage(), ": ")
	}
	return strings.Join(said, "; ")
}

// agents is what the plugin lists.
func (k *kit) agents(ctx context.Context) ([]*admin.Agent, error) {
	if k.agentList != nil {
		return k.agentList, nil
	}
	i, err := k.at(ctx, ready)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, k.options.CallTimeout)
	defer cancel()
	answer, err := service.NewAgentMetadataServiceClient(i.conn).ListAgents(ctx, &admin.ListAgentsRequest{})
	switch {
	case status.Code(err) == codes.Unimplemented:
		err = failed("it does not serve flyteidl.service.AgentMetadataService/ListAgents")
	case err != nil:
		err = failed("ListAgents failed: %s", describeError(err))
	case len(answer.GetAgents()) == 0:
		err = failed("it lists no agents")
	}
	if err != nil {
		return nil, &blocked{"agents/list", err}
	}
	k.agentList = answer.GetAgents()
	return k.agentList, nil
}

func (k *kit) startTimeout() time.Duration { return k.subject.startTimeout() }

// drop ends the shared process.
func (k *kit) drop() {
	if k.shared == nil {
		return
	}
	k.shared.kill()
	k.shared = nil
}

// call makes a context for one call.
func (k *kit) call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, k.options.CallTimeout)
}

// describeError is a call's error in few words: its code, and what the plugin says.
func describeError(err error) string {
	if s, ok := status.FromError(err); ok {
		return fmt.Sprintf("%s: %s", codeName(s.Code()), shorten(s.Message()))
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return shorten(err.Error())
}

// codeName is a code as the contract writes it, such as NOT_FOUND.
func codeName(c codes.Code) string { return code.Code(c).String() }

// shorten keeps what fits a line.
func shorten(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 240 {
		return strings.ToValidUTF8(text[:240], "") + "…"
	}
	return text
}
