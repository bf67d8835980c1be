// Command interop is one Go server of a mixed cluster, for interoperation tests.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	pitaya "github.com/topfreegames/pitaya/v3/pkg"
	"github.com/topfreegames/pitaya/v3/pkg/acceptor"
	"github.com/topfreegames/pitaya/v3/pkg/cluster"
	"github.com/topfreegames/pitaya/v3/pkg/component"
	"github.com/topfreegames/pitaya/v3/pkg/config"
	"github.com/topfreegames/pitaya/v3/pkg/constants"
	"github.com/topfreegames/pitaya/v3/pkg/groups"
	logruswrapper "github.com/topfreegames/pitaya/v3/pkg/logger/logrus"
	"github.com/topfreegames/pitaya/v3/pkg/modules"
	"github.com/topfreegames/pitaya/v3/pkg/serialize/json"
)

type options struct {
	serverType, id, rpc, nats, etcd, prefix string
	frontend                                bool
	port, grpcPort                          int
}

func parse() options {
	var o options
	flag.StringVar(&o.serverType, "type", "connector", "server type")
	flag.StringVar(&o.id, "id", "", "server id")
	flag.BoolVar(&o.frontend, "frontend", false, "accept clients on -port")
	flag.IntVar(&o.port, "port", 0, "TCP port for clients")
	flag.StringVar(&o.rpc, "rpc", "nats", "nats or grpc")
	flag.StringVar(&o.nats, "nats", "nats://127.0.0.1:4222", "NATS url")
	flag.StringVar(&o.etcd, "etcd", "127.0.0.1:2379", "etcd endpoint")
	flag.StringVar(&o.prefix, "prefix", "interop/", "prefix of all etcd keys")
	flag.IntVar(&o.grpcPort, "grpc-port", 0, "own gRPC port")
	flag.Parse()

	switch {
	case o.id == "":
		log.Fatal("-id is missing")
	case o.frontend && o.port == 0:
		log.Fatal("a frontend needs -port")
	case o.rpc != "nats" && o.rpc != "grpc":
		log.Fatalf("-rpc %q is neither nats nor grpc", o.rpc)
	case o.rpc == "grpc" && o.grpcPort == 0:
		log.Fatal("-rpc grpc needs -grpc-port")
	}
	return o
}

func (o options) config() config.PitayaConfig {
	c := config.NewDefaultPitayaConfig()
	c.Heartbeat.Interval = 30 * time.Second
	c.Handler.Messages.Compression = false

	c.Cluster.RPC.Client.Nats.Connect = o.nats
	c.Cluster.RPC.Server.Nats.Connect = o.nats
	c.Cluster.RPC.Server.Grpc.Port = o.grpcPort

	sd := &c.Cluster.SD.Etcd
	sd.Endpoints = []string{o.etcd}
	sd.Prefix = o.prefix
	sd.Heartbeat.TTL = 10 * time.Second
	sd.SyncServers.Interval = time.Second

	binding := &c.Modules.BindingStorage.Etcd
	binding.Endpoints = []string{o.etcd}
	binding.Prefix = o.prefix
	return *c
}

func main() {
	o := parse()

	// The tests wait for a line that is logged at info.
	l := logrus.New()
	l.SetLevel(logrus.InfoLevel)
	pitaya.SetLogger(logruswrapper.NewWithFieldLogger(l))

	metadata := map[string]string{}
	if o.rpc == "grpc" {
		metadata[constants.GRPCHostKey] = "127.0.0.1"
		metadata[constants.GRPCPortKey] = strconv.Itoa(o.grpcPort)
	}

	b := pitaya.NewBuilder(o.frontend, o.serverType, pitaya.Cluster, metadata, o.config())
	// Everything built so far holds this record by pointer, and nothing has registered it yet.
	b.Server.ID = o.id
	b.Serializer = json.NewSerializer()
	b.Groups = groups.NewMemoryGroupService(b.Config.Groups.Memory)
	if o.frontend {
		b.AddAcceptor(acceptor.NewTCPAcceptor(net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port))))
	}

	var bindings *modules.ETCDBindingStorage
	if o.rpc == "grpc" {
		var err error
		if bindings, err = useGRPC(b); err != nil {
			log.Fatalf("gRPC: %v", err)
		}
	}

	app := b.Build()
	if bindings != nil {
		if err := app.RegisterModule(bindings, "bindingsStorage"); err != nil {
			log.Fatal(err)
		}
	}
	app.Register(&Handlers{app: app}, component.WithName("interop"), component.WithNameFunc(strings.ToLower))
	app.RegisterRemote(&Remotes{}, component.WithName("interop"), component.WithNameFunc(strings.ToLower))
	app.Start()
}

func useGRPC(b *pitaya.Builder) (*modules.ETCDBindingStorage, error) {
	rpc := b.Config.Cluster.RPC
	bindings := modules.NewETCDBindingStorage(b.Server, b.SessionPool, b.Config.Modules.BindingStorage.Etcd)

	server, err := cluster.NewGRPCServer(rpc.Server.Grpc, b.Server, b.MetricsReporters)
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	client, err := cluster.NewGRPCClient(
		rpc.Client.Grpc, b.Server, b.MetricsReporters, bindings, cluster.NewInfoRetriever(b.Config.Cluster.Info))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	b.RPCServer, b.RPCClient = server, client
	return bindings, nil
}
