//! What a caller can set, read and compare: configurations, routes, ids, session data.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use cereus_core::{
    ClientConfig, ConfigError, HandshakeRequest, HandshakeResponse, Instant, Message, MessageId, Route, RouteError,
    ServerConfig, ServerConnection,
    packet::MAX_BODY_LEN,
    session::{SessionData, SessionId, SessionState},
};

const SECOND: Duration = Duration::from_secs(1);

/// The setters of one limit, on either side.
macro_rules! limits {
    ($($name:ident)+) => {
        [$((
            stringify!($name),
            (|value| ServerConfig::builder().$name(value).build().err()) as fn(usize) -> _,
            (|value| ClientConfig::builder().$name(value).build().err()) as fn(usize) -> _,
        )),+]
    };
}

#[test]
fn limits_that_let_nothing_through_are_refused() {
    let limits = limits!(max_packet_size max_handshake_size max_inflated_size max_waiting_input max_pending_requests
        max_queued_bytes);
    for (name, server, client) in limits {
        for set in [server, client] {
            let errors = set(0).expect("nothing would pass");
            assert!(errors.iter().eq([&ConfigError::ZeroLimit(name)]), "{errors}");
            assert_eq!(set(1), None, "{name}");
        }
    }
    let errors = ServerConfig::builder().close_timeout(Duration::ZERO).build().expect_err("no time at all");
    assert_eq!(errors.into_iter().collect::<Vec<_>>(), [ConfigError::ZeroLimit("close_timeout")]);
    let errors = ClientConfig::builder().handshake_timeout(Duration::ZERO).build().expect_err("no time at all");
    assert_eq!(errors.into_iter().collect::<Vec<_>>(), [ConfigError::ZeroLimit("handshake_timeout")]);
}

#[test]
fn packets_are_no_longer_than_their_length_field() {
    let build = |bytes| ServerConfig::builder().max_packet_size(bytes).build();
    assert_eq!(build(MAX_BODY_LEN).expect("it is the longest").max_packet_size(), MAX_BODY_LEN);
    let too_large = ConfigError::LimitTooLarge { name: "max_packet_size", value: MAX_BODY_LEN + 1, max: MAX_BODY_LEN };
    assert!(build(MAX_BODY_LEN + 1).expect_err("no packet is that long").iter().eq([&too_large]));
}

#[test]
fn heartbeats_are_whole_seconds_and_handshakes_take_two() {
    for heartbeat in [Duration::ZERO, SECOND / 2, SECOND * 3 / 2] {
        let errors = ServerConfig::builder().heartbeat(heartbeat).build().expect_err("clients read whole seconds");
        assert!(errors.iter().eq([&ConfigError::Heartbeat(heartbeat)]), "{errors}");
    }
    let build = |timeout| ServerConfig::builder().heartbeat(SECOND * 3).handshake_timeout(timeout).build();
    for timeout in [SECOND, SECOND * 2, SECOND * 5] {
        let errors = build(timeout).expect_err("a client is thrown out that does nothing wrong");
        assert!(errors.iter().eq([&ConfigError::HandshakeTimeout { timeout, heartbeat: SECOND * 3 }]), "{errors}");
    }
    for timeout in [SECOND * 6, SECOND * 60] {
        assert_eq!(build(timeout).expect("long enough").handshake_timeout(), timeout);
    }
    let config = ServerConfig::builder().heartbeat(SECOND * 7).build().expect("valid");
    assert_eq!((config.heartbeat(), config.handshake_timeout()), (SECOND * 7, SECOND * 14));
}

#[test]
fn mistakes_are_told_all_at_once_each_on_a_line() {
    let errors = ServerConfig::builder().heartbeat(SECOND / 4).max_packet_size(0).build().expect_err("two mistakes");
    let text = errors.to_string();
    let lines: Vec<_> = text.lines().collect();
    assert!(
        matches!(lines[..], [heartbeat, limit] if heartbeat.contains("250ms") && limit.contains("max_packet_size"))
    );
    assert_eq!(errors.into_iter().map(|error| error.to_string()).collect::<Vec<_>>(), lines);
}

#[test]
fn settings_are_what_was_set() {
    let config = ServerConfig::builder().serializer("protobuf").max_packet_size(77).max_queued_bytes(88);
    let config = config.max_handshake_size(99).close_timeout(SECOND * 9).build().expect("valid");
    assert_eq!((config.serializer(), config.max_packet_size(), config.max_queued_bytes()), ("protobuf", 77, 88));
    assert_eq!((config.max_handshake_size(), config.close_timeout()), (99, SECOND * 9));
    let config = Arc::new(config);
    assert!(Arc::ptr_eq(ServerConnection::new(Arc::clone(&config), Instant::EPOCH).config(), &config));
}

#[test]
fn heartbeats_are_announced_as_integers() {
    let body = |heartbeat| HandshakeResponse::new(200, heartbeat, [], "json").encode();
    assert_eq!(body(SECOND * 3), br#"{"code":200,"sys":{"dict":{},"heartbeat":3,"serializer":"json"}}"#);
    assert_eq!(body(SECOND / 2), br#"{"code":200,"sys":{"dict":{},"heartbeat":0.5,"serializer":"json"}}"#);
}

#[test]
fn values_beside_each_other_are_not_inside_each_other() {
    let members: Vec<_> = (0..500).map(|at| format!(r#""{at}":[{{}},[]]"#)).collect();
    let body = format!("{{{}}}", members.join(","));
    assert_eq!(HandshakeRequest::parse(body.as_bytes()), Ok(HandshakeRequest::default()));
}

#[test]
fn routes_are_their_bytes() {
    let route = Route::from_static("room.join");
    assert_eq!((route.as_str(), route.as_bytes(), route.len()), (Some("room.join"), &b"room.join"[..], 9));
    assert!(!route.is_empty() && Route::default().is_empty());
    assert_eq!((Route::from("room.join".to_owned()), Route::from(&route)), (route.clone(), route.clone()));
    assert!(route == *"room.join" && route == "room.join" && route != *"room" && route != "room");
    assert_eq!(format!("{route} {route:?}"), r#"room.join Route(b"room.join")"#);
    let broken = Route::from_bytes(b"a\xffb".as_slice().into());
    assert_eq!((broken.as_str(), broken.to_string().as_str()), (None, "a\u{fffd}b"));
}

#[test]
fn routes_are_found_by_their_bytes() {
    let codes: BTreeMap<Route, u16> =
        [("a", 1), ("b", 2)].map(|(route, code)| (Route::from_static(route), code)).into();
    assert_eq!((codes.get(&b"b"[..]), codes.get(&b"c"[..])), (Some(&2), None));
    let hashes: BTreeSet<u64> = (0..100).map(|number| hash(&Route::from(number.to_string()))).collect();
    assert!(hashes.len() > 90, "{} hashes of 100 routes", hashes.len());
    assert_eq!(hash(&Route::from_static("a")), hash(&b"a"[..]), "a map would not find it by its bytes");
}

fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn routes_have_two_or_three_fields() {
    let path = |route| {
        let route = Route::from_static(route);
        let path = route.path()?;
        Ok((path.server_type.map(str::to_owned), path.service.to_owned(), path.method.to_owned()))
    };
    assert_eq!(path("room.join"), Ok((None, "room".into(), "join".into())));
    assert_eq!(path("game.room.join"), Ok((Some("game".into()), "room".into(), "join".into())));
    for route in ["join", "a.b.c.d"] {
        assert_eq!(path(route), Err(RouteError::WrongFieldCount));
    }
    for route in ["", ".", "a.", ".a", "a..b", "a. .b"] {
        assert_eq!(path(route), Err(RouteError::EmptyField));
    }
    assert_eq!(Route::from_bytes(b"a.\xff".as_slice().into()).path(), Err(RouteError::NotText));
}

#[test]
fn ids_are_their_numbers() {
    assert_eq!((SessionId::new(-7).get(), SessionId::new(-7).to_string().as_str()), (-7, "-7"));
    assert_eq!((MessageId::new(300).get(), MessageId::new(300).to_string().as_str()), (300, "300"));
    assert_eq!(MessageId::default(), MessageId::NONE);
}

#[test]
fn answers_are_errors_or_not() {
    let id = MessageId::new(1);
    assert!(Message::error(id, "x").error && !Message::response(id, "x").error);
}

#[test]
fn instants_are_durations_since_the_epoch() {
    let elapsed = Duration::new(3, 14);
    let instant = Instant::from_epoch(elapsed);
    assert_eq!((instant.since_epoch(), instant), (elapsed, Instant::EPOCH + elapsed));
    assert_eq!(Instant::from_epoch(Duration::MAX), Instant::EPOCH + Duration::MAX);
}

#[test]
fn session_data_is_there_until_it_is_removed() {
    let mut data = SessionData::default();
    data.set("a", &1).expect("it has a JSON form");
    assert!(data.contains_key("a") && !data.contains_key("b"));
    assert_eq!(data.keys().collect::<Vec<_>>(), ["a"]);
    assert!(!data.remove("b") && data.remove("a") && !data.remove("a"));
    assert!(!data.contains_key("a") && data.keys().next().is_none());
}

#[test]
fn sessions_tell_their_user() {
    let mut state = SessionState::default();
    assert_eq!(state.uid(), None);
    state.bind("alice").expect("nobody is bound");
    assert_eq!(state.uid().map(|uid| &**uid), Some("alice"));
}
