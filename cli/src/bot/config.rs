//! pitaya-bot's configuration: YAML, and variables of the environment that begin with `PITAYABOT_`.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use yaml_rust2::{Yaml, YamlLoader};

use super::{duration, near::did_you_mean};
use crate::failure::Failure;

/// What is taken when nothing else is said, if it is there.
const USUAL: &str = "./config/config.yaml";

/// All that can be said. Like pitaya-bot's own, their letter case does not matter.
const KEYS: [&str; 21] = [
    "game",
    "prometheus.port",
    "server.host",
    "server.tls",
    "server.insecure",
    "server.serializer",
    "server.protobuffer.docs",
    "server.protobuffer.pushinfo.routes",
    "server.protobuffer.pushinfo.protos",
    "server.requestTimeout",
    "server.handshake",
    "storage.type",
    "bot.operation.maxSleep",
    "bot.operation.stopOnError",
    "bot.spec.parallelism",
    "custom.redis.pre.url",
    "custom.redis.pre.connectionTimeout",
    "custom.redis.pre.script",
    "custom.redis.post.url",
    "custom.redis.post.connectionTimeout",
    "custom.redis.post.script",
];

/// What pitaya-bot has for its managers of a cluster.
const CLUSTER: [&str; 2] = ["kubernetes", "manager"];

/// What a file and the environment say.
#[derive(Debug, Default)]
pub(super) struct Config(BTreeMap<String, Setting>);

#[derive(Clone, Debug)]
struct Setting {
    values: Vec<String>,
    /// Where it was said.
    from: String,
}

impl Config {
    /// Reads a file, and what the environment says, which counts more. `notes`: what in the file means nothing.
    pub(super) fn read(
        file: Option<&Path>,
        env: impl Fn(&str) -> Option<String>,
        notes: &mut Vec<String>,
    ) -> Result<Self, Failure> {
        let usual = Path::new(USUAL);
        let file = file.or_else(|| usual.exists().then_some(usual));
        let mut config = file.map_or_else(|| Ok(Self::default()), |file| Self::file(file, notes))?;
        for key in KEYS {
            let name = format!("PITAYABOT_{}", key.replace('.', "_").to_uppercase());
            if let Some(value) = env(&name).filter(|value| !value.is_empty()) {
                let values = if is_list(key) { words(&value) } else { vec![value] };
                config.0.insert(key.to_lowercase(), Setting { values, from: name });
            }
        }
        Ok(config)
    }

    fn file(file: &Path, notes: &mut Vec<String>) -> Result<Self, Failure> {
        let name = file.display();
        let text =
            fs::read_to_string(file).map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
        Self::parse(&text, &name.to_string(), notes).map_err(|why| Failure::Usage(format!("{name}: {why}")))
    }

    fn parse(text: &str, file: &str, notes: &mut Vec<String>) -> Result<Self, String> {
        let documents = YamlLoader::load_from_str(text).map_err(|error| format!("this is no YAML: {error}"))?;
        let mut found = Vec::new();
        for document in &documents {
            flatten(document, "", &mut found)?;
        }
        let known: BTreeMap<String, &str> = KEYS.iter().map(|key| (key.to_lowercase(), *key)).collect();
        let mut settings = BTreeMap::new();
        for (key, values) in found {
            let lower = key.to_lowercase();
            if let Some(name) = known.get(&lower) {
                settings.insert(lower, Setting { values, from: format!("{file}: {name}") });
                continue;
            }
            let note = format!("{file}: {}, and is ignored", unknown(&key));
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        Ok(Self(settings))
    }

    fn get(&self, key: &str) -> Option<&Setting> {
        debug_assert!(KEYS.contains(&key), "{key}");
        self.0.get(&key.to_lowercase())
    }

    pub(super) fn text(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(|setting| setting.values.first()).map(String::as_str)
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        self.get(key).map(|setting| setting.values.clone()).unwrap_or_default()
    }

    /// What a text says, if there is one.
    pub(super) fn read_as<T>(
        &self,
        key: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Failure> {
        let Some(Setting { values, from }) = self.get(key) else { return Ok(None) };
        let Some(text) = values.first() else { return Ok(None) };
        read(text.trim()).map(Some).map_err(|why| Failure::Usage(format!("{from}: {why}")))
    }

    pub(super) fn flag(&self, key: &str) -> Result<bool, Failure> {
        let read = |text: &str| match &*text.to_lowercase() {
            "true" | "t" | "1" => Ok(true),
            "false" | "f" | "0" => Ok(false),
            _ => Err(format!("`{text}` is neither true nor false")),
        };
        self.read_as(key, read).map(Option::unwrap_or_default)
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u32>, Failure> {
        self.read_as(key, |text| text.parse().map_err(|_| format!("`{text}` is no number of 0 or more")))
    }

    pub(super) fn duration(&self, key: &str) -> Result<Option<Duration>, Failure> {
        self.read_as(key, duration::parse)
    }
}

/// What is to be said of a key that means nothing.
fn unknown(key: &str) -> String {
    let lower = key.to_lowercase();
    match CLUSTER.iter().find(|part| lower.starts_with(&format!("{part}."))) {
        Some(part) => format!("`{part}` is for a cluster, in which nothing of this runs"),
        None => format!("`{key}` is not known{}", did_you_mean(key, &KEYS)),
    }
}

fn is_list(key: &str) -> bool {
    key.contains(".pushinfo.")
}

fn words(text: &str) -> Vec<String> {
    text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// All values with the paths to them.
fn flatten(yaml: &Yaml, path: &str, found: &mut Vec<(String, Vec<String>)>) -> Result<(), String> {
    match yaml {
        Yaml::Hash(members) => {
            for (name, value) in members {
                let name = scalar(name).ok_or_else(|| format!("a name in `{path}` is no text"))?;
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                flatten(value, &path, found)?;
            }
        }
        // A part without anything in it.
        Yaml::Null | Yaml::BadValue => {}
        Yaml::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(scalar).collect();
            let items = items.ok_or_else(|| format!("`{path}` holds more than texts"))?;
            found.push((path.to_owned(), items));
        }
        value => {
            let value =
                scalar(value).filter(|_| !path.is_empty()).ok_or("these are no settings: write `name: value`")?;
            let values = if is_list(&path.to_lowercase()) { words(&value) } else { vec![value] };
            found.push((path.to_owned(), values));
        }
    }
    Ok(())
}

fn scalar(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_pitaya_bot_reads() {
        let config = Config::parse(
            "game: example\nstorage:\n  type: memory\nserver:\n  HOST: \"localhost:3250\"\n  tls: true\n  requesttimeout: 5s\n  \
             handshake: >\n    {}\n  protobuffer:\n    pushinfo:\n      routes:\n        - a.b\n        - c\nprometheus:\n  port: 9191\n",
            "c.yaml",
            &mut Vec::new(),
        )
        .unwrap();
        assert_eq!((config.text("game"), config.text("server.host")), (Some("example"), Some("localhost:3250")));
        assert_eq!(config.text("server.handshake").map(str::trim), Some("{}"));
        assert!(config.flag("server.tls").unwrap() && !config.flag("server.insecure").unwrap());
        assert_eq!(config.number("prometheus.port").unwrap(), Some(9191));
        assert_eq!(config.duration("server.requestTimeout").unwrap(), Some(Duration::from_secs(5)));
        assert_eq!(config.list("server.protobuffer.pushinfo.routes"), ["a.b", "c"]);
        assert!(Config::parse("", "c.yaml", &mut Vec::new()).unwrap().0.is_empty());
    }

    #[test]
    fn the_environment_counts_more() {
        let env = |name: &str| match name {
            "PITAYABOT_SERVER_REQUESTTIMEOUT" => Some("2s".to_owned()),
            "PITAYABOT_SERVER_PROTOBUFFER_PUSHINFO_ROUTES" => Some("a b".to_owned()),
            "PITAYABOT_SERVER_TLS" => Some("maybe".to_owned()),
            _ => None,
        };
        let config = Config::read(None, env, &mut Vec::new()).unwrap();
        assert_eq!(config.duration("server.requestTimeout").unwrap(), Some(Duration::from_secs(2)));
        assert_eq!(config.list("server.protobuffer.pushinfo.routes"), ["a", "b"]);
        let error = config.flag("server.tls").unwrap_err().to_string();
        assert_eq!(error, "PITAYABOT_SERVER_TLS: `maybe` is neither true nor false");
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, why) in [("a: [", "this is no YAML: "), ("3", "these are no settings")] {
            let error = Config::parse(text, "c.yaml", &mut Vec::new()).unwrap_err();
            assert!(error.starts_with(why), "{text}: {error}");
        }
        let config = Config::parse("server:\n  requestTimeout: 5", "c.yaml", &mut Vec::new()).unwrap();
        let error = config.duration("server.requestTimeout").unwrap_err().to_string();
        assert_eq!(error, "c.yaml: server.requestTimeout: `5` is no duration: write it as 1m30s or 500ms");
    }

    #[test]
    fn what_means_nothing_is_ignored_but_told() {
        let mut notes = Vec::new();
        let text =
            "kubernetes:\n  cpu: 250m\n  job:\n    retry: 0\nservr:\n  host: a\nserver:\n  HOTS: b\n  x: c\nunlike: 1";
        assert!(Config::parse(text, "c.yaml", &mut notes).unwrap().0.is_empty());
        let expected = [
            "`kubernetes` is for a cluster, in which nothing of this runs",
            "`servr.host` is not known (did you mean `server.host`?)",
            "`server.HOTS` is not known (did you mean `server.host`?)",
            "`server.x` is not known",
            "`unlike` is not known",
        ];
        assert_eq!(notes, expected.map(|note| format!("c.yaml: {note}, and is ignored")));
    }
}
