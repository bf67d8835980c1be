//! A world in which all kinds of things happen.

use std::time::Duration;

use cereus_core::{ClientConfig, HandshakeRequest};
use cereus_sim::{
    Client, Direction, Profile, World, invariants,
    nodes::{BusFaults, RegistryFaults},
    seeds,
};

use super::{
    game::{self, MAILBOX, QUEUE},
    model::Model,
};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

const FRONTENDS: [&str; 2] = ["g1", "g2"];
const BACKENDS: [&str; 3] = ["c1", "r1", "r2"];
const USERS: [&str; 2] = ["ann", "bob"];

/// How many clients there are at a time.
const CLIENTS: usize = 5;

/// What a connection holds beside mailbox and queue: what the driver has encoded, one packet beyond every bound, and what
/// the client has of a packet.
const ENCODED: usize = (64 << 10) + 4 * (2 << 10);

/// How long the slowest link takes to carry all that all queues hold.
const PATIENCE: Duration = Duration::from_secs(1200);

/// A world, and who plays in it.
struct Play {
    world: World,
    model: Model,
    players: Vec<Player>,
    /// Whether anything fails beside the clients.
    calm: bool,
}

struct Player {
    client: Client,
    number: usize,
    /// It may still be heard of, and is not to be told to do anything.
    gone: bool,
    reads: bool,
}

impl Play {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let model = Model::new(world.journal());
        for id in FRONTENDS {
            let model = model.clone();
            world.frontend(id, move |host| game::app(host, "gate", &model));
        }
        for id in BACKENDS {
            let (model, server_type) = (model.clone(), if id.starts_with('c') { "chat" } else { "room" });
            world.backend(id, move |host| game::app(host, server_type, &model));
        }
        let calm = world.rng().one_in(4);
        if !calm {
            model.bus_fails();
        }
        Self { world, model, players: Vec::new(), calm }
    }

    /// Lets things happen, so many times.
    fn go_on(&mut self, times: usize) {
        for _ in 0..times {
            let gap = self.world.rng().duration(Duration::ZERO..=200 * MILLI);
            self.world.advance(gap);
            self.look();
            for _ in 0..self.world.rng().below(4) {
                self.client_acts();
            }
            if self.world.rng().one_in(4) {
                self.client_fails();
            }
            if !self.calm && self.world.rng().one_in(4) {
                self.cluster_fails();
            }
        }
    }

    fn client_acts(&mut self) {
        let Some(player) = self.someone() else {
            return self.connect();
        };
        let rng = self.world.rng();
        let server_type = ["gate", "gate", "room", "chat"][rng.below(4)];
        let (handler, argument) = match rng.below(14) {
            0 => ("bind", USERS[rng.below(2)].to_owned()),
            1 => ("flood", ["waits", "now"][rng.below(2)].to_owned()),
            2 | 3 => ("push", rng.between(1..=20).to_string()),
            4 => ("shout", String::new()),
            5 => ("call", [5, 50, 1900, 3000][rng.below(4)].to_string()),
            6 => ("kick", USERS[rng.below(2)].to_owned()),
            7 => ("fail", String::new()),
            8 => ("data", "x".to_owned()),
            9 | 10 => ("note", [1, 20, 500][rng.below(3)].to_string()),
            11 => ("nap", [1, 100, 2500, 6000][rng.below(4)].to_string()),
            _ => ("echo", "hello".to_owned()),
        };
        let Player { client, number, .. } = &self.players[player];
        let route = format!("{server_type}.play.{handler}");
        let body = format!("{number} {} {argument}", self.model.next_number(*number));
        let is_forwarded = server_type != "gate";
        // It may be refused: the connection is not there yet, or no longer.
        if handler == "note" {
            if client.try_notify(route, body).is_ok() {
                self.model.sent(*number, None, is_forwarded);
            }
        } else if let Ok(id) = client.try_request(route, body) {
            self.model.sent(*number, Some(id), is_forwarded);
        }
    }

    fn someone(&mut self) -> Option<usize> {
        let there: Vec<_> = (0..self.players.len()).filter(|index| !self.players[*index].gone).collect();
        (there.len() == CLIENTS || (!there.is_empty() && !self.world.rng().one_in(6)))
            .then(|| there[self.world.rng().below(there.len())])
    }

    fn connect(&mut self) {
        let rng = self.world.rng();
        let frontend = FRONTENDS[rng.below(2)];
        let profile = match rng.below(6) {
            0 => Profile::perfect(),
            1 => Profile::wifi(),
            2 => Profile::cellular(),
            3 => Profile::stalling(),
            4 => Profile::random(rng),
            _ => {
                let (up, down) = (rng.between(1..=3000) as u64, rng.between(1..=100_000) as u64);
                Profile::random(rng).up(|link| link.reset_at(up)).down(|link| link.reset_at(down))
            }
        };
        let mut handshake = HandshakeRequest::default();
        if rng.one_in(2) {
            handshake.lib_version = "1.0".into();
        }
        let config = ClientConfig::builder().handshake(handshake).build().unwrap();
        if let Ok(client) = self.world.connect(frontend, config, &profile) {
            let number = self.model.connected(client.wire().client());
            self.players.push(Player { client, number, gone: false, reads: true });
        }
    }

    fn client_fails(&mut self) {
        let Some(index) = self.someone() else {
            return;
        };
        let now = self.world.now();
        let rng = self.world.rng();
        let (what, until) = (rng.below(8), now + rng.duration(MILLI..=8 * SECOND));
        let direction = [Direction::Up, Direction::Down][rng.below(2)];
        let player = &mut self.players[index];
        self.world.journal().note(format_args!("client {} meets with {what}", player.number));
        match what {
            0 => player.client.leave(),
            1 => player.client.wire().reset(),
            2 => player.client.fall_silent(),
            3 => player.client.wire().close(Direction::Up),
            4 | 5 => {
                player.reads = !player.reads;
                player.client.read(player.reads);
            }
            _ => player.client.wire().stall(direction, Some(until)),
        }
        player.gone = what < 4;
    }

    fn cluster_fails(&mut self) {
        let rng = self.world.rng();
        let all = [&FRONTENDS[..], &BACKENDS[..]].concat();
        let id = all[rng.below(all.len())];
        let what = rng.below(16);
        let (some, others): (Vec<_>, Vec<_>) = all.iter().partition(|_| rng.one_in(2));
        let (bus, registry) = (BusFaults::random(rng), RegistryFaults::random(rng));
        self.world.journal().note(format_args!("the cluster meets with {what}: {id}"));
        let cluster = self.world.cluster();
        match what {
            0 => cluster.cut(&some, &others),
            1 => cluster.mend(),
            2 => cluster.link_down(id),
            3 => cluster.link_up(id),
            4 => cluster.lose_lease(id),
            5 => cluster.compact(),
            6 => cluster.cut_registry(id),
            7 => cluster.stop_registry(),
            8 => cluster.start_registry(),
            9 => cluster.set_bus(bus),
            10 => cluster.set_registry(registry),
            11 => cluster.heal(),
            12 => self.world.crash(id),
            _ => all.iter().for_each(|id| self.world.restart(id)),
        }
    }

    /// Takes in what came, and looks whether bounds hold.
    fn look(&self) {
        self.model.check_calls();
        for Player { client, number, .. } in &self.players {
            client.new_events().iter().for_each(|(_, event)| self.model.came(*number, event));
            let bytes = self.model.bytes(*number);
            let held =
                bytes.taken - bytes.arrived - client.wire().in_flight(Direction::Down).min(bytes.taken - bytes.arrived);
            let ended = client.closed().is_some() || self.world.server_closed(client).is_some();
            if !ended && !self.world.is_kicking(client) && held > MAILBOX + QUEUE + ENCODED {
                self.world
                    .journal()
                    .violated(invariants::BOUNDS, format_args!("{held} bytes wait for client {number}"));
            }
        }
        for id in FRONTENDS {
            let sessions = self.world.server(id).map(|server| server.sessions());
            let found =
                |uid: &&&str| sessions.and_then(|sessions| sessions.by_uid(uid)).is_some_and(|it| it.is_closed());
            if let Some(uid) = USERS.iter().find(found) {
                self.world.journal().violated(invariants::CLOSED, format_args!("{uid} is found at {id} and has left"));
            }
        }
    }

    /// Ends all faults, and looks what is left.
    fn settle(mut self) {
        for player in &mut self.players {
            let wire = player.client.wire();
            [Direction::Up, Direction::Down].into_iter().for_each(|direction| wire.resume(direction));
            player.client.read(true);
        }
        // Who is down may stay so: the others have to notice.
        for id in [&FRONTENDS[..], &BACKENDS[..]].concat() {
            if self.world.rng().one_in(2) {
                self.world.restart(id);
            }
        }
        self.world.converge();
        // Whoever is still connected is answered, however slow the link is.
        let mut patience = PATIENCE;
        while patience > Duration::ZERO && self.players.iter().any(|player| self.waits(player)) {
            self.world.advance(SECOND);
            self.look();
            patience -= SECOND;
        }
        for Player { client, number, gone, .. } in &self.players {
            if client.closed().is_none() && !gone {
                self.model.check_end(*number);
            }
            client.leave();
        }
        self.world.advance(SECOND);
        self.world.finish();
    }

    fn waits(&self, Player { client, number, gone, .. }: &Player) -> bool {
        client.closed().is_none() && !gone && self.model.waiting(*number) > 0
    }
}

fn run(seed: u64) {
    let mut play = Play::new(seed);
    play.go_on(60);
    play.settle();
}

#[test]
fn whatever_happens_every_invariant_holds() {
    seeds(20, run);
}

#[test]
fn the_same_seed_gives_the_same_world() {
    let lines = |seed| {
        let mut play = Play::new(seed);
        play.go_on(60);
        play.world.journal().lines()
    };
    assert_eq!(lines(7), lines(7));
    assert_ne!(lines(7), lines(8));
}
