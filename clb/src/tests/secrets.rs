//! What is secret is in no text that leaves the client.

use serde_json::json;

use super::stub::{SECRET_ID, SECRET_KEY, Stub, environment, refused, settings, text};
use crate::Client;

const TOKEN: &str = "a-very-secret-token-0123456789";

#[tokio::test(start_paused = true)]
async fn not_even_when_the_server_says_it() {
    let echo = format!("bad {SECRET_KEY} {TOKEN} {SECRET_ID}");
    let envelope = json!({"Response": {
        "Error": {"Code": echo, "Message": echo}, "RequestId": echo}});
    let replies = [
        refused("AuthFailure.SignatureFailure", &echo),
        refused(&echo, &echo),
        text(500, &echo),
        text(500, &envelope.to_string()),
        text(404, &echo),
        text(200, &echo),
        text(200, &format!("\"{echo}\"")),
    ];
    for reply in replies {
        let stub = Stub::script(vec![reply]);
        let settings = settings(environment(&[
            ("TENCENTCLOUD_SECRET_ID", SECRET_ID),
            ("TENCENTCLOUD_SECRET_KEY", SECRET_KEY),
            ("TENCENTCLOUD_TOKEN", TOKEN),
        ]));
        let mut shown = format!("{settings:?}");
        let client = Client::over(stub.http(), super::stub::clock(), settings).unwrap();
        let error = client.describe_targets("lb-1", &[]).await.unwrap_err();
        shown.push_str(&format!("{client:?} {error} {error:?}"));
        for secret in [SECRET_ID, SECRET_KEY, TOKEN] {
            assert!(!shown.contains(secret), "{shown}");
        }
        assert_eq!(stub.seen()[0].header("x-tc-token"), TOKEN, "and yet it was sent");
    }
}
