//! Encrypted connections.

use cereus_cluster::{Bus, Grpc, Kind, ServerInfo, Undelivered};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::{
    peer::{Peer, call_id, local, within},
    plain,
};

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A bus with a certificate for a name.
    fn identify(&self, bus: Grpc, name: &str) -> Grpc {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        bus.tls_identity(certificate.pem(), key.serialize_pem())
    }
}

async fn ask(gate: &mut Peer, room: &mut Peer) {
    gate.send(&room.info, Kind::Call, Some(1), "a");
    room.echo().await;
    assert_eq!(gate.answer().await, (call_id(1), Ok("a".into())));
}

/// Depending on what notices it first.
async fn ask_in_vain(gate: &mut Peer, room: &Peer) {
    gate.send(&room.info, Kind::Call, Some(1), "a");
    gate.answer().await.1.unwrap_err();
}

#[tokio::test]
async fn calls_are_encrypted() {
    let authority = Authority::new();
    let mut room = Peer::start(authority.identify(local(), "127.0.0.1"), "room", "r1").await;
    let mut gate = Peer::start(local().tls_ca(authority.pem()), "gate", "g1").await;
    ask(&mut gate, &mut room).await;

    let mut other = Peer::start(local().tls_ca(Authority::new().pem()), "gate", "g2").await;
    other.send(&room.info, Kind::Call, Some(1), "a");
    assert_eq!(other.answer().await, (call_id(1), Err(Undelivered::NoResponders)));
    let mut plain = Peer::start(local(), "gate", "g3").await;
    ask_in_vain(&mut plain, &room).await;
}

#[tokio::test]
async fn certificates_may_have_a_name_of_their_own() {
    let authority = Authority::new();
    let mut room = Peer::start(authority.identify(local(), "cereus.internal"), "room", "r1").await;
    let named = local().tls_ca(authority.pem()).tls_server_name("cereus.internal");
    ask(&mut Peer::start(named, "gate", "g1").await, &mut room).await;
    let mut unnamed = Peer::start(local().tls_ca(authority.pem()), "gate", "g2").await;
    ask_in_vain(&mut unnamed, &room).await;
}

#[tokio::test]
async fn clients_show_certificates_too() {
    let authority = Authority::new();
    let bus = || authority.identify(local().tls_ca(authority.pem()).tls_client_ca(authority.pem()), "127.0.0.1");
    let (mut gate, mut room) = (Peer::start(bus(), "gate", "g1").await, Peer::start(bus(), "room", "r1").await);
    ask(&mut gate, &mut room).await;
    ask(&mut room, &mut gate).await;
    let mut nobody = Peer::start(local().tls_ca(authority.pem()), "gate", "g2").await;
    ask_in_vain(&mut nobody, &room).await;
}

#[tokio::test]
async fn what_is_no_certificate_is_told_at_the_start() {
    let authority = Authority::new();
    let pem = || authority.pem();
    let buses = [
        (local().tls_ca("/etc/ca.pem"), "`tls_ca`"),
        (local().tls_identity("", ""), "`tls_identity`"),
        (local().tls_identity(pem(), "no key"), "cannot be used"),
        (local().tls_client_ca(pem()), "`tls_identity` is missing"),
        (authority.identify(local(), "localhost").tls_client_ca("no"), "`tls_client_ca`"),
    ];
    for (bus, text) in buses {
        let Err(error) = within(bus.start(ServerInfo::new("room", "r1").into())).await else { panic!("it started") };
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_plain_client_is_not_heard() {
    let room = Peer::start(Authority::new().identify(local(), "127.0.0.1"), "room", "r1").await;
    let channel = plain::connect(&room).await;
    assert!(within(plain::call(&channel, "/protos.Pitaya/Call", "")).await.is_err());
}
