//! The configuration file of `bygone server`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bygone_base::{Error, Result};
use bygone_catalog::record::Purpose;
use bygone_control::NewStore;
use bygone_ingest::http::Network;
use serde::{Deserialize, Deserializer, de};

/// What the file may hold. What is not known is refused with its name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    #[serde(default = "loopback")]
    pub listen: String,
    /// Folder of the catalog and of files to be fetched.
    pub data: PathBuf,
    /// Certificate, for other addresses than loopback.
    pub tls: Option<Tls>,
    /// Addresses (also `ADDRESS/BITS`) of reverse proxies: their `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    #[serde(default, deserialize_with = "networks")]
    pub trusted_proxies: Vec<Network>,
    /// File with the token that shows all metrics, as `Authorization: Bearer TOKEN`.
    pub metrics_token_file: Option<PathBuf>,
    /// Whether agents run in this process too, for all projects.
    #[serde(default)]
    pub agent: bool,
    /// Stores.
    #[serde(default)]
    pub store: Vec<StoreConfig>,
}

/// Certificate and key, PEM. With neither, a certificate is made.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Chain.
    pub certificate: Option<PathBuf>,
    /// Private key.
    pub key: Option<PathBuf>,
}

/// A store that is there from the beginning.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// Name.
    pub id: String,
    /// URL.
    pub url: String,
    /// What it may hold; everything where not given.
    #[serde(default = "everything")]
    pub purposes: Vec<Purpose>,
    /// File with the key of an encrypted store.
    pub key_file: Option<PathBuf>,
    /// Above so many GiB (2^30 bytes) it counts as full.
    #[serde(alias = "max_gb")]
    pub max_gib: Option<u64>,
}

fn networks<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<Network>, D::Error> {
    let all: Vec<String> = Vec::deserialize(from)?;
    all.iter().map(|text| text.parse().map_err(de::Error::custom)).collect()
}

fn loopback() -> String {
    "127.0.0.1:8780".to_owned()
}

fn everything() -> Vec<Purpose> {
    vec![Purpose::Snapshot, Purpose::Oplog, Purpose::Sync]
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// Usage, with line and name of what is wrong.
    pub fn read(file: &Path) -> Result<Config> {
        let text = fs::read_to_string(file).map_err(|e| {
            Error::io(format!("read {}", file.display()), e)
                .hint("name the configuration with --config FILE")
        })?;
        Config::parse(&text).map_err(|e| e.within(file.display()))
    }

    fn parse(text: &str) -> Result<Config> {
        let config: Config = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let at = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            Error::usage(format!("{at}{}", e.message()))
        })?;
        if config.tls.as_ref().is_some_and(|tls| tls.certificate.is_some() != tls.key.is_some()) {
            return Err(Error::usage("tls: certificate and key belong together")
                .hint("give both, or neither to have one made"));
        }
        Ok(config)
    }
}

impl StoreConfig {
    /// As the control plane takes it.
    pub fn wanted(&self) -> NewStore {
        NewStore {
            purposes: self.purposes.clone(),
            key_file: self.key_file.clone(),
            max_bytes: self.max_gib.map(|gib| gib.saturating_mul(1 << 30)),
            ..NewStore::new(self.id.clone(), self.url.clone())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_is_enough_and_what_is_unknown_is_named() {
        let config = Config::parse("data = \"/d\"\n[[store]]\nid = \"a\"\nurl = \"file:///s\"");
        let config = config.unwrap();
        assert_eq!(config.listen, "127.0.0.1:8780");
        assert_eq!(config.store[0].wanted().purposes.len(), 3);
        let error = Config::parse("data = \"/d\"\nlisten_at = \"x\"").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("listen_at"), "{error}");
        let more = "data = \"/d\"\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n\
                    [[store]]\nid = \"a\"\nurl = \"file:///s\"\nmax_gib = 2";
        let config = Config::parse(more).unwrap();
        assert!(config.trusted_proxies[1].contains("10.2.3.4".parse().unwrap()));
        assert_eq!(config.store[0].wanted().max_bytes, Some(2 << 30));
        let error = Config::parse("data = \"/d\"\ntrusted_proxies = [\"proxy\"]").unwrap_err();
        assert!(error.to_string().contains("\"proxy\" is no address"), "{error}");
        assert!(Config::parse("listen = \"x\"").unwrap_err().to_string().contains("data"));
    }
}
