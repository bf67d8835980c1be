use std::{fs, path::Path};

use bytes::Bytes;
use cereus_client::Route;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::failure::Failure;

/// What is asked, and how often each.
#[derive(Debug)]
pub(super) struct Mix {
    pub(super) entries: Vec<Entry>,
    total: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) route: Route,
    pub(super) body: Bytes,
    pub(super) notify: bool,
    weight: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    route: String,
    /// A text is sent as it is, anything else as JSON.
    body: Option<Box<RawValue>>,
    #[serde(default = "one")]
    weight: u32,
    #[serde(default)]
    notify: bool,
}

const fn one() -> u32 {
    1
}

impl Mix {
    pub(super) fn one(route: &str, body: &str) -> Self {
        let entry = Entry { route: route.to_owned().into(), body: body.to_owned().into(), notify: false, weight: 1 };
        Self { entries: vec![entry], total: 1 }
    }

    pub(super) fn read(file: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(file);
        let text = text.map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))?;
        Self::parse(&text).map_err(|why| Failure::Usage(format!("{}: {why}", file.display())))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines: Vec<Line> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let entry = |line: Line| {
            let body = line.body.map_or_else(String::new, |body| {
                serde_json::from_str(body.get()).unwrap_or_else(|_| body.get().to_owned())
            });
            Entry { route: line.route.into(), body: body.into(), notify: line.notify, weight: line.weight.into() }
        };
        let entries: Vec<_> = lines.into_iter().filter(|line| line.weight > 0).map(entry).collect();
        let total = entries.iter().map(|entry| entry.weight).sum();
        if total == 0 { Err("there is nothing to send in it".to_owned()) } else { Ok(Self { entries, total }) }
    }

    pub(super) fn only_notifies(&self) -> bool {
        self.entries.iter().all(|entry| entry.notify)
    }

    /// One of them, as a random number says.
    pub(super) fn choose(&self, random: impl FnOnce() -> u64) -> usize {
        if self.entries.len() == 1 {
            return 0;
        }
        let mut left = random() % self.total;
        let found = self.entries.iter().position(|entry| match left.checked_sub(entry.weight) {
            Some(rest) => {
                left = rest;
                false
            }
            None => true,
        });
        found.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_chooses_by_weight() {
        let mix =
            r#"[{"route": "a.b", "body": {"x": 1.0}, "weight": 3}, {"route": "c.d", "body": "raw", "notify": true}]"#;
        let mix = Mix::parse(mix).expect("it is one");
        assert_eq!((&*mix.entries[0].body, &*mix.entries[1].body), (br#"{"x": 1.0}"#.as_slice(), b"raw".as_slice()));
        let chosen: Vec<_> = (0..5).map(|random| mix.choose(|| random)).collect();
        assert_eq!(chosen, [0, 0, 0, 1, 0]);
        assert!(!mix.only_notifies());
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [
            ("[]", "there is nothing to send in it"),
            (r#"[{"rout": "a"}]"#, "unknown field `rout`, expected one of `route`, `body`, `weight`, `notify`"),
            ("{", "expected a sequence"),
            ("[{", "EOF while parsing"),
        ] {
            let error = Mix::parse(text).expect_err("it is none");
            assert!(error.contains(why), "{error}");
        }
    }
}
