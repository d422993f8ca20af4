package hostile

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// answerLimit bounds what waits for an answer.
const answerLimit = 5 * time.Second

// onNetwork are attempts by way of sockets.
var onNetwork = map[string]attempt{
	"job-poll":        func(w World) (string, error) { return ask(w, w.GRPC, poll) },
	"job-delete":      func(w World) (string, error) { return ask(w, w.GRPC, remove) },
	"task-run":        func(w World) (string, error) { return ask(w, w.GRPC, run) },
	"victim-socket":   func(w World) (string, error) { return ask(World{}, "unix:"+w.VictimSocket, listAgents) },
	"admin-read":      func(w World) (string, error) { return request(w.Admin, http.MethodGet, "/status") },
	"admin-reload":    func(w World) (string, error) { return request(w.Admin, http.MethodPost, "/reload?dry_run=1") },
	"admin-token":     func(w World) (string, error) { return adminToken(w.RunDir) },
	"admin-profile":   func(w World) (string, error) { return request(w.Admin, http.MethodGet, "/debug/pprof/heap") },
	"neighbour":       func(w World) (string, error) { return connect("tcp", w.Neighbour) },
	"abstract-socket": func(w World) (string, error) { return connect("unix", w.Abstract) },
	"unix-socket":     func(w World) (string, error) { return connect("unix", w.Socket) },
	"listen":          func(World) (string, error) { return listen("127.0.0.1:8472") },
	"listen-beside":   func(w World) (string, error) { return listen(w.GRPC) },
}

// ask makes a call as a client of Flyte's would.
func ask(w World, endpoint string, call func(context.Context, *grpc.ClientConn, World) error) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	transport := insecure.NewCredentials()
	if w.Authority != "" {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM([]byte(w.Authority))
		transport = credentials.NewTLS(&tls.Config{RootCAs: pool})
	}
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(transport))
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := call(ctx, conn, w); err != nil {
		return "", err
	}
	return "the call was answered", nil
}

func poll(ctx context.Context, conn *grpc.ClientConn, w World) error {
	_, err := service.NewAsyncAgentServiceClient(conn).GetTask(ctx, &admin.GetTaskRequest{
		TaskCategory: &admin.TaskCategory{Name: w.JobType}, ResourceMeta: w.Job,
	})
	return err
}

func remove(ctx context.Context, conn *grpc.ClientConn, w World) error {
	_, err := service.NewAsyncAgentServiceClient(conn).DeleteTask(ctx, &admin.DeleteTaskRequest{
		TaskCategory: &admin.TaskCategory{Name: w.JobType}, ResourceMeta: w.Job,
	})
	return err
}

func run(ctx context.Context, conn *grpc.ClientConn, w World) error {
	_, err := service.NewAsyncAgentServiceClient(conn).CreateTask(ctx, &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: w.JobType},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"name": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: "nobody"}}}}}}}},
	})
	return err
}

func listAgents(ctx context.Context, conn *grpc.ClientConn, _ World) error {
	_, err := service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &admin.ListAgentsRequest{})
	return err
}

// request asks the host's admin address, which may be a socket.
func request(address, method, path string) (string, error) {
	if address == "" {
		return "", errors.New("the host has no admin address that it could reach")
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	url := "http://" + address + path
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if filepath.IsAbs(address) {
		url = "http://localhost" + path
		client.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", address)
		}}
	}
	asked, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return "", err
	}
	answer, err := client.Do(asked)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 200))
	if err != nil {
		return "", err
	}
	said := fmt.Sprintf("%s: %s", answer.Status, strings.TrimSpace(string(body[:min(len(body), 80)])))
	if answer.StatusCode >= 400 {
		return "", errors.New(said)
	}
	return answer.Status, nil
}

// adminToken reads what lets the host's user operate it.
func adminToken(runDir string) (string, error) {
	for _, pattern := range []string{"admin-*.token", "*/admin-*.token", "*/*/admin-*.token"} {
		if found, err := filepath.Glob(filepath.Join(runDir, pattern)); err == nil && len(found) > 0 {
			return read(found[0])
		}
	}
	return "", errors.New("it sees no token")
}

func connect(network, address string) (string, error) {
	conn, err := net.DialTimeout(network, address, answerLimit)
	if err != nil {
		return "", err
	}
	return "is connected to " + address, conn.Close()
}

// listen shares the port with whoever has it, where the kernel lets it.
func listen(address string) (string, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var set error
		err := conn.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return errors.Join(err, set)
	}}
	listener, err := config.Listen(context.Background(), "tcp", address)
	if err != nil {
		return "", err
	}
	return "listens on " + listener.Addr().String(), listener.Close()
}
