//! Cereus: a game server framework that speaks the Pitaya protocol.
