// Command proxy is what anybody would write between Flyte and a plugin: go-plugin's own client, Flyte's generated services, and
// each call decoded, made again and encoded. It keeps no guarantee. test/bench measures it beside the host, for reference.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: proxy PLUGIN")
	}
	if err := run(os.Args[1]); err != nil {
		log.Fatal("proxy: ", err)
	}
}

func run(program string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: pluginv1.ProtocolVersion, MagicCookieKey: pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{pluginv1.ProtocolVersion: {"agent": connection{}}},
		Cmd:              exec.Command(program),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, AutoMTLS: true,
		Logger: hclog.NewNullLogger(),
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		return err
	}
	dispensed, err := protocol.Dispense("agent")
	if err != nil {
		return err
	}
	conn := dispensed.(*grpc.ClientConn)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	service.RegisterAsyncAgentServiceServer(server, async{client: service.NewAsyncAgentServiceClient(conn)})
	context.AfterFunc(ctx, server.Stop)
	fmt.Println("proxy:", listener.Addr())
	if err := server.Serve(listener); !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// connection gives the connection itself in the place of a client.
type connection struct{ plugin.NetRPCUnsupportedPlugin }

func (connection) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("this side serves nothing")
}

func (connection) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// async passes on the calls that are measured.
type async struct {
	service.UnimplementedAsyncAgentServiceServer
	client service.AsyncAgentServiceClient
}

func (a async) CreateTask(ctx context.Context, request *admin.CreateTaskRequest) (*admin.CreateTaskResponse, error) {
	return a.client.CreateTask(ctx, request)
}

func (a async) GetTask(ctx context.Context, request *admin.GetTaskRequest) (*admin.GetTaskResponse, error) {
	return a.client.GetTask(ctx, request)
}

func (a async) DeleteTask(ctx context.Context, request *admin.DeleteTaskRequest) (*admin.DeleteTaskResponse, error) {
	return a.client.DeleteTask(ctx, request)
}
