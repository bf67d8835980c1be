//! One frontend and one backend, one of Go and one of Rust, and a second frontend of the other kind.

use std::sync::atomic::{AtomicU32, Ordering};

use cereus_service_tests::{Etcd, GoServer, Nats, free_port};

use crate::{
    client::Client,
    server,
    support::{Meeting, Running},
};

/// Who takes the clients in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Front {
    Go,
    Rust,
}

/// Over what servers call each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    Nats,
    Grpc,
}

pub(crate) struct Mixed {
    pub(crate) front: Front,
    pub(crate) link: Link,
    /// Where clients of `front` connect, whose type is `connector` and whose id is `front`.
    endpoint: String,
    /// The same of a frontend of the other kind, whose id is `other`.
    other: String,
    users: AtomicU32,
    // Clients and servers go before the services.
    _rust: Vec<Running>,
    _go: Vec<GoServer>,
    _nats: Nats,
    _etcd: Etcd,
}

impl Mixed {
    /// `front` and `other` are frontends, `back` is a backend of the type `room` and of the other kind than `front`.
    pub(crate) fn start(front: Front, link: Link) -> Self {
        let (nats, etcd) = (Nats::start(), Etcd::start());
        let meeting =
            Meeting { nats: (link == Link::Nats).then(|| nats.url()), etcd: etcd.url(), prefix: "interop/".to_owned() };
        let go = |id: &str, server_type: &str, port: Option<u16>| {
            let mut arguments: Vec<String> = ["-type", server_type, "-id", id, "-etcd"].map(str::to_owned).into();
            arguments.push(etcd.url().trim_start_matches("http://").to_owned());
            arguments.extend(["-prefix".to_owned(), meeting.prefix.clone(), "-nats".to_owned(), nats.url()]);
            if let Some(port) = port {
                arguments.extend(["-frontend".to_owned(), "-port".to_owned(), port.to_string()]);
            }
            match link {
                Link::Nats => arguments.extend(["-rpc", "nats"].map(str::to_owned)),
                Link::Grpc => {
                    arguments.extend(["-rpc", "grpc", "-grpc-port"].map(str::to_owned));
                    arguments.push(free_port().to_string());
                }
            }
            GoServer::start(arguments)
        };
        let rust_front = |id: &str| Running::frontend(server::app("connector").cluster(meeting.cluster(id)));
        let rust_back = || Running::backend(server::app("room").cluster(meeting.cluster("back")));
        let port = free_port();
        let go_endpoint = format!("tcp://127.0.0.1:{port}");
        let (rust, go, endpoint, other) = match front {
            Front::Go => {
                let (back, other) = (rust_back(), rust_front("other"));
                let go = go("front", "connector", Some(port));
                let other_endpoint = other.endpoint.clone();
                (vec![back, other], vec![go], go_endpoint, other_endpoint)
            }
            Front::Rust => {
                let front = rust_front("front");
                let go = vec![go("back", "room", None), go("other", "connector", Some(port))];
                let endpoint = front.endpoint.clone();
                (vec![front], go, endpoint, go_endpoint)
            }
        };
        for server in &rust {
            ["front", "back", "other"].iter().for_each(|id| server.wait_for(id, true));
        }
        let mixed = Self {
            front,
            link,
            endpoint,
            other,
            users: AtomicU32::new(0),
            _rust: rust,
            _go: go,
            _nats: nats,
            _etcd: etcd,
        };
        mixed.wait_until_go_sees_all();
        mixed
    }

    /// Go tells nobody when it has seen a server: it is asked until it answers.
    fn wait_until_go_sees_all(&self) {
        for endpoint in [&self.endpoint, &self.other] {
            let mut client = Client::connect_native(endpoint);
            crate::support::eventually("the servers of Go see the others", || {
                client.request("room.interop.whoami", "{}").is_ok()
            });
        }
    }

    /// Where clients connect.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect_native(&self.endpoint)
    }

    /// A client of the frontend of the other kind.
    pub(crate) fn other_client(&self) -> Client {
        Client::connect_native(&self.other)
    }

    /// A name that no other check uses.
    pub(crate) fn user(&self) -> String {
        format!("user-{}", self.users.fetch_add(1, Ordering::Relaxed))
    }

    /// A client that a backend bound.
    pub(crate) fn bound(&self) -> (Client, String) {
        let (mut client, uid) = (self.client(), self.user());
        let joined: serde_json::Value = client.json("room.interop.join", serde_json::json!({ "uid": uid }));
        assert_eq!(joined, serde_json::json!({ "uid": uid, "server": "back" }));
        (client, uid)
    }
}
