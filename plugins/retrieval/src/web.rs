//! HTTP to places that tasks name: no redirect and no name leads to where they may not go.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use crate::location::{Access, Location, is_public};

/// Makes clients that keep to the rules.
pub struct Web {
    pub rules: Access,
}

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Web")
    }
}

impl HttpConnector for Web {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let rules = self.rules.clone();
        let follow = Policy::custom(move |attempt| {
            let place = Location::parse(attempt.url().as_str());
            match place {
                Ok(place) if rules.permits(&place) && attempt.previous().len() < 10 => attempt.follow(),
                Ok(place) => attempt.error(format!("a redirect to {place} is not allowed")),
                Err(error) => attempt.error(error),
            }
        });
        let client = reqwest::Client::builder()
            .user_agent(concat!("agenthost-retrieval/", env!("CARGO_PKG_VERSION")))
            .redirect(follow)
            .no_proxy() // a proxy would resolve names itself
            .dns_resolver(Arc::new(Public { rules: self.rules.clone() }))
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(|source| object_store::Error::Generic { store: "HTTP", source: Box::new(source) })?;
        Ok(HttpClient::new(client))
    }
}

/// Resolves names to public addresses, and to others only where a rule names the host.
struct Public {
    rules: Access,
}

impl Resolve for Public {
    fn resolve(&self, name: Name) -> Resolving {
        let named = self.rules.names(name.as_str());
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.filter(|a| named || is_public(a.ip())).collect();
            if found.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!("{} is a host of a private network, and is not named in `allowed`", name.as_str()),
                )
                .into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
