//! Every bound, its default, and its setting. What is over a bound is refused, dropped or closed, as its setting says, and never
//! waits without end. [`Server::stats`](crate::Server::stats) counts it.
//!
//! # Connections
//!
//! | what | default | setting | beyond it |
//! | --- | --- | --- | --- |
//! | connections | 100,000 | [`App::max_connections`] | closed when it is accepted |
//! | connections of one address (IPv6: of a /64) | any number | [`App::max_connections_per_address`] | the same |
//! | connections without a finished handshake | 16,384 | [`App::max_unauthenticated`] | the same |
//! | time for the handshake, and for the PROXY header and TLS before it | two heartbeats | [`handshake_timeout`] | closed |
//! | silence of a client | two heartbeats of 30 s | [`heartbeat`] | closed |
//! | time without progress in writing | 10 s | [`App::write_timeout`] | closed |
//! | time to write the rest when a connection ends | 5 s | [`close_timeout`] | the rest is lost |
//!
//! # What a client sends
//!
//! | what | default | setting | beyond it |
//! | --- | --- | --- | --- |
//! | a packet | 16 MiB, what one can carry | [`max_packet_size`] | closed |
//! | a handshake, as it is and inflated | 64 KiB | [`max_handshake_size`] | closed |
//! | an inflated body | 16 MiB | [`max_inflated_size`] | closed |
//! | packets and bytes in a time | any number | [`App::rate_limit`] | a request is answered with PIT-429, or [dropped](RateLimit::drop_silently) |
//! | whole packets that wait to be handled | 64 KiB | [`max_waiting_input`] | the socket is not read |
//! | requests that wait for their answers | 128 | [`max_pending_requests`] | the next ones wait |
//! | messages of a session at the same time | 1 | [`Service::concurrency`], [`Forward::concurrency`] | the next ones wait |
//! | time of a handler | 30 s | [`App::handler_deadline`], [`Service::deadline`] | cut, and answered with PIT-408 |
//! | head of an HTTP request | 8 KiB | [`WebSocketConfig::max_head_size`](crate::transports::WebSocketConfig::max_head_size) | answered with 431 |
//!
//! # What waits to be sent
//!
//! | what | default | setting | beyond it |
//! | --- | --- | --- | --- |
//! | pushes that a connection has not taken over | 1 MiB | [`App::max_mailbox_bytes`] | [`PushError::Full`]; [`Session::push_wait`] waits |
//! | pushes that wait in a connection | 1 MiB | [`max_queued_bytes`] | [`App::full_policy`], [`App::push_policy`], [`OnFull`] |
//! | answers that wait in a connection | the same | the same | no handler is started |
//! | all of it, and what was received, in all connections | 1 GiB | [`App::max_buffered_bytes`] | those with more than their share: full queues, then closed |
//!
//! # Between servers
//!
//! | what | default | setting | beyond it |
//! | --- | --- | --- | --- |
//! | time of a call | 5 s | [`Cluster::request_timeout`], [`Forward::timeout`], [`Rpc::timeout`] | PIT-408 |
//! | calls in flight | 100,000 | [`Cluster::max_calls`] | fail at once |
//! | bytes that wait for the bus | 16 MiB | [`Cluster::max_queued_bytes`] | refused |
//! | requests of other servers | 65,536 | [`Cluster::max_requests`] | PIT-500 |
//! | time of a remote | 30 s | [`App::handler_deadline`], [`Remote::deadline`] | cut, and answered with PIT-408 |
//! | sessions of other servers that are watched | 1,000,000 | [`Cluster::max_watched_sessions`] | refused |
//! | known servers | 10,000 | [`Cluster::max_servers`] | the rest is not seen |
//! | waits for bus and registry | 5 s to 30 s | [`Cluster::start_timeout`], [`Cluster::registry_timeout`], [`Cluster::bus_timeout`] | given up, tried again |
//! | in process: an envelope; envelopes; their bytes | 1 MiB; 65,536; 64 MiB | [`InProcess::max_payload`], [`InProcess::max_messages`], [`InProcess::max_bytes`] | refused |
//! | NATS: messages that wait to be taken in; to be sent | 65,536; 8,192 | [`Nats::subscription_capacity`], [`Nats::client_capacity`] | dropped; refused |
//! | gRPC: a message; calls of others; calls to one server | 4 MiB; 65,536; 65,536 | [`Grpc::max_message_size`], [`Grpc::max_incoming_calls`], [`Grpc::max_calls_per_server`] | refused |
//! | gRPC: events and bytes that wait to be taken in | 65,536; 64 MiB | [`Grpc::queue_capacity`], [`Grpc::max_queued_bytes`] | refused |
//! | gRPC: time of a call, beside its own; to connect | 60 s; 5 s | [`Grpc::max_call_time`], [`Grpc::connect_timeout`] | fails |
//! | etcd: time to connect; of an answer | 5 s; 5 s | [`Etcd::dial_timeout`], [`Etcd::request_timeout`] | fails, tried again |
//!
//! # The end
//!
//! | what | default | setting | beyond it |
//! | --- | --- | --- | --- |
//! | clients may stay while the server drains | they may not | [`App::session_drain`] | closed |
//! | handlers may run on | 30 s | [`App::drain_timeout`] | left behind |
//!
//! [`handshake_timeout`]: crate::core::ServerConfigBuilder::handshake_timeout
//! [`heartbeat`]: crate::core::ServerConfigBuilder::heartbeat
//! [`close_timeout`]: crate::core::ServerConfigBuilder::close_timeout
//! [`max_packet_size`]: crate::core::ServerConfigBuilder::max_packet_size
//! [`max_handshake_size`]: crate::core::ServerConfigBuilder::max_handshake_size
//! [`max_inflated_size`]: crate::core::ServerConfigBuilder::max_inflated_size
//! [`max_waiting_input`]: crate::core::ServerConfigBuilder::max_waiting_input
//! [`max_pending_requests`]: crate::core::ServerConfigBuilder::max_pending_requests
//! [`max_queued_bytes`]: crate::core::ServerConfigBuilder::max_queued_bytes

#[cfg(doc)]
use crate::*;
