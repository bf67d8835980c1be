//! One node's driver: what it takes in, and everything that it then wants done.

use bytes::Bytes;
use cereus_cluster::{
    BusEvent, ClusterEvent, RegistryEvent, ReplyTo,
    protos::{Request, Response},
};
use prost::Message;

use super::{Planned, World, calls, faults::rarely};

impl World {
    pub(super) fn bus_says(&mut self, host: usize, event: BusEvent) {
        let now = self.now();
        let it = &mut self.hosts[host];
        if !it.is_running {
            return;
        }
        match &event {
            BusEvent::Message { .. } => it.calls.message_comes(),
            BusEvent::Reply { call, result } => it.calls.answer_comes(*call, result),
            BusEvent::Up { max_payload } => it.calls.link_up(*max_payload),
            _ => {}
        }
        self.note(|| format!("{} hears: {event:?}", self.hosts[host].info.id));
        self.hosts[host].node.handle_bus(event, now);
        self.drain(host);
    }

    pub(super) fn registry_says(&mut self, host: usize, event: RegistryEvent) {
        let now = self.now();
        self.note(|| format!("{} hears: {event:?}", self.hosts[host].info.id));
        self.hosts[host].table.hears(&event);
        self.hosts[host].node.handle_registry(event, now);
        self.drain(host);
    }

    pub(super) fn time_is_up(&mut self, host: usize) {
        let now = self.now();
        self.hosts[host].node.handle_timeout(now);
        self.drain(host);
        let next = self.hosts[host].node.poll_timeout();
        assert!(next.is_none_or(|at| at > now), "a deadline that was met is still there");
    }

    /// Does everything that a node wants done, and checks it.
    pub(super) fn drain(&mut self, host: usize) {
        loop {
            let mut moved = false;
            while let Some(event) = self.hosts[host].node.poll_event() {
                self.told(host, event);
                moved = true;
            }
            while let Some(command) = self.hosts[host].node.poll_registry() {
                self.ask(host, command);
                moved = true;
            }
            if !self.transmit(host) && !moved {
                break;
            }
        }
        let now = self.now();
        self.hosts[host].check(now);
    }

    /// Returns whether anything was sent.
    fn transmit(&mut self, host: usize) -> bool {
        let now = self.now();
        let mut sent = false;
        while let Some(message) = self.hosts[host].node.poll_transmit() {
            let it = &mut self.hosts[host];
            it.calls.offered(&message, it.link, now);
            sent = true;
            if let Err(message) = self.carry(host, message) {
                let it = &mut self.hosts[host];
                it.calls.refused(&message, now);
                it.node.return_transmit(message, now);
            }
        }
        sent
    }

    fn told(&mut self, host: usize, event: ClusterEvent) {
        let now = self.now();
        self.note(|| format!("{} tells: {event:?}", self.hosts[host].info.id));
        let it = &mut self.hosts[host];
        match &event {
            ClusterEvent::Server(change) => it.table.told(change),
            ClusterEvent::Synced => it.table.synced(),
            ClusterEvent::Finished { call, result } => {
                let number = it.calls.finished(*call, result, now);
                let before = self.calls[number.0].end.replace((now, result.clone()));
                assert_eq!(before, None, "{number:?} has ended twice");
            }
            ClusterEvent::Request(request, reply) => {
                it.calls.message_told();
                self.requested(host, request, reply.clone());
            }
            ClusterEvent::Link { up } => assert_eq!(*up, it.link, "the link is told to be what it is not"),
            ClusterEvent::Registered | ClusterEvent::Left | ClusterEvent::RegistryFailed(_) => it.record.told(&event),
            _ => it.calls.message_told(),
        }
        self.hosts[host].events.push((now, event));
    }

    /// Somebody is called, and behaves as callees do.
    fn requested(&mut self, host: usize, request: &Request, reply: Option<ReplyTo>) {
        let (Some(number), Some(to)) = (calls::read_request(request), reply) else {
            return;
        };
        assert_eq!(self.calls[number.0].to, self.hosts[host].info.id, "{number:?} came to another server");
        let callees = self.callees.clone();
        if rarely(&mut self.rng, callees.ignore) {
            return;
        }
        let times = if rarely(&mut self.rng, callees.twice) { 2 } else { 1 };
        for _ in 0..times {
            let response = calls::response(number, callees.more);
            let after = self.rng.duration(callees.after.clone());
            if after.is_zero() {
                self.reply(host, to.clone(), &response);
            } else {
                self.plan(self.now() + after, Planned::Reply { host, to: to.clone(), response });
            }
        }
    }

    fn reply(&mut self, host: usize, to: ReplyTo, response: &Response) {
        let it = &mut self.hosts[host];
        let unsent = it.node.call_stats().unsent;
        it.node.reply(to, response);
        if it.node.call_stats().unsent == unsent {
            it.calls.replied(Bytes::from(response.encode_to_vec()));
        }
    }

    /// A callee has made up its mind.
    pub(super) fn late_reply(&mut self, host: usize, to: ReplyTo, response: &Response) {
        if self.hosts[host].is_running {
            self.reply(host, to, response);
            self.drain(host);
        }
    }
}
