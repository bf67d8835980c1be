//! Values that are others this time: of redacted ones, and of what the server makes up, such as a session's token.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::plan::{Body, Plan};

/// Values that are written with less may well come twice by chance: they are the same only under the same name.
const MIN_LEN: usize = 4;

/// Texts that are shorter are not replaced within others.
const MIN_WITHIN: usize = 8;

/// Where the values of the recording are sent.
#[derive(Debug, Default)]
struct Uses {
    /// The last message with this value, or with this text in a value.
    last: HashMap<String, usize>,
    /// The names under which a short one is sent, and the last message that does.
    named: HashMap<(String, String), usize>,
}

#[derive(Debug)]
pub(super) struct Values {
    learns: bool,
    uses: Uses,
    /// From the JSON of a recorded value, for a session or (0) for all.
    now: HashMap<(u32, String), Value>,
    /// Short ones, which are others only under this name.
    named: HashMap<(u32, String, String), Value>,
    /// Texts within others: recorded and now.
    within: Vec<(String, String)>,
    /// What was learnt, for the report.
    pub(super) learnt: Vec<(u32, String, Value, Value)>,
}

impl Values {
    /// The error tells of a name that is none.
    pub(super) fn new(plan: &Plan, set: &[(String, Value)], learns: bool) -> Result<Self, String> {
        let (mut uses, mut placeholders) = (Uses::default(), BTreeSet::new());
        for (index, message) in plan.messages.iter().enumerate() {
            uses.add(index, &message.body);
            placeholders.extend(Self::missing(&message.body));
        }
        placeholders.extend(plan.sessions.values().flat_map(|session| Self::missing(&session.handshake)));
        let (now, named, within, learnt) = Default::default();
        let mut values = Self { learns, uses, now, named, within, learnt };
        for (name, value) in set {
            let is_meant = |placeholder: &&String| name_of(placeholder) == name || number_of(placeholder) == name;
            let mut meant = placeholders.iter().filter(is_meant).peekable();
            if meant.peek().is_none() {
                let names: Vec<_> = placeholders.iter().map(|placeholder| number_of(placeholder)).collect();
                let but = if names.is_empty() { String::new() } else { format!(", but {}", names.join(", ")) };
                return Err(format!("--set {name}: nothing that is sent was redacted under this name{but}"));
            }
            meant.for_each(|placeholder| values.replace(0, placeholder, value));
        }
        Ok(values)
    }

    /// A placeholder that is sent, by which session, without a value and before anything can tell one.
    pub(super) fn never_told(&self, plan: &Plan) -> Option<(u32, String)> {
        let first = |session, body: &Body, told: &HashSet<String>| {
            let mut missing = Self::missing(&self.fill(session, body)).into_iter();
            missing.find(|missing| !self.learns || !told.contains(missing)).map(|missing| (session, missing))
        };
        // When a push comes, and a session begins, is not known so exactly.
        let mut told = HashSet::new();
        plan.sessions
            .values()
            .flat_map(|session| session.pushes.values().flatten())
            .for_each(|body| tell(body, &mut told));
        let mut all = told.clone();
        let answers = plan.messages.iter().filter_map(|message| message.answer.as_ref());
        answers.for_each(|answer| tell(&answer.body, &mut all));
        let mut handshakes = plan.sessions.iter();
        if let Some(found) = handshakes.find_map(|(session, recorded)| first(*session, &recorded.handshake, &all)) {
            return Some(found);
        }
        plan.messages.iter().find_map(|message| {
            let found = first(message.session, &message.body, &told);
            message.answer.iter().for_each(|answer| tell(&answer.body, &mut told));
            found
        })
    }

    fn replace(&mut self, session: u32, recorded: &str, value: &Value) {
        let key = (session, Value::from(recorded).to_string());
        if let Some(text) = value.as_str()
            && (recorded.len() >= MIN_WITHIN || is_placeholder(recorded))
        {
            // The latest counts.
            self.within.retain(|(old, _)| old != recorded);
            self.within.push((recorded.to_owned(), text.to_owned()));
        }
        self.now.insert(key, value.clone());
    }

    fn known(&self, session: u32, name: &str, value: &Value) -> Option<&Value> {
        let text = value.to_string();
        let named = [session, 0].into_iter().find_map(|of| self.named.get(&(of, name.to_owned(), text.clone())));
        named.or_else(|| [session, 0].into_iter().find_map(|of| self.now.get(&(of, text.clone()))))
    }

    /// What is to be sent, or to be expected, instead.
    pub(super) fn fill(&self, session: u32, body: &Body) -> Body {
        match body {
            Body::Json(value) => {
                let mut value = value.clone();
                self.fill_value(session, "", &mut value);
                Body::Json(value)
            }
            Body::Text(text) => Body::Text(self.fill_text(text)),
            other => other.clone(),
        }
    }

    fn fill_value(&self, session: u32, name: &str, value: &mut Value) {
        match value {
            Value::Object(members) => {
                members.iter_mut().for_each(|(name, value)| self.fill_value(session, name, value))
            }
            Value::Array(items) => items.iter_mut().for_each(|value| self.fill_value(session, name, value)),
            Value::String(_) | Value::Number(_) => {
                if let Some(now) = self.known(session, name, value) {
                    *value = now.clone();
                } else if let Value::String(text) = value {
                    *text = self.fill_text(text);
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn fill_text(&self, text: &str) -> String {
        let replace = |text: String, (recorded, now): &(String, String)| match text.contains(recorded.as_str()) {
            true => text.replace(recorded.as_str(), now),
            false => text,
        };
        self.within.iter().fold(text.to_owned(), replace)
    }

    /// The placeholders for which there are no values.
    pub(super) fn missing(body: &Body) -> Vec<String> {
        let mut missing = Vec::new();
        visit(body, &mut |_, value| missing.extend(placeholders_in(value).map(str::to_owned)));
        missing
    }

    /// Whether a difference is explained: it is of a value that the server makes up, and that is sent in this message or later.
    pub(super) fn learn(&mut self, session: u32, since: usize, name: &str, recorded: &Value, now: &Value) -> bool {
        let is_scalar = |value: &Value| matches!(value, Value::String(_) | Value::Number(_));
        if let Some(text) = recorded.as_str().filter(|text| placeholders_in(&Value::from(*text)).next().is_some()) {
            // It was redacted: whatever came is as good, but from now on it is this.
            if self.learns && is_placeholder(text) {
                self.replace(0, text, now);
            }
            return true;
        }
        if !self.learns || !is_scalar(recorded) || !is_scalar(now) {
            return false;
        }
        let (text, plain) = (recorded.to_string(), plain(recorded));
        let later = |last: Option<&usize>| last.is_some_and(|last| *last >= since);
        if plain.len() >= MIN_LEN && later(self.uses.last.get(&plain)) {
            self.now.insert((session, text.clone()), now.clone());
            match recorded.as_str() {
                Some(recorded) => self.replace(0, recorded, now),
                None => drop(self.now.insert((0, text), now.clone())),
            }
        } else if later(self.uses.named.get(&(name.to_owned(), plain))) {
            self.named.insert((session, name.to_owned(), text.clone()), now.clone());
            self.named.insert((0, name.to_owned(), text), now.clone());
        } else {
            return false;
        }
        self.learnt.push((session, name.to_owned(), recorded.clone(), now.clone()));
        true
    }
}

impl Uses {
    fn add(&mut self, index: usize, body: &Body) {
        visit(body, &mut |name, value| {
            let text = plain(value);
            if text.is_empty() || matches!(value, Value::Bool(_) | Value::Null) {
                return;
            }
            if value.is_string() {
                let parts = text
                    .split(char::is_whitespace)
                    .chain(text.split(|c: char| c.is_whitespace() || "=&:;,?".contains(c)));
                for part in parts.filter(|part| part.len() >= MIN_WITHIN) {
                    self.last.insert(part.to_owned(), index);
                }
            }
            self.named.insert((name.to_owned(), text.clone()), index);
            self.last.insert(text, index);
        });
    }
}

/// Notes the placeholders that a body tells.
fn tell(body: &Body, told: &mut HashSet<String>) {
    visit(body, &mut |_, value| told.extend(value.as_str().filter(|text| is_placeholder(text)).map(str::to_owned)));
}

/// What a user can do about a placeholder without a value.
pub(super) fn how_to_set(placeholder: &str) -> String {
    format!("--set '{}=…'", number_of(placeholder))
}

/// A scalar without quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Visits every scalar of a body with the name of the member that it is in.
fn visit(body: &Body, visitor: &mut dyn FnMut(&str, &Value)) {
    match body {
        Body::Json(value) => scalars("", value, visitor),
        Body::Text(text) => visitor("", &Value::from(text.as_str())),
        _ => {}
    }
}

fn scalars(name: &str, value: &Value, visitor: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| scalars(name, value, visitor)),
        Value::Array(items) => items.iter().for_each(|value| scalars(name, value, visitor)),
        scalar => visitor(name, scalar),
    }
}

/// `{{name#1}}`, as redaction writes it.
fn is_placeholder(text: &str) -> bool {
    let inside = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let number = inside.and_then(|inside| inside.rsplit_once('#')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

fn placeholders_in(value: &Value) -> impl Iterator<Item = &str> {
    let text = value.as_str().unwrap_or_default();
    text.match_indices("{{").filter_map(move |(start, _)| {
        let end = text[start..].find("}}")? + 2;
        Some(&text[start..start + end]).filter(|placeholder| is_placeholder(placeholder))
    })
}

/// `name#1`
fn number_of(placeholder: &str) -> &str {
    &placeholder[2..placeholder.len() - 2]
}

fn name_of(placeholder: &str) -> &str {
    number_of(placeholder).rsplit_once('#').map_or("", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::plan::{Answer, Message},
        *,
    };

    fn plan(messages: impl IntoIterator<Item = Message>) -> Plan {
        Plan { messages: messages.into_iter().collect(), ..Plan::default() }
    }

    fn message(body: Value) -> Message {
        Message {
            session: 1,
            number: 1,
            id: Some(1),
            is_request: true,
            route: "a.b".to_owned(),
            body: Body::Json(body),
            raw: None,
            answer: None,
        }
    }

    fn filled(values: &Values, body: Value) -> Value {
        match values.fill(1, &Body::Json(body)) {
            Body::Json(value) => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn learns_what_is_sent_later() {
        let later = json!({ "token": "old-token", "auth": "Bearer old-token", "id": 7, "big": 4711, "n": 5 });
        let plan = plan([message(json!({ "name": "nina" })), message(later.clone())]);
        let mut values = Values::new(&plan, &[], true).expect("nothing is set");
        assert!(values.learn(1, 1, "session", &json!("old-token"), &json!("new")));
        assert!(values.learn(1, 1, "id", &json!(7), &json!(8)));
        assert!(values.learn(1, 1, "number", &json!(4711), &json!(4712)));
        // Not sent later, short and under another name, no scalar.
        assert!(!values.learn(1, 1, "name", &json!("nina"), &json!("nino")));
        assert!(!values.learn(1, 1, "count", &json!(5), &json!(6)));
        assert!(!values.learn(1, 1, "n", &json!(5), &json!([6])));
        let expected = json!({ "token": "new", "auth": "Bearer new", "id": 8, "big": 4712, "n": 5 });
        assert_eq!(filled(&values, later), expected);
        assert_eq!(values.learnt.len(), 3);
        let mut values = Values::new(&plan, &[], false).expect("nothing is set");
        assert!(!values.learn(1, 1, "id", &json!(7), &json!(8)));
    }

    #[test]
    fn placeholders_have_values_that_are_given_or_come() {
        let body = json!({ "password": "{{password#1}}", "auth": "Bearer {{token#2}}" });
        let answered = |token: &str| {
            let answer = Some(Answer { error: false, body: Body::Json(json!({ "token": token })) });
            Message { answer, ..message(json!({})) }
        };
        let told = plan([answered("{{token#2}}"), message(body.clone())]);
        let set = [("password".to_owned(), json!("geheim"))];
        let mut values = Values::new(&told, &set, true).expect("there is a password");
        assert_eq!(values.never_told(&told), None);
        assert_eq!(values.never_told(&plan([message(body.clone())])), Some((1, "{{token#2}}".to_owned())));
        // Its own answer comes too late.
        let late = plan([Message { body: Body::Json(body.clone()), ..answered("{{token#2}}") }]);
        assert_eq!(values.never_told(&late), Some((1, "{{token#2}}".to_owned())));
        assert!(Values::new(&told, &[("pasword".to_owned(), json!(1))], true).is_err());
        let half = filled(&values, body.clone());
        assert_eq!(Values::missing(&Body::Json(half)), ["{{token#2}}"]);
        assert!(values.learn(1, 0, "token", &json!("{{token#2}}"), &json!("abc")));
        assert_eq!(filled(&values, body), json!({ "password": "geheim", "auth": "Bearer abc" }));
        assert!(!is_placeholder("{{token}}") && !is_placeholder("{{a#b}}"));
    }
}
