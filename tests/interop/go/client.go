package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"reflect"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/topfreegames/pitaya/v3/pkg/client"
	"github.com/topfreegames/pitaya/v3/pkg/conn/message"
	"github.com/topfreegames/pitaya/v3/pkg/session"
)

// Longer than anything takes that should happen.
const patience = 10 * time.Second

var told = &session.HandshakeData{
	Sys:  session.HandshakeClientData{Platform: "go", LibVersion: "3.0", BuildNumber: "7", Version: "1.2"},
	User: map[string]interface{}{"token": "6f1a"},
}

// A player is a client that is connected.
type player struct {
	*client.Client
}

// beClient plays on a server of the tests at each of the addresses, and ends with an error if anything is not as it should.
func beClient(arguments []string) {
	flags := flag.NewFlagSet("client", flag.ExitOnError)
	tcp := flags.String("tcp", "", "address for TCP")
	tcpTLS := flags.String("tls", "", "address for TLS")
	ws := flags.String("ws", "", "address for WebSocket")
	wss := flags.String("wss", "", "address for WebSocket in TLS")
	typed := flags.String("protobuf", "", "address for TCP of a server that speaks protobuf; nothing else is tried then")
	ca := flags.String("ca", "", "certificate, in PEM, of who vouches for the server")
	_ = flags.Parse(arguments)

	if *typed != "" {
		must("protobuf", speakProtobuf(*typed))
		return
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(*ca)) {
		log.Fatal("-ca is no certificate")
	}
	trust := &tls.Config{RootCAs: roots}
	players := map[string]player{
		"tcp": play("tcp", func(c *client.Client) error { return c.ConnectTo(*tcp) }),
		"tls": play("tls", func(c *client.Client) error { return c.ConnectTo(*tcpTLS, trust) }),
		"ws":  play("ws", func(c *client.Client) error { return c.ConnectToWS(*ws, "/") }),
		"wss": play("wss", func(c *client.Client) error { return c.ConnectToWS(*wss, "/", trust) }),
	}
	// For longer than the server, whose interval is a second, waits for a silent client.
	time.Sleep(4500 * time.Millisecond)
	for name, p := range players {
		must(name+" heartbeats", p.isHere())
		p.Disconnect()
	}
	must("kick", kicked(*tcp))
}

func must(name string, err error) {
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	fmt.Println(name, "is as it should")
}

func play(name string, connect func(*client.Client) error) player {
	c := client.New(logrus.WarnLevel)
	c.SetClientHandshakeData(told)
	must(name+" connect", connect(c))
	p := player{c}
	must(name+" handshake", p.handshake())
	must(name+" requests", p.requests())
	must(name+" errors", p.errors())
	must(name+" notify and push", p.notify())
	return p
}

// next waits for what comes next, an answer or a push.
func (p player) next() (*message.Message, error) {
	select {
	case m := <-p.MsgChannel():
		return m, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("nothing came, connected: %v", p.ConnectedStatus())
	}
}

func (p player) request(route string, body []byte) (*message.Message, error) {
	id, err := p.SendRequest(route, body)
	if err != nil {
		return nil, err
	}
	m, err := p.next()
	if err == nil && (m.Type != message.Response || m.ID != id) {
		return nil, fmt.Errorf("%s: instead of answer %d came %v", route, id, m)
	}
	return m, err
}

func (p player) handshake() error {
	m, err := p.request("game.handshake", nil)
	if err != nil {
		return err
	}
	heard := &session.HandshakeData{}
	if err := json.Unmarshal(m.Data, heard); err != nil || !reflect.DeepEqual(heard, told) {
		return fmt.Errorf("the server heard %s (%v)", m.Data, err)
	}
	return nil
}

func (p player) requests() error {
	// Random bytes are sent as they are, the others deflated; the routes are a code, a short and a full one.
	noise := make([]byte, 3000)
	for i := range noise {
		noise[i] = byte(i * i * 7 >> 3)
	}
	for _, body := range [][]byte{{}, []byte("x"), noise, bytes.Repeat([]byte("deflate me "), 9000)} {
		for _, route := range []string{"game.echo", "game.repeat", "connector.game.repeat"} {
			m, err := p.request(route, body)
			if err != nil {
				return err
			}
			if m.Err || !bytes.Equal(m.Data, body) {
				return fmt.Errorf("%s: %d bytes came back as %v", route, len(body), m)
			}
		}
	}
	// As many at once as the client has in flight.
	sent := map[uint]string{}
	for i := 0; i < 30; i++ {
		body := fmt.Sprint("number ", i)
		id, err := p.SendRequest("game.echo", []byte(body))
		if err != nil {
			return err
		}
		sent[id] = body
	}
	for len(sent) > 0 {
		m, err := p.next()
		if err != nil {
			return err
		}
		if body, ok := sent[m.ID]; !ok || string(m.Data) != body {
			return fmt.Errorf("instead of %v came %v", sent, m)
		}
		delete(sent, m.ID)
	}
	return nil
}

func (p player) errors() error {
	for route, expected := range map[string]string{
		"game.fail":    `{"code":"GAME-001","metadata":{"missing":"3"},"msg":"not enough coins"}`,
		"game.nothing": `{"code":"PIT-404","msg":"pitaya/handler: connector.game.nothing not found"}`,
	} {
		m, err := p.request(route, nil)
		if err != nil {
			return err
		}
		var got, want interface{}
		_, _ = json.Unmarshal(m.Data, &got), json.Unmarshal([]byte(expected), &want)
		if !m.Err || !reflect.DeepEqual(got, want) {
			return fmt.Errorf("%s: instead of %s came %v", route, expected, m)
		}
	}
	return nil
}

func (p player) notify() error {
	for i := 0; i < 5; i++ {
		body := fmt.Sprintf(`{"number":%d}`, i)
		if err := p.SendNotify("game.tell", []byte(body)); err != nil {
			return err
		}
		for _, route := range []string{"onTell", "onPlain"} {
			m, err := p.next()
			if err != nil {
				return err
			}
			if m.Type != message.Push || m.Route != route || string(m.Data) != body {
				return fmt.Errorf("instead of %s with %s came %v", route, body, m)
			}
		}
	}
	return nil
}

// isHere tells whether a client that was idle is still served, and got nothing meanwhile.
func (p player) isHere() error {
	m, err := p.request("game.echo", []byte("still here"))
	if err == nil && string(m.Data) != "still here" {
		err = fmt.Errorf("instead of an echo came %v", m)
	}
	return err
}

// speakProtobuf learns the types from the server, and speaks JSON that the client turns into them.
func speakProtobuf(server string) error {
	learner := client.NewProto("connector.typed.docs", logrus.ErrorLevel)
	learner.AddPushResponse("onSay", "protogame.Greeting")
	if err := learner.LoadServerInfo(server); err != nil {
		return err
	}
	// Another one, for what is left of the learner's connection may end one that it makes after it.
	c := client.NewProto("", logrus.ErrorLevel)
	if err := c.LoadInfo(learner.ExportInformation()); err != nil {
		return err
	}
	if err := c.ConnectTo(server); err != nil {
		return err
	}
	request := func(body string) func() error {
		return func() error {
			_, err := c.SendRequest("connector.typed.greet", []byte(body))
			return err
		}
	}
	notify := func() error { return c.SendNotify("connector.typed.say", []byte(`{"name":"all"}`)) }
	for _, step := range []struct {
		send     func() error
		expected string
	}{
		{request(`{"name":"grüße"}`), `{"text":"hello grüße"}`},
		{notify, `{"text":"hello all"}`},
		{request(`{"name":""}`), `{"code":"GREET-001","msg":"who are you?"}`},
		{request(`{"name":"nina"}`), `{"text":"hello nina"}`},
	} {
		if err := step.send(); err != nil {
			return err
		}
		select {
		case m := <-c.MsgChannel():
			if string(m.Data) != step.expected {
				return fmt.Errorf("instead of %s came %s", step.expected, m.Data)
			}
		case <-time.After(patience):
			return fmt.Errorf("instead of %s nothing came", step.expected)
		}
	}
	return nil
}

// kicked is told by the server to go, and goes. In between is a relay that hides the end of the server's side: the client
// panics when it sees that and the kick at once. For the same reason this is tried over TCP only.
func kicked(server string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serverEnded, clientEnded := make(chan struct{}), make(chan struct{})
	go func() {
		near, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		far, err := net.Dial("tcp", server)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			_, _ = io.Copy(near, far)
			close(serverEnded)
		}()
		_, _ = io.Copy(far, near)
		close(clientEnded)
	}()
	p := player{client.New(logrus.ErrorLevel)}
	if err := p.ConnectTo(listener.Addr().String()); err != nil {
		return err
	}
	m, err := p.request("game.kick", nil)
	if err != nil {
		return err
	}
	if string(m.Data) != `"bye"` {
		return fmt.Errorf("instead of a goodbye came %v", m)
	}
	for _, ended := range []chan struct{}{serverEnded, clientEnded} {
		select {
		case <-ended:
		case <-time.After(patience):
			return fmt.Errorf("the connection goes on")
		}
	}
	if p.ConnectedStatus() {
		return fmt.Errorf("the client takes itself for connected")
	}
	return nil
}
