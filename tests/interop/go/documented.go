package main

import (
	"context"
	"encoding/json"
	"errors"

	pitaya "github.com/topfreegames/pitaya/v3/pkg"
	"github.com/topfreegames/pitaya/v3/pkg/component"
	"github.com/topfreegames/pitaya/v3/pkg/protos"
	"github.com/topfreegames/pitaya/v3/pkg/protos/test"
)

// Documented answers clients in protobuf, and tells them of its routes and types.
type Documented struct {
	component.Base
	app pitaya.Pitaya
}

// Docs tells of the routes.
func (d *Documented) Docs(context.Context) (*protos.Doc, error) {
	documentation, err := d.app.Documentation(true)
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(documentation)
	return &protos.Doc{Doc: string(doc)}, err
}

// Descriptors tells of types.
func (d *Documented) Descriptors(_ context.Context, names *protos.ProtoNames) (*protos.ProtoDescriptors, error) {
	answer := &protos.ProtoDescriptors{}
	for _, name := range names.GetName() {
		descriptor, err := pitaya.Descriptor(name)
		if err != nil {
			return nil, err
		}
		answer.Desc = append(answer.Desc, descriptor)
	}
	return answer, nil
}

// Echo answers with the text it got, and with an error if that is empty.
func (d *Documented) Echo(_ context.Context, in *test.TestRequest) (*test.TestResponse, error) {
	if in.GetMsg() == "" {
		return nil, pitaya.Error(errors.New("say something"), "ECHO-001", map[string]string{"some": "meta"})
	}
	return &test.TestResponse{Code: 200, Msg: "got " + in.GetMsg()}, nil
}

// Tell is a notify that is answered by a push.
func (d *Documented) Tell(ctx context.Context, in *test.TestRequest) {
	if err := d.app.GetSessionFromCtx(ctx).Push("onTell", &test.TestResponse{Msg: in.GetMsg()}); err != nil {
		pitaya.GetDefaultLoggerFromCtx(ctx).Errorf("notify: %v", err)
	}
}
