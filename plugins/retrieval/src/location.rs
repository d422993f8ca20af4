//! Where something lies, and whether a task may go there.

use std::fmt;

use object_store::path::Path;
use url::Url;

use crate::fault::Fault;

/// What holds a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    S3,
    Gs,
    Azure,
    Http,
    Https,
    Disk,
}

const SCHEMES: [(&str, Kind); 14] = [
    ("s3", Kind::S3),
    ("s3a", Kind::S3),
    ("gs", Kind::Gs),
    ("gcs", Kind::Gs),
    ("azure", Kind::Azure),
    ("az", Kind::Azure),
    ("azblob", Kind::Azure),
    ("abfs", Kind::Azure),
    ("abfss", Kind::Azure),
    ("wasb", Kind::Azure),
    ("wasbs", Kind::Azure),
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("file", Kind::Disk),
];

/// A URI, taken apart. It prints without its query, which may be a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub kind: Kind,
    /// The bucket, container or host with its port; empty on disk, and in a rule for all of them.
    pub authority: String,
    /// The storage account that an Azure URI names.
    pub account: Option<String>,
    pub path: Path,
    /// The query of an HTTP URL.
    pub query: Option<String>,
    shown: String,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Location {
    /// Reads a URI. The error says what is wrong with it.
    pub fn parse(uri: &str) -> Result<Location, String> {
        let shown = uri.split('?').next().unwrap_or_default();
        let (scheme, rest) = match uri.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if uri.starts_with('/') => ("file".to_string(), uri),
            None => return Err(format!("{shown:?} is no URI and no absolute path")),
        };
        let Some((_, kind)) = SCHEMES.iter().find(|(name, _)| *name == scheme) else {
            return Err(format!("{shown:?} is not on s3, gs, azure, http, https or disk"));
        };
        match kind {
            Kind::Http | Kind::Https if rest.is_empty() => Ok(Self::of(*kind, "", Path::default(), uri)),
            Kind::Http | Kind::Https => Self::web(*kind, uri),
            Kind::Disk => Ok(Self::of(*kind, "", path(rest, shown)?, uri)),
            _ => Self::object(*kind, rest, uri),
        }
    }

    fn of(kind: Kind, authority: &str, path: Path, shown: &str) -> Location {
        Location { kind, authority: authority.into(), account: None, path, query: None, shown: shown.into() }
    }

    fn web(kind: Kind, uri: &str) -> Result<Location, String> {
        let url = Url::parse(uri).map_err(|e| format!("a URL cannot be read: {e}"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(format!("the URL for {} has a password in it, which would be seen", authority(&url)));
        }
        let mut bare = url.clone();
        bare.set_query(None);
        bare.set_fragment(None);
        let path = Path::from_url_path(url.path()).map_err(|e| format!("{bare}: {e}"))?;
        Ok(Location { query: url.query().map(str::to_string), ..Self::of(kind, &authority(&url), path, bare.as_str()) })
    }

    /// Objects' names are taken as they stand: `%` and `?` can be part of them.
    fn object(kind: Kind, rest: &str, uri: &str) -> Result<Location, String> {
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let (bucket, account) = match bucket.split_once('@') {
            Some((container, host)) if kind == Kind::Azure => (container, host.split('.').next().map(str::to_string)),
            Some(_) => return Err("a bucket's URI has a password in it, which would be seen".to_string()),
            None => (bucket, None),
        };
        Ok(Location { account, ..Self::of(kind, bucket, path(key, uri)?, uri) })
    }

    /// Another file in the same place.
    pub fn sibling(&self, path: &Path) -> Location {
        if *path == self.path {
            return self.clone();
        }
        let root = self.shown.strip_suffix('/').unwrap_or(&self.shown);
        let root = root.strip_suffix(self.path.as_ref()).unwrap_or(root);
        let shown = format!("{}/{path}", root.trim_end_matches('/'));
        Location { path: path.clone(), shown, ..self.clone() }
    }

    /// Whether both are in one store.
    pub fn same_store(&self, other: &Location) -> bool {
        (self.kind, &self.authority, &self.account, &self.query)
            == (other.kind, &other.authority, &other.account, &other.query)
    }
}

fn path(text: &str, shown: &str) -> Result<Path, String> {
    Path::parse(text).map_err(|e| format!("{shown:?} has a path that is not allowed: {e}"))
}

/// The host with its port, as a rule and a URL are compared.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

/// The places that tasks may go to: prefixes, by whole segments of a path.
#[derive(Clone, Debug, Default)]
pub struct Access(Vec<Location>);

impl Access {
    /// Reads the prefixes; one that is a link on disk stands for what it leads to, too. The error has the index of the wrong one.
    pub fn new(prefixes: &[String]) -> Result<Access, (usize, String)> {
        let mut rules = Vec::new();
        for (i, prefix) in prefixes.iter().enumerate() {
            let rule = Location::parse(prefix).map_err(|e| (i, e))?;
            rules.extend(real(&rule));
            rules.push(rule);
        }
        Ok(Access(rules))
    }

    /// Whether a place may be gone to.
    pub fn permits(&self, place: &Location) -> bool {
        self.0.iter().any(|rule| {
            rule.kind == place.kind
                && (rule.authority.is_empty() || rule.authority == place.authority)
                && rule.account.as_ref().is_none_or(|account| place.account.as_ref() == Some(account))
                && place.path.prefix_matches(&rule.path)
                && (!rule.authority.is_empty() || self.is_for_all(place))
        })
    }

    /// Whether a rule without a host holds for a place: not for private addresses, and not for hosts that other rules name.
    fn is_for_all(&self, place: &Location) -> bool {
        let web = matches!(place.kind, Kind::Http | Kind::Https);
        let host = place.authority.rsplit_once(':').map_or(place.authority.as_str(), |(host, _)| host);
        !web || (is_public_name(place) && !self.names(&place.authority) && !self.names(host))
    }

    /// Whether a rule names this host. Only then may it be one of a private network.
    pub fn names(&self, host: &str) -> bool {
        self.0.iter().any(|rule| {
            matches!(rule.kind, Kind::Http | Kind::Https)
                && (rule.authority == host || rule.authority.rsplit_once(':').is_some_and(|(name, _)| name == host))
        })
    }

    /// Says no, where it must.
    pub fn check(&self, place: &Location, key: &str) -> Result<(), Fault> {
        if self.permits(place) {
            return Ok(());
        }
        Err(Fault::failed(
            "NotAllowed",
            format!("{place} is not within what {key} in the plugin's configuration lets tasks use"),
        ))
    }
}

/// Where a folder on disk really is, if links lead to it.
fn real(rule: &Location) -> Option<Location> {
    let folder = std::path::Path::new("/").join(rule.path.as_ref());
    let real = (rule.kind == Kind::Disk).then(|| folder.canonicalize().ok()).flatten()?;
    Location::parse(&real.to_string_lossy()).ok()
}

/// Hosts by address must be named in a rule if they are of a private network; names are looked at when they are resolved.
fn is_public_name(place: &Location) -> bool {
    let scheme = match place.kind {
        Kind::Http => "http",
        Kind::Https => "https",
        _ => return true,
    };
    match Url::parse(&format!("{scheme}://{}", place.authority)).ok().and_then(|u| u.host().map(|h| h.to_owned())) {
        Some(url::Host::Ipv4(address)) => is_public(address.into()),
        Some(url::Host::Ipv6(address)) => is_public(address.into()),
        Some(url::Host::Domain(_)) => true,
        None => false,
    }
}

/// Whether an address is one of the Internet, and none of this machine, a private network or a cloud's metadata.
pub fn is_public(address: std::net::IpAddr) -> bool {
    use std::net::IpAddr;
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            !(v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 198 && (18..20).contains(&b))
                || (a == 192 && b == 0 && c == 0))
        }
        IpAddr::V6(v6) => {
            if let Some(v4) = v6.to_ipv4() {
                return is_public(v4.into());
            }
            let [first, second, ..] = v6.segments();
            let embeds_v4 = (first == 0x64 && second == 0xff9b) || first == 0x2002;
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
                || embeds_v4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(uri: &str) -> Location {
        Location::parse(uri).unwrap_or_else(|e| panic!("{e}"))
    }

    fn access(prefixes: &[&str]) -> Access {
        Access::new(&prefixes.iter().map(ToString::to_string).collect::<Vec<_>>()).expect("rules")
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let rules = access(&["s3://bucket/data", "/srv/tables/", "https://example.org/open"]);
        for uri in [
            "s3://bucket/data/x",
            "s3a://bucket/data",
            "/srv/tables/a",
            "file:///srv/tables/a",
            "https://example.org/open/a.csv",
        ] {
            assert!(rules.permits(&at(uri)), "{uri}");
        }
        for uri in [
            "s3://bucket/database",
            "s3://other/data",
            "/srv/tables2",
            "/etc/passwd",
            "http://example.org/open/a.csv",
            "https://example.org:8443/open/a.csv",
            "https://example.org.evil/open/a",
        ] {
            assert!(!rules.permits(&at(uri)), "{uri}");
        }
    }

    #[test]
    fn a_path_does_not_climb() {
        for uri in ["/srv/tables/../../etc/passwd", "s3://bucket/data/../secret", "file:///srv/./x"] {
            assert!(Location::parse(uri).is_err(), "{uri}");
        }
        let rules = access(&["https://example.org/open"]);
        assert!(!rules.permits(&at("https://example.org/open/%2e%2e/secret")));
    }

    #[test]
    fn private_addresses_must_be_named() {
        let open = access(&["http://", "https://"]);
        for host in [
            "169.254.169.254",
            "127.0.0.1",
            "10.0.0.1",
            "[::1]",
            "[fd00:ec2::254]",
            "[::ffff:169.254.169.254]",
            "2852039166",
            "0x7f.1",
            "100.100.100.200",
            "0.0.0.0",
        ] {
            assert!(!open.permits(&at(&format!("http://{host}/latest/meta-data"))), "{host}");
        }
        assert!(open.permits(&at("https://example.org/a.csv")));
        let both = access(&["http://", "http://localhost:8080/open"]);
        assert!(both.permits(&at("http://localhost:8080/open/a.csv")));
        assert!(!both.permits(&at("http://localhost:8080/a.csv")) && !both.permits(&at("http://localhost:22/")));
        assert!(access(&["http://127.0.0.1:8080/"]).permits(&at("http://127.0.0.1:8080/a.csv")));
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        assert_eq!(at("https://example.org/a.csv?X-Amz-Signature=abc").to_string(), "https://example.org/a.csv");
        let error = Location::parse("https://ada:swordfish@example.org/").expect_err("a password");
        assert!(!error.contains("swordfish"), "{error}");
        let error = Location::parse("ftp://example.org/a?token=swordfish").expect_err("a scheme");
        assert!(!error.contains("swordfish"), "{error}");
    }

    #[test]
    fn azure_names_its_account() {
        let place = at("abfss://container@account.dfs.core.windows.net/a/b.parquet");
        assert_eq!((place.authority.as_str(), place.account.as_deref()), ("container", Some("account")));
        assert_eq!(place.path.as_ref(), "a/b.parquet");
        assert_eq!(place.sibling(&Path::from("a/c")).to_string(), "abfss://container@account.dfs.core.windows.net/a/c");
    }
}
