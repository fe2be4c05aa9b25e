//! What each source gives, and why it gives nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::{CLB, Cloud, Folder, JWT, ROLE, ROLES, STS, describe, id_of, identity};
use crate::tests::stub::{Reply, Stub, began, clock, environment, refused, settings, text};
use crate::{Client, CredentialSource, Failure};

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
