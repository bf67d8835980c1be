//! What a plain client of gRPC sees, such as that of Go's Pitaya.

use bytes::{Buf, BufMut, Bytes};
use cereus_cluster::Kind;
use tonic::{
    Code, Request, Status,
    client::Grpc as Client,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use crate::peer::{Peer, local, within};

#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}

pub(crate) async fn connect(peer: &Peer) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", peer.address())).unwrap();
    within(endpoint.connect()).await.unwrap()
}

pub(crate) async fn call(channel: &Channel, path: &'static str, payload: impl Into<Bytes>) -> Result<Bytes, Status> {
    let mut client = Client::new(channel.clone());
    client.ready().await.unwrap();
    let answer = client.unary(Request::new(payload.into()), PathAndQuery::from_static(path), Raw).await;
    answer.map(tonic::Response::into_inner)
}

fn hex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

const B2: &str = "0a0361636b";
const B7: &str = "121b0a075049542d34303412026e661a0c0a05726f7574651203612e62";
const B10: &str = "121c0801120275311a147b22697076657273696f6e223a2269707634227d1a160801120e726f6f6d2e726f6f6d2e6a6f696e1a027b7d\
    220266312a91017b22706565722e6964223a226631222c22706565722e73657276696365223a22636f6e6e6563746f72222c227265712d726f757465\
    223a22726f6f6d2e726f6f6d2e6a6f696e222c227265712d73746172742d74696d65223a313730303030303030303030303030303030302c22726571\
    54696d656f7574223a223573222c22726571756573742e6964223a227231227d";

/// The path, the kind, the request and the answer of the golden vectors (specification, section 8), and the text if the answer is
/// told as a status.
const EXCHANGES: [(&str, Kind, &str, &str, Option<&str>); 8] = [
    ("/protos.Pitaya/Call", Kind::Call, B10, B2, None),
    ("/protos.Pitaya/Call", Kind::Call, B10, B7, None),
    ("/protos.Pitaya/PushToUser", Kind::Push, "0a056f6e4d7367120275311a027b7d", B2, None),
    ("/protos.Pitaya/PushToUser", Kind::Push, "0a056f6e4d7367120275311a027b7d", B7, Some("nf")),
    ("/protos.Pitaya/SessionBindRemote", Kind::Bind, "0a02753112026631", B2, None),
    ("/protos.Pitaya/SessionBindRemote", Kind::Bind, "0a02753112026631", B7, Some("nf")),
    ("/protos.Pitaya/KickUser", Kind::Kick, "0a027531", "0801", None),
    ("/protos.Pitaya/KickUser", Kind::Kick, "0a027531", "", Some("the user was not kicked")),
];

#[tokio::test]
async fn envelopes_travel_as_they_are() {
    let mut room = Peer::start(local(), "room", "r1").await;
    let channel = connect(&room).await;
    for (path, kind, request, answer, told) in EXCHANGES {
        let serve = async {
            let (taken, reply, payload) = room.message().await;
            assert_eq!((taken, payload), (kind, hex(request)));
            room.reply(reply, hex(answer));
        };
        let (result, ()) = within(futures_util::future::join(call(&channel, path, hex(request)), serve)).await;
        let result = result.map_err(|status| (status.code(), status.message().to_owned()));
        assert_eq!(result, told.map_or(Ok(hex(answer)), |text| Err((Code::Unknown, text.to_owned()))), "{path}");
    }
}

#[tokio::test]
async fn other_methods_are_not_there() {
    let room = Peer::start(local(), "room", "r1").await;
    let channel = connect(&room).await;
    for path in ["/protos.Pitaya/Other", "/grpc.health.v1.Health/Check"] {
        assert_eq!(within(call(&channel, path, "")).await.unwrap_err().code(), Code::Unimplemented);
    }
}
