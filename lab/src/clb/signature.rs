//! Verifies TC3-HMAC-SHA256. Pure, and written from the published description alone: nothing is shared
//! with the client that it verifies, so that a mistake of one is seen by the other.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest, Sha256};

use super::credentials::{Caller, Credentials};
use super::error::ApiError;

/// How far a request's time may be from ours.
const SKEW_SECONDS: i64 = 300;
const ALGORITHM: &str = "TC3-HMAC-SHA256";

/// What of a request is signed, as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// `POST`.
    pub method: &'a str,
    /// Without the question mark.
    pub query: &'a str,
    /// Names in lower case.
    pub headers: &'a [(String, String)],
    /// Byte for byte.
    pub body: &'a [u8],
}

impl Signed<'_> {
    /// The header `name`, which is in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Who sent `request`, and for which service: `clb`, `sts`.
///
/// # Errors
/// `AuthFailure.*`, with what is wrong.
pub fn verify(
    request: &Signed<'_>,
    credentials: &Credentials,
    now: Timestamp,
) -> Result<(Caller, String), ApiError> {
    let given =
        request.header("authorization").ok_or_else(|| ApiError::missing("Authorization"))?;
    let Authorization { id, date, service, signed_headers, signature } =
        authorization(given).ok_or_else(|| mismatch("the Authorization header is malformed"))?;
    let text =
        request.header("x-tc-timestamp").ok_or_else(|| ApiError::missing("X-TC-Timestamp"))?;
    let seconds: i64 = text.parse().map_err(|_| mismatch("X-TC-Timestamp is no number"))?;
    if (seconds - now.as_second()).abs() > SKEW_SECONDS {
        return Err(ApiError::new(
            "AuthFailure.SignatureExpire",
            format!(
                "Signature expired: {seconds} and the server time {} differ by more than {SKEW_SECONDS} s.",
                now.as_second()
            ),
        ));
    }
    if utc_date(seconds).as_deref() != Some(date) {
        return Err(mismatch("the date of the credential scope is not that of X-TC-Timestamp"));
    }
    for needed in ["content-type", "host"] {
        if !signed_headers.split(';').any(|name| name == needed) {
            return Err(mismatch(&format!("{needed} is not signed")));
        }
    }
    let token = request.header("x-tc-token").filter(|token| !token.is_empty());
    let (caller, key) = credentials.find(id, token, now)?;
    let canonical = canonical_request(request, signed_headers)
        .ok_or_else(|| mismatch("a signed header was not sent"))?;
    let to_sign = string_to_sign(seconds, date, service, &canonical);
    let [.., signing] = signing_keys(key, date, service);
    if hex(&hmac_sha256(&signing, to_sign.as_bytes())) != signature {
        return Err(mismatch("it is another one than ours"));
    }
    Ok((caller, service.to_owned()))
}

fn mismatch(why: &str) -> ApiError {
    ApiError::new(
        "AuthFailure.SignatureFailure",
        format!(
            "The provided credentials could not be validated. Please check your signature is correct. ({why})"
        ),
    )
}

/// The parts of an Authorization header.
#[derive(Debug)]
struct Authorization<'a> {
    id: &'a str,
    date: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

fn authorization(text: &str) -> Option<Authorization<'_>> {
    let rest = text.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
    let mut parts = rest.split(',').map(str::trim);
    let scope = parts.next()?.strip_prefix("Credential=")?;
    let signed_headers = parts.next()?.strip_prefix("SignedHeaders=")?;
    let signature = parts.next()?.strip_prefix("Signature=")?;
    let mut scope = scope.split('/');
    let (id, date, service) = (scope.next()?, scope.next()?, scope.next()?);
    let whole = scope.next()? == "tc3_request" && scope.next().is_none() && parts.next().is_none();
    whole.then_some(Authorization { id, date, service, signed_headers, signature })
}

/// None where a header that is said to be signed was not sent.
fn canonical_request(request: &Signed<'_>, signed_headers: &str) -> Option<String> {
    let mut names: Vec<&str> = signed_headers.split(';').collect();
    names.sort_unstable();
    let mut headers = String::new();
    for name in names {
        let value = request.header(name)?.trim().to_lowercase();
        headers.push_str(&format!("{}:{value}\n", name.to_lowercase()));
    }
    let body = hex(&Sha256::digest(request.body));
    let Signed { method, query, .. } = request;
    Some(format!("{method}\n/\n{query}\n{headers}\n{signed_headers}\n{body}"))
}

fn string_to_sign(seconds: i64, date: &str, service: &str, canonical: &str) -> String {
    let hash = hex(&Sha256::digest(canonical.as_bytes()));
    format!("{ALGORITHM}\n{seconds}\n{date}/{service}/tc3_request\n{hash}")
}

/// The keys of the date, of the service, and of the request.
fn signing_keys(key: &str, date: &str, service: &str) -> [Vec<u8>; 3] {
    let of_date = hmac_sha256(format!("TC3{key}").as_bytes(), date.as_bytes());
    let of_service = hmac_sha256(&of_date, service.as_bytes());
    let of_request = hmac_sha256(&of_service, b"tc3_request");
    [of_date, of_service, of_request]
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref().to_vec()
}

/// `YYYY-MM-DD` in UTC.
fn utc_date(seconds: i64) -> Option<String> {
    let time = Timestamp::from_second(seconds).ok()?.to_zoned(TimeZone::UTC);
    Some(time.strftime("%Y-%m-%d").to_string())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use sha2::{Digest, Sha256};

    use super::{
        Credentials, Signed, canonical_request, hex, hmac_sha256, signing_keys, string_to_sign,
        utc_date, verify,
    };
    use crate::clb::credentials::Secret;

    /// The `Authorization` of a request: the stand-in's own arithmetic, which the vectors check.
    pub(in crate::clb) fn sign(
        request: &Signed<'_>,
        signed_headers: &str,
        (id, key): (&str, &str),
        service: &str,
        seconds: i64,
    ) -> String {
        let date = utc_date(seconds).unwrap();
        let canonical = canonical_request(request, signed_headers).unwrap();
        let to_sign = string_to_sign(seconds, &date, service, &canonical);
        let [.., signing] = signing_keys(key, &date, service);
        let signature = hex(&hmac_sha256(&signing, to_sign.as_bytes()));
        format!(
            "TC3-HMAC-SHA256 Credential={id}/{date}/{service}/tc3_request, SignedHeaders={signed_headers}, Signature={signature}"
        )
    }

    const ID: &str = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE";
    const KEY: &str = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";
    const CVM_BODY: &str =
        r#"{"Limit": 1, "Filters": [{"Values": ["\u672a\u547d\u540d"], "Name": "instance-name"}]}"#;
    const CLB_BODY: &str = r#"{"LoadBalancerId":"lb-10iq9lou","ListenerIds":["lbl-4ue2rpl2"]}"#;
    const JSON: &str = "application/json; charset=utf-8";

    fn headers(content_type: &str, host: &str, action: &str) -> Vec<(String, String)> {
        [("content-type", content_type), ("host", host), ("x-tc-action", action)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec()
    }

    struct Vector {
        name: &'static str,
        id: String,
        key: String,
        request: (&'static str, &'static str, &'static str),
        content_type: &'static str,
        host: &'static str,
        action: &'static str,
        signed: &'static str,
        service: &'static str,
        seconds: i64,
        canonical: Option<&'static str>,
        signature: &'static str,
    }

    fn vectors() -> Vec<Vector> {
        let a = || Vector {
            name: "A",
            id: ID.into(),
            key: KEY.into(),
            request: ("POST", "", CVM_BODY),
            content_type: JSON,
            host: "cvm.tencentcloudapi.com",
            action: "DescribeInstances",
            signed: "content-type;host",
            service: "cvm",
            seconds: 1_551_113_065,
            canonical: Some("5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"),
            signature: "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168",
        };
        let clb = || Vector {
            name: "E, three headers",
            request: ("POST", "", CLB_BODY),
            host: "clb.tencentcloudapi.com",
            action: "DescribeTargets",
            signed: "content-type;host;x-tc-action",
            service: "clb",
            canonical: Some("a352832baf383f2ab45320f66439847e91f83aaafd98e180899cbe77c2d7fc8f"),
            signature: "e139744a6f4389160f11a200382cf12acd6d1145a09be06f37ccfb6a37c996c0",
            ..a()
        };
        vec![
            a(),
            Vector {
                name: "B",
                id: format!("AKID{}", "*".repeat(32)),
                key: "*".repeat(32),
                signed: "content-type;host;x-tc-action",
                canonical: Some("7019a55be8395899b900fb5564e4200d984910f34794a27cb3fb7d10ff6a1e84"),
                signature: "10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f",
                ..a()
            },
            Vector {
                name: "C",
                key: format!("Gu5t9xGARNpq86cd98joQYCN3{}", "*".repeat(7)),
                signed: "content-type;host;x-tc-action",
                canonical: None,
                signature: "be4f67d323c78ab9acb7395e43c0dbcf822a9cfac32fea2449a7bc7726b770a3",
                ..a()
            },
            Vector {
                name: "D",
                request: ("GET", "Limit=10&Offset=0", ""),
                content_type: "application/x-www-form-urlencoded",
                seconds: 1_539_084_154,
                canonical: None,
                signature: "5da7a33f6993f0614b047e5df4582db9e9bf4672ba50567dba16c6ccf174c474",
                ..a()
            },
            clb(),
            Vector {
                name: "E, two headers",
                content_type: "application/json",
                signed: "content-type;host",
                canonical: Some("06a2662d02f2dc11a9fabc8d634df3368a77d05fe05b52432591b4099b7aea5c"),
                signature: "89f1ee16caca7a47c423d7506f06c9c45ba73d6e9024829d3eef5df297f3c74e",
                ..clb()
            },
        ]
    }

    #[test]
    fn published_vectors_are_met_and_accepted() {
        for vector in vectors() {
            let name = vector.name;
            let mut sent = headers(vector.content_type, vector.host, vector.action);
            let (method, query, body) = vector.request;
            let request = Signed { method, query, headers: &sent, body: body.as_bytes() };
            if let Some(expected) = vector.canonical {
                let canonical = canonical_request(&request, vector.signed).unwrap();
                assert_eq!(hex(&Sha256::digest(canonical.as_bytes())), expected, "{name}");
            }
            let pair = (vector.id.as_str(), vector.key.as_str());
            let said = sign(&request, vector.signed, pair, vector.service, vector.seconds);
            assert_eq!(said.rsplit_once("Signature=").unwrap().1, vector.signature, "{name}");
            sent.push(("authorization".into(), said));
            sent.push(("x-tc-timestamp".into(), vector.seconds.to_string()));
            let request = Signed { method, query, headers: &sent, body: body.as_bytes() };
            let mut credentials = Credentials::default();
            credentials.add(Secret::permanent(&vector.id, &vector.key));
            let now = Timestamp::from_second(vector.seconds).unwrap();
            let (caller, service) = verify(&request, &credentials, now).unwrap();
            assert_eq!((caller.id, service.as_str()), (vector.id, vector.service), "{name}");
        }
    }

    #[test]
    fn keys_of_the_published_vectors() {
        let cases = [
            (
                KEY.to_owned(),
                [
                    "d1308c81fe71cfd4e06437bbc067b2b8a3d2d8c0e375d547f15c41d5214b395a",
                    "3c7cb7c7795393edc14fd2e0e6434a518564b4504b88e94f5d11bf59ba3e7050",
                    "ac658d5dde49e9bfdd14e04e062f66b05d9f637d44b8a8d845327d4a77f666b1",
                ],
            ),
            (
                "*".repeat(32),
                [
                    "da98fb70dcf6b112dc21038d1eeeb3a95c74b4dcb12c1131f864f6066bd02be0",
                    "8d70cbefb03939f929db64d32dc2ba89b1095620119fe3e050e2b18c5bd2752f",
                    "b596b923aad85185e2d1f6659d2a062e0a86731226e021e61bfe06f7ed05f5af",
                ],
            ),
        ];
        for (key, expected) in cases {
            let keys = signing_keys(&key, "2019-02-25", "cvm").map(|key| hex(&key));
            assert_eq!(keys, expected.map(str::to_owned));
        }
    }

    /// What is wrong, how a good request becomes that, the code.
    type Case = (&'static str, fn(&mut Vec<(String, String)>, &mut Vec<u8>), &'static str);

    fn set(headers: &mut [(String, String)], name: &str, change: impl Fn(&str) -> String) {
        for (_, value) in headers.iter_mut().filter(|(key, _)| key == name) {
            *value = change(value);
        }
    }

    #[test]
    fn every_wrong_byte_is_refused_with_its_code() {
        const WRONG: &str = "AuthFailure.SignatureFailure";
        let cases: [Case; 9] = [
            ("body", |_, body| body.push(b' '), WRONG),
            ("host", |headers, _| set(headers, "host", |_| "other".into()), WRONG),
            ("type", |headers, _| set(headers, "content-type", |_| "text/plain".into()), WRONG),
            (
                "signature",
                |headers, _| set(headers, "authorization", |v| format!("{}x", &v[..v.len() - 1])),
                WRONG,
            ),
            (
                "scheme",
                |headers, _| set(headers, "authorization", |v| v.replace("TC3-", "TC2-")),
                WRONG,
            ),
            (
                "scope's date",
                |headers, _| set(headers, "authorization", |v| v.replace("02-25/", "02-24/")),
                WRONG,
            ),
            (
                "late",
                |headers, _| set(headers, "x-tc-timestamp", |_| "1551112764".into()),
                "AuthFailure.SignatureExpire",
            ),
            (
                "unknown id",
                |headers, _| set(headers, "authorization", |v| v.replace(ID, "AKIDother")),
                "AuthFailure.SecretIdNotFound",
            ),
            (
                "nothing signed",
                |headers, _| headers.retain(|(name, _)| name != "authorization"),
                "MissingParameter",
            ),
        ];
        let mut credentials = Credentials::default();
        credentials.add(Secret::permanent(ID, KEY));
        let seconds = 1_551_113_065;
        for (what, spoil, code) in cases {
            let mut sent = headers(JSON, "clb.tencentcloudapi.com", "DescribeTargets");
            let mut body = CLB_BODY.as_bytes().to_vec();
            let request = Signed { method: "POST", query: "", headers: &sent, body: &body };
            let said = sign(&request, "content-type;host", (ID, KEY), "clb", seconds);
            sent.push(("authorization".into(), said));
            sent.push(("x-tc-timestamp".into(), seconds.to_string()));
            spoil(&mut sent, &mut body);
            let request = Signed { method: "POST", query: "", headers: &sent, body: &body };
            let now = Timestamp::from_second(seconds).unwrap();
            assert_eq!(verify(&request, &credentials, now).unwrap_err().code, code, "{what}");
        }
    }
}
