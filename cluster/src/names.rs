//! Every subject and key of the wire, in one place (specification, sections 9.1, 10.2, 11 and 12).

/// The subject on which one server takes calls.
pub fn server_subject(server_type: &str, server_id: &str) -> String {
    format!("pitaya/servers/{server_type}/{server_id}")
}

/// The subject on which the servers of a type hear which users were bound.
pub fn bindings_subject(server_type: &str) -> String {
    format!("pitaya/{server_type}/bindings")
}

/// The subject of pushes to a user.
pub fn push_subject(frontend_type: &str, uid: &str) -> String {
    format!("pitaya/{frontend_type}/user/{uid}/push")
}

/// The subject on which a user is kicked.
pub fn kick_subject(frontend_type: &str, uid: &str) -> String {
    format!("pitaya/{frontend_type}/user/{uid}/kick")
}

/// The key under which all server records are.
pub fn servers_key(prefix: &str) -> String {
    format!("{prefix}servers/")
}

/// The key of a server's record.
pub fn server_key(prefix: &str, server_type: &str, server_id: &str) -> String {
    format!("{prefix}servers/{server_type}/{server_id}")
}

/// The type and the id in the key of a server's record. Keys of another shape are not records.
///
/// ```
/// use cereus_cluster::names::parse_server_key;
///
/// assert_eq!(parse_server_key("pitaya/", "pitaya/servers/room/r1"), Some(("room", "r1")));
/// assert_eq!(parse_server_key("pitaya/", "pitaya/servers/room/r1/x"), None);
/// ```
pub fn parse_server_key<'a>(prefix: &str, key: &'a str) -> Option<(&'a str, &'a str)> {
    let (server_type, id) = key.strip_prefix(prefix)?.strip_prefix("servers/")?.split_once('/')?;
    (!id.contains('/')).then_some((server_type, id))
}

/// The key that is read to see whether the registry is well.
pub fn health_key(prefix: &str) -> String {
    format!("{prefix}health-check")
}

/// The key that tells which frontend a user is bound on.
pub fn binding_key(prefix: &str, frontend_type: &str, uid: &str) -> String {
    format!("{prefix}bindings/{frontend_type}/{uid}")
}

/// The key of a group.
pub fn group_key(prefix: &str, group: &str) -> String {
    format!("{prefix}groups/{group}")
}

/// The key under which all members of a group are.
pub fn members_key(prefix: &str, group: &str) -> String {
    format!("{prefix}groups/{group}/uids/")
}

/// The key of one member of a group.
pub fn member_key(prefix: &str, group: &str, uid: &str) -> String {
    format!("{prefix}groups/{group}/uids/{uid}")
}

/// Whether a uid, a server type or a server id can be part of a subject and means no more than itself: no white space,
/// no control character, no wildcard, no empty token.
///
/// ```
/// use cereus_cluster::names::is_plain;
///
/// assert!(is_plain("u1") && is_plain("some.one@example") && is_plain("a*b"));
/// assert!(!is_plain("") && !is_plain("a b") && !is_plain("*") && !is_plain("a.>") && !is_plain("a..b"));
/// ```
pub fn is_plain(name: &str) -> bool {
    !name.contains(|c: char| c.is_whitespace() || c.is_control())
        && !name.split('.').any(|token| matches!(token, "" | "*" | ">"))
}

/// Whether a name can be a server's type or id: [plain](is_plain), and one part of a key and of a route.
pub fn is_server_name(name: &str) -> bool {
    is_plain(name) && !name.contains(['/', '.'])
}

/// The remotes that every server has. The last three are Cereus' own; others answer PIT-404.
pub mod sys {
    /// Binds a session of the called frontend.
    pub const BIND_SESSION: &str = "sys.bindsession";
    /// Replaces the data of a session of the called frontend.
    pub const PUSH_SESSION: &str = "sys.pushsession";
    /// Kicks a user of the called frontend.
    pub const KICK: &str = "sys.kick";
    /// Pushes to many users of the called frontend at once.
    pub const MULTICAST: &str = "sys.multicast";
    /// Asks the called frontend to tell when a session ends.
    pub const WATCH_SESSION: &str = "sys.watchsession";
    /// Tells the called server that a session ended.
    pub const SESSION_CLOSED: &str = "sys.sessionclosed";
}

/// The members of a request's metadata that have a meaning (section 12.5).
pub mod metadata {
    /// The caller's server id.
    pub const PEER_ID: &str = "peer.id";
    /// The caller's server type.
    pub const PEER_SERVICE: &str = "peer.service";
    /// What joins the parts of one client message's way.
    pub const REQUEST_ID: &str = "request.id";
    /// When the way began, in nanoseconds since 1970.
    pub const START_TIME: &str = "req-start-time";
    /// The route.
    pub const ROUTE: &str = "req-route";
    /// How long the caller waits, as Go writes durations.
    pub const TIMEOUT: &str = "reqTimeout";
}

/// The members of a server record's metadata that have a meaning (section 10.2).
pub mod record {
    /// The host on which gRPC is served, for servers of the same region.
    pub const GRPC_HOST: &str = "grpcHost";
    /// The port of [`GRPC_HOST`].
    pub const GRPC_PORT: &str = "grpcPort";
    /// The host on which gRPC is served, for servers of other regions.
    pub const GRPC_EXTERNAL_HOST: &str = "grpc-external-host";
    /// The port of [`GRPC_EXTERNAL_HOST`].
    pub const GRPC_EXTERNAL_PORT: &str = "grpc-external-port";
    /// The region.
    pub const REGION: &str = "region";
    /// Cereus' own: the server has the remotes that are not in Pitaya.
    pub const CEREUS: &str = "cereus";
}

/// What a call, a push or a kick that has no other result is answered with.
pub const ACK: &[u8] = b"ack";
