package main

import (
	"context"
	"errors"
	"time"

	pitaya "github.com/topfreegames/pitaya/v3/pkg"
	"github.com/topfreegames/pitaya/v3/pkg/component"
	"github.com/topfreegames/pitaya/v3/pkg/constants"
	"github.com/topfreegames/pitaya/v3/pkg/protos/test"
	"github.com/topfreegames/pitaya/v3/pkg/session"
)

// The frontend type that groups, pushes and kicks by uid are aimed at.
const frontendType = "connector"

// Handlers answers clients, directly on a frontend and forwarded on a backend.
type Handlers struct {
	component.Base
	app pitaya.Pitaya
}

type (
	empty struct{}
	ok    struct {
		OK bool `json:"ok"`
	}
	joinIn struct {
		UID string `json:"uid"`
	}
	joined struct {
		UID    string `json:"uid"`
		Server string `json:"server"`
	}
	keyIn struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
	}
	valueOut struct {
		Value any `json:"value"`
	}
	who struct {
		UID    string `json:"uid"`
		Server string `json:"server"`
		Type   string `json:"type"`
	}
	text struct {
		Text string `json:"text"`
	}
	failIn struct {
		Code string `json:"code"`
		Msg  string `json:"msg"`
	}
	slowIn struct {
		MS int `json:"ms"`
	}
	sendIn struct {
		Group  string   `json:"group"`
		UIDs   []string `json:"uids"`
		Route  string   `json:"route"`
		Server string   `json:"server"`
		Text   string   `json:"text"`
	}
	rpcOut struct {
		Code int32  `json:"code"`
		Msg  string `json:"msg"`
	}
	failed struct {
		Failed []string `json:"failed"`
	}
)

// Echo returns the body unchanged.
func (h *Handlers) Echo(_ context.Context, body []byte) ([]byte, error) { return body, nil }

// Join binds the session.
func (h *Handlers) Join(ctx context.Context, in *joinIn) (*joined, error) {
	s := h.app.GetSessionFromCtx(ctx)
	if err := s.Bind(ctx, in.UID); err != nil {
		return nil, err
	}
	return &joined{s.UID(), h.app.GetServerID()}, nil
}

// Set stores a value, and on a backend sends the session's data to its frontend.
func (h *Handlers) Set(ctx context.Context, in *keyIn) (*ok, error) {
	s := h.app.GetSessionFromCtx(ctx)
	if err := s.Set(in.Key, in.Value); err != nil {
		return nil, err
	}
	if !h.app.GetServer().Frontend {
		if err := s.PushToFront(ctx); err != nil {
			return nil, err
		}
	}
	return &ok{true}, nil
}

// Get reads what Set stored.
func (h *Handlers) Get(ctx context.Context, in *keyIn) (*valueOut, error) {
	return &valueOut{h.app.GetSessionFromCtx(ctx).Get(in.Key)}, nil
}

// WhoAmI tells who asks and who answers.
func (h *Handlers) WhoAmI(ctx context.Context, _ *empty) (*who, error) {
	sv := h.app.GetServer()
	return &who{h.app.GetSessionFromCtx(ctx).UID(), sv.ID, sv.Type}, nil
}

// Push pushes to the asking session.
func (h *Handlers) Push(ctx context.Context, in *sendIn) (*ok, error) {
	if err := h.app.GetSessionFromCtx(ctx).Push(in.Route, &text{in.Text}); err != nil {
		return nil, err
	}
	return &ok{true}, nil
}

// Kick kicks the asking session.
func (h *Handlers) Kick(ctx context.Context, _ *empty) (*ok, error) {
	if err := h.app.GetSessionFromCtx(ctx).Kick(ctx); err != nil {
		return nil, err
	}
	return &ok{true}, nil
}

// Close closes the asking session without a kick.
func (h *Handlers) Close(ctx context.Context, _ *empty) (*ok, error) {
	h.app.GetSessionFromCtx(ctx).Close()
	return &ok{true}, nil
}

// Handshake returns what the client told in its handshake.
func (h *Handlers) Handshake(ctx context.Context, _ *empty) (*session.HandshakeData, error) {
	return h.app.GetSessionFromCtx(ctx).GetHandshakeData(), nil
}

// Fail returns the error it is asked for.
func (h *Handlers) Fail(_ context.Context, in *failIn) (*ok, error) {
	return nil, pitaya.Error(errors.New(in.Msg), in.Code, map[string]string{"some": "meta"})
}

// Panics does.
func (h *Handlers) Panics(context.Context, *empty) (*ok, error) { panic("boom") }

// Slow answers late.
func (h *Handlers) Slow(_ context.Context, in *slowIn) (*ok, error) {
	time.Sleep(time.Duration(in.MS) * time.Millisecond)
	return &ok{true}, nil
}

// Tell is a notify that is answered by a push.
func (h *Handlers) Tell(ctx context.Context, in *text) {
	h.report(ctx, h.app.GetSessionFromCtx(ctx).Push("onTell", in))
}

// RPC calls a remote, of any server of a type or of the one named.
func (h *Handlers) RPC(ctx context.Context, in *sendIn) (*rpcOut, error) {
	reply, arg := &test.TestResponse{}, &test.TestRequest{Msg: in.Text}
	var err error
	if in.Server == "" {
		err = h.app.RPC(ctx, in.Route, reply, arg)
	} else {
		err = h.app.RPCTo(ctx, in.Server, in.Route, reply, arg)
	}
	if err != nil {
		return nil, err
	}
	return &rpcOut{reply.Code, reply.Msg}, nil
}

// RPCNoArg calls a remote without an argument.
func (h *Handlers) RPCNoArg(ctx context.Context, in *sendIn) (*rpcOut, error) {
	reply := &test.TestResponse{}
	if err := h.app.RPC(ctx, in.Route, reply, nil); err != nil {
		return nil, err
	}
	return &rpcOut{reply.Code, reply.Msg}, nil
}

// GroupAdd adds the asking session to a group.
func (h *Handlers) GroupAdd(ctx context.Context, in *sendIn) (*ok, error) {
	err := h.app.GroupCreate(ctx, in.Group)
	if err != nil && !errors.Is(err, constants.ErrGroupAlreadyExists) {
		return nil, err
	}
	if err := h.app.GroupAddMember(ctx, in.Group, h.app.GetSessionFromCtx(ctx).UID()); err != nil {
		return nil, err
	}
	return &ok{true}, nil
}

// GroupSend is a notify that pushes to a group.
func (h *Handlers) GroupSend(ctx context.Context, in *sendIn) {
	h.report(ctx, h.app.GroupBroadcast(ctx, frontendType, in.Group, in.Route, &text{in.Text}))
}

// PushUsers pushes by uid; whom it did not reach is a result, not an error.
func (h *Handlers) PushUsers(_ context.Context, in *sendIn) (*failed, error) {
	uids, _ := h.app.SendPushToUsers(in.Route, &text{in.Text}, in.UIDs, frontendType)
	return &failed{uids}, nil
}

// KickUsers kicks by uid, with the same result.
func (h *Handlers) KickUsers(_ context.Context, in *sendIn) (*failed, error) {
	uids, _ := h.app.SendKickToUsers(in.UIDs, frontendType)
	return &failed{uids}, nil
}

// Meta reads the context that came with the request.
func (h *Handlers) Meta(ctx context.Context, in *keyIn) (*valueOut, error) {
	return &valueOut{pitaya.GetFromPropagateCtx(ctx, in.Key)}, nil
}

// A notify has no answer, so the log is the only place to see its error.
func (h *Handlers) report(ctx context.Context, err error) {
	if err != nil {
		pitaya.GetDefaultLoggerFromCtx(ctx).Errorf("notify: %v", err)
	}
}
