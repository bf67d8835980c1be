//! Where servers are reached: what the own record says of it, and what is read in those of others (specification,
//! sections 10.2 and 10.3).

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use crate::{ServerInfo, names::record};

/// What a server tells of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Advertised {
    pub(crate) host: Option<String>,
    pub(crate) external_host: Option<String>,
    pub(crate) external_port: Option<u16>,
    pub(crate) region: Option<String>,
}

impl Advertised {
    /// Adds what there is to tell about a server that listens on `bound`.
    pub(crate) fn write(&self, bound: SocketAddr, metadata: &mut BTreeMap<String, String>) {
        let mut put = |key: &str, value: String| metadata.insert(key.to_owned(), value);
        put(record::GRPC_HOST, self.host.clone().unwrap_or_else(|| reachable(bound.ip())));
        put(record::GRPC_PORT, bound.port().to_string());
        if let Some(host) = &self.external_host {
            put(record::GRPC_EXTERNAL_HOST, host.clone());
            put(record::GRPC_EXTERNAL_PORT, self.external_port.unwrap_or_else(|| bound.port()).to_string());
        }
        if let Some(region) = &self.region {
            put(record::REGION, region.clone());
        }
    }
}

/// Where others reach an address that this machine listens on, as Go's Pitaya puts it before a colon and a port.
fn reachable(bound: IpAddr) -> String {
    let ip = match bound {
        IpAddr::V4(ip) if ip.is_unspecified() => outward(Ipv4Addr::UNSPECIFIED.into(), TEST_NET.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => outward(Ipv4Addr::UNSPECIFIED.into(), TEST_NET.into())
            .or_else(|| outward(Ipv6Addr::UNSPECIFIED.into(), TEST_NET_6.into())),
        ip => Some(ip),
    };
    match ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)) {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The address from which this machine talks to others. Nothing is sent to find it out.
fn outward(from: IpAddr, to: IpAddr) -> Option<IpAddr> {
    let socket = UdpSocket::bind((from, 0)).ok()?;
    socket.connect((to, DISCARD)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}

/// Addresses that nobody has: the way to them begins as that to anybody else.
const TEST_NET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const TEST_NET_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DISCARD: u16 = 9;

/// Where a server is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Target {
    host: String,
    port: u16,
    /// Whether it takes in what it is sent in the order in which it was sent.
    pub(crate) in_order: bool,
}

impl Target {
    /// Where a server of the region `own_region` reaches another. `None`: its record does not say.
    pub(crate) fn of(info: &ServerInfo, own_region: &str) -> Option<Self> {
        let filled = |key: &str| info.metadata.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let external = filled(record::GRPC_EXTERNAL_HOST);
        let is_near = filled(record::REGION).is_some_and(|region| region == own_region);
        let (host, port) = match external {
            Some(host) if !is_near => (host, record::GRPC_EXTERNAL_PORT),
            _ => (filled(record::GRPC_HOST)?, record::GRPC_PORT),
        };
        let port = filled(port)?.parse().ok()?;
        Some(Self { host: host.to_owned(), port, in_order: info.is_cereus() })
    }
}

/// The part of a URI that says where.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(ip) => write!(f, "[{ip}]:{}", self.port),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(metadata: &[(&str, &str)], own_region: &str) -> Option<String> {
        let mut info = ServerInfo::new("room", "r1");
        info.metadata.extend(metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        Target::of(&info, own_region).map(|target| target.to_string())
    }

    const IN: [(&str, &str); 2] = [("grpcHost", "in"), ("grpcPort", "1")];
    const OUT: [(&str, &str); 2] = [("grpc-external-host", "out"), ("grpc-external-port", "2")];

    #[test]
    fn chooses_the_host_by_the_region() {
        let both = [IN, OUT].concat();
        let (no_region, eu) = ([("region", "")], [("region", "eu")]);
        let (near, far) = (Some("in:1".to_owned()), Some("out:2".to_owned()));
        for own in ["", "eu", "us"] {
            assert_eq!(target(&both, own), far);
            assert_eq!(target(&[&both[..], &no_region].concat(), own), far);
            assert_eq!(target(&IN, own), near);
            assert_eq!(target(&[&IN[..], &eu].concat(), own), near);
            assert_eq!(target(&[&OUT[..], &no_region].concat(), own), far);
        }
        let both_eu = [&both[..], &eu].concat();
        assert_eq!(["", "eu", "us"].map(|own| target(&both_eu, own)), [far.clone(), near.clone(), far]);
        let empty_external = [&IN[..], &eu, &[("grpc-external-host", ""), ("grpc-external-port", "")]].concat();
        assert_eq!(target(&empty_external, "us"), near);
    }

    #[test]
    fn a_record_without_an_address_leads_nowhere() {
        let cases: [&[(&str, &str)]; 8] = [
            &[],
            &[("grpcHost", "in")],
            &[("grpcPort", "1")],
            &[("grpcHost", ""), ("grpcPort", "1")],
            &[("grpcHost", "in"), ("grpcPort", "")],
            &[("grpcHost", "in"), ("grpcPort", "65536")],
            &[IN[0], IN[1], ("grpc-external-host", "out")],
            &[OUT[0], OUT[1], ("region", "eu")],
        ];
        for metadata in cases {
            assert_eq!(target(metadata, "eu"), None, "{metadata:?}");
        }
    }

    #[test]
    fn ipv6_is_in_brackets() {
        for host in ["::1", "[::1]"] {
            assert_eq!(target(&[("grpcHost", host), IN[1]], ""), Some("[::1]:1".to_owned()));
        }
    }

    #[test]
    fn tells_all_that_is_set() {
        let mut metadata = BTreeMap::new();
        let bound = SocketAddr::from((Ipv6Addr::LOCALHOST, 3434));
        Advertised::default().write(bound, &mut metadata);
        let own = [("grpcHost", "[::1]"), ("grpcPort", "3434")];
        assert_eq!(metadata.iter().map(|(key, value)| (&**key, &**value)).collect::<Vec<_>>(), own);

        let (host, external_host) = (Some("h".to_owned()), Some("e".to_owned()));
        let mut all = Advertised { host, external_host, external_port: None, region: Some("eu".to_owned()) };
        all.write(bound, &mut metadata);
        let ports = ["grpc-external-port", "grpcPort"].map(|key| metadata[key].clone());
        assert_eq!(ports, ["3434", "3434"]);
        all.external_port = Some(1);
        all.write(bound, &mut metadata);
        let hosts = ["grpcHost", "grpc-external-host", "grpc-external-port", "region"].map(|key| metadata[key].clone());
        assert_eq!(hosts, ["h", "e", "1", "eu"]);
    }

    #[test]
    fn what_listens_everywhere_is_told_as_an_address() {
        for bound in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let host = reachable(bound);
            let ip: IpAddr = host.trim_matches(['[', ']']).parse().unwrap();
            assert!(!ip.is_unspecified());
        }
    }
}
