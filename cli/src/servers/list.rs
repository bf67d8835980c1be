//! The servers of a cluster, as their records tell, for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _, time::Instant};

use cereus_cluster::{
    ServerInfo,
    names::{self, record},
};
use serde_json::{Value, json};

use crate::body::tame;

/// What of a server's metadata is shown first.
const FIRST: [&str; 5] =
    [record::REGION, record::GRPC_HOST, record::GRPC_PORT, record::GRPC_EXTERNAL_HOST, record::GRPC_EXTERNAL_PORT];

/// What a record hangs on, in seconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ttl {
    /// Below zero: the lease is over.
    pub(super) left: i64,
    pub(super) granted: i64,
}

/// One record.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    /// What it says, or why that cannot be read.
    pub(super) info: Result<ServerInfo, String>,
    /// Zero: it hangs on none, and stays for ever.
    pub(super) lease: i64,
    pub(super) ttl: Option<Ttl>,
    /// When it came, if somebody was there to see it.
    pub(super) since: Option<Instant>,
}

impl Entry {
    pub(super) fn read(prefix: &str, key: &[u8], value: &[u8], lease: i64) -> Self {
        let key = String::from_utf8_lossy(key).into_owned();
        let info = match names::parse_server_key(prefix, &key) {
            Some((server_type, id)) if !server_type.is_empty() && !id.is_empty() => {
                ServerInfo::from_json(value).map_err(|error| error.to_string())
            }
            _ => Err("its key is not one of a type and an id".to_owned()),
        };
        Self { key, info, lease, ttl: None, since: None }
    }

    /// Whether both tell the same, however long their leases last.
    pub(super) fn says_as(&self, other: &Self) -> bool {
        (&self.info, self.lease) == (&other.info, other.lease)
    }

    /// The type, as far as it is known.
    pub(super) fn server_type<'a>(&'a self, prefix: &str) -> Option<&'a str> {
        match &self.info {
            Ok(info) => Some(&info.server_type),
            Err(_) => names::parse_server_key(prefix, &self.key).map(|(server_type, _)| server_type),
        }
    }

    pub(super) fn json(&self) -> Value {
        let lease = match (self.lease, self.ttl) {
            (0, _) => Value::Null,
            (id, None) => json!({ "id": format!("{id:x}") }),
            (id, Some(Ttl { left, granted })) => json!({ "id": format!("{id:x}"), "ttl": left, "granted": granted }),
        };
        let mut entry = match &self.info {
            Ok(info) => serde_json::to_value(info).unwrap_or_default(),
            Err(why) => json!({ "unreadable": why }),
        };
        entry["key"] = self.key.as_str().into();
        entry["lease"] = lease;
        if let Some(since) = self.since {
            entry["age"] = since.elapsed().as_secs().into();
        }
        entry
    }

    /// The cells of its row.
    fn cells(&self, info: &ServerInfo) -> [String; 8] {
        let (lease, ttl) = match (self.lease, self.ttl) {
            (0, _) => ("none".to_owned(), "for ever".to_owned()),
            (id, None) => (format!("{id:x}"), "-".to_owned()),
            (id, Some(Ttl { left, .. })) if left < 0 => (format!("{id:x}"), "over".to_owned()),
            (id, Some(Ttl { left, granted })) => (format!("{id:x}"), format!("{left}/{granted} s")),
        };
        let hostname = if info.hostname.is_empty() { "-" } else { &info.hostname };
        let cells = [
            info.server_type.clone(),
            info.id.clone(),
            hostname.to_owned(),
            if info.frontend { "yes" } else { "no" }.to_owned(),
            lease,
            ttl,
            self.since.map_or_else(|| "-".to_owned(), |since| format!("{} s", since.elapsed().as_secs())),
            metadata(&info.metadata),
        ];
        cells.map(|cell| tame(&cell).replace(['\n', '\t'], " "))
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        match &self.info {
            Ok(info) => {
                let [server_type, id, hostname, frontend, lease, ttl, _, metadata] = self.cells(info);
                let frontend = if frontend == "yes" { " frontend" } else { "" };
                format!("{server_type} {id} on {hostname}{frontend} lease {lease} {ttl} {metadata}")
                    .trim_end()
                    .to_owned()
            }
            Err(why) => tame(&format!("{} cannot be read: {why}", self.key)).into_owned(),
        }
    }
}

fn metadata(metadata: &BTreeMap<String, String>) -> String {
    let first = FIRST.iter().filter_map(|name| metadata.get_key_value(*name));
    let rest = metadata.iter().filter(|(name, _)| !FIRST.contains(&name.as_str()));
    first.chain(rest).map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

const HEADINGS: [&str; 8] = ["TYPE", "ID", "HOST", "FRONTEND", "LEASE", "TTL", "AGE", "METADATA"];

/// All of them, and below what cannot be read.
pub(super) fn table<'a>(entries: impl Iterator<Item = &'a Entry>) -> String {
    let (mut rows, mut unreadable, mut types) = (vec![HEADINGS.map(str::to_owned)], String::new(), BTreeMap::new());
    for entry in entries {
        match &entry.info {
            Ok(info) => {
                *types.entry(info.server_type.as_str()).or_insert(0) += 1;
                rows.push(entry.cells(info));
            }
            Err(_) => {
                let _ = write!(unreadable, "\n{}", entry.line());
            }
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 8] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let types: Vec<_> = types.iter().map(|(name, count)| format!("{count} {}", tame(name))).collect();
    let types = if types.is_empty() { String::new() } else { format!(": {}", types.join(", ")) };
    text + &format!("{} servers{types}{unreadable}", rows.len() - 1)
}

/// All of them as one object.
pub(super) fn json<'a>(entries: impl Iterator<Item = &'a Entry>) -> Value {
    let (servers, unreadable): (Vec<_>, Vec<_>) = entries.partition(|entry| entry.info.is_ok());
    let values = |entries: Vec<&Entry>| entries.into_iter().map(Entry::json).collect::<Vec<_>>();
    json!({ "servers": values(servers), "unreadable": values(unreadable) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let record = r#"{"id":"r1","type":"room","metadata":{"zone":"b","grpcHost":"10.0.0.1","region":"eu\u001b[2J"},"frontend":false,"hostname":"host-1"}"#;
        let mut room = Entry::read("p/", b"p/servers/room/r1", record.as_bytes(), 0x1234);
        room.ttl = Some(Ttl { left: 41, granted: 60 });
        let connector =
            Entry::read("p/", b"p/servers/connector/c1", br#"{"id":"c1","type":"connector","frontend":true}"#, 0);
        let wrong = Entry::read("p/", b"p/servers/room/r2", b"no json", 5);
        let odd = Entry::read("p/", b"p/servers/odd", record.as_bytes(), 5);
        vec![connector, room, wrong, odd]
    }

    #[test]
    fn a_table_for_people() {
        let expected = "\
TYPE       ID  HOST    FRONTEND  LEASE  TTL       AGE  METADATA
connector  c1  -       yes       none   for ever  -
room       r1  host-1  no        1234   41/60 s   -    region=eu\\u001b[2J grpcHost=10.0.0.1 zone=b
2 servers: 1 connector, 1 room
p/servers/room/r2 cannot be read: not a server record: expected ident at line 1 column 2
p/servers/odd cannot be read: its key is not one of a type and an id";
        assert_eq!(table(entries().iter()), expected);
        assert_eq!(table([].iter()).lines().last(), Some("0 servers"));
    }

    #[test]
    fn an_object_for_programs() {
        let all = json(entries().iter());
        let room = &all["servers"][1];
        assert_eq!((&room["type"], &room["metadata"]["zone"]), (&json!("room"), &json!("b")));
        assert_eq!(room["lease"], json!({ "id": "1234", "ttl": 41, "granted": 60 }));
        assert_eq!(all["servers"][0]["lease"], Value::Null);
        assert_eq!(all["unreadable"][1]["key"], "p/servers/odd");
    }

    #[test]
    fn types_are_known_also_of_what_cannot_be_read() {
        let types: Vec<_> = entries().iter().map(|entry| entry.server_type("p/").map(str::to_owned)).collect();
        let room = || Some("room".to_owned());
        assert_eq!(types, [Some("connector".to_owned()), room(), room(), None]);
    }
}
