//! What goes over the wire, and over a real socket.

use serde_json::json;

use super::stub::{SECRET_ID, SECRET_KEY, Stub, environment, ok, settings};
use crate::credentials::Credentials;
use crate::sign::{Call, sign};
use crate::{Client, Endpoint, Failure};

#[tokio::test(start_paused = true)]
async fn the_signature_covers_what_is_sent() {
    let stub = Stub::script(vec![ok(json!({"Listeners": []}))]);
    let client = stub.client(|settings| settings.region = "ap-beijing".to_owned());
    client.describe_targets("lb-10iq9lou", &["lbl-4ue2rpl2".to_owned()]).await.unwrap();
    let seen = &stub.seen()[0];
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/"));
    assert_eq!(
        seen.body,
        json!({"LoadBalancerId": "lb-10iq9lou", "ListenerIds": ["lbl-4ue2rpl2"]})
    );
    let call = Call {
        action: "DescribeTargets",
        version: "2018-03-17",
        region: "ap-beijing",
        host: "clb.tencentcloudapi.com",
        body: &seen.bytes,
    };
    let second = seen.header("x-tc-timestamp").parse().unwrap();
    let time = jiff::Timestamp::from_second(second).unwrap();
    let credentials = Credentials::for_tests(SECRET_ID, SECRET_KEY, None);
    for (name, value) in sign(time, call, &credentials).unwrap() {
        assert_eq!(seen.headers.get_all(&name).iter().collect::<Vec<_>>(), [&value], "{name}");
    }
    assert!(seen.headers.get("x-tc-token").is_none());
}

#[tokio::test]
async fn a_real_socket_with_a_host_of_its_own() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\"lb-1\"}") {
            assert!(socket.read_buf(&mut request).await.unwrap() > 0);
        }
        let body = r#"{"Response":{"Listeners":[],"RequestId":"r"}}"#;
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let mut settings = settings(environment(&[
        ("TENCENTCLOUD_SECRET_ID", SECRET_ID),
        ("TENCENTCLOUD_SECRET_KEY", SECRET_KEY),
    ]));
    settings.endpoint = Endpoint::new(&format!("http://{address}"))
        .unwrap()
        .with_host("clb.tencentcloudapi.com")
        .unwrap();
    let client = Client::new(settings).unwrap();
    assert!(client.describe_targets("lb-1", &[]).await.unwrap().is_complete());
    let request = server.await.unwrap().to_ascii_lowercase();
    assert!(request.starts_with("post / http/1.1\r\n"), "{request}");
    assert_eq!(request.matches("\r\nhost: ").count(), 1, "{request}");
    assert!(request.contains("\r\nhost: clb.tencentcloudapi.com\r\n"), "{request}");
    assert!(request.contains("\r\ncontent-type: application/json; charset=utf-8\r\n"), "{request}");
    assert!(!request.contains(SECRET_KEY));
}

#[tokio::test]
async fn nobody_listens() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = settings(environment(&[
        ("TENCENTCLOUD_SECRET_ID", SECRET_ID),
        ("TENCENTCLOUD_SECRET_KEY", SECRET_KEY),
    ]));
    settings.endpoint = Endpoint::new(&format!("http://{free}")).unwrap();
    settings.limits.tries_max = 2;
    let client = Client::new(settings).unwrap();
    let error = client.describe_targets("lb-1", &[]).await.unwrap_err();
    assert!(matches!(error.failure, Failure::Connection { .. }), "{error}");
    assert_eq!(error.tries, 2);
    assert!(error.retry_helps());
}
