use std::{collections::BTreeSet, fmt, sync::Arc};

use bytes::Bytes;
use cereus_cluster::{
    Address, Addressing, Kind, ServerInfo, names,
    protos::{KickMsg, Multicast, Push, Unreached},
};
use cereus_core::Route;
use prost::Message;

use crate::{
    Error, IntoBody, PushError, Rpc, Server,
    cluster::{Origin, Shared},
    group::Members,
    push::{self, Content},
};

/// Users by their uids, wherever they are bound on frontends of one type (specification, section 13.4).
///
/// ```
/// use cereus_app::{Error, Json, Server};
///
/// async fn tell(server: Server, Json(text): Json<String>) -> Result<(), Error> {
///     let missed = server.users("connector").push(&["u1", "u2"], "onTell", Json(&text)).await?;
///     server.users("connector").push_to_group("room-7", "onTell", Json(&text)).await?;
///     let _ = (missed, server.users("connector").kick(&["u3"]).await);
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Users {
    server: Server,
    frontend_type: Arc<str>,
}

impl Users {
    pub(crate) const fn new(server: Server, frontend_type: Arc<str>) -> Self {
        Self { server, frontend_type }
    }

    /// Pushes to users. The body is encoded once. Between Cereus servers one message goes to each frontend, however many
    /// users there are; frontends of Go get one for each user, and nobody learns whether it found him.
    ///
    /// Returns those that were not reached. With many users other tasks run in between; dropped half-way, it has pushed to some.
    ///
    /// # Errors
    ///
    /// The push itself is at fault.
    pub async fn push(
        &self,
        uids: &[impl AsRef<str> + Sync],
        route: impl Into<Route>,
        body: impl IntoBody,
    ) -> Result<Vec<Arc<str>>, PushError> {
        let route = route.into();
        let push = push::encode(&self.server, &route, body)?;
        let uids: Vec<Arc<str>> = uids.iter().map(|uid| Arc::from(uid.as_ref())).collect();
        self.push_encoded(uids.iter(), route, push).await
    }

    /// Pushes to the members of a group. Returns those that were not reached.
    ///
    /// # Errors
    ///
    /// There is no such group, or the push itself is at fault.
    pub async fn push_to_group(
        &self,
        group: &str,
        route: impl Into<Route>,
        body: impl IntoBody,
    ) -> Result<Vec<Arc<str>>, Error> {
        let route = route.into();
        let push = push::encode(&self.server, &route, body)?;
        Ok(match self.server.groups().shared_members(group).await? {
            Members::Memory(members) => self.push_encoded(members.iter(), route, push).await?,
            Members::Shared(members) => self.push_encoded(members.iter(), route, push).await?,
        })
    }

    async fn push_encoded(
        &self,
        uids: impl Iterator<Item = &Arc<str>> + Send,
        route: Route,
        push: Content,
    ) -> Result<Vec<Arc<str>>, PushError> {
        let here = &*self.frontend_type == self.server.server_type();
        let uids = if here {
            self.server.push_to_local_users(uids, route.clone(), push.clone()).await?
        } else {
            uids.cloned().collect()
        };
        let Some(shared) = self.server.shared() else {
            return Ok(uids);
        };
        let route = route.as_str().ok_or_else(|| PushError::Body("the route is no text".to_owned()))?;
        let uids = self.multicast(shared, uids, route, &push).await;
        self.push_one_by_one(shared, uids, route, &push).await
    }

    /// One message to each frontend that understands it. Returns those that none of them has.
    async fn multicast(
        &self,
        shared: &Arc<Shared>,
        mut uids: Vec<Arc<str>>,
        route: &str,
        push: &Content,
    ) -> Vec<Arc<str>> {
        let servers = shared.servers();
        let frontends: Vec<_> = self.frontends(&servers, shared).filter(|server| server.is_cereus()).collect();
        let rpc = Rpc::new(self.server.clone(), Origin::default());
        let mut missed = Vec::new();
        while !uids.is_empty() && !frontends.is_empty() {
            let rest = uids.split_off(uids.len().min(MAX_UIDS));
            let message = Multicast {
                route: route.to_owned(),
                data: push.body.clone(),
                uids: uids.iter().map(|uid| uid.to_string()).collect(),
                on_full: push.on_full(),
            };
            let data = Bytes::from(message.encode_to_vec());
            let calls: Vec<_> =
                frontends.iter().map(|server| rpc.cast(server, names::sys::MULTICAST, data.clone())).collect();
            let mut nowhere: BTreeSet<Arc<str>> = uids.into_iter().collect();
            for call in calls {
                let answer = match call {
                    Ok(call) => call.await,
                    Err(error) => Err(error),
                };
                match answer.and_then(|data| Ok(Unreached::decode(data)?)) {
                    Ok(Unreached { uids }) => {
                        let unreached: BTreeSet<_> = uids.iter().map(String::as_str).collect();
                        nowhere.retain(|uid| unreached.contains(&**uid));
                    }
                    Err(error) => tracing::debug!(%error, "a frontend could not be told to push"),
                }
            }
            missed.extend(nowhere);
            uids = rest;
        }
        missed.append(&mut uids);
        missed
    }

    /// One message for each user, for frontends that know no other.
    async fn push_one_by_one(
        &self,
        shared: &Arc<Shared>,
        uids: Vec<Arc<str>>,
        route: &str,
        push: &Content,
    ) -> Result<Vec<Arc<str>>, PushError> {
        let mut missed = Vec::new();
        if uids.is_empty() || !self.frontends(&shared.servers(), shared).any(|server| !server.is_cereus()) {
            return Ok(uids);
        }
        for uid in uids {
            let (data, on_full) = (push.body.clone(), push.on_full());
            let message = Push { route: route.to_owned(), uid: uid.to_string(), data, on_full };
            let sent = match self.address(shared, &uid).await {
                Some(to) => shared.send(to, Kind::Push, message.encode_to_vec().into()).is_ok(),
                None => false,
            };
            if !sent {
                missed.push(uid);
            }
        }
        Ok(missed)
    }

    /// Kicks users. Returns those that were not reached, as far as that can be told: frontends of Go say nothing. One that is bound here is kicked whatever the type of this server is.
    pub async fn kick(&self, uids: &[impl AsRef<str> + Sync]) -> Vec<Arc<str>> {
        let mut missed = self.server.kick_local_users(uids);
        let Some(shared) = self.server.shared() else {
            return missed;
        };
        let servers = shared.servers();
        if self.frontends(&servers, shared).next().is_none() {
            return missed;
        }
        // Frontends of Go kick and say nothing when they are reached by the user's name.
        let by_name = shared.bus.addressing() != Addressing::Servers;
        let silent = by_name && self.frontends(&servers, shared).any(|server| !server.is_cereus());
        let mut calls = Vec::new();
        for uid in std::mem::take(&mut missed) {
            let kick = Bytes::from(KickMsg { user_id: uid.to_string() }.encode_to_vec());
            match self.address(shared, &uid).await {
                Some(to) if silent && shared.send(to.clone(), Kind::Kick, kick.clone()).is_ok() => {}
                Some(to) => calls.push((uid, shared.call(to, Kind::Kick, kick, shared.limit(None, None).1))),
                None => missed.push(uid),
            }
        }
        for (uid, call) in calls {
            let kicked = match call {
                Ok(call) => call.await.is_ok_and(|response| response.error.is_none()),
                Err(_) => false,
            };
            if !kicked {
                missed.push(uid);
            }
        }
        missed
    }

    async fn address(&self, shared: &Shared, uid: &Arc<str>) -> Option<Address> {
        match shared.bus.addressing() {
            Addressing::Servers => {
                let found = shared.find_user(&self.frontend_type, uid).await;
                found
                    .inspect_err(|error| tracing::warn!(%error, "a user could not be looked up"))
                    .ok()?
                    .map(Address::Server)
            }
            _ => Some(Address::User { frontend_type: Arc::clone(&self.frontend_type), uid: Arc::clone(uid) }),
        }
    }

    /// The frontends of the type, but this server.
    fn frontends<'a>(
        &self,
        servers: &'a cereus_cluster::Servers,
        shared: &'a Shared,
    ) -> impl Iterator<Item = &'a Arc<ServerInfo>> + use<'a> {
        servers.of_type(&self.frontend_type).iter().filter(|server| server.frontend && server.id != shared.own.id)
    }
}

/// How many users one message names: with uids of a usual length it stays far below what a bus carries.
const MAX_UIDS: usize = 10_000;

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("frontend_type", &self.frontend_type).finish_non_exhaustive()
    }
}
