//! What a user may choose, and which choices cannot work.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::{Authority, Scheme};

use crate::credentials::Environment;
use crate::http::TlsError;

/// The longest timeout that may be set: a pod is held for less.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Where CLB is, as whom it is asked, and within which bounds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The CLB API. In a VPC: `https://clb.internal.tencentcloudapi.com`.
    pub endpoint: Endpoint,
    /// The region that is asked, for example `ap-guangzhou`. [`Client::in_region`] asks another.
    ///
    /// [`Client::in_region`]: crate::Client::in_region
    pub region: String,
    /// Where credentials come from.
    pub credentials: CredentialSettings,
    /// Bounds of each call.
    pub limits: Limits,
}

impl Settings {
    /// The public endpoint, and the credentials that this process's environment says.
    #[must_use]
    pub fn for_region(region: impl Into<String>) -> Self {
        Self {
            endpoint: Endpoint::https("clb.tencentcloudapi.com"),
            region: region.into(),
            credentials: CredentialSettings::default(),
            limits: Limits::default(),
        }
    }

    pub(crate) fn check(&self) -> Result<(), SettingsError> {
        check_region(&self.region)?;
        self.limits.check()
    }
}

/// A region goes into a header, and a blank one is answered with another region's nothing.
pub(crate) fn check_region(region: &str) -> Result<(), SettingsError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !region.is_empty() && region.bytes().all(fits) {
        return Ok(());
    }
    Err(SettingsError::Region(region.to_owned()))
}

/// Bounds of each call.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Requests of one action per second, over all callers. The API refuses more than 20 in any second, as
    /// it receives them: what is sent evenly arrives less so, which costs two.
    pub requests_per_second: NonZeroU32,
    /// Longest time of one request, from the connection to the last byte of the answer.
    pub try_timeout: Duration,
    /// Longest time of one call with all that it waits for: credentials, limiter, tries.
    pub call_timeout: Duration,
    /// Most tries of one call.
    pub tries_max: u32,
    /// Largest answer that is read.
    pub answer_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: NonZeroU32::new(18).unwrap_or(NonZeroU32::MIN),
            try_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            // As other clients of this API.
            tries_max: 5,
            // A backend's row has some 400 bytes: this is a load balancer with 20,000 of them.
            answer_max_bytes: 8 << 20,
        }
    }
}

impl Limits {
    fn check(&self) -> Result<(), SettingsError> {
        for (name, is_zero) in [
            ("try_timeout", self.try_timeout.is_zero()),
            ("call_timeout", self.call_timeout.is_zero()),
            ("tries_max", self.tries_max == 0),
            ("answer_max_bytes", self.answer_max_bytes == 0),
        ] {
            if is_zero {
                return Err(SettingsError::Zero(name));
            }
        }
        for (name, time) in [("try_timeout", self.try_timeout), ("call_timeout", self.call_timeout)]
        {
            if time > TIMEOUT_MAX {
                return Err(SettingsError::TooLong(name));
            }
        }
        Ok(())
    }
}

/// Where credentials come from, in this order: environment, mounted files, TKE pod identity, CVM role.
#[derive(Clone, Debug)]
pub struct CredentialSettings {
    /// The variables `TENCENTCLOUD_*` and `TKE_*`.
    pub environment: Environment,
    /// Folder of a mounted Secret with the files `secretId`, `secretKey` and, for temporary keys,
    /// `token`. Read anew at each call.
    pub folder: Option<PathBuf>,
    /// STS, for pod identity. In a VPC: `https://sts.internal.tencentcloudapi.com`.
    pub sts: Endpoint,
    /// The metadata service of a node, for its role.
    pub metadata: Endpoint,
}

impl Default for CredentialSettings {
    fn default() -> Self {
        Self {
            environment: Environment::of_process(),
            folder: None,
            sts: Endpoint::https("sts.tencentcloudapi.com"),
            metadata: Endpoint {
                scheme: Scheme::HTTP,
                authority: Authority::from_static("metadata.tencentyun.com"),
                host: "metadata.tencentyun.com".to_owned(),
            },
        }
    }
}

/// Scheme, address and `Host` of a service.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    authority: Authority,
    host: String,
}

impl Endpoint {
    /// From `https://host`, `http://host:port`, with no path.
    ///
    /// # Errors
    /// Where it is no such address.
    pub fn new(address: &str) -> Result<Self, SettingsError> {
        let wrong = |why| SettingsError::Endpoint { address: address.to_owned(), why };
        let uri: Uri = address.parse().map_err(|_| wrong("is not an address"))?;
        let parts = uri.into_parts();
        let scheme = parts.scheme.filter(|it| *it == Scheme::HTTP || *it == Scheme::HTTPS);
        let scheme = scheme.ok_or_else(|| wrong("needs http:// or https://"))?;
        let authority = parts.authority.ok_or_else(|| wrong("has no host"))?;
        if parts.path_and_query.is_some_and(|path| path != "/") {
            return Err(wrong("must not have a path"));
        }
        if authority.as_str().contains('@') {
            return Err(wrong("must not have a user"));
        }
        let host = authority.as_str().to_owned();
        Ok(Self { scheme, authority, host })
    }

    /// The same address, asked as `host`: it is the `Host` header, it is signed, and its first label
    /// is the service. For a stand-in or proxy under another name; TLS still verifies the address.
    ///
    /// # Errors
    /// Where it is no host name.
    pub fn with_host(self, host: &str) -> Result<Self, SettingsError> {
        match host.parse::<Authority>() {
            Ok(authority) if !authority.as_str().contains('@') => {
                Ok(Self { host: host.to_owned(), ..self })
            }
            _ => Err(SettingsError::Endpoint {
                address: host.to_owned(),
                why: "is not the name of a host",
            }),
        }
    }

    fn https(host: &'static str) -> Self {
        let authority = Authority::from_static(host);
        Self { scheme: Scheme::HTTPS, authority, host: host.to_owned() }
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn is_https(&self) -> bool {
        self.scheme == Scheme::HTTPS
    }

    pub(crate) fn uri(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.authority)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} as {}", self.uri(""), self.host)
    }
}

/// A choice that cannot work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// No address of a service.
    #[error("the endpoint {address:?} {why}")]
    Endpoint {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No name of a region.
    #[error("{0:?} is not the name of a region, such as ap-guangzhou")]
    Region(String),
    /// A bound under which nothing can be done.
    #[error("{0} must be larger than zero")]
    Zero(&'static str),
    /// A wait that nobody waits for.
    #[error("{0} must be at most {max} s", max = TIMEOUT_MAX.as_secs())]
    TooLong(&'static str),
    /// An endpoint wants TLS, and there is none.
    #[error("{0}")]
    Tls(TlsError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let stand_in = Endpoint::new("http://127.0.0.1:8080").unwrap();
        assert_eq!((stand_in.host(), stand_in.is_https()), ("127.0.0.1:8080", false));
        let stand_in = stand_in.with_host("clb.tencentcloudapi.com").unwrap();
        assert_eq!(stand_in.host(), "clb.tencentcloudapi.com");
        assert_eq!(stand_in.uri("/"), "http://127.0.0.1:8080/");
        assert!(Endpoint::new("https://clb.internal.tencentcloudapi.com/").unwrap().is_https());
        for wrong in [
            "",
            "clb.tencentcloudapi.com",
            "ftp://a",
            "https://a/b",
            "https://u@a",
            "https://",
            "/",
        ] {
            assert!(Endpoint::new(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "a b", "a\r\nb", "u@a"] {
            assert!(stand_in.clone().with_host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_that_cannot_work() {
        assert!(Settings::for_region("ap-guangzhou").check().is_ok());
        for region in ["", " ", "ap guangzhou", "ap\n"] {
            assert!(matches!(
                Settings::for_region(region).check(),
                Err(SettingsError::Region(named)) if named == region
            ));
        }
        let mut settings = Settings::for_region("ap-guangzhou");
        settings.limits.tries_max = 0;
        assert!(matches!(settings.check(), Err(SettingsError::Zero("tries_max"))));
        settings.limits = Limits { call_timeout: Duration::MAX, ..Limits::default() };
        assert!(matches!(settings.check(), Err(SettingsError::TooLong("call_timeout"))));
    }
}
