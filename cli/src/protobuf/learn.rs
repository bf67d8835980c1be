//! What a server tells of its routes and types: two handlers by convention of the Pitaya family, one that answers with its
//! documentation, and one that answers names of types with descriptors.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    time::Duration,
};

use bytes::Bytes;
use cereus_client::{Client, RequestError};
use flate2::read::GzDecoder;
use prost::Message;
use prost_reflect::{DescriptorPool, prost_types::FileDescriptorProto};
use serde_json::{Map, Value};

use super::{RouteTypes, Schema};
use crate::failure::Failure;

/// What these two handlers themselves are asked and answer.
const OWN: [&str; 3] = ["protos.Doc", "protos.ProtoNames", "protos.ProtoDescriptors"];
/// The longest descriptor that is unpacked.
const MAX_DESCRIPTOR: u64 = 16 << 20;
/// How often imports are asked for. Each round goes one level deeper.
const ROUNDS: usize = 32;

#[derive(Clone, PartialEq, prost::Message)]
struct Doc {
    #[prost(string, tag = "1")]
    doc: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoNames {
    #[prost(string, repeated, tag = "1")]
    name: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProtoDescriptors {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    desc: Vec<Bytes>,
}

/// What a server told.
#[derive(Debug)]
pub(crate) struct Learned {
    /// With what the user said before.
    pub(crate) schema: Schema,
    /// What it did not tell.
    pub(crate) warnings: Vec<String>,
}

/// Asks a server for its routes and their types, and for the types that the user has named for routes.
pub(crate) async fn learn(
    client: &Client,
    docs_route: &str,
    descriptors_route: Option<&str>,
    known: &Schema,
    timeout: Duration,
) -> Result<Learned, Failure> {
    let answer = ask(client, docs_route, Bytes::new(), timeout).await;
    let answer = answer.map_err(|error| Failure::Failed(format!("the docs at {docs_route}: {error}")))?;
    let docs = Docs::read(&answer).map_err(|error| Failure::Failed(format!("the docs at {docs_route}: {error}")))?;
    let route = descriptors_route.map(str::to_owned).or_else(|| docs.descriptors_route()).ok_or_else(|| {
        Failure::Failed(format!(
            "the docs at {docs_route} name no handler from protos.ProtoNames to protos.ProtoDescriptors, which would tell of \
             types: give its route with --descriptors-route"
        ))
    })?;
    let (routes, pushes) = (known.routes.clone(), known.pushes.clone());
    let mut schema = Schema { routes, pushes, learned: docs.handlers, ..Schema::default() };
    let wanted: BTreeSet<String> = schema.used_types().filter(|name| !OWN.contains(&name.as_str())).cloned().collect();
    let names = docs.types.into_iter().chain(schema.used_types().cloned()).collect();
    let mut asking = Asking { client, route: &route, timeout, wanted, files: BTreeMap::new(), warnings: Vec::new() };
    asking.ask_all(names).await?;
    let (files, warnings) = asking.usable();
    let added = schema.add_files(files);
    added.map_err(|error| Failure::Failed(format!("the descriptors from {route} cannot be used: {error}")))?;
    Ok(Learned { schema, warnings })
}

async fn ask(client: &Client, route: &str, body: Bytes, timeout: Duration) -> Result<Bytes, RequestError> {
    client.request(route, body).timeout(timeout).await
}

/// What the docs say.
#[derive(Debug, Default)]
struct Docs {
    handlers: BTreeMap<String, RouteTypes>,
    /// All types that are named anywhere.
    types: BTreeSet<String>,
}

impl Docs {
    fn read(answer: &[u8]) -> Result<Self, String> {
        let doc = Doc::decode(answer).map_err(|error| format!("the answer is no protos.Doc: {error}"))?;
        let docs =
            serde_json::from_str(&doc.doc).map_err(|error| format!("what protos.Doc holds is no JSON: {error}"))?;
        let Value::Object(docs) = docs else { return Err("what protos.Doc holds is no JSON object".to_owned()) };
        let Some(Value::Object(handlers)) = docs.get("handlers") else {
            return Err("what protos.Doc holds has no `handlers`".to_owned());
        };
        let mut read = Self::default();
        for (route, handler) in handlers {
            let input = handler.get("input").and_then(type_name);
            let output = handler.get("output").and_then(|output| output.get(0)).and_then(type_name);
            read.types.extend(input.iter().chain(&output).cloned());
            read.handlers.insert(route.clone(), RouteTypes { input, output });
        }
        docs.values().for_each(|part| named_types(part, &mut read.types));
        Ok(read)
    }

    fn descriptors_route(&self) -> Option<String> {
        let is_it = |types: &RouteTypes| {
            types.input.as_deref() == Some("protos.ProtoNames")
                && types.output.as_deref() == Some("protos.ProtoDescriptors")
        };
        self.handlers.iter().find(|(_, types)| is_it(types)).map(|(route, _)| route.clone())
    }
}

/// `{"*pkg.Type": {…}}` is a type, as is a name with `proto` in it.
fn type_name(value: &Value) -> Option<String> {
    let members: &Map<String, Value> = value.as_object()?;
    let name = members.keys().find(|name| name.starts_with('*') || name.contains("proto"))?;
    Some(name.trim_start_matches('*').to_owned())
}

fn named_types(value: &Value, types: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(name) = name.strip_prefix('*') {
                    types.insert(name.to_owned());
                }
                named_types(value, types);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| named_types(item, types)),
        _ => {}
    }
}

/// Asking for files, by the names of types in them or by their own.
struct Asking<'a> {
    client: &'a Client,
    route: &'a str,
    timeout: Duration,
    /// The types of bodies that a user may send or get. That others are not known is no loss.
    wanted: BTreeSet<String>,
    files: BTreeMap<String, FileDescriptorProto>,
    warnings: Vec<String>,
}

impl Asking<'_> {
    /// Asks for the files with these types, and for what they import: a server of Pitaya's tells only the one with the type.
    async fn ask_all(&mut self, names: BTreeSet<String>) -> Result<(), Failure> {
        let mut names: Vec<String> = names.into_iter().collect();
        let mut asked = BTreeSet::new();
        for _ in 0..ROUNDS {
            names.retain(|name| asked.insert(name.clone()));
            if names.is_empty() {
                break;
            }
            self.ask(&names).await?;
            names = self.missing_imports();
        }
        Ok(())
    }

    /// A server that does not know one name tells nothing of the others: then each is asked for alone.
    async fn ask(&mut self, names: &[String]) -> Result<(), Failure> {
        match self.ask_for(names.to_vec()).await? {
            Ok(()) => return Ok(()),
            Err(error) if names.len() == 1 => self.warn(&names[0], &error),
            Err(_) => {
                for name in names {
                    if let Err(error) = self.ask_for(vec![name.clone()]).await? {
                        self.warn(name, &error);
                    }
                }
            }
        }
        Ok(())
    }

    fn warn(&mut self, name: &str, error: &str) {
        if self.wanted.contains(name) {
            self.warnings.push(format!("the server does not tell of {name}: {error}"));
        }
    }

    /// The inner error is the server's.
    async fn ask_for(&mut self, name: Vec<String>) -> Result<Result<(), String>, Failure> {
        let request = ProtoNames { name }.encode_to_vec();
        let answer = match ask(self.client, self.route, request.into(), self.timeout).await {
            Ok(answer) => answer,
            Err(RequestError::Server(error)) => return Ok(Err(error.to_string())),
            Err(error) => return Err(Failure::Failed(format!("the descriptors at {}: {error}", self.route))),
        };
        let wrong = |error: String| Failure::Failed(format!("the descriptors at {}: {error}", self.route));
        let answer = ProtoDescriptors::decode(answer)
            .map_err(|error| wrong(format!("the answer is no protos.ProtoDescriptors: {error}")))?;
        for packed in &answer.desc {
            let file = unpack(packed).map_err(wrong)?;
            self.files.insert(file.name().to_owned(), file);
        }
        Ok(Ok(()))
    }

    fn missing_imports(&self) -> Vec<String> {
        let google = DescriptorPool::global();
        let imports: BTreeSet<&String> = self.files.values().flat_map(|file| &file.dependency).collect();
        let is_missing = |name: &&String| !self.files.contains_key(*name) && google.get_file_by_name(name).is_none();
        imports.into_iter().filter(is_missing).cloned().collect()
    }

    /// The files whose imports are all there.
    fn usable(mut self) -> (Vec<FileDescriptorProto>, Vec<String>) {
        loop {
            let missing: BTreeSet<String> = self.missing_imports().into_iter().collect();
            let unusable =
                |file: &FileDescriptorProto| file.dependency.iter().find(|name| missing.contains(*name)).cloned();
            let found = self.files.iter().find_map(|(name, file)| unusable(file).map(|import| (name.clone(), import)));
            let Some((name, import)) = found else { break };
            self.warnings.push(format!("the types of {name} are not known, for it imports {import}"));
            self.files.remove(&name);
        }
        (self.files.into_values().collect(), self.warnings)
    }
}

fn unpack(packed: &[u8]) -> Result<FileDescriptorProto, String> {
    let mut bytes = Vec::new();
    let read = GzDecoder::new(packed).take(MAX_DESCRIPTOR + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("a descriptor is not gzip'd: {error}"))?;
    if bytes.len() as u64 > MAX_DESCRIPTOR {
        return Err(format!("a descriptor is longer than {} MiB", MAX_DESCRIPTOR >> 20));
    }
    FileDescriptorProto::decode(&*bytes).map_err(|error| format!("a descriptor is no FileDescriptorProto: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_docs_as_pitaya_writes_them() {
        let doc = r#"{
            "handlers": {
                "room.room.docs": {"input": null, "output": [{"*protos.Doc": {"doc": "string"}}, "error"]},
                "room.room.types": {
                    "input": {"*protos.ProtoNames": {"name": ["string"]}},
                    "output": [{"*protos.ProtoDescriptors": {"desc": ["[]byte"]}}, "error"]},
                "room.room.join": {
                    "input": {"*game.Join": {"friends": [{"*game.Friend": {"name": "string"}}]}}, "output": []},
                "room.room.raw": {"input": "[]byte", "output": ["[]byte", "error"]}
            },
            "remotes": {"room.sys.bind": {"input": {"*protos.Session": {}}, "output": [{"*protos.Response": {}}]}}
        }"#;
        let docs = Docs::read(&Doc { doc: doc.to_owned() }.encode_to_vec()).unwrap();
        let types = |input: Option<&str>, output: Option<&str>| RouteTypes {
            input: input.map(str::to_owned),
            output: output.map(str::to_owned),
        };
        assert_eq!(docs.handlers["room.room.join"], types(Some("game.Join"), None));
        assert_eq!(docs.handlers["room.room.docs"], types(None, Some("protos.Doc")));
        assert_eq!(docs.handlers["room.room.raw"], types(None, None));
        assert_eq!(docs.descriptors_route().as_deref(), Some("room.room.types"));
        let named: Vec<&str> = docs.types.iter().map(String::as_str).collect();
        let expected = [
            "game.Friend",
            "game.Join",
            "protos.Doc",
            "protos.ProtoDescriptors",
            "protos.ProtoNames",
            "protos.Response",
            "protos.Session",
        ];
        assert_eq!(named, expected);
    }

    #[test]
    fn says_what_is_wrong_with_docs() {
        let error = |doc: &str| Docs::read(&Doc { doc: doc.to_owned() }.encode_to_vec()).unwrap_err();
        assert!(error("{").starts_with("what protos.Doc holds is no JSON: "));
        assert_eq!(error("[]"), "what protos.Doc holds is no JSON object");
        assert_eq!(error("{}"), "what protos.Doc holds has no `handlers`");
        assert!(Docs::read(b"\xff").unwrap_err().starts_with("the answer is no protos.Doc: "));
    }
}
