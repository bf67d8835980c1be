//! Places in JSON, and patterns of places: `user.password`, `members[*].id`, `**.token`, `route:login.auth#password`.

use std::{fmt, str::FromStr};

use serde_json::Value;

/// One step from a value into it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Step {
    Name(String),
    Index(usize),
}

/// A place, as people write it.
pub(crate) fn show(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Index(index) => text.push_str(&format!("[{index}]")),
            Step::Name(name) if name.is_empty() || name.contains(['.', '[', ']', '"', '*', '#']) => {
                text.push_str(&format!("[{}]", Value::from(name.as_str())));
            }
            Step::Name(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
        }
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    Is(Step),
    /// Any member, any element.
    Any,
    /// Any number of steps.
    Deep,
}

/// Which places are meant, and in which messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pattern {
    /// Only in messages of this route, and in the answers to them.
    route: Option<String>,
    segments: Vec<Segment>,
    text: String,
}

impl Pattern {
    /// Whether it is about messages of this route; `None`: of none, such as a handshake.
    pub(crate) fn is_about(&self, route: Option<&str>) -> bool {
        self.route.is_none() || self.route.as_deref() == route
    }

    pub(crate) fn matches(&self, path: &[Step]) -> bool {
        matches(&self.segments, path)
    }

    /// What a value there may be called: the last name.
    pub(crate) fn name(&self) -> &str {
        let named = self.segments.iter().rev().find_map(|segment| match segment {
            Segment::Is(Step::Name(name)) => Some(name.as_str()),
            _ => None,
        });
        named.unwrap_or("value")
    }
}

fn matches(pattern: &[Segment], path: &[Step]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([Segment::Deep, rest @ ..], _) => {
            matches(rest, path) || path.split_first().is_some_and(|(_, path)| matches(pattern, path))
        }
        ([segment, rest @ ..], [step, path @ ..]) => {
            let fits = match segment {
                Segment::Is(expected) => expected == step,
                Segment::Any | Segment::Deep => true,
            };
            fits && matches(rest, path)
        }
        _ => false,
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (route, path) = match text.strip_prefix("route:") {
            None => (None, text),
            Some(rest) => {
                let (route, path) = rest.split_once('#').ok_or("write it as 'route:service.method#path'")?;
                (Some(route.to_owned()).filter(|route| !route.is_empty()), path)
            }
        };
        Ok(Self { route, segments: segments(path)?, text: text.to_owned() })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn segments(path: &str) -> Result<Vec<Segment>, String> {
    let mut segments = Vec::new();
    let mut rest = match path {
        "" => return Err("a path is missing: '.' is the whole body".to_owned()),
        "." => "",
        path => path,
    };
    while !rest.is_empty() {
        if let Some(bracket) = rest.strip_prefix('[') {
            let (segment, after) = in_brackets(bracket)?;
            segments.push(segment);
            rest = after;
        } else {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            segments.push(match &rest[..end] {
                "" => return Err(format!("`{path}` has a name that is empty")),
                "*" => Segment::Any,
                "**" => Segment::Deep,
                name => Segment::Is(Step::Name(name.to_owned())),
            });
            rest = &rest[end..];
        }
        if let Some(after) = rest.strip_prefix('.') {
            if after.is_empty() {
                return Err(format!("`{path}` ends with a dot"));
            }
            rest = after;
        }
    }
    Ok(segments)
}

/// `*]`, `3]` or `"a name"]`, and what follows.
fn in_brackets(text: &str) -> Result<(Segment, &str), String> {
    if text.starts_with('"') {
        let mut names = serde_json::Deserializer::from_str(text).into_iter::<String>();
        if let Some(Ok(name)) = names.next()
            && let Some(after) = text[names.byte_offset()..].strip_prefix(']')
        {
            return Ok((Segment::Is(Step::Name(name)), after));
        }
    } else if let Some((inside, after)) = text.split_once(']') {
        if inside == "*" {
            return Ok((Segment::Any, after));
        }
        if let Ok(index) = inside.parse() {
            return Ok((Segment::Is(Step::Index(index)), after));
        }
    }
    Err("in brackets there can be a number, '*' or a name in quotes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<Step> {
        let is = |segment| match segment {
            Segment::Is(step) => step,
            other => panic!("{other:?}"),
        };
        segments(text).expect(text).into_iter().map(is).collect()
    }

    #[test]
    fn patterns_match_places() {
        for (pattern, place, expected) in [
            ("token", "token", true),
            ("token", "user.token", false),
            ("**.token", "token", true),
            ("**.token", "a[3].b.token", true),
            ("members[*].id", "members[7].id", true),
            ("members[*].id", "members[7].name", false),
            ("members[7]", "members[7]", true),
            ("members.*", "members.a", true),
            ("[\"a.b\"].c", "[\"a.b\"].c", true),
            (".", ".", true),
            (".", "a", false),
        ] {
            let parsed: Pattern = pattern.parse().expect(pattern);
            assert_eq!(parsed.matches(&path(place)), expected, "{pattern} {place}");
        }
        assert_eq!(show(&path("a[\"b.c\"][3].d")), "a[\"b.c\"][3].d");
    }

    #[test]
    fn a_route_may_come_first() {
        let pattern: Pattern = "route:login.auth#user.password".parse().expect("it can be read");
        assert!(pattern.is_about(Some("login.auth")) && !pattern.is_about(Some("login")) && !pattern.is_about(None));
        assert_eq!(pattern.name(), "password");
        for wrong in ["", "a.", "a..b", "a[", "a[x]", "route:a.b", "[\"a]"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
