//! Plays a plan: one step after the other, each when all answers are there that were there when it was recorded.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    mem,
    time::Duration,
};

use bytes::Bytes;
use cereus_core::HandshakeResponse;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::{self, Instant},
};

use super::{
    compare::{Found, compare, guess, shown},
    plan::{Body, Message, Plan, Step, What},
    report::{Difference, Of, Report},
    send,
    session::{self, Event},
    values::{Values, how_to_set},
};
use crate::{failure::Failure, link::Server, path::Pattern};

const ACK: Bytes = Bytes::from_static(&[2, 0, 0, 0]);

/// How many events may wait.
const MAX_EVENTS: usize = 1024;

/// How it is played.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) server: Server,
    /// How much faster than it was recorded; `None`: as fast as can be.
    pub(super) speed: Option<f64>,
    /// How long anything may take that must come.
    pub(super) patience: Duration,
    pub(super) ignore: Vec<Pattern>,
    pub(super) pushes: bool,
}

impl Options {
    fn ignored<'a>(&'a self, route: Option<&str>) -> Vec<&'a Pattern> {
        self.ignore.iter().filter(|pattern| pattern.is_about(route)).collect()
    }
}

/// A connection.
#[derive(Debug)]
struct Live {
    /// Dropped, the connection is closed.
    packets: Option<Sender<Bytes>>,
    /// The requests of each id that have no answer yet.
    pending: HashMap<u64, VecDeque<usize>>,
    /// How many pushes of each route came.
    pushes: BTreeMap<String, usize>,
    welcome: Option<Bytes>,
    is_kicked: bool,
    is_over: bool,
    /// How many messages could not be sent.
    unsent: usize,
}

#[derive(Debug)]
pub(super) struct Player<'a> {
    plan: &'a Plan,
    options: &'a Options,
    values: Values,
    report: Report,
    live: HashMap<u32, Live>,
    /// When each message was sent; and whether nothing more is to be waited for.
    sent: Vec<Option<Instant>>,
    settled: Vec<bool>,
    /// The message that is sent next.
    next: usize,
    /// How many of the answers were waited for.
    waited: usize,
    events: Receiver<(u32, Event)>,
    sender: Sender<(u32, Event)>,
    /// One for each connection.
    tasks: JoinSet<()>,
    began: Instant,
}

impl<'a> Player<'a> {
    pub(super) fn new(plan: &'a Plan, options: &'a Options, values: Values) -> Self {
        let (sender, events) = mpsc::channel(MAX_EVENTS);
        let report = Report { address: options.server.place(), skipped: plan.skipped.clone(), ..Report::default() };
        Self {
            plan,
            options,
            values,
            report,
            live: HashMap::new(),
            sent: vec![None; plan.messages.len()],
            settled: vec![false; plan.messages.len()],
            next: 0,
            waited: 0,
            events,
            sender,
            tasks: JoinSet::new(),
            began: Instant::now(),
        }
    }

    pub(super) async fn play(mut self) -> Result<Report, Failure> {
        let first = self.plan.steps.first().map_or(0, |step| step.us);
        for step in &self.plan.steps {
            self.until_due(step.us.saturating_sub(first)).await;
            self.until_answered(step.needs).await;
            self.step(step).await?;
        }
        self.live.clear();
        // Nobody listens any more, but what was sent last has to go out.
        self.events.close();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        // A server that does not read is not waited for any longer.
        let _ = time::timeout(self.options.patience, all).await;
        self.report.learnt = mem::take(&mut self.values.learnt);
        Ok(self.report)
    }

    async fn step(&mut self, step: &Step) -> Result<(), Failure> {
        match step.what {
            What::Open => self.open(step.session).await,
            What::Send(index) => {
                self.send(index);
                Ok(())
            }
            What::Close => {
                self.close(step.session).await;
                Ok(())
            }
        }
    }

    /// Takes what comes until this holds; not longer than until this time.
    async fn until(&mut self, deadline: Instant, holds: impl Fn(&Self) -> bool) -> bool {
        loop {
            // What has come counts, however late it is looked at.
            while let Ok((session, event)) = self.events.try_recv() {
                self.take(session, event);
            }
            if holds(self) {
                return true;
            }
            match time::timeout_at(deadline, self.events.recv()).await {
                Ok(Some((session, event))) => self.take(session, event),
                Ok(None) | Err(_) => return false,
            }
        }
    }

    async fn until_due(&mut self, us: u64) {
        if let Some(speed) = self.options.speed {
            let after = Duration::from_secs_f64(us as f64 / 1e6 / speed);
            self.until(self.began + after, |_| false).await;
        }
    }

    /// Waits for so many of the recorded answers, in their order.
    async fn until_answered(&mut self, count: usize) {
        while self.waited < count {
            let index = self.plan.answers[self.waited];
            self.waited += 1;
            let since = self.sent[index].unwrap_or_else(Instant::now);
            if !self.until(since + self.options.patience, |this| this.settled[index]).await {
                self.settled[index] = true;
                let message = &self.plan.messages[index];
                let why = format!("no answer within {:?}", self.options.patience);
                let difference = Difference::new(message.session, Of::Answer, why);
                self.report.add(difference.at(message.number, &message.route));
            }
        }
    }

    async fn open(&mut self, session: u32) -> Result<(), Failure> {
        let recorded = &self.plan.sessions[&session];
        let body = self.values.fill(session, &recorded.handshake);
        if let Body::Dropped(why) = &body {
            self.report.skipped.push(format!("session {session}: its handshake was left out of the recording: {why}"));
            return Ok(());
        }
        // The recorded bytes, unless something has another value now.
        let raw = recorded.raw.as_ref().filter(|_| shown(&body) == shown(&recorded.handshake));
        let packet = send::handshake(raw, &body);
        let packet = packet.map_err(|error| Failure::failed(format!("session {session}: {error}")))?;
        let link = match self.options.server.connect().await {
            Ok(link) => link,
            Err(why) if self.live.is_empty() => return Err(Failure::failed(why)),
            Err(why) => {
                self.report.add(Difference::new(session, Of::Connection, why));
                return Ok(());
            }
        };
        // There is room for all that there is to send, and for the handshake and its end: nothing waits here.
        let (packets, commands) = mpsc::channel(self.plan.messages.len() + 2);
        self.tasks.spawn(session::run(session, link, commands, self.sender.clone()));
        let _ = packets.try_send(packet);
        self.report.sessions += 1;
        self.live.insert(
            session,
            Live {
                packets: Some(packets),
                pending: HashMap::new(),
                pushes: BTreeMap::new(),
                welcome: None,
                is_kicked: false,
                is_over: false,
                unsent: 0,
            },
        );
        self.greet(session, recorded.welcome.as_ref()).await;
        Ok(())
    }

    /// Waits for the answer to the handshake, and accepts it.
    async fn greet(&mut self, session: u32, expected: Option<&Body>) {
        let deadline = Instant::now() + self.options.patience;
        let has_come = |this: &Self| this.live[&session].welcome.is_some() || this.live[&session].is_over;
        self.until(deadline, has_come).await;
        let Some(live) = self.live.get_mut(&session) else { return };
        let Some(welcome) = live.welcome.take() else {
            if !live.is_over {
                let why = format!("no answer to the handshake within {:?}", self.options.patience);
                self.report.add(Difference::new(session, Of::Connection, why));
            }
            live.packets = None;
            return;
        };
        let is_welcome = HandshakeResponse::parse(&welcome).is_ok_and(|welcome| welcome.code == HandshakeResponse::OK);
        match (&live.packets, is_welcome) {
            (Some(packets), true) => drop(packets.try_send(ACK)),
            _ => live.packets = None,
        }
        if let Some(expected) = expected {
            // Routes are sent as text: a dictionary changes nothing.
            let mut differences = self.differences(session, None, expected, &guess(welcome));
            differences.retain(|found| !found.place().starts_with("sys.dict"));
            for found in differences {
                self.report.add(Difference::found(session, Of::Handshake, found));
            }
        }
    }

    fn send(&mut self, index: usize) {
        let message = &self.plan.messages[index];
        self.next = index + 1;
        let packet = match self.packet(message) {
            Ok(packet) => packet,
            Err(why) => {
                self.settled[index] = true;
                let difference = Difference::new(message.session, Of::Answer, format!("not sent: {why}"));
                return self.report.add(difference.at(message.number, &message.route));
            }
        };
        let live = self.live.get_mut(&message.session);
        let packets = live.as_ref().filter(|live| !live.is_over).and_then(|live| live.packets.clone());
        if packets.is_none_or(|packets| packets.try_send(packet).is_err()) {
            self.settled[index] = true;
            live.into_iter().for_each(|live| live.unsent += 1);
            return;
        }
        self.sent[index] = Some(Instant::now());
        match message.is_request {
            true => self.report.requests += 1,
            false => self.report.notifies += 1,
        }
        if let (Some(live), Some(id)) = (live, message.id.filter(|id| *id != 0)) {
            live.pending.entry(id).or_default().push_back(index);
        }
    }

    /// The recorded bytes, unless something has another value now.
    fn packet(&self, message: &Message) -> Result<Bytes, String> {
        let body = self.values.fill(message.session, &message.body);
        if let Some(placeholder) = Values::missing(&body).first() {
            let how = how_to_set(placeholder);
            return Err(format!("{placeholder} was redacted, and no answer told its value: {how}"));
        }
        match &message.raw {
            Some(raw) if shown(&body) == shown(&message.body) => {
                send::recorded(raw, &message.route).map_err(|error| error.to_string())
            }
            _ => send::changed(message, &body),
        }
    }

    /// Waits for what the server still did, and closes.
    async fn close(&mut self, session: u32) {
        if !self.live.contains_key(&session) {
            return;
        }
        let deadline = Instant::now() + self.options.patience;
        let recorded = &self.plan.sessions[&session];
        let missing = |this: &Self, route: &String, count: usize| {
            count.saturating_sub(this.live[&session].pushes.get(route).copied().unwrap_or_default())
        };
        if self.options.pushes {
            let all_came =
                |this: &Self| recorded.pushes.iter().all(|(route, pushes)| missing(this, route, pushes.len()) == 0);
            self.until(deadline, |this| this.live[&session].is_over || all_came(this)).await;
            for (route, pushes) in &recorded.pushes {
                let came = pushes.len() - missing(self, route, pushes.len());
                for (number, push) in pushes.iter().enumerate().skip(came) {
                    let mut difference = Difference::new(session, Of::Push, "it did not come").at(number + 1, route);
                    difference.expected = shown(push);
                    self.report.add(difference);
                }
            }
        }
        if recorded.is_left && !self.until(deadline, |this| this.live[&session].is_over).await {
            self.report.add(Difference::new(session, Of::Connection, "the server did not end the connection"));
        }
        let Some(live) = self.live.get_mut(&session) else { return };
        live.packets = None;
        if recorded.kick.is_some() && !live.is_kicked {
            self.report.add(Difference::new(session, Of::Kick, "it did not come"));
        }
        if live.unsent > 0 {
            let why = format!("{} messages could not be sent", live.unsent);
            self.report.add(Difference::new(session, Of::Connection, why));
        }
    }

    fn take(&mut self, session: u32, event: Event) {
        let is_closed = self.live.get(&session).is_none_or(|live| live.packets.is_none());
        match event {
            // Only what comes before the session is closed counts, as in the recording.
            event if is_closed && !matches!(event, Event::Over(_)) => drop(event),
            Event::Welcome(body) => self.live_mut(session, |live| live.welcome = Some(body)),
            Event::Answer { id, error, body } => self.answer(session, id, error, &body),
            Event::Push { route, body } if self.options.pushes => self.push(session, route, &body),
            Event::Push { .. } => {}
            Event::Kick(body) => self.kick(session, &body),
            Event::Odd(why) => self.report.add(Difference::new(session, Of::Connection, why)),
            Event::Over(why) => self.over(session, &why),
        }
    }

    fn live_mut(&mut self, session: u32, change: impl FnOnce(&mut Live)) {
        if let Some(live) = self.live.get_mut(&session) {
            change(live);
        }
    }

    /// Where a body is not as recorded, but for what the server makes up.
    fn differences(&mut self, session: u32, route: Option<&str>, expected: &Body, got: &Body) -> Vec<Found> {
        let ignored = self.options.ignored(route);
        let mut found = compare(&self.values.fill(session, expected), got, &ignored);
        if !found.is_empty() {
            // What is as it was recorded is right as well: a value that was learnt may mean something else here.
            let as_recorded = compare(expected, got, &ignored);
            let places: HashSet<_> = as_recorded.iter().map(Found::place).collect();
            found.retain(|found| places.contains(&found.place()));
        }
        found.retain(|found| match (&found.expected, &found.got) {
            (Some(expected), Some(got)) => !self.values.learn(session, self.next, found.name(), expected, got),
            _ => true,
        });
        found
    }

    fn answer(&mut self, session: u32, id: u64, error: bool, body: &Body) {
        let pending = self.live.get_mut(&session).and_then(|live| live.pending.get_mut(&id));
        let Some(index) = pending.and_then(VecDeque::pop_front) else {
            let why = format!("an answer to the id {id} came that nothing asked for");
            return self.report.add(Difference::new(session, Of::Connection, why));
        };
        let message = &self.plan.messages[index];
        // Too late, or there was none in the recording.
        let (false, Some(expected)) = (self.settled[index], &message.answer) else { return };
        self.settled[index] = true;
        self.report.answers += 1;
        if expected.error != error {
            let why = if error { "an error came" } else { "no error came" };
            let mut difference = Difference::new(session, Of::Answer, why).at(message.number, &message.route);
            (difference.expected, difference.got) = (shown(&expected.body), shown(body));
            return self.report.add(difference);
        }
        for found in self.differences(session, Some(&message.route), &expected.body, body) {
            self.report.add(Difference::found(session, Of::Answer, found).at(message.number, &message.route));
        }
    }

    fn push(&mut self, session: u32, route: String, body: &Body) {
        let Some(live) = self.live.get_mut(&session) else { return };
        let came = live.pushes.entry(route.clone()).or_default();
        *came += 1;
        let number = *came;
        let recorded = self.plan.sessions[&session].pushes.get(&route).and_then(|pushes| pushes.get(number - 1));
        let Some(expected) = recorded else {
            let mut difference = Difference::new(session, Of::Push, "it was not recorded").at(number, &route);
            difference.got = shown(body);
            return self.report.add(difference);
        };
        self.report.pushes += 1;
        for found in self.differences(session, Some(&route), expected, body) {
            self.report.add(Difference::found(session, Of::Push, found).at(number, &route));
        }
    }

    fn kick(&mut self, session: u32, body: &Body) {
        self.live_mut(session, |live| live.is_kicked = true);
        match &self.plan.sessions[&session].kick {
            Some(expected) => {
                for found in self.differences(session, None, expected, body) {
                    self.report.add(Difference::found(session, Of::Kick, found));
                }
            }
            None => {
                let mut difference = Difference::new(session, Of::Kick, "it was not recorded");
                difference.got = shown(body);
                self.report.add(difference);
            }
        }
    }

    fn over(&mut self, session: u32, why: &str) {
        let Some(live) = self.live.get_mut(&session) else { return };
        live.is_over = true;
        // Nothing that was asked will be answered.
        for index in mem::take(&mut live.pending).into_values().flatten() {
            if !mem::replace(&mut self.settled[index], true) && self.plan.messages[index].answer.is_some() {
                let message = &self.plan.messages[index];
                let difference = Difference::new(session, Of::Answer, "no answer before the connection ended");
                self.report.add(difference.at(message.number, &message.route));
            }
        }
        if live.packets.is_some() && !self.plan.sessions[&session].is_left {
            self.report.add(Difference::new(session, Of::Connection, format!("the server ended it: {why}")));
        }
    }
}
