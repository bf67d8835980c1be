use std::{fmt::Debug, sync::Arc, time::Duration};

use bytes::Bytes;
use cereus_cluster::{
    ClusterEvent, ClusterNode, Hop, NodeConfig, Propagated, RegistryEvent, ServerInfo, names,
    protos::{
        BindMsg, Doc, DocMsg, Error, KickAnswer, KickMsg, Msg, Multicast, ProtoDescriptor, ProtoDescriptors, ProtoName,
        ProtoNames, Push, Request, Response, Session, Unreached,
    },
};
use cereus_core::{
    Instant, Route, duration,
    session::{SessionId, SessionState},
};
use prost::Message;

/// A message between servers is read or refused, and what was read survives writing and reading; as does what travels
/// inside it as text: propagated metadata, session data, the route.
///
/// The first byte says which message the others are.
///
/// # Panics
///
/// When that is not so.
pub fn envelope(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 17 {
        0 => drop(survives::<BindMsg>(bytes)),
        1 => drop(survives::<Doc>(bytes)),
        2 => drop(survives::<DocMsg>(bytes)),
        3 => drop(survives::<Error>(bytes)),
        4 => drop(survives::<KickAnswer>(bytes)),
        5 => drop(survives::<KickMsg>(bytes)),
        6 => drop(survives::<Msg>(bytes)),
        7 => drop(survives::<Multicast>(bytes)),
        8 => drop(survives::<ProtoDescriptor>(bytes)),
        9 => drop(survives::<ProtoDescriptors>(bytes)),
        10 => drop(survives::<ProtoName>(bytes)),
        11 => drop(survives::<ProtoNames>(bytes)),
        12 => drop(survives::<Push>(bytes)),
        13 => drop(survives::<Unreached>(bytes)),
        14 => drop(survives::<Response>(bytes)),
        15 => survives::<Session>(bytes).iter().for_each(session),
        _ => survives::<Request>(bytes).iter().for_each(request),
    }
}

fn survives<T: Message + Clone + Debug + Default + PartialEq>(bytes: &[u8]) -> Option<T> {
    let envelope = T::decode(Bytes::copy_from_slice(bytes)).ok()?;
    let encoded = envelope.encode_to_vec();
    assert_eq!(encoded.len(), envelope.encoded_len());
    assert_eq!(T::decode(&encoded[..]).as_ref(), Ok(&envelope), "what was read does not survive");
    // Maps are ordered: whoever reads and writes again changes no byte.
    let again = T::decode(Bytes::from(encoded.clone())).map(|envelope| envelope.encode_to_vec());
    assert_eq!(again, Ok(encoded), "one value has two forms");
    Some(envelope)
}

fn request(request: &Request) {
    if let Ok(propagated) = Propagated::parse(&request.metadata) {
        metadata(&propagated);
    }
    request.session.iter().for_each(session);
    if let Some(msg) = &request.msg
        && let Ok(path) = Route::from(msg.route.as_str()).path()
    {
        let fields = [path.server_type, Some(path.service), Some(path.method)];
        let fields: Vec<_> = fields.into_iter().flatten().collect();
        assert_eq!(fields.join("."), msg.route);
    }
}

/// The next server reads what this one read, but for what the hop says itself.
fn metadata(propagated: &Propagated) {
    if let Some(timeout) = propagated.timeout {
        let nanos = i64::try_from(timeout.as_nanos()).expect("it was read from 64 bits of nanoseconds");
        assert_eq!(duration::parse(&duration::format(nanos)), Ok(nanos));
        assert_eq!(Instant::from_epoch(timeout).since_epoch(), timeout);
    }
    let hop = Hop {
        peer_id: "f1",
        peer_service: "connector",
        route: "room.room.join",
        timeout: propagated.timeout.unwrap_or(Duration::from_secs(5)),
        unix_nanos: 7,
    };
    let encoded = propagated.encode(&hop);
    let read = Propagated::parse(&encoded).expect("what was written can be read");
    assert_eq!((read.peer_id.as_str(), read.peer_service.as_str()), (hop.peer_id, hop.peer_service));
    assert_eq!((&read.request_id, read.timeout), (&propagated.request_id, Some(hop.timeout)));
    // It may have come as a float.
    assert_eq!(read.start.map(|nanos| nanos as f64), propagated.start.or(Some(7)).map(|nanos| nanos as f64));
    assert_eq!(read.encode(&hop).len(), encoded.len(), "one hop more changes something");
}

fn session(session: &Session) {
    assert_eq!(SessionId::new(session.id).to_string(), session.id.to_string());
    let mut state = SessionState::default();
    assert_eq!(state.bind(session.uid.as_str()).is_ok(), !session.uid.is_empty());
    assert!(state.bind("another").is_ok() == session.uid.is_empty(), "bound twice");
    state.unbind();
    assert!(state.uid().is_none() && state.bind("another").is_ok(), "bound for ever");
    if state.data.replace(&session.data).is_err() {
        assert_eq!(state.data.encode(), None, "refused, and something has changed");
        return;
    }
    let Some(encoded) = state.data.encode() else {
        assert!(session.data.is_empty(), "nothing came of it");
        return;
    };
    let mut again = SessionState::default();
    again.data.replace(&encoded).expect("what was written can be read");
    assert_eq!(again.data.encode().as_ref(), Some(&encoded), "one value has two forms");
    let keys: Vec<_> = state.data.keys().map(str::to_owned).collect();
    for key in &keys {
        number(&state, key);
        again.data.set(key, &state.data.string(key)).expect("a text has a JSON form");
        assert_eq!(again.data.string(key), state.data.string(key));
        assert!(again.data.contains_key(key) && again.data.remove(key) && !again.data.remove(key));
    }
    assert_eq!(again.data.encode().as_deref(), Some(&b"{}"[..]));
    state.clear();
    assert_eq!((state.uid(), state.data.keys().count()), (None, 0));
}

/// A number is the same whatever it is taken for, or it is not given out.
fn number(state: &SessionState, key: &str) {
    let data = &state.data;
    if let (Some(signed), Some(unsigned)) = (data.i64(key), data.u64(key)) {
        assert_eq!(u64::try_from(signed), Ok(unsigned));
    }
    if let (Some(signed), Some(float)) = (data.i64(key), data.f64(key)) {
        assert_eq!(signed as f64, float);
    }
    if let Some(unsigned) = data.u64(key) {
        assert!(i64::try_from(unsigned).is_err() || data.i64(key).is_some());
    }
    assert!(data.string(key).is_none() || (data.f64(key), data.bool(key)) == (None, None));
}

/// The record of a server is read or refused; what was read survives writing and reading, has the key it says, and is
/// what a node then knows.
///
/// # Panics
///
/// When that is not so.
pub fn registry_record(bytes: &[u8]) {
    let Ok(info) = ServerInfo::from_json(bytes) else { return };
    assert!(!info.id.is_empty() && !info.server_type.is_empty(), "a server without a name");
    let text = info.to_json();
    assert_eq!(ServerInfo::from_json(text.as_bytes()).as_ref(), Ok(&info), "{text}");
    assert_eq!(info.is_cereus(), info.metadata.contains_key(names::record::CEREUS));

    let key = names::server_key("pitaya/", &info.server_type, &info.id);
    let read = names::parse_server_key("pitaya/", &key);
    let is_plain = names::is_server_name(&info.server_type) && names::is_server_name(&info.id);
    assert!(!is_plain || read == Some((&info.server_type, &info.id)), "{key} is the key of {read:?}");

    let mut node = ClusterNode::new(Arc::new(ServerInfo::new("gate", "g1")), NodeConfig::default());
    let is_own = info.id == "g1";
    node.handle_registry(RegistryEvent::Put(info.clone()), Instant::EPOCH);
    assert_eq!(matches!(node.poll_event(), Some(ClusterEvent::Server(_))), !is_own);
    assert!(is_own || node.servers().by_id(&info.id).is_some_and(|known| **known == info));
    let (server_type, id) = (info.server_type, info.id);
    node.handle_registry(RegistryEvent::Delete { server_type, id: id.clone() }, Instant::EPOCH);
    assert_eq!(node.servers().by_id(&id).is_some(), is_own);
}
