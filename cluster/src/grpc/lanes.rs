use std::collections::{BTreeMap, VecDeque, btree_map::Entry};

use prost::Message;

use crate::{
    Kind,
    grpc::client::Outgoing,
    protos::{KickMsg, Push},
};

/// For servers that handle what they get at the same time in any order, as those of Go do: what is for one user goes out when
/// what went before has been answered.
#[derive(Debug, Default)]
pub(crate) struct Lanes(BTreeMap<String, VecDeque<Outgoing>>);

impl Lanes {
    /// Gives back what can go out now.
    pub(crate) fn enter(&mut self, mut outgoing: Outgoing) -> Option<Outgoing> {
        let Some(uid) = user(&outgoing) else {
            return Some(outgoing);
        };
        outgoing.user = Some(uid.clone());
        match self.0.entry(uid) {
            Entry::Occupied(mut lane) => {
                lane.get_mut().push_back(outgoing);
                None
            }
            Entry::Vacant(lane) => {
                lane.insert(VecDeque::new());
                Some(outgoing)
            }
        }
    }

    /// Gives back what can go out after this.
    pub(crate) fn leave(&mut self, outgoing: &Outgoing) -> Option<Outgoing> {
        let Entry::Occupied(mut lane) = self.0.entry(outgoing.user.clone()?) else {
            return None;
        };
        let next = lane.get_mut().pop_front();
        if next.is_none() {
            lane.remove();
        }
        next
    }

    /// Gives back all that waits.
    pub(crate) fn clear(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.0).into_values().flatten().collect()
    }
}

fn user(outgoing: &Outgoing) -> Option<String> {
    let payload = outgoing.payload.clone();
    match outgoing.kind {
        Kind::Push => Push::decode(payload).ok().map(|push| push.uid),
        Kind::Kick => KickMsg::decode(payload).ok().map(|kick| kick.user_id),
        _ => None,
    }
}
