//! What is tried again, how often, and what the error says.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::stub::{Reply, Stub, began, ok, refused, text};
use crate::{Error, Failure, RefusalKind, Weight};

async fn describe(stub: &Stub) -> Result<crate::Listeners, Error> {
    stub.client(|_| {}).describe_targets("lb-1", &[]).await
}

fn no_listeners() -> Reply {
    ok(json!({"Listeners": []}))
}

#[tokio::test(start_paused = true)]
async fn which_codes_are_tried_again() {
    let busy = "Task Check Failed : Same wsName is Working(AddQLBL4ListenerDevice), pls Try Later";
    let table = [
        ("RequestLimitExceeded", "", 5),
        ("InternalError", "", 5),
        ("FailedOperation.ResourceInOperating", "", 5),
        ("FailedOperation", busy, 5),
        ("FailedOperation", "something else", 1),
        ("AuthFailure.SignatureFailure", "", 1),
        ("AuthFailure.SecretIdNotFound", "", 1),
        ("AuthFailure.SignatureExpire", "", 1),
        ("AuthFailure.UnauthorizedOperation", "", 1),
        ("UnauthorizedOperation", "", 1),
        ("InvalidParameter.LBIdNotFound", "", 1),
        ("InvalidParameterValue", "", 1),
        ("UnsupportedOperation", "", 1),
        ("OperationDenied", "", 1),
        ("SomethingNew", "", 1),
    ];
    for (code, message, tries) in table {
        let stub = Stub::script(vec![refused(code, message)]);
        let error = describe(&stub).await.unwrap_err();
        assert_eq!(stub.count("DescribeTargets"), tries, "{code}");
        assert_eq!(error.tries as usize, tries, "{code}");
        assert_eq!(error.retry_helps(), tries > 1, "{code}");
        let refusal = error.refusal().unwrap();
        assert_eq!(refusal.code, code);
        assert_eq!(refusal.request_id.as_deref(), Some("a5cbe92d-c7f2-41d4-8343-3cb42c3fd1dd"));
        let line = error.to_string();
        assert!(line.starts_with("DescribeTargets in ap-guangzhou failed"), "{line}");
        assert!(line.contains(code) && line.contains("request id a5cbe92d"), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_answer_is_tried_again() {
    let sample = super::decoding::SAMPLE;
    let table = [
        ("a 500", text(500, "oops"), 5),
        ("a 502 with a page", text(502, "<html>Bad\nGateway</html>"), 5),
        ("a 429", text(429, ""), 5),
        ("a 503 with a refusal", Reply::Whole(503, envelope("InvalidParameter")), 5),
        ("a 400 with a refusal", Reply::Whole(400, envelope("InvalidParameter")), 1),
        ("a 400 with a throttle", Reply::Whole(400, envelope("RequestLimitExceeded")), 5),
        ("a 404", text(404, ""), 1),
        ("a redirect", text(302, ""), 1),
        ("truncated JSON", text(200, &sample[..sample.len() / 2]), 5),
        ("nothing", text(200, ""), 5),
        ("a page", text(200, "<html>hello</html>"), 5),
        ("a broken connection", Reply::Broken, 5),
        ("no envelope", text(200, "{}"), 1),
        ("a list", text(200, "[1]"), 1),
        ("null", text(200, "null"), 1),
        ("an envelope of null", text(200, r#"{"Response": null}"#), 1),
        ("no listeners member", ok(json!({})), 1),
        ("listeners null", ok(json!({"Listeners": null})), 1),
        ("listeners text", ok(json!({"Listeners": "none"})), 1),
    ];
    for (what, reply, tries) in table {
        let stub = Stub::script(vec![reply]);
        let error = describe(&stub).await.unwrap_err();
        assert_eq!(stub.count("DescribeTargets"), tries, "{what}: {error}");
        let unexpected = matches!(error.failure, Failure::Unexpected { .. });
        assert_eq!(error.retry_helps(), tries > 1 || unexpected, "{what}: {error}");
        assert!(!error.to_string().contains('\n'), "{what}: {error}");
    }
}

fn envelope(code: &str) -> bytes::Bytes {
    json!({"Response": {"Error": {"Code": code, "Message": "no"}, "RequestId": "r"}})
        .to_string()
        .into()
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_passes_is_not_seen() {
    let faults = [
        refused("RequestLimitExceeded", ""),
        text(500, ""),
        text(200, "{\"Response\": {\"Li"),
        Reply::Broken,
    ];
    for fault in faults {
        let stub = Stub::script(vec![fault.clone(), fault, no_listeners()]);
        assert!(describe(&stub).await.unwrap().is_complete());
        assert_eq!(stub.count("DescribeTargets"), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_at_the_deadline() {
    for reply in [Reply::Silent, Reply::Stalled] {
        let stub = Stub::script(vec![reply]);
        let began = Instant::now();
        let error = describe(&stub).await.unwrap_err();
        assert!(began.elapsed() <= Duration::from_secs(30), "{:?}", began.elapsed());
        assert!((2..=3).contains(&error.tries), "10 s a try: {error}");
        assert!(matches!(error.failure, Failure::NoAnswer { .. }), "{error}");
        assert!(error.retry_helps());
    }
    let late = Reply::Late(Duration::from_secs(11), r#"{"Response":{"Listeners":[]}}"#.into());
    let stub = Stub::script(vec![late, no_listeners()]);
    assert!(describe(&stub).await.is_ok());
    assert_eq!(stub.count("DescribeTargets"), 2);
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_not_read() {
    let stub = Stub::script(vec![Reply::Endless]);
    let error = describe(&stub).await.unwrap_err();
    assert!(matches!(error.failure, Failure::TooLarge { max_bytes: 8_388_608 }), "{error}");
    assert_eq!(error.tries, 1);

    let body = format!(r#"{{"Response":{{"Listeners":[],"New":"{}"}}}}"#, "x".repeat(1000));
    let stub = Stub::script(vec![text(200, &body)]);
    let within = stub.client(|settings| settings.limits.answer_max_bytes = body.len());
    assert!(within.describe_targets("lb-1", &[]).await.is_ok());
    let above = stub.client(|settings| settings.limits.answer_max_bytes = body.len() - 1);
    let error = above.describe_targets("lb-1", &[]).await.unwrap_err();
    assert!(matches!(error.failure, Failure::TooLarge { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_is_named() {
    let message = "The provided credentials could not be validated because of timeout.";
    let body = json!({"Response": {
        "Error": {"Code": "AuthFailure.SignatureExpire", "Message": message}, "RequestId": "r"}});
    assert_eq!(began().to_string(), "2026-03-01T10:00:00Z");
    let date = "Sun, 01 Mar 2026 09:50:00 GMT".to_owned();
    let stub = Stub::script(vec![Reply::With("date", date, body.to_string().into())]);
    let error = describe(&stub).await.unwrap_err();
    let refusal = error.refusal().unwrap();
    assert_eq!(refusal.kind, RefusalKind::ClockSkew);
    assert_eq!(refusal.clock_ahead_seconds, Some(600));
    let line = error.to_string();
    assert!(line.contains("clock") && line.contains("600 s ahead"), "{line}");
    assert!(!error.retry_helps());
    assert_eq!(error.tries, 1);
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_shared_by_all_callers_and_regions() {
    let stub = Stub::script(vec![no_listeners()]);
    let client = stub.client(|_| {});
    let began = Instant::now();
    let calls: Vec<_> = (0..100)
        .map(|caller| {
            let client = match caller % 2 {
                0 => client.clone(),
                _ => client.in_region("ap-beijing").unwrap(),
            };
            tokio::spawn(async move { client.describe_targets("lb-1", &[]).await })
        })
        .collect();
    // Another action has a limit of its own.
    let lookup = client.describe_task_status(&crate::TaskId("t".into())).await;
    assert!(matches!(lookup.unwrap_err().failure, Failure::Unexpected { .. }));
    let other = stub.seen().into_iter().find(|seen| seen.action() == "DescribeTaskStatus");
    assert_eq!(other.unwrap().at, began);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let times: Vec<_> = stub
        .seen()
        .into_iter()
        .filter(|seen| seen.action() == "DescribeTargets")
        .map(|seen| seen.at)
        .collect();
    assert_eq!(times.len(), 100);
    for (first, last) in times.iter().zip(&times[20..]) {
        assert!(*last - *first >= Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn tries_count_against_the_limit() {
    let stub = Stub::script(vec![refused("InternalError", "")]);
    let client = stub.client(|settings| {
        settings.limits.requests_per_second = std::num::NonZeroU32::MIN;
    });
    let error = client.describe_targets("lb-1", &[]).await.unwrap_err();
    assert_eq!(error.tries, 5);
    let times: Vec<_> = stub.seen().into_iter().map(|seen| seen.at).collect();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_server_is_quoted_where_there_is_no_turn_left_to_ask_it_again() {
    let stub = Stub::script(vec![refused("InternalError", "")]);
    let client = stub.client(|settings| {
        settings.limits.requests_per_second = std::num::NonZeroU32::MIN;
        settings.limits.call_timeout = Duration::from_secs(3);
    });
    let error = client.describe_targets("lb-1", &[]).await.unwrap_err();
    assert_eq!(error.refusal().unwrap().kind, RefusalKind::Internal, "{error}");
    assert_eq!((error.tries as usize, stub.count("DescribeTargets")), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn who_cannot_be_served_in_time_is_told_so_unsent() {
    let stub = Stub::script(vec![no_listeners()]);
    let client = stub.client(|settings| {
        settings.limits.requests_per_second = std::num::NonZeroU32::MIN;
        settings.limits.call_timeout = Duration::from_secs(5);
    });
    let calls = (0..50).map(|_| client.describe_targets("lb-1", &[]));
    let results = futures::future::join_all(calls).await;
    let refused: Vec<_> = results.iter().filter_map(|result| result.as_ref().err()).collect();
    assert_eq!(stub.count("DescribeTargets"), 50 - refused.len());
    assert_eq!(refused.len(), 45, "five in four seconds, the fifth is left for the answer");
    for error in refused {
        assert!(matches!(error.failure, Failure::Queue { per_second: 1 }), "{error}");
        assert!(error.retry_helps() && error.tries == 0);
        assert!(error.to_string().contains("not sent"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_without_a_weight_is_unknown() {
    let row = json!({"Type": "ENI", "PrivateIpAddresses": ["10.0.0.7"], "Port": 8080});
    let listener = json!({"ListenerId": "lbl-1", "Protocol": "TCP", "Port": 80, "Targets": [row]});
    let stub = Stub::script(vec![ok(json!({"Listeners": [listener]}))]);
    let read = describe(&stub).await.unwrap();
    let row = read.rows_of("10.0.0.7".parse().unwrap(), 8080).next().unwrap();
    assert!(matches!(row.target.weight, Weight::Unknown(_)));
    assert!(!row.target.weight.is_zero());
}
