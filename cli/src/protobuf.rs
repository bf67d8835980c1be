//! Bodies in protobuf: JSON for people, bytes for servers, by descriptors that come from files or from the server itself.

mod learn;
mod options;

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use cereus_client::ServerError;
use prost::Message;
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
    prost_types::{FileDescriptorProto, FileDescriptorSet},
};

pub(crate) use self::{
    learn::{Learned, learn},
    options::Options,
};
use crate::failure::Failure;

/// Which types the bodies of which routes have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Schema {
    pool: DescriptorPool,
    /// What the user said, which counts before what the server said.
    routes: BTreeMap<String, RouteTypes>,
    learned: BTreeMap<String, RouteTypes>,
    pushes: BTreeMap<String, String>,
}

/// The full names of the types of one route. A body without a type is sent and shown as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct RouteTypes {
    pub(crate) input: Option<String>,
    pub(crate) output: Option<String>,
}

/// What the types are.
impl Schema {
    /// A `FileDescriptorSet`, as `protoc --include_imports --descriptor_set_out FILE` writes it.
    pub(crate) fn add_descriptors(&mut self, file: &Path) -> Result<(), Failure> {
        let name = file.display();
        let bytes = fs::read(file).map_err(|error| Failure::Usage(format!("{name} cannot be read: {error}")))?;
        let set = FileDescriptorSet::decode(&*bytes).map_err(|error| {
            Failure::Usage(format!(
                "{name} is no set of descriptors, as protoc --descriptor_set_out writes it: {error}"
            ))
        })?;
        self.add_files(set.file).map_err(|error| {
            Failure::Usage(format!("{name} cannot be used: {error}. Was it written with --include_imports?"))
        })
    }

    /// `.proto` files, and where to look for what they import.
    pub(crate) fn compile(&mut self, files: &[impl AsRef<Path>], includes: &[impl AsRef<Path>]) -> Result<(), Failure> {
        for file in files.iter().map(AsRef::as_ref) {
            fs::metadata(file)
                .map_err(|error| Failure::Usage(format!("{} cannot be read: {error}", file.display())))?;
        }
        let own: Vec<&Path> = files.iter().filter_map(|file| file.as_ref().parent()).map(or_here).collect();
        let includes: Vec<&Path> = includes.iter().map(AsRef::as_ref).chain(own).collect();
        let set = protox::compile(files, includes).map_err(|error| Failure::Usage(told(&error)))?;
        self.add_files(set.file).map_err(|error| Failure::Usage(format!("the .proto files cannot be used: {error}")))
    }

    /// Files that are there already, such as Google's own, stay as they are.
    fn add_files(&mut self, mut files: Vec<FileDescriptorProto>) -> Result<(), String> {
        if self.pool.files().len() == 0 {
            self.pool = DescriptorPool::global();
        }
        files.retain(|file| self.pool.get_file_by_name(file.name()).is_none());
        self.pool.add_file_descriptor_protos(files).map_err(|error| error.to_string())
    }

    /// Whether there are types at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.pool.files().len() == 0
    }

    /// The full names of all messages, but for Google's own.
    pub(crate) fn message_names(&self) -> impl Iterator<Item = String> {
        let messages = self.pool.all_messages().filter(|message| !message.full_name().starts_with("google.protobuf."));
        messages.map(|message| message.full_name().to_owned())
    }

    fn message(&self, name: &str) -> Result<MessageDescriptor, Failure> {
        self.pool.get_message_by_name(name).ok_or_else(|| {
            let last = name.rsplit('.').next().unwrap_or(name);
            let similar = self.message_names().find(|known| known.rsplit('.').next() == Some(last));
            let advice = similar.map(|similar| format!(": is it `{similar}`?")).unwrap_or_default();
            Failure::Usage(format!("no message is called `{name}`{advice}"))
        })
    }
}

fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// An error of the compiler with its place.
fn told(error: &protox::Error) -> String {
    match error.file() {
        Some(file) if !error.to_string().contains(file) => format!("{file}: {error}"),
        _ => error.to_string(),
    }
}

/// What the types of routes are.
impl Schema {
    pub(crate) fn set_route(&mut self, route: impl Into<String>, types: RouteTypes) {
        self.routes.insert(route.into(), types);
    }

    pub(crate) fn set_push(&mut self, route: impl Into<String>, type_name: impl Into<String>) {
        self.pushes.insert(route.into(), type_name.into());
    }

    /// Whether there is a message with this name.
    pub(crate) fn check_type(&self, name: &str) -> Result<(), Failure> {
        self.message(name).map(|_| ())
    }

    pub(crate) fn route_names(&self) -> impl Iterator<Item = &str> {
        self.all_routes().map(|(name, _)| name).chain(self.pushes.keys()).map(String::as_str)
    }

    /// The types of a route. `service.method` finds `type.service.method` if there is only one.
    pub(crate) fn route(&self, route: &str) -> Option<&RouteTypes> {
        if let Some(types) = self.routes.get(route).or_else(|| self.learned.get(route)) {
            return Some(types);
        }
        let mut longer = self.all_routes().filter(|(name, _)| is_short_for(route, name)).map(|(_, types)| types);
        let first = longer.next()?;
        longer.all(|other| other == first).then_some(first)
    }

    fn all_routes(&self) -> impl Iterator<Item = (&String, &RouteTypes)> {
        let learned = self.learned.iter().filter(|(name, _)| !self.routes.contains_key(*name));
        self.routes.iter().chain(learned)
    }

    /// All names of types that routes and pushes were given.
    fn used_types(&self) -> impl Iterator<Item = &String> {
        let routes = self.all_routes().flat_map(|(_, types)| types.input.iter().chain(&types.output));
        routes.chain(self.pushes.values())
    }
}

fn is_short_for(route: &str, name: &str) -> bool {
    name.split_once('.').is_some_and(|(_, rest)| rest == route && rest.contains('.'))
}

/// Bodies.
impl Schema {
    /// The body of a request or notify, from JSON; `None`: the route has no type for it.
    pub(crate) fn encode(&self, route: &str, json: &str) -> Result<Option<Bytes>, Failure> {
        let Some(input) = self.route(route).and_then(|types| types.input.as_deref()) else { return Ok(None) };
        let message = self.message(input)?;
        if json.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let wrong = |error: serde_json::Error| Failure::Usage(format!("this is no `{input}`: {error}"));
        let mut reader = serde_json::Deserializer::from_str(json);
        let message = DynamicMessage::deserialize_with_options(message, &mut reader, &DeserializeOptions::new());
        let message = message.map_err(wrong)?;
        reader.end().map_err(wrong)?;
        Ok(Some(message.encode_to_vec().into()))
    }

    /// The JSON of an answer; `None`: the route has no type for it.
    pub(crate) fn decode_answer(&self, route: &str, body: &[u8]) -> Result<Option<String>, Failure> {
        let output = self.route(route).and_then(|types| types.output.as_deref());
        output.map(|output| self.decode(output, body)).transpose()
    }

    /// The JSON of a push; `None`: the route has no type.
    pub(crate) fn decode_push(&self, route: &str, body: &[u8]) -> Result<Option<String>, Failure> {
        let name = self.pushes.get(route);
        name.map(|name| self.decode(name, body)).transpose()
    }

    /// Members with their default value are there, so that they can be seen and compared; numbers are numbers.
    fn decode(&self, name: &str, body: &[u8]) -> Result<String, Failure> {
        let wrong = |error: String| Failure::Failed(format!("the body is no `{name}`: {error}"));
        let message = DynamicMessage::decode(self.message(name)?, body).map_err(|error| wrong(error.to_string()))?;
        let options = SerializeOptions::new().skip_default_fields(false).stringify_64_bit_integers(false);
        let mut json = serde_json::Serializer::new(Vec::new());
        message.serialize_with_options(&mut json, &options).map_err(|error| wrong(error.to_string()))?;
        String::from_utf8(json.into_inner()).map_err(|error| wrong(error.to_string()))
    }
}

/// What an error says whose server did not tell that its bodies are protobuf.
pub(crate) fn read_error(body: &Bytes) -> Option<ServerError> {
    let error = ServerError::parse("protobuf", body.clone());
    Some(error).filter(|error| !error.code.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Schema {
        let folder = tempfile();
        fs::write(
            folder.join("game.proto"),
            "syntax = \"proto3\"; package game;
             message Join { string name = 1; uint64 points = 2; repeated Join friends = 3; }",
        )
        .unwrap();
        let mut schema = Schema::default();
        schema.compile(&[folder.join("game.proto")], &[] as &[&Path]).unwrap();
        fs::remove_dir_all(folder).unwrap();
        let join = Some("game.Join".to_owned());
        schema.set_route("room.room.join", RouteTypes { input: join.clone(), output: join });
        schema
    }

    fn tempfile() -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("cereus-cli-protobuf-{:?}", std::thread::current().id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn json_there_and_back() {
        let schema = schema();
        let body = schema.encode("room.join", r#"{"name": "a b", "friends": [{}]}"#).unwrap().unwrap();
        assert_eq!(body, &b"\x0a\x03a b\x1a\x00"[..]);
        let json = schema.decode_answer("room.room.join", &body).unwrap().unwrap();
        let friend = r#"{"name":"","points":0,"friends":[]}"#;
        assert_eq!(json, format!(r#"{{"name":"a b","points":0,"friends":[{friend}]}}"#));
        assert_eq!(schema.encode("room.join", "").unwrap(), Some(Bytes::new()));
        assert_eq!(schema.encode("room.leave", "{}").unwrap(), None);
    }

    #[test]
    fn says_what_is_wrong() {
        let schema = schema();
        let error = |result: Result<_, Failure>| result.map(|_: Option<Bytes>| ()).unwrap_err().to_string();
        assert!(
            error(schema.encode("room.join", "{\"nam\": 1}"))
                .starts_with("this is no `game.Join`: unrecognized field name 'nam'")
        );
        assert!(error(schema.encode("room.join", "{} {}")).contains("trailing characters"));
        assert_eq!(
            schema.check_type("Join").unwrap_err().to_string(),
            "no message is called `Join`: is it `game.Join`?"
        );
        assert!(
            schema
                .decode_answer("room.join", b"\xff")
                .unwrap_err()
                .to_string()
                .starts_with("the body is no `game.Join`: ")
        );
    }
}
