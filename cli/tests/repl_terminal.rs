//! `cereus repl` in a terminal.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test is where a panic is told")]

#[path = "support/server.rs"]
mod server;
#[path = "support/terminal.rs"]
mod terminal;

use crate::terminal::{CTRL_C, CTRL_D, TAB, Terminal, UP};

#[test]
fn somebody_talks_to_a_server() {
    let (room, folder) = (server::room(), server::folder());
    let mut terminal = Terminal::start(&[], &folder);
    terminal.until("Type `help`").until("cereus> ");
    terminal.line(&format!("connect {}", room.address("ws")));
    terminal.until("connected to ws://").until(&format!("{}> ", room.place("ws")));
    terminal.line("request room.echo {\"name\": \"a  b\", \"list\": []}");
    // The time is dim, the arrow green, and JSON has its lines.
    terminal
        .until("\x1b[2m")
        .until("\x1b[32msv->\x1b[0m {")
        .until("\n  \"name\": \"a  b\",")
        .until("\n  \"list\": []")
        .until("> ");
    terminal.line("request room.fail");
    terminal.until("\x1b[31msv->\x1b[0m error ROOM-002: no").until("> ");
    terminal.line("expect error ROOM-001");
    terminal.until("expected the error ROOM-001 of room.fail, but it is: ROOM-002: no").until("> ");
    terminal.line("expect error ROOM-002");
    terminal.until("ok").until("> ");
    terminal.line("conect");
    terminal.until("there is no command `conect`").until("> ");
    terminal.line("disconnect");
    terminal.until("disconnected").until("cereus> ");
    terminal.line("connect");
    terminal.until(&format!("address [{}]: ", room.address("ws")));
    terminal.line(room.place("tcp"));
    terminal.until("connected to tcp://").until("> ");
    terminal.line("exit");
    terminal.ends_with(0);
}

#[test]
fn tab_completes_commands_and_routes() {
    let (room, folder) = (server::room(), server::folder());
    let mut terminal = Terminal::start(&[room.address("tcp")], &folder);
    terminal.until("connected").until("> ");
    terminal.send("req").send(TAB).until("request ").send("room.echo 17\r");
    terminal.until("sv->").until("17").until("> ");
    terminal.line("notify room.say 18");
    terminal.until("push onMessage").until("18");
    // The route of an answer, and that of a push.
    terminal.send("request room.e").send(TAB).until("room.echo ").send("19\r").until("sv->").until("19").until("> ");
    terminal.send("expect push onM").send(TAB).until("onMessage ").send(". == 18\r").until("ok").until("> ");
    terminal.send(CTRL_D);
    terminal.ends_with(0);
}

#[test]
fn a_push_comes_above_what_is_being_typed() {
    let (room, folder) = (server::room(), server::folder());
    let mut terminal = Terminal::start(&[room.address("ws")], &folder);
    terminal.until("connected").until("> ");
    terminal.line("notify room.later {\"text\": \"surprise\"}");
    terminal.until("\n").until("> ").send("request room.ec").until("request room.ec");
    room.go.notify_one();
    // What was typed so far is there again below it, and goes on.
    terminal.until("push onLater").until("surprise").until("}").until("> ").until("request room.ec");
    terminal.send("ho 20\r").until("sv->").until("20").until("> ");
    terminal.send(CTRL_C);
    terminal.ends_with(0);
}

#[test]
fn the_history_outlives_the_run() {
    let (room, folder) = (server::room(), server::folder());
    let mut terminal = Terminal::start(&[room.address("tcp")], &folder);
    terminal.until("connected").until("> ").line("request room.echo 21");
    terminal.until("sv->").until("21").until("> ").send(CTRL_D);
    terminal.ends_with(0);

    let mut terminal = Terminal::start(&[room.address("tcp")], &folder);
    terminal.until("connected").until("> ").send(UP).until("request room.echo 21").send("22\r");
    terminal.until("sv->").until("2122").until("> ");
    // Routes of earlier runs are known.
    terminal.send("notify room.e").send(TAB).until("room.echo ").send(CTRL_C);
    terminal.ends_with(0);
    let history = std::fs::read_to_string(folder.join("history")).unwrap();
    assert_eq!(history.lines().filter(|line| line.contains("room.echo")).count(), 2, "{history}");
}

#[test]
fn ctrl_c_gives_up_waiting_and_then_leaves() {
    let (room, folder) = (server::room(), server::folder());
    let mut terminal = Terminal::start(&[room.address("tcp")], &folder);
    terminal.until("connected").until("> ");
    // The push says that the command is running, and the terminal is not the editor's.
    terminal.line("request room.join {\"name\": \"nina\"}");
    terminal.until("\"number\": 2").until("> ");
    terminal.line("expect push onNothing");
    terminal.until("\n").send_until(CTRL_C, "given up").until("> ");
    terminal.line("request room.echo 23");
    terminal.until("sv->").until("23").until("> ").send(CTRL_C);
    terminal.ends_with(0);
}

#[test]
fn colours_are_for_those_who_want_them() {
    let (room, folder) = (server::room(), server::folder());
    let mut terminal = Terminal::start_with(&[room.address("tcp")], &folder, &[("NO_COLOR", "1")]);
    terminal.until("connected").until("> ").line("request room.fail");
    terminal.until(" sv-> error ROOM-002: no").until("> ");
    terminal.line("notify room.kick");
    terminal.until(" kicked by the server").send(CTRL_D);
    terminal.ends_with(0);
}
