package main

import (
	"context"
	"errors"
	"strconv"
	"time"

	pitaya "github.com/topfreegames/pitaya/v3/pkg"
	"github.com/topfreegames/pitaya/v3/pkg/component"
	"github.com/topfreegames/pitaya/v3/pkg/protos/test"
)

// Remotes answers the other servers.
type Remotes struct {
	component.Base
}

// Echo answers with the text it got.
func (*Remotes) Echo(_ context.Context, in *test.TestRequest) (*test.TestResponse, error) {
	return &test.TestResponse{Code: 200, Msg: "got " + in.GetMsg()}, nil
}

// Fail returns an error with metadata.
func (*Remotes) Fail(context.Context, *test.TestRequest) (*test.TestResponse, error) {
	return nil, pitaya.Error(errors.New("test error"), "PIT-433", map[string]string{"some": "meta"})
}

// NoArg takes no argument.
func (*Remotes) NoArg(context.Context) (*test.TestResponse, error) {
	return &test.TestResponse{Code: 200, Msg: "got nothing"}, nil
}

// Panics does.
func (*Remotes) Panics(context.Context, *test.TestRequest) (*test.TestResponse, error) {
	panic("boom")
}

// Slow sleeps for the number of milliseconds in its argument.
func (*Remotes) Slow(_ context.Context, in *test.TestRequest) (*test.TestResponse, error) {
	ms, err := strconv.Atoi(in.GetMsg())
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Duration(ms) * time.Millisecond)
	return &test.TestResponse{Code: 200, Msg: "slept"}, nil
}
