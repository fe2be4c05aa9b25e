//! Sources against a server in the same process that plays CLB, STS and the metadata service.

mod renewal;
mod sources;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;

use crate::tests::stub::{Reply, Seen, Stub, clock, environment, ok, refused, settings, text};
use crate::{Client, Error, Listeners};

const CLB: &str = "DescribeTargets";
const STS: &str = "AssumeRoleWithWebIdentity";
const ROLES: &str = "/latest/meta-data/cam/security-credentials/";
const ROLE: &str = "/latest/meta-data/cam/security-credentials/node-role";
const JWT: &str = "eyJhbGciOi.a-web-identity-token";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("lameduck-clb-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// CLB, STS and metadata. Temporary credentials are numbered.
#[derive(Clone)]
struct Cloud {
    stub: Stub,
    control: Arc<Control>,
}

struct Control {
    /// What STS and the metadata service answer in place of credentials.
    no_credentials: Mutex<Option<Reply>>,
    /// Temporary credentials below this number are refused by CLB.
    refused_below: AtomicU32,
    issued: AtomicU32,
    life_seconds: AtomicU32,
    /// How long STS takes.
    sts_millis: AtomicU32,
    role_missing: AtomicBool,
    clock: crate::clock::Clock,
}

impl Cloud {
    fn new() -> Self {
        let control = Arc::new(Control {
            no_credentials: Mutex::default(),
            refused_below: AtomicU32::new(0),
            issued: AtomicU32::new(0),
            life_seconds: AtomicU32::new(7200),
            sts_millis: AtomicU32::new(0),
            role_missing: AtomicBool::new(false),
            clock: clock(),
        });
        let stub = Stub::new({
            let control = Arc::clone(&control);
            move |seen, _| control.answer(seen)
        });
        Self { stub, control }
    }

    fn fail(&self, reply: Reply) {
        *self.control.no_credentials.lock().unwrap() = Some(reply);
    }

    fn mend(&self) {
        *self.control.no_credentials.lock().unwrap() = None;
    }

    fn live(&self, seconds: u32) {
        self.control.life_seconds.store(seconds, Ordering::Relaxed);
    }

    fn client(&self, variables: &[(&str, &str)], folder: Option<&Path>) -> Client {
        let mut settings = settings(environment(variables));
        settings.credentials.folder = folder.map(Path::to_owned);
        Client::over(self.stub.http(), self.control.clock, settings).unwrap()
    }

    /// A client with a pod identity.
    fn identity(&self, token_file: &Path) -> Client {
        self.client(&identity(token_file.to_str().unwrap()), None)
    }

    /// The token of each call to CLB.
    fn tokens(&self) -> Vec<String> {
        let seen = self.stub.seen();
        let calls = seen.iter().filter(|seen| seen.action() == CLB);
        calls.map(|seen| seen.header("x-tc-token").to_owned()).collect()
    }
}

impl Control {
    fn answer(&self, seen: &Seen) -> Reply {
        if seen.action() == CLB {
            let token = seen.header("x-tc-token").trim_start_matches("token-").parse::<u32>();
            if token.is_ok_and(|token| token < self.refused_below.load(Ordering::Relaxed)) {
                return refused("AuthFailure.TokenFailure", "token error");
            }
            return ok(json!({"Listeners": []}));
        }
        if seen.path == ROLES {
            return if self.role_missing.load(Ordering::Relaxed) {
                text(404, "not found")
            } else {
                text(200, "node-role\n")
            };
        }
        if let Some(reply) = &*self.no_credentials.lock().unwrap() {
            return reply.clone();
        }
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let end =
            self.clock.now().as_second() + i64::from(self.life_seconds.load(Ordering::Relaxed));
        let mut keys = json!({
            "TmpSecretId": format!("AKID-{number}"),
            "TmpSecretKey": format!("temporary-key-{number}"),
            "Token": format!("token-{number}"),
        });
        if seen.action() == STS {
            let took = Duration::from_millis(self.sts_millis.load(Ordering::Relaxed).into());
            let answer = json!({"Credentials": keys, "ExpiredTime": end, "Expiration": null});
            return Reply::Late(took, json!({ "Response": answer }).to_string().into());
        }
        assert_eq!(seen.path, ROLE);
        keys["ExpiredTime"] = json!(end);
        keys["Code"] = json!("Success");
        text(200, &keys.to_string())
    }
}

fn identity(token_file: &str) -> [(&str, &str); 4] {
    [
        ("TKE_REGION", "ap-shanghai"),
        ("TKE_PROVIDER_ID", "cls-1"),
        ("TKE_WEB_IDENTITY_TOKEN_FILE", token_file),
        ("TKE_ROLE_ARN", "qcs::cam::uin/100:roleName/lameduck"),
    ]
}

async fn describe(client: &Client) -> Result<Listeners, Error> {
    client.describe_targets("lb-1", &[]).await
}

fn id_of(seen: &Seen) -> String {
    let authorization = seen.header("authorization");
    let (_, rest) = authorization.split_once("Credential=").unwrap();
    rest.split('/').next().unwrap().to_owned()
}
