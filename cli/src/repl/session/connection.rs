use cereus_client::{Client, ClientBuilder, Disconnect, HandshakeResponse, Reconnect, State, WhileAway};
use serde_json::json;

use super::{LONGEST, Session};
use crate::{
    failure::Failure,
    protobuf::{Learned, learn},
    reach::reach,
    repl::{
        inbox::{Inbox, Incoming},
        screen::Event,
    },
};

/// What is tried for an address without a scheme, in the order of pitaya-cli.
const SCHEMES: &[&str] = &["wss", "ws", "tls", "tcp"];

/// The connection that there is, or was.
#[derive(Debug, Default)]
pub(super) struct Connection {
    client: Option<Client>,
    /// Counts connections, so that what is told of an earlier one is not taken for this one's.
    number: u64,
    /// The last one, with its scheme.
    address: Option<String>,
    /// How it ended.
    end: Option<Disconnect>,
    was_away: bool,
}

impl Connection {
    pub(super) fn client(&self) -> Result<&Client, Failure> {
        self.client.as_ref().ok_or_else(|| match &self.end {
            Some(end) => Failure::Failed(format!("there is no connection any more: {end}")),
            None => Failure::failed("there is no connection: `connect tcp://host:port` makes one"),
        })
    }

    pub(super) fn last_address(&self) -> Option<&str> {
        self.address.as_deref()
    }

    pub(super) const fn is_number(&self, number: u64) -> bool {
        self.number == number
    }

    pub(super) const fn was_away(&self) -> bool {
        self.was_away
    }

    pub(super) const fn end(&self) -> Option<&Disconnect> {
        self.end.as_ref()
    }

    pub(super) fn note(&mut self, state: &State) {
        self.was_away = matches!(state, State::Reconnecting { .. });
        if let State::Closed(reason) = state {
            self.client = None;
            self.end = Some(reason.clone());
        }
    }

    fn open(&mut self, client: Client, address: String, inbox: &Inbox) {
        self.number += 1;
        let (connection, inbox, mut states) = (self.number, inbox.clone(), client.states());
        tokio::spawn(async move {
            while let Some(state) = states.next().await {
                inbox.put(Incoming::State { connection, state });
            }
        });
        *self = Self { client: Some(client), number: self.number, address: Some(address), end: None, was_away: false };
    }

    /// Whether there was one.
    pub(super) async fn close(&mut self) -> bool {
        let Some(client) = self.client.take() else { return false };
        client.close().await;
        self.end = None;
        true
    }
}

impl Session {
    pub(super) async fn connect(&mut self, address: Option<String>) -> Result<(), Failure> {
        let address = address.or_else(|| self.last_address().map(str::to_owned));
        let address = address.ok_or_else(|| Failure::usage("say where to: connect tcp://host:port"))?;
        if self.is_connected() {
            self.disconnect().await?;
        }
        let address = self.learn_at(address).await?;
        let (client, address) = reach(&address, SCHEMES, |address| self.builder(address)).await?;
        let handshake = client.handshake();
        self.connection.open(client, address.clone(), &self.inbox);
        let text = format!("connected to {address}");
        self.screen.tell(&Event::State { state: "connected", text, more: json!({ "address": address }) })?;
        handshake.map_or(Ok(()), |handshake| self.take_handshake(&handshake))
    }

    fn take_handshake(&mut self, handshake: &HandshakeResponse) -> Result<(), Failure> {
        for (route, _) in &handshake.dictionary {
            self.known.add_route(&route.to_string());
        }
        if handshake.serializer == "protobuf" && !self.options.protobuf.are_given() {
            let text =
                "its bodies are protobuf: start with --docs ROUTE, --descriptors FILE or --proto FILE to read them";
            self.screen.tell(&Event::Text(text))?;
        }
        Ok(())
    }

    /// Learns routes and types over a connection of its own, for what the docs' handlers do to a session is not the user's. Gives
    /// back the address that worked.
    async fn learn_at(&mut self, address: String) -> Result<String, Failure> {
        let Some(docs) = self.options.protobuf.docs.clone() else { return Ok(address) };
        if self.learned_from.as_ref() == Some(&address) {
            return Ok(address);
        }
        let options = &self.options;
        let quiet = |address: &str| options.connect.client_as(address, self.handshake.clone());
        let (client, reached) = reach(&address, SCHEMES, quiet).await?;
        let descriptors = self.options.protobuf.descriptors_route.as_deref();
        let learned = learn(&client, &docs, descriptors, &self.schema, self.timeout).await;
        client.close().await;
        let Learned { schema, warnings } = learned?;
        for warning in warnings {
            self.screen.tell(&Event::State { state: "warning", text: warning, more: json!({}) })?;
        }
        schema.route_names().for_each(|route| self.known.add_route(route));
        self.known.add_types(schema.message_names());
        self.schema = schema;
        self.learned_from = Some(reached.clone());
        Ok(reached)
    }

    /// A client whose pushes come to the inbox.
    fn builder(&self, address: &str) -> Result<ClientBuilder, Failure> {
        let inbox = self.inbox.clone();
        let builder = self.options.connect.client_as(address, self.handshake.clone())?;
        // Who comes back has what was sent meanwhile wait for that.
        let builder = match self.options.reconnect {
            true => builder.reconnect(Reconnect::default()),
            false => builder.reconnect(Reconnect::never()).while_away(WhileAway::Fail),
        };
        Ok(builder.request_timeout(LONGEST).on_any_push(move |push| inbox.put(Incoming::Push(push))))
    }

    pub(super) async fn disconnect(&mut self) -> Result<(), Failure> {
        if !self.connection.close().await {
            return Err(Failure::failed("there is no connection"));
        }
        self.take_all()?;
        self.screen.tell(&Event::State { state: "disconnected", text: "disconnected".to_owned(), more: json!({}) })
    }
}
