// Command interop is one Go server, of a mixed cluster or alone, for interoperation tests; `interop client` is a client.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"os"
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
	"github.com/topfreegames/pitaya/v3/pkg/serialize/protobuf"
)

// The routes that a server alone has codes for.
var dictionary = map[string]uint16{"interop.echo": 1, "interop.tell": 2, "onTell": 300}

type options struct {
	serverType, id, rpc, nats, etcd, prefix string
	frontend, alone, compression, protobuf  bool
	port, wsPort, grpcPort                  int
	heartbeat                               time.Duration
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
	flag.BoolVar(&o.alone, "alone", false, "be a frontend without a cluster")
	flag.IntVar(&o.wsPort, "ws-port", 0, "WebSocket port for clients, too")
	flag.DurationVar(&o.heartbeat, "heartbeat", 30*time.Second, "interval of heartbeats")
	flag.BoolVar(&o.compression, "compression", false, "deflate bodies and handshakes")
	flag.BoolVar(&o.protobuf, "protobuf", false, "speak protobuf, and tell of the routes and types")
	flag.Parse()
	o.frontend = o.frontend || o.alone

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
	c.Heartbeat.Interval = o.heartbeat
	c.Handler.Messages.Compression = o.compression

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
	if len(os.Args) > 1 && os.Args[1] == "client" {
		beClient(os.Args[2:])
		return
	}
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

	mode := pitaya.Cluster
	if o.alone {
		mode = pitaya.Standalone
	}
	b := pitaya.NewBuilder(o.frontend, o.serverType, mode, metadata, o.config())
	// Everything built so far holds this record by pointer, and nothing has registered it yet.
	b.Server.ID = o.id
	b.Serializer = json.NewSerializer()
	if o.protobuf {
		b.Serializer = protobuf.NewSerializer()
	}
	b.Groups = groups.NewMemoryGroupService(b.Config.Groups.Memory)
	if o.frontend {
		b.AddAcceptor(acceptor.NewTCPAcceptor(net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port))))
	}
	if o.wsPort != 0 {
		b.AddAcceptor(acceptor.NewWSAcceptor(net.JoinHostPort("127.0.0.1", strconv.Itoa(o.wsPort))))
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
	if o.alone {
		if err := app.SetDictionary(dictionary); err != nil {
			log.Fatal(err)
		}
	}
	named := []component.Option{component.WithName("interop"), component.WithNameFunc(strings.ToLower)}
	if o.protobuf {
		app.Register(&Documented{app: app}, named...)
	} else {
		app.Register(&Handlers{app: app}, named...)
	}
	app.RegisterRemote(&Remotes{}, named...)
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
