//! Sources against a server in the same process that plays CLB, STS and the metadata service.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::ToSpan;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::tests::stub::{
    Reply, Seen, Stub, began, clock, environment, ok, refused, settings, text,
};
use crate::{Client, CredentialSource, Error, Failure, Listeners};

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
            return ok(json!({"Credentials": keys, "ExpiredTime": end, "Expiration": null}));
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

#[tokio::test(start_paused = true)]
async fn the_first_source_that_is_configured_is_used() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    folder.write("secretId", "AKID-of-files\n");
    folder.write("secretKey", "key-of-files\n");
    let token_file = folder.write("jwt", JWT);
    let token_file = token_file.to_str().unwrap();
    let keys = [("TENCENTCLOUD_SECRET_ID", "AKID-of-env"), ("TENCENTCLOUD_SECRET_KEY", "k")];
    let all: Vec<_> = keys.into_iter().chain(identity(token_file)).collect();
    let clients = [
        cloud.client(&all, Some(&folder.0)),
        cloud.client(&identity(token_file), Some(&folder.0)),
        cloud.client(&identity(token_file), None),
        cloud.client(&[], None),
    ];
    for client in &clients {
        describe(client).await.unwrap();
    }
    let seen = cloud.stub.seen();
    let ids: Vec<_> = seen.iter().filter(|seen| seen.action() == CLB).map(id_of).collect();
    assert_eq!(ids, ["AKID-of-env", "AKID-of-files", "AKID-0", "AKID-1"]);
    assert_eq!(cloud.tokens(), ["", "", "token-0", "token-1"]);
    assert_eq!((cloud.stub.count(STS), cloud.stub.count(ROLE)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_any_each_says_why() {
    let cloud = Cloud::new();
    cloud.control.role_missing.store(true, Ordering::Relaxed);
    let folder = Folder::new();
    let error = describe(&cloud.client(&[], Some(&folder.0))).await.unwrap_err();
    let line = error.to_string();
    for part in [
        "environment not used: TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY are not set",
        "mounted files not used: ",
        "has neither secretId nor secretKey",
        "TKE pod identity not used: TKE_PROVIDER_ID, TKE_WEB_IDENTITY_TOKEN_FILE and TKE_ROLE_ARN",
        "CVM role not used: the node has no CAM role",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert_eq!((error.tries, cloud.stub.count(CLB)), (0, 0));
    assert!(!error.retry_helps());
    let Failure::Credentials(error) = error.failure else { panic!("{line}") };
    let sources: Vec<_> = error.reasons().map(|(source, _)| source).collect();
    use CredentialSource::{CvmRole, Environment, Files, PodIdentity};
    assert_eq!(sources, [Environment, Files, PodIdentity, CvmRole]);
}

#[tokio::test(start_paused = true)]
async fn nobody_stands_in_for_a_configured_source_that_fails() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    folder.write("secretId", "AKID-of-files");
    let cases = [
        (
            cloud.client(&[("TENCENTCLOUD_SECRET_ID", "AKID")], Some(&folder.0)),
            "environment failed: TENCENTCLOUD_SECRET_ID is set, but not TENCENTCLOUD_SECRET_KEY; \
             mounted files not used: environment is configured",
        ),
        (cloud.client(&[], Some(&folder.0)), "but no secretKey; TKE pod identity not used"),
        (
            cloud.client(&[("TKE_ROLE_ARN", "qcs::cam::uin/100:roleName/lameduck")], None),
            "TKE pod identity failed: not set: TKE_REGION, TKE_PROVIDER_ID, \
             TKE_WEB_IDENTITY_TOKEN_FILE; CVM role not used: TKE pod identity is configured",
        ),
        (
            cloud.client(&identity("/nowhere/token"), None),
            "TKE pod identity failed: cannot read /nowhere/token",
        ),
        (
            cloud.client(
                &[("TENCENTCLOUD_SECRET_ID", "AKID"), ("TENCENTCLOUD_SECRET_KEY", "a\nb")],
                None,
            ),
            "environment failed: the secret key is empty or holds characters",
        ),
    ];
    for (client, part) in cases {
        let line = describe(&client).await.unwrap_err().to_string();
        assert!(line.contains(part), "{part}: {line}");
        assert!(line.contains("environment") && line.contains("CVM role"), "{line}");
    }
    assert_eq!(cloud.stub.seen().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn files_are_in_use_as_soon_as_they_change() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.client(&[], Some(&folder.0));
    folder.write("secretId", "AKID-one");
    folder.write("secretKey", "key-one");
    describe(&client).await.unwrap();
    folder.write("secretId", "AKID-two");
    folder.write("token", "session-token");
    describe(&client).await.unwrap();
    // Half of them, for a moment: the last ones stay.
    std::fs::remove_file(folder.0.join("secretKey")).unwrap();
    describe(&client).await.unwrap();
    let ids: Vec<_> = cloud.stub.seen().iter().map(id_of).collect();
    assert_eq!(ids, ["AKID-one", "AKID-two", "AKID-two"]);
    assert_eq!(cloud.tokens(), ["", "session-token", "session-token"]);
    // Taken away: they are not used any more.
    std::fs::remove_file(folder.0.join("secretId")).unwrap();
    describe(&client).await.unwrap();
    assert_eq!(cloud.tokens()[3], "token-0", "the node's role comes next");
}

#[tokio::test(start_paused = true)]
async fn pod_identity_as_sts_wants_it() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.identity(&folder.write("token", JWT));
    describe(&client).await.unwrap();
    let seen = &cloud.stub.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/"));
    for (name, value) in [
        ("authorization", "SKIP"),
        ("host", "sts.tencentcloudapi.com"),
        ("x-tc-action", STS),
        ("x-tc-version", "2018-08-13"),
        ("x-tc-region", "ap-shanghai"),
        ("x-tc-token", ""),
        ("content-type", "application/json; charset=utf-8"),
    ] {
        assert_eq!(seen.header(name), value, "{name}");
    }
    let mut body = seen.body.clone();
    assert!(body["RoleSessionName"].take().is_string());
    let sent: Value = json!({
        "ProviderId": "cls-1", "WebIdentityToken": JWT, "DurationSeconds": 7200,
        "RoleArn": "qcs::cam::uin/100:roleName/lameduck", "RoleSessionName": null,
    });
    assert_eq!(body, sent);
    // The next renewal reads the file again.
    folder.write("token", "the-next-token");
    sleep(Duration::from_secs(7200)).await;
    describe(&client).await.unwrap();
    let seen = cloud.stub.seen();
    let last = seen.iter().rfind(|seen| seen.action() == STS).unwrap();
    assert_eq!(last.body["WebIdentityToken"], "the-next-token");
}

#[tokio::test(start_paused = true)]
async fn what_sts_refuses_is_said_without_the_token() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.identity(&folder.write("token", JWT));
    cloud.fail(refused("AuthFailure.UnauthorizedOperation", &format!("bad {JWT}")));
    let error = describe(&client).await.unwrap_err();
    let line = format!("{error} {error:?}");
    assert!(line.contains("AuthFailure.UnauthorizedOperation: bad [secret]"), "{line}");
    assert!(!line.contains(JWT) && !error.retry_helps(), "{line}");
    assert_eq!((cloud.stub.count(STS), cloud.stub.count(ROLES)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_passing_fault_of_sts_is_not_seen() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.identity(&folder.write("token", JWT));
    cloud.fail(text(500, ""));
    let call = tokio::spawn(async move { describe(&client).await });
    while cloud.stub.count(STS) < 2 {
        sleep(Duration::from_millis(1)).await;
    }
    cloud.mend();
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_callers_share_one_renewal() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.identity(&folder.write("token", JWT));
    for round in 1..=3 {
        let calls = (0..50).map(|_| describe(&client));
        for result in futures::future::join_all(calls).await {
            result.unwrap();
        }
        assert_eq!(cloud.stub.count(STS), round);
        sleep(Duration::from_secs(7200)).await;
    }
    assert_eq!(cloud.tokens().len(), 150);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_ahead_and_behind_the_callers_back() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.identity(&folder.write("token", JWT));
    describe(&client).await.unwrap();
    sleep(Duration::from_secs(7200 - 721)).await;
    describe(&client).await.unwrap();
    assert_eq!(cloud.stub.count(STS), 1, "a tenth of its life is not yet all that is left");
    sleep(Duration::from_secs(2)).await;
    // STS says nothing at all, and yet the call is answered with what is still valid.
    cloud.fail(Reply::Silent);
    describe(&client).await.unwrap();
    assert_eq!(cloud.tokens().last().unwrap(), "token-0");
    sleep(Duration::from_millis(1)).await;
    assert_eq!(cloud.stub.count(STS), 2, "but the renewal began");
}

#[tokio::test(start_paused = true)]
async fn a_node_role_is_renewed_300_seconds_ahead() {
    let cloud = Cloud::new();
    cloud.live(1000);
    let client = cloud.client(&[], None);
    describe(&client).await.unwrap();
    sleep(Duration::from_secs(699)).await;
    describe(&client).await.unwrap();
    assert_eq!(cloud.stub.count(ROLE), 1);
    sleep(Duration::from_secs(2)).await;
    describe(&client).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(cloud.stub.count(ROLE), 2);
    describe(&client).await.unwrap();
    assert_eq!(cloud.tokens().last().unwrap(), "token-1");
}

#[tokio::test(start_paused = true)]
async fn no_call_fails_while_old_credentials_are_valid() {
    for fault in [text(500, ""), refused("InternalError", ""), Reply::Broken, Reply::Silent] {
        let cloud = Cloud::new();
        let folder = Folder::new();
        let client = cloud.identity(&folder.write("token", JWT));
        describe(&client).await.unwrap();
        cloud.fail(fault);
        sleep(Duration::from_secs(6490)).await;
        let end = began() + 7200.seconds();
        let mut asked = 0;
        while cloud.control.clock.now() + 1.second() < end {
            describe(&client).await.unwrap();
            asked += 1;
            sleep(Duration::from_secs(1)).await;
        }
        assert!(asked > 600 && cloud.tokens().iter().all(|token| token == "token-0"));
        // 710 s, at most one renewal of five tries each five seconds.
        assert!((2..=710).contains(&cloud.stub.count(STS)), "{}", cloud.stub.count(STS));
        sleep(Duration::from_secs(2)).await;
        let error = describe(&client).await.unwrap_err();
        assert!(matches!(error.failure, Failure::Credentials(_)), "{error}");
        assert!(error.retry_helps(), "{error}");
        cloud.mend();
        sleep(Duration::from_secs(60)).await;
        describe(&client).await.unwrap();
        assert_eq!(cloud.tokens().last().unwrap(), "token-1");
    }
}

#[tokio::test(start_paused = true)]
async fn no_credentials_are_no_hot_loop() {
    let cloud = Cloud::new();
    cloud.fail(text(500, ""));
    let client = cloud.client(&[], None);
    for _ in 0..1000 {
        describe(&client).await.unwrap_err();
        sleep(Duration::from_millis(10)).await;
    }
    let asked = cloud.stub.count(ROLES);
    assert!((2..=3).contains(&asked), "once in five seconds, not {asked} times in ten");
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_renewed_once() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.identity(&folder.write("token", JWT));
    describe(&client).await.unwrap();
    // Taken back: every caller finds out, one renewal helps all.
    cloud.control.refused_below.store(1, Ordering::Relaxed);
    let calls = (0..20).map(|_| describe(&client));
    for result in futures::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(cloud.stub.count(STS), 2);
    assert_eq!(cloud.tokens().iter().filter(|token| *token == "token-1").count(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_always_refused_is_given_up() {
    let cloud = Cloud::new();
    let folder = Folder::new();
    let client = cloud.identity(&folder.write("token", JWT));
    cloud.control.refused_below.store(u32::MAX, Ordering::Relaxed);
    let error = describe(&client).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().code, "AuthFailure.TokenFailure");
    assert_eq!((cloud.stub.count(STS), cloud.stub.count(CLB)), (2, 2), "{error}");
    for _ in 0..100 {
        describe(&client).await.unwrap_err();
    }
    // 20 calls a second for 5 s: no more renewals than one each five seconds.
    assert!(cloud.stub.count(STS) <= 4, "{}", cloud.stub.count(STS));
}

#[tokio::test(start_paused = true)]
async fn a_fixed_token_that_is_refused_is_not_tried_again() {
    let cloud = Cloud::new();
    cloud.control.refused_below.store(u32::MAX, Ordering::Relaxed);
    let client = cloud.client(
        &[
            ("TENCENTCLOUD_SECRET_ID", "AKID"),
            ("TENCENTCLOUD_SECRET_KEY", "key"),
            ("TENCENTCLOUD_TOKEN", "token-5"),
        ],
        None,
    );
    describe(&client).await.unwrap_err();
    assert_eq!(cloud.stub.count(CLB), 1);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_cannot_be_used_are_none() {
    let keys = json!({"TmpSecretId": "AKID-x", "TmpSecretKey": "hidden-key", "Token": "hidden"});
    let with = |name: &str, value: Value| {
        let mut keys = keys.clone();
        keys[name] = value;
        keys
    };
    let past = json!(began().as_second() - 1);
    let future = json!(began().as_second() + 7200);
    for answer in [
        keys.clone(),
        with("ExpiredTime", past),
        with("ExpiredTime", json!(null)),
        with("ExpiredTime", json!(0)),
        with("Code", json!("Failed")),
        json!({"ExpiredTime": future, "TmpSecretId": "AKID-x", "TmpSecretKey": "hidden-key"}),
        json!({"ExpiredTime": future, "TmpSecretId": "AKID x", "TmpSecretKey": "hidden-key", "Token": "hidden"}),
        json!(null),
    ] {
        let cloud = Cloud::new();
        cloud.fail(text(200, &answer.to_string()));
        let error = describe(&cloud.client(&[], None)).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("CVM role failed"), "{answer}: {shown}");
        assert!(!shown.contains("hidden") && !shown.contains("AKID"), "{shown}");
        assert_eq!(cloud.stub.count(CLB), 0);
    }
    let cloud = Cloud::new();
    cloud.fail(text(200, &with("Expiration", json!("2026-03-01T12:00:00Z")).to_string()));
    describe(&cloud.client(&[], None)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn odd_answers_of_the_metadata_service() {
    for (reply, part) in [
        (text(200, ""), "the node has no CAM role"),
        (text(200, "../../other"), "HTTP status 200 for role (list of roles)"),
        (text(500, "oops"), "HTTP status 500"),
        (Reply::Silent, "cannot be asked: no answer within 2000 ms"),
        (Reply::Broken, "cannot be asked: the connection failed"),
    ] {
        let stub = Stub::script(vec![reply]);
        let client = Client::over(stub.http(), clock(), settings(environment(&[]))).unwrap();
        let line = describe(&client).await.unwrap_err().to_string();
        assert!(line.contains(part), "{part}: {line}");
    }
}
