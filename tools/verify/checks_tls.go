package verify

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

const serveMutualTLS = "require and verify a client certificate, with PLUGIN_CLIENT_CERT as the only certificate that is trusted"

func tlsChecks() []*Check {
	return []*Check{
		{
			Name:   "tls/mutual",
			Reason: "it is how the host and the plugin know that they talk to each other",
			Advice: "serve gRPC over TLS 1.2 or newer with the certificate of the handshake line, and accept that of PLUGIN_CLIENT_CERT, which is P-256, " +
				"self-signed and no CA",
			run: func(ctx context.Context, k *kit) (string, error) {
				i, err := k.at(ctx, connected)
				if err != nil || i.identity == nil {
					return "plaintext, with tls: off", err
				}
				return tlsVersion(ctx, i)
			},
		},
		{
			Name:   "tls/no-certificate",
			Reason: "whoever can reach the socket could run tasks with the plugin's credentials",
			Advice: serveMutualTLS,
			run: func(ctx context.Context, k *kit) (string, error) {
				return k.refusesStranger(ctx, "a client without a certificate", func(trusted *tls.Config) error {
					trusted.Certificates = nil
					return nil
				})
			},
		},
		{
			Name:   "tls/stranger",
			Reason: "one plugin, which has a certificate too, could call another",
			Advice: serveMutualTLS,
			run: func(ctx context.Context, k *kit) (string, error) {
				return k.refusesStranger(ctx, "a client with a certificate that is not the host's", func(trusted *tls.Config) error {
					other, _, err := plugin.NewIdentity()
					if err == nil {
						trusted.Certificates = other.Certificates
					}
					return err
				})
			},
		},
		{
			Name:   "tls/plaintext",
			Reason: "whoever can reach the socket could run tasks with the plugin's credentials",
			Advice: "do not serve plaintext where PLUGIN_CLIENT_CERT is set",
			run: func(ctx context.Context, k *kit) (string, error) {
				return k.refusesStranger(ctx, "a client without TLS", nil)
			},
		},
		{
			Name:   "tls/off",
			Reason: "an operator can turn TLS off for a plugin, for debugging with plain tools",
			Advice: "without PLUGIN_CLIENT_CERT serve plaintext, and leave the sixth field of the handshake line empty",
			run:    withoutTLS,
		},
	}
}

func tlsVersion(ctx context.Context, i *instance) (string, error) {
	trusted, err := i.trusted()
	if err != nil {
		return "", err
	}
	trusted.NextProtos = []string{"h2"}
	conn, err := (&tls.Dialer{Config: trusted}).DialContext(ctx, i.shake.network, i.shake.address)
	if err != nil {
		return "", failed("a second connection: %v", err)
	}
	defer conn.Close()
	return tls.VersionName(conn.(*tls.Conn).ConnectionState().Version), nil
}

// strangerTimeout is how long a stranger waits for an answer. Silence counts as a refusal.
const strangerTimeout = 3 * time.Second

// refusesStranger makes a call as somebody who is not the host; change is what makes it another, nil: plaintext.
func (k *kit) refusesStranger(ctx context.Context, who string, change func(*tls.Config) error) (string, error) {
	i, err := k.at(ctx, connected)
	if err != nil {
		return "", err
	}
	if i.identity == nil {
		return "", skipped("the plugin is verified with tls: off")
	}
	var credentials *tls.Config
	if change != nil {
		if credentials, err = i.trusted(); err != nil {
			return "", err
		}
		if err := change(credentials); err != nil {
			return "", err
		}
	}
	conn, err := i.dial(credentials)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, strangerTimeout)
	defer cancel()
	_, err = healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService})
	switch status.Code(err) {
	case codes.Unavailable:
		return "refused", nil
	case codes.DeadlineExceeded:
		return fmt.Sprintf("not answered for %v", strangerTimeout), nil
	}
	return "", failed("%s gets an answer: %s", who, answerName(err))
}

// answerName is what a call got.
func answerName(err error) string {
	if err == nil {
		return "OK"
	}
	return describeError(err)
}

func withoutTLS(ctx context.Context, k *kit) (string, error) {
	if _, err := k.at(ctx, handshaken); err != nil {
		return "", err
	}
	o := k.asTheHost()
	o.noTLS = true
	i, err := k.launch(ctx, o)
	if err != nil {
		return "", err
	}
	defer i.kill()
	if reached, err := k.bring(ctx, i, connected); err != nil {
		return "", failed("without PLUGIN_CLIENT_CERT it does not get past %s: %v", responsible[reached], err)
	}
	return "plaintext, no certificate in the handshake line", nil
}
