//! When temporary credentials are renewed, for whom, and how often.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::ToSpan;
use tokio::time::sleep;

use super::{CLB, Cloud, Folder, JWT, ROLE, ROLES, STS, describe};
use crate::Failure;
use crate::tests::stub::{Reply, began, refused, text};

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
            sleep(Duration::from_secs(5)).await;
        }
        assert!(asked > 100 && cloud.tokens().iter().all(|token| token == "token-0"));
        // 710 s, at most one renewal of five tries each five seconds.
        assert!((2..=710).contains(&cloud.stub.count(STS)), "{}", cloud.stub.count(STS));
        sleep(Duration::from_secs(6)).await;
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
    cloud.control.sts_millis.store(500, Ordering::Relaxed);
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
