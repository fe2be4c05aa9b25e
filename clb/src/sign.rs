//! TC3-HMAC-SHA256, the signature of Tencent Cloud's API 3.0: time, host, body and credentials in,
//! headers out. No clock, no IO. Documents 306/57449 and 270/35296 of Tencent Cloud.

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use hyper::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, InvalidHeaderValue,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use secrecy::ExposeSecret;

use crate::credentials::Credentials;

const ALGORITHM: &str = "TC3-HMAC-SHA256";
/// Last part of a credential's scope, and the last step of the key's derivation.
const SCOPE_END: &str = "tc3_request";
/// Content type of every call. It is signed, so the wire must carry these very bytes.
pub(crate) const JSON: &str = "application/json; charset=utf-8";

/// What the server is asked to do, and in which words.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// For example `DescribeTargets`.
    pub(crate) action: &'a str,
    /// The API's version, for example `2018-03-17`.
    pub(crate) version: &'a str,
    /// For example `ap-guangzhou`.
    pub(crate) region: &'a str,
    /// The `Host` that goes over the wire. Its first label is the service that is signed for.
    pub(crate) host: &'a str,
    /// The JSON body.
    pub(crate) body: &'a [u8],
}

/// The headers of `call`, signed at `time` with `credentials`.
///
/// # Errors
/// Where the host, the region or a credential holds bytes that no header can carry.
pub(crate) fn sign(
    time: Timestamp,
    call: Call<'_>,
    credentials: &Credentials,
) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
    let request = Canonical {
        method: "POST",
        query: "",
        content_type: JSON,
        host: call.host,
        action: Some(call.action),
        body: call.body,
    };
    let secret_id = credentials.secret_id.expose_secret();
    let secret_key = credentials.secret_key.expose_secret();
    let mut authorization =
        HeaderValue::from_str(&request.authorization(time, secret_id, secret_key))?;
    authorization.set_sensitive(true);
    let mut headers = unsigned(time, call, authorization)?;
    if let Some(token) = &credentials.token {
        let mut token = HeaderValue::from_str(token.expose_secret())?;
        token.set_sensitive(true);
        headers.push((HeaderName::from_static("x-tc-token"), token));
    }
    Ok(headers)
}

/// The headers that every call has, around a given `Authorization`.
///
/// # Errors
/// Where the host or the region holds bytes that no header can carry.
pub(crate) fn unsigned(
    time: Timestamp,
    call: Call<'_>,
    authorization: HeaderValue,
) -> Result<Vec<(HeaderName, HeaderValue)>, InvalidHeaderValue> {
    Ok(vec![
        (AUTHORIZATION, authorization),
        (CONTENT_TYPE, HeaderValue::from_static(JSON)),
        (HOST, HeaderValue::from_str(call.host)?),
        (HeaderName::from_static("x-tc-action"), HeaderValue::from_str(call.action)?),
        (HeaderName::from_static("x-tc-version"), HeaderValue::from_str(call.version)?),
        (HeaderName::from_static("x-tc-region"), HeaderValue::from_str(call.region)?),
        (HeaderName::from_static("x-tc-timestamp"), HeaderValue::from(time.as_second())),
        // Error messages come in the language of the account otherwise.
        (HeaderName::from_static("x-tc-language"), HeaderValue::from_static("en-US")),
    ])
}

/// The parts of a request that the signature covers.
struct Canonical<'a> {
    method: &'a str,
    query: &'a str,
    content_type: &'a str,
    host: &'a str,
    /// `x-tc-action` may be signed or left out.
    action: Option<&'a str>,
    body: &'a [u8],
}

impl Canonical<'_> {
    fn signed_headers(&self) -> &'static str {
        match self.action {
            Some(_) => "content-type;host;x-tc-action",
            None => "content-type;host",
        }
    }

    /// The canonical request. The values of headers are lower-cased too, in this text only.
    fn text(&self) -> String {
        let mut headers = format!(
            "content-type:{}\nhost:{}\n",
            self.content_type.trim().to_lowercase(),
            self.host.trim().to_lowercase()
        );
        if let Some(action) = self.action {
            headers.push_str("x-tc-action:");
            headers.push_str(&action.trim().to_lowercase());
            headers.push('\n');
        }
        format!(
            "{}\n/\n{}\n{headers}\n{}\n{}",
            self.method,
            self.query,
            self.signed_headers(),
            sha256_hex(self.body)
        )
    }

    fn service(&self) -> &str {
        self.host.trim().split(['.', ':']).next().unwrap_or_default()
    }

    fn signature(&self, time: Timestamp, secret_key: &str) -> String {
        let date = utc_date(time);
        let service = self.service();
        let to_sign = format!(
            "{ALGORITHM}\n{}\n{date}/{service}/{SCOPE_END}\n{}",
            time.as_second(),
            sha256_hex(self.text().as_bytes())
        );
        let [_, _, key] = derive(secret_key, &date, service);
        HEXLOWER.encode(hmac_sha256(key.as_ref(), to_sign.as_bytes()).as_ref())
    }

    fn authorization(&self, time: Timestamp, secret_id: &str, secret_key: &str) -> String {
        format!(
            "{ALGORITHM} Credential={secret_id}/{}/{}/{SCOPE_END}, SignedHeaders={}, Signature={}",
            utc_date(time),
            self.service(),
            self.signed_headers(),
            self.signature(time, secret_key)
        )
    }
}

/// The keys of a date, of a service on that date, and of requests to it.
fn derive(secret_key: &str, date: &str, service: &str) -> [hmac::Tag; 3] {
    let date_key = hmac_sha256(format!("TC3{secret_key}").as_bytes(), date.as_bytes());
    let service_key = hmac_sha256(date_key.as_ref(), service.as_bytes());
    let signing_key = hmac_sha256(service_key.as_ref(), SCOPE_END.as_bytes());
    [date_key, service_key, signing_key]
}

fn hmac_sha256(key: &[u8], text: &[u8]) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text)
}

fn sha256_hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn utc_date(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).date().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Credentials;

    const ID: &str = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE";
    const KEY: &str = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";
    /// With literal backslash-u escapes, as published.
    const BODY: &str =
        r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
    const STARS: &str = "********************************";
    const TIME: i64 = 1_551_113_065;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn published(action: Option<&'static str>) -> Canonical<'static> {
        Canonical {
            method: "POST",
            query: "",
            content_type: JSON,
            host: "cvm.tencentcloudapi.com",
            action,
            body: BODY.as_bytes(),
        }
    }

    fn keys(secret_key: &str) -> [String; 3] {
        derive(secret_key, "2019-02-25", "cvm").map(|key| HEXLOWER.encode(key.as_ref()))
    }

    #[test]
    fn vector_a_two_headers() {
        assert_eq!(BODY.len(), 86);
        assert_eq!(
            sha256_hex(BODY.as_bytes()),
            "35e9c5b0e3ae67532d3c9f17ead6c90222632e5b1ff7f6e89887f1398934f064"
        );
        let request = published(None);
        assert_eq!(
            sha256_hex(request.text().as_bytes()),
            "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
        );
        assert_eq!(
            keys(KEY),
            [
                "d1308c81fe71cfd4e06437bbc067b2b8a3d2d8c0e375d547f15c41d5214b395a",
                "3c7cb7c7795393edc14fd2e0e6434a518564b4504b88e94f5d11bf59ba3e7050",
                "ac658d5dde49e9bfdd14e04e062f66b05d9f637d44b8a8d845327d4a77f666b1",
            ]
        );
        assert_eq!(
            request.authorization(at(TIME), ID, KEY),
            "TC3-HMAC-SHA256 Credential=AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE/2019-02-25/cvm/tc3_request, \
             SignedHeaders=content-type;host, \
             Signature=72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
        );
    }

    #[test]
    fn vector_b_three_headers() {
        let request = published(Some("DescribeInstances"));
        assert_eq!(
            sha256_hex(request.text().as_bytes()),
            "7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84"
        );
        assert_eq!(
            keys(STARS),
            [
                "da98fb70dcf6b112dc21038d1eeeb3a95c74b4dcb12c1131f864f6066bd02be0",
                "8d70cbefb03939f929db64d32dc2ba89b1095620119fe3e050e2b18c5bd2752f",
                "b596b923aad85185e2d1f6659d2a062e0a86731226e021e61bfe06f7ed05f5af",
            ]
        );
        assert_eq!(
            request.authorization(at(TIME), &format!("AKID{STARS}"), STARS),
            "TC3-HMAC-SHA256 Credential=AKID********************************/2019-02-25/cvm/tc3_request, \
             SignedHeaders=content-type;host;x-tc-action, \
             Signature=10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f"
        );
    }

    #[test]
    fn vector_c_another_key() {
        assert_eq!(
            published(Some("DescribeInstances"))
                .signature(at(TIME), "Gu5t9xGARNpq86cd98joQYCN3*******"),
            "be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3"
        );
    }

    #[test]
    fn vector_d_get_with_a_query() {
        let request = Canonical {
            method: "GET",
            query: "Limit=10&Offset=0",
            content_type: "application/x-www-form-urlencoded",
            body: b"",
            ..published(None)
        };
        assert_eq!(
            request.signature(at(1_539_084_154), KEY),
            "5da7a33f6993f0614b047e5df4582db9e9bf4672ba50567dba16c6ccf174c474"
        );
    }

    const CLB_BODY: &[u8] = br#"{"LoadBalancerId":"lb-10iq9lou","ListenerIds":["lbl-4ue2rpl2"]}"#;

    fn clb(content_type: &'static str, action: Option<&'static str>) -> Canonical<'static> {
        Canonical {
            content_type,
            host: "clb.tencentcloudapi.com",
            body: CLB_BODY,
            ..published(action)
        }
    }

    #[test]
    fn vector_e_a_call_to_clb() {
        assert_eq!(
            sha256_hex(CLB_BODY),
            "ec1f831da20027593f9436221cfcf3c2d0bd352c581574406afdc316bdab00a0"
        );
        let three = clb(JSON, Some("DescribeTargets"));
        assert_eq!(
            sha256_hex(three.text().as_bytes()),
            "a352832baf383f2ab45320f66439847e91f83aaafd98e180899cbe77c2d7fc8f"
        );
        assert_eq!(
            three.signature(at(TIME), KEY),
            "e139744a6f4389160f11a200382cf12acd6d1145a09be06f37ccfb6a37c996c0"
        );
        let two = clb("application/json", None);
        assert_eq!(
            sha256_hex(two.text().as_bytes()),
            "06a2662d02f2dc11a9fabc8d634df3368a77d05fe05b52432591b4099b7aea5c"
        );
        assert_eq!(
            two.signature(at(TIME), KEY),
            "89f1ee16caca7a47c423d7506f06c9c45ba73d6e9024829d3eef5df297f3c74e"
        );
    }

    fn call() -> Call<'static> {
        Call {
            action: "DescribeTargets",
            version: "2018-03-17",
            region: "ap-guangzhou",
            host: "clb.tencentcloudapi.com",
            body: CLB_BODY,
        }
    }

    #[test]
    fn the_headers_on_the_wire_are_the_signed_ones() {
        let credentials = Credentials::for_tests(ID, KEY, Some("a-token"));
        let headers = sign(at(TIME), call(), &credentials).unwrap();
        let get = |name: &str| {
            let found = headers.iter().find(|(known, _)| known == name);
            found.unwrap_or_else(|| panic!("no {name}")).1.to_str().unwrap().to_owned()
        };
        assert!(get("authorization").ends_with(
            "/2019-02-25/clb/tc3_request, SignedHeaders=content-type;host;x-tc-action, \
             Signature=e139744a6f4389160f11a200382cf12acd6d1145a09be06f37ccfb6a37c996c0"
        ));
        assert_eq!(get("content-type"), "application/json; charset=utf-8");
        assert_eq!(get("host"), "clb.tencentcloudapi.com");
        assert_eq!(get("x-tc-action"), "DescribeTargets");
        assert_eq!(get("x-tc-version"), "2018-03-17");
        assert_eq!(get("x-tc-region"), "ap-guangzhou");
        assert_eq!(get("x-tc-timestamp"), "1551113065");
        assert_eq!(get("x-tc-token"), "a-token");
        let shown = format!("{headers:?}");
        assert!(!shown.contains("Signature=") && !shown.contains("a-token"), "{shown}");
    }

    #[test]
    fn the_service_is_the_first_label_of_the_host() {
        for host in ["clb.tencentcloudapi.com", "clb.internal.tencentcloudapi.com:443", "clb"] {
            assert_eq!(Canonical { host, ..published(None) }.service(), "clb");
        }
    }

    #[test]
    fn bytes_that_no_header_carries_are_an_error() {
        let credentials = Credentials::for_tests("AKID\n", KEY, None);
        assert!(sign(at(TIME), call(), &credentials).is_err());
        let call = Call { region: "ap\r\nguangzhou", ..call() };
        assert!(sign(at(TIME), call, &Credentials::for_tests(ID, KEY, None)).is_err());
    }
}
