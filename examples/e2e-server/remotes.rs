//! What servers ask of each other.

use cereus::{Error, Protobuf, Remote};

use crate::messages::{TestRequest, TestResponse};

pub(crate) fn remote() -> Remote<()> {
    Remote::new("testremotesvc")
        .call("rpctestrawptrreturnsptr", got)
        .call("rpctestptrreturnsptr", got)
        .call("rpctestreturnserror", fail)
        .call("rpctestnoargs", got_nothing)
}

async fn got(Protobuf(request): Protobuf<TestRequest>) -> Protobuf<TestResponse> {
    Protobuf(TestResponse::ok(format!("got {}", request.msg)))
}

async fn fail(Protobuf(_): Protobuf<TestRequest>) -> Result<Protobuf<TestResponse>, Error> {
    Err(Error::new("PIT-433", "test error").with("some", "meta"))
}

async fn got_nothing() -> Protobuf<TestResponse> {
    Protobuf(TestResponse::ok("got nothing"))
}
