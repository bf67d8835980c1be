//! A client against a server in virtual time: each test is one sentence of the contract.

mod pair {
    mod bounds;
    mod ending;
    mod handshake;
    mod heartbeat;
    mod limits;
    mod messages;
    mod policies;
    mod rates;
    mod support;
}
