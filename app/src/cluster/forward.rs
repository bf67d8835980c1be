//! Messages of clients that other servers handle (specification, section 12.3).

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use cereus_cluster::{
    Address, Kind, Policy, ServerInfo,
    protos::{self, Msg, MsgType, Request, RpcType},
};
use cereus_core::Instant;
use prost::Message;

use crate::{
    Context, Error,
    cluster::{
        Forward, Routing,
        call::{Called, Origin},
    },
    handler::Reply,
};

/// The settings for each type of server.
#[derive(Debug)]
pub(crate) struct Forwards {
    by_type: BTreeMap<String, u32>,
    /// The first is for all types that are not named.
    forwards: Vec<Forward>,
    /// For those that do not say how to choose.
    random: Policy,
}

impl Forwards {
    pub(crate) fn new(named: BTreeMap<String, Forward>, others: Forward, seed: u64) -> Self {
        let mut this = Self { by_type: BTreeMap::new(), forwards: vec![others], random: Policy::random(seed) };
        for (server_type, forward) in named {
            this.by_type.insert(server_type, this.forwards.len() as u32);
            this.forwards.push(forward);
        }
        this
    }

    pub(crate) fn find(&self, server_type: &str) -> u32 {
        self.by_type.get(server_type).copied().unwrap_or_default()
    }

    pub(crate) fn concurrency(&self, forward: u32) -> Option<usize> {
        self.get(forward).concurrency
    }

    fn get(&self, forward: u32) -> &Forward {
        &self.forwards[forward as usize]
    }

    fn choose(
        &self,
        forward: u32,
        server_type: &str,
        context: &Context,
        servers: &[Arc<ServerInfo>],
    ) -> Result<Arc<ServerInfo>, Error> {
        if servers.is_empty() {
            let text = format!("there is no server of type `{server_type}`");
            return Err(Error::new(Error::INTERNAL, text).with("route", &context.route));
        }
        let chosen = match &self.get(forward).routing {
            None => self.random.choose("", servers).cloned(),
            Some(Routing::Policy(policy)) => policy.choose(&context.session.id().to_string(), servers).cloned(),
            Some(Routing::Custom(choose)) => Some(choose(&context.session, &context.route, &context.body, servers)?),
        };
        chosen.ok_or_else(|| Error::new(Error::INTERNAL, "no server was chosen"))
    }
}

/// Hands a message on and waits for what becomes of it. `deadline`: it may take no longer than that.
pub(crate) fn forward(context: Context, forward: u32, deadline: Instant) -> Reply {
    match begin(&context, forward, deadline) {
        Ok(reply) => reply,
        Err(error) => Box::pin(std::future::ready(Err(error))),
    }
}

fn begin(context: &Context, forward: u32, deadline: Instant) -> Result<Reply, Error> {
    let server = context.server();
    let shared = server.shared().ok_or_else(|| Error::new(Error::INTERNAL, "the cluster is not there yet"))?;
    let path = context.route.path().map_err(|error| Error::new(Error::BAD_REQUEST, error.to_string()))?;
    let (route, server_type) = (context.route.as_str().unwrap_or_default(), path.server_type.unwrap_or_default());
    let servers = shared.servers();
    let chosen = shared.forwards.choose(forward, server_type, context, servers.of_type(server_type))?;

    let (timeout, deadline) = shared.limit(shared.forwards.get(forward).timeout, Some(deadline));
    let called = Called { server: &chosen, route, timeout };
    let origin = Origin { propagated: context.propagated(), deadline: None };
    let metadata = called.metadata(shared, &origin, server.unix_nanos());
    let envelope = envelope(context, route, shared.frontend_id(), metadata);
    let call = shared
        .call(Address::Server(Arc::clone(&chosen)), Kind::Call, envelope, deadline)
        .map_err(|error| called.error(shared, &error))?;

    let (shared, route) = (Arc::clone(shared), context.route.clone());
    Ok(Box::pin(async move {
        let result = call.await;
        let route = route.as_str().unwrap_or_default();
        Called { server: &chosen, route, timeout }.result(&shared, result)
    }))
}

fn envelope(context: &Context, route: &str, frontend_id: String, metadata: Bytes) -> Bytes {
    let session = &context.session;
    let (kind, id) = match context.id {
        Some(id) => (MsgType::MsgRequest, id.get()),
        None => (MsgType::MsgNotify, 0),
    };
    let request = Request {
        r#type: RpcType::Sys as i32,
        session: Some(protos::Session {
            id: session.id().get(),
            uid: session.uid().map(|uid| uid.to_string()).unwrap_or_default(),
            data: session.encoded_data(),
        }),
        msg: Some(Msg {
            id,
            route: route.to_owned(),
            data: context.body.clone(),
            r#type: kind as i32,
            ..Msg::default()
        }),
        frontend_id,
        metadata,
    };
    request.encode_to_vec().into()
}
