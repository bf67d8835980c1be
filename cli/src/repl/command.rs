//! What can be typed, and what it means.

use std::time::Duration;

use cereus_client::HandshakeRequest;

use super::expect::Expectation;
use crate::connect::seconds;

/// The first words, for help and completion: word, arguments, what it does.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("connect", "[ADDRESS]", "connect to tcp://, tls://, ws:// or wss://; host:port alone: tries wss, ws, tls, tcp"),
    ("disconnect", "", "close the connection"),
    (
        "request",
        "ROUTE [BODY]",
        "send a request and wait for its answer; BODY is the rest of the line, most often JSON",
    ),
    ("notify", "ROUTE [BODY]", "send a message that has no answer"),
    ("sethandshake", "{JSON} | platform V | version V | buildNumber V", "what the next connect tells the server"),
    ("type", "ROUTE INPUT OUTPUT", "protobuf: the types of a route; `-` for none"),
    ("push", "ROUTE TYPE", "protobuf: the type of the pushes of a route"),
    ("routes", "", "the routes that are known: from docs, dictionary, answers, pushes"),
    ("expect", "PATH OP JSON", "check the last answer; OP: == != < <= > >= contains exists missing"),
    ("expect error", "[CODE] [PATH OP JSON]", "the last answer is this error"),
    ("expect push", "ROUTE [within SECONDS] [PATH OP JSON]", "such a push came since, or comes in time"),
    ("expect kick", "[within SECONDS]", "the server throws this client out"),
    ("wait", "SECONDS", "show what comes meanwhile"),
    ("timeout", "[SECONDS]", "how long an answer may take"),
    ("state", "", "whether there is a connection, and how long answers take"),
    ("last", "", "the last answer once more"),
    ("help", "", "this"),
    ("clear", "", "empty the screen"),
    ("exit", "", "leave; so does Ctrl-D"),
];

/// One line, understood.
#[derive(Debug)]
pub(super) enum Command {
    Connect(Option<String>),
    Disconnect,
    Request { route: String, body: String },
    Notify { route: String, body: String },
    SetHandshake(Handshake),
    Type { route: String, input: Option<String>, output: Option<String> },
    Push { route: String, type_name: String },
    Routes,
    Expect(Expectation),
    Wait(Duration),
    Timeout(Option<Duration>),
    State,
    Last,
    Help,
    Clear,
    Exit,
}

/// What the next handshake is to say.
#[derive(Debug)]
pub(super) enum Handshake {
    All(Box<HandshakeRequest>),
    Platform(String),
    Version(String),
    BuildNumber(String),
}

impl Command {
    /// Reads one line; `None`: it is empty or a comment.
    pub(super) fn parse(line: &str) -> Result<Option<Self>, String> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (word, rest) = word(line);
        let command = match word {
            "connect" => Self::Connect(at_most_one("connect [ADDRESS]", rest)?),
            "request" => message(rest)
                .map(|(route, body)| Self::Request { route, body })
                .ok_or("write it as: request ROUTE [BODY]")?,
            "notify" => message(rest)
                .map(|(route, body)| Self::Notify { route, body })
                .ok_or("write it as: notify ROUTE [BODY]")?,
            "sethandshake" => Self::SetHandshake(handshake(rest)?),
            "type" => {
                let [route, input, output] = exactly("type ROUTE INPUT OUTPUT, `-` for none", rest)?;
                Self::Type { route, input: type_name(input), output: type_name(output) }
            }
            "push" => {
                let [route, type_name] = exactly("push ROUTE TYPE", rest)?;
                Self::Push { route, type_name }
            }
            "expect" => Self::Expect(Expectation::parse(rest)?),
            "wait" => Self::Wait(seconds(rest).map_err(|error| format!("wait SECONDS: {error}"))?),
            "timeout" if rest.is_empty() => Self::Timeout(None),
            "timeout" => Self::Timeout(Some(seconds(rest).map_err(|error| format!("timeout SECONDS: {error}"))?)),
            _ => Self::alone(word, rest)?,
        };
        Ok(Some(command))
    }

    /// The commands without arguments.
    fn alone(word: &str, rest: &str) -> Result<Self, String> {
        let command = match word {
            "disconnect" => Self::Disconnect,
            "routes" => Self::Routes,
            "state" => Self::State,
            "last" => Self::Last,
            "help" => return Ok(Self::Help),
            "clear" => Self::Clear,
            "exit" | "quit" => Self::Exit,
            _ => return Err(format!("there is no command `{}`: `help` lists them", word.escape_debug())),
        };
        if rest.is_empty() { Ok(command) } else { Err(format!("`{word}` takes nothing after it")) }
    }
}

/// The first word, and what follows it as it was typed.
pub(super) fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim_start()))
}

fn message(rest: &str) -> Option<(String, String)> {
    let (route, body) = word(rest);
    (!route.is_empty()).then(|| (route.to_owned(), body.to_owned()))
}

fn at_most_one(usage: &str, rest: &str) -> Result<Option<String>, String> {
    let (first, rest) = word(rest);
    if rest.is_empty() {
        Ok(Some(first.to_owned()).filter(|first| !first.is_empty()))
    } else {
        Err(format!("write it as: {usage}"))
    }
}

fn exactly<const N: usize>(usage: &str, rest: &str) -> Result<[String; N], String> {
    let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    words.try_into().map_err(|_| format!("write it as: {usage}"))
}

fn type_name(name: String) -> Option<String> {
    Some(name).filter(|name| name != "-")
}

fn handshake(rest: &str) -> Result<Handshake, String> {
    const USAGE: &str = "write it as: sethandshake {JSON}, or sethandshake platform V, version V, buildNumber V";
    if rest.starts_with('{') {
        let request =
            HandshakeRequest::parse(rest.as_bytes()).map_err(|error| format!("this is no handshake: {error}"))?;
        return Ok(Handshake::All(Box::new(request)));
    }
    let (member, value) = word(rest);
    if value.is_empty() {
        return Err(USAGE.to_owned());
    }
    match member {
        "platform" => Ok(Handshake::Platform(value.to_owned())),
        "version" => Ok(Handshake::Version(value.to_owned())),
        "buildNumber" => Ok(Handshake::BuildNumber(value.to_owned())),
        _ => Err(USAGE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_what_was_typed() {
        for (line, expected) in [
            ("request room.join", ""),
            ("  request   room.join   {\"name\": \"a  b\"}  ", "{\"name\": \"a  b\"}"),
            ("request room.join plain text # and no comment", "plain text # and no comment"),
        ] {
            match Command::parse(line) {
                Ok(Some(Command::Request { route, body })) => assert_eq!((&*route, &*body), ("room.join", expected)),
                other => panic!("{line}: {other:?}"),
            }
        }
    }

    #[test]
    fn nothing_and_comments_are_no_commands() {
        for line in ["", "   ", "# connect", "  #"] {
            assert!(matches!(Command::parse(line), Ok(None)), "{line}");
        }
    }

    #[test]
    fn says_how_to_write_it() {
        for (line, expected) in [
            ("conect", "there is no command `conect`: `help` lists them"),
            ("request", "write it as: request ROUTE [BODY]"),
            ("connect a b", "write it as: connect [ADDRESS]"),
            ("push onMessage", "write it as: push ROUTE TYPE"),
            ("type a b", "write it as: type ROUTE INPUT OUTPUT, `-` for none"),
            ("exit now", "`exit` takes nothing after it"),
            ("timeout soon", "timeout SECONDS: this is no number of seconds"),
            (
                "sethandshake platform",
                "write it as: sethandshake {JSON}, or sethandshake platform V, version V, buildNumber V",
            ),
        ] {
            assert_eq!(Command::parse(line).map(|_| ()), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_handshake_as_json_or_by_member() {
        let parsed = Command::parse(r#"sethandshake {"sys": {"platform": "a b"}, "user": {"age": 30}}"#);
        let Ok(Some(Command::SetHandshake(Handshake::All(request)))) = parsed else { panic!("{parsed:?}") };
        assert_eq!((&*request.platform, request.user.map(|user| user.len())), ("a b", Some(1)));
        let parsed = Command::parse("sethandshake buildNumber 20");
        assert!(matches!(parsed, Ok(Some(Command::SetHandshake(Handshake::BuildNumber(number)))) if number == "20"));
    }
}
