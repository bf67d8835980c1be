//! What every server does, whatever its runtime and its transport: one body of checks, run on each of them.
#![cfg(all(feature = "json", feature = "websocket"))]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "conformance/basics.rs"]
mod basics;
#[path = "support/client.rs"]
mod client;
#[path = "conformance/common.rs"]
mod common;
#[path = "conformance/groups.rs"]
mod groups;
#[path = "conformance/handlers.rs"]
mod handlers;
#[path = "conformance/hostile.rs"]
mod hostile;
#[path = "conformance/layers.rs"]
mod layers;
#[path = "conformance/lifecycle.rs"]
mod lifecycle;
#[path = "support/net.rs"]
mod net;
#[path = "conformance/proxy.rs"]
mod proxy;
#[path = "support/server.rs"]
mod server;
#[path = "conformance/sessions.rs"]
mod sessions;

/// Makes a test of each check, on one runtime and one transport.
macro_rules! checks {
    ($on:expr; $($module:ident: $($check:ident)*;)*) => {
        $(mod $module {
            $(#[test]
            fn $check() {
                crate::$module::$check($on);
            })*
        })*
    };
}

/// What is checked on every runtime with every transport.
macro_rules! on_each_transport {
    ($runtime:ident $scheme:ident) => {
        checks! {
            crate::common::On { runtime: crate::server::Runtime::$runtime, scheme: crate::common::Scheme::$scheme };
            basics:
                handshake_is_told handshake_can_be_refused handshake_that_cannot_be_read
                validator_has_a_deadline
                json_echo raw_echo protobuf_app errors_have_code_message_metadata
                routes_that_lead_nowhere own_type_is_local bodies_that_cannot_be_read request_and_notify
                id_zero_runs_and_is_not_answered id_twice_is_answered_twice missing_reply_is_an_error reply_that_does_not_fit
                arguments_come_from_the_context;
            handlers:
                answers_come_in_order sessions_run_in_parallel concurrency_is_up_to_n panic_is_an_error panic_at_the_end
                deadline_cuts hooks_change_context_and_result hooks_that_refuse hooks_that_panic
                handlers_outlive_their_client;
            sessions:
                pushes_go_around_answers push_wait_of_much push_that_is_wrong slow_reader_is_closed_alone
                stalled_write_ends bind_and_look_up bind_takes_over bind_that_is_refused clear_forgets_the_user data_lasts
                close_callbacks kick_lets_the_answer_out kick_waits_for_so_long kick_tells_browsers_why close_tells_nothing;
            groups:
                broadcast_reaches_all multicast_reaches_some push_to_users_tells_who_was_missed
                kick_users_tells_who_was_missed group_operations group_broadcast;
            hostile:
                malformed_bytes_close_their_connection out_of_order_packets_close plain_http
                whole_packets_in_pieces;
            proxy:
                the_header_names_the_peer who_has_no_header_is_nobody a_shutdown_does_not_wait_for_them;
            layers:
                pages_of_other_origins_are_refused an_origin_that_is_none taps_see_all_bytes layers_refuse_peers;
            lifecycle:
                shutdown_drains shutdown_sends_long_answers drain_timeout_bounds;
        }
    };
}

/// What has nothing to do with the transport, or takes real time.
macro_rules! on_each_runtime {
    ($runtime:ident) => {
        checks! {
            crate::server::Runtime::$runtime;
            groups: group_with_time_to_live;
            hostile: silent_clients_are_closed_and_idle_ones_stay;
            proxy: silent_load_balancers_are_closed;
            layers: a_transport_of_ones_own;
            lifecycle:
                parts_start_and_stop_in_order init_failure_listens_nowhere address_in_use address_that_is_none
                serve_twice port_is_free_again several_endpoints;
        }
    };
}

macro_rules! conformance {
    ($($name:ident: $runtime:ident;)*) => {
        $(mod $name {
            mod tcp {
                on_each_transport!($runtime Tcp);
            }
            mod websocket {
                on_each_transport!($runtime WebSocket);
            }
            mod tls {
                on_each_transport!($runtime Tls);
            }
            mod wss {
                on_each_transport!($runtime Wss);
            }
            on_each_runtime!($runtime);
        })*
    };
}

conformance! {
    tokio: Tokio;
    smol: Smol;
    async_std: AsyncStd;
    simulated: Simulated;
}
