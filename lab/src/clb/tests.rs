//! The API over a real socket, with a client that signs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::credentials::Secret;
use super::process::{Admin, exchange};
use super::server::spawn;
use super::service::Service;
use super::signature::Signed;
use super::signature::tests::sign;

mod weights;

const ID: &str = "AKIDlab";
const KEY: &str = "lab-key";
const HOST: &str = "clb.tencentcloudapi.com";

/// A service with two load balancers, and a client.
struct Bench {
    service: Arc<Service>,
    address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn row(last: u8, weight: u32) -> Value {
    json!({"ip": format!("10.0.0.{last}"), "port": 8080, "weight": weight,
           "registered": "2026-03-01T10:00:00Z"})
}

impl Bench {
    async fn new() -> Self {
        let service = Arc::new(Service::default());
        let (address, task) = spawn(Arc::clone(&service)).await.unwrap();
        let bench = Self { service, address, task };
        let admin = bench.admin();
        let secrets = json!([Secret::permanent(ID, KEY)]);
        admin.set("credentials", &secrets).await.unwrap();
        // Tasks are done at once, and who waits for one may ask often.
        let settings =
            json!({"taskTime": {"minMillis": 0, "maxMillis": 0}, "requestsPerSecond": 100_000});
        admin.set("settings", &settings).await.unwrap();
        let load_balancers = json!([
            {"id": "lb-a", "vip": "198.51.100.7", "listeners": [
                {"id": "lbl-tcp", "protocol": "TCP", "port": 888, "targets": [row(7, 10)]},
                {"id": "lbl-http", "protocol": "HTTP", "port": 80, "rules": [
                    {"locationId": "loc-1", "domain": "www.123.com", "url": "/query",
                     "targets": [row(7, 10), row(8, 0)]},
                ]},
            ]},
            {"id": "lb-b", "listeners": [
                {"id": "lbl-empty", "protocol": "TCP", "port": 80},
            ]},
        ]);
        admin.set("load-balancers", &load_balancers).await.unwrap();
        bench
    }

    fn admin(&self) -> Admin {
        Admin::new(self.address)
    }

    async fn faults(&self, faults: Value) {
        self.admin().set("faults", &faults).await.unwrap();
    }

    /// The whole answer to `action`, and its status.
    async fn raw(&self, action: &str, body: &Value, change: &[(&str, &str)]) -> (u16, Vec<u8>) {
        let body = body.to_string();
        let now = Timestamp::now().as_second();
        let mut headers: Vec<(String, String)> = [
            ("content-type", "application/json"),
            ("host", HOST),
            ("x-tc-action", action),
            ("x-tc-version", "2018-03-17"),
            ("x-tc-region", "ap-guangzhou"),
            ("x-tc-timestamp", &now.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let signed = Signed { method: "POST", query: "", headers: &headers, body: body.as_bytes() };
        let said = sign(&signed, "content-type;host;x-tc-action", (ID, KEY), "clb", now);
        headers.push(("authorization".into(), said));
        for (name, value) in change {
            headers.retain(|(key, _)| key != name);
            if !value.is_empty() {
                headers.push(((*name).to_owned(), (*value).to_owned()));
            }
        }
        let answer = exchange(self.address, "POST", "/", &headers, body.as_bytes()).await.unwrap();
        (answer.status, answer.body)
    }

    /// What stands in `Response`.
    async fn call(&self, action: &str, body: Value) -> Value {
        let (status, body) = self.raw(action, &body, &[]).await;
        assert_eq!(status, 200);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert!(answer["Response"]["RequestId"].as_str().is_some_and(|id| id.len() == 36));
        answer["Response"].clone()
    }

    async fn code(&self, action: &str, body: Value) -> String {
        let answer = self.call(action, body).await;
        answer["Error"]["Code"].as_str().unwrap_or("none").to_owned()
    }

    async fn changed(&self, action: &str, change: &[(&str, &str)]) -> String {
        let body = json!({"LoadBalancerId": "lb-a"});
        let (status, body) = self.raw(action, &body, change).await;
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(status, 200, "errors have status 200");
        answer["Response"]["Error"]["Code"].as_str().unwrap_or("none").to_owned()
    }

    /// Asks until the task of a write has ended.
    async fn finished(&self, write: &Value) -> Value {
        let id = write["RequestId"].as_str().unwrap().to_owned();
        loop {
            let status = self.call("DescribeTaskStatus", json!({"TaskId": id})).await;
            assert_eq!(status["Error"], Value::Null);
            if status["Status"] != 2 {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn describe_targets_has_the_shapes_of_the_samples() {
    let bench = Bench::new().await;
    let answer = bench.call("DescribeTargets", json!({"LoadBalancerId": "lb-a"})).await;
    let backend = |last: u8, weight: u32, eni: &Value| {
        json!({"Type": "ENI", "InstanceId": "", "Port": 8080, "Weight": weight,
               "PublicIpAddresses": null, "PrivateIpAddresses": [format!("10.0.0.{last}")],
               "InstanceName": null, "RegisteredTime": "2026-03-01 10:00:00", "EniId": eni})
    };
    let eni = |listener: usize, index: usize| {
        let listener = &answer["Listeners"][listener];
        let rows = if listener["Targets"].is_null() {
            &listener["Rules"][0]["Targets"]
        } else {
            &listener["Targets"]
        };
        rows[index]["EniId"].clone()
    };
    assert_eq!(eni(0, 0), eni(1, 0), "one interface for one address");
    let expected = json!([
        {"ListenerId": "lbl-tcp", "Protocol": "TCP", "Port": 888, "EndPort": 0, "Rules": null,
         "Targets": [backend(7, 10, &eni(0, 0))]},
        {"ListenerId": "lbl-http", "Protocol": "HTTP", "Port": 80, "EndPort": 0, "Targets": null,
         "Rules": [{"LocationId": "loc-1", "Domain": "www.123.com", "Url": "/query",
            "FunctionTargets": [],
            "Targets": [backend(7, 10, &eni(1, 0)), backend(8, 0, &eni(1, 1))]}]},
    ]);
    assert_eq!(answer["Listeners"], expected);
    let empty = bench.call("DescribeTargets", json!({"LoadBalancerId": "lb-b"})).await;
    assert_eq!(empty["Listeners"][0]["Targets"], json!([]), "no target is an empty list");
    let filter = json!({"LoadBalancerId": "lb-a", "ListenerIds": ["lbl-http"],
        "Filters": [{"Name": "private-ip-address", "Values": ["10.0.0.8"]}]});
    let filtered = bench.call("DescribeTargets", filter).await;
    assert_eq!(filtered["Listeners"].as_array().unwrap().len(), 1);
    assert_eq!(filtered["Listeners"][0]["Rules"][0]["Targets"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn other_reads() {
    let bench = Bench::new().await;
    let backends = json!({"Backends": [{"VpcId": "vpc-lab00001", "PrivateIp": "10.0.0.8"}]});
    let found = bench.call("DescribeLBListeners", backends).await;
    let target = json!({"Type": "eni", "PrivateIp": "10.0.0.8", "Port": 8080, "VpcId": 1111,
                        "Weight": 0});
    let rules = json!([{"LocationId": "loc-1", "Domain": "www.123.com", "Url": "/query",
                        "Targets": [target]}]);
    let expected = json!([{"LoadBalancerId": "lb-a", "Vip": "198.51.100.7",
        "Region": "ap-guangzhou", "Listeners": [
            {"ListenerId": "lbl-http", "Protocol": "HTTP", "Port": 80, "EndPort": 0,
             "Rules": rules, "Targets": null}]}]);
    assert_eq!(found["LoadBalancers"], expected);

    let ids = json!({"LoadBalancerIds": ["lb-a", "lb-x"]});
    let found = bench.call("DescribeLoadBalancers", ids).await;
    assert_eq!(found["TotalCount"], 1, "an unknown id is no error here");
    assert_eq!(found["LoadBalancerSet"][0]["NumericalVpcId"], 1111);
    let found = bench.call("DescribeListeners", json!({"LoadBalancerId": "lb-a"})).await;
    assert_eq!(found["TotalCount"], 2);
    assert_eq!(found["Listeners"][0]["Rules"], Value::Null);
    let health = json!({"loadBalancerId": "lb-a", "ip": "10.0.0.7", "health": "Dead"});
    bench.admin().set("health", &health).await.unwrap();
    let found = bench.call("DescribeTargetHealth", json!({"LoadBalancerIds": ["lb-a"]})).await;
    let rule = &found["LoadBalancers"][0]["Listeners"][0]["Rules"][0];
    assert_eq!(rule["Domain"], Value::Null, "targets of layer 4 are in a rule without a name");
    assert_eq!(rule["Targets"][0]["HealthStatusDetail"], "Dead");
}

#[tokio::test]
async fn writes_are_tasks() {
    let bench = Bench::new().await;
    let target = |weight: u32| json!([{"EniIp": "10.0.0.7", "Port": 8080, "Weight": weight}]);
    let weigh = json!({"LoadBalancerId": "lb-a", "ListenerId": "lbl-tcp", "Targets": target(0)});
    let write = bench.call("ModifyTargetWeight", weigh).await;
    assert_eq!(write.as_object().unwrap().len(), 1, "only a RequestId: {write}");
    let status = bench.finished(&write).await;
    assert_eq!((&status["Status"], &status["LoadBalancerIds"]), (&json!(0), &json!(["lb-a"])));
    assert_eq!(bench.admin().weights("10.0.0.7").await.unwrap(), [0, 10]);
    let batch = json!({"LoadBalancerId": "lb-a", "ModifyList": [
        {"ListenerId": "lbl-tcp", "Targets": target(3), "Weight": 99},
        {"ListenerId": "lbl-http", "LocationId": "loc-1", "Targets": target(4)},
    ]});
    bench.finished(&bench.call("BatchModifyTargetWeight", batch).await).await;
    assert_eq!(bench.admin().weights("10.0.0.7").await.unwrap(), [3, 4], "the inner weight wins");
    let bind = json!({"LoadBalancerId": "lb-b", "ListenerId": "lbl-empty",
        "Targets": [{"EniIp": "10.0.0.9", "Port": 80}]});
    bench.finished(&bench.call("RegisterTargets", bind.clone()).await).await;
    assert_eq!(bench.admin().weights("10.0.0.9").await.unwrap(), [10]);
    bench.finished(&bench.call("DeregisterTargets", bind).await).await;
    assert!(bench.admin().weights("10.0.0.9").await.unwrap().is_empty());

    // A task that lasts: the load balancer takes no other write, and another one does.
    let settings = json!({"taskTime": {"minMillis": 3_600_000, "maxMillis": 3_600_000},
        "requestsPerSecond": 100_000});
    bench.admin().set("settings", &settings).await.unwrap();
    let weigh = || json!({"LoadBalancerId": "lb-a", "ListenerId": "lbl-tcp", "Targets": target(9)});
    let write = bench.call("ModifyTargetWeight", weigh()).await;
    let id = write["RequestId"].clone();
    assert_eq!(bench.call("DescribeTaskStatus", json!({"TaskId": id})).await["Status"], 2);
    let code = bench.code("ModifyTargetWeight", weigh()).await;
    assert_eq!(code, "FailedOperation.ResourceInOperating");
    let bind = json!({"LoadBalancerId": "lb-b", "ListenerId": "lbl-empty",
        "Targets": [{"EniIp": "10.0.0.9", "Port": 80}]});
    assert_eq!(bench.code("RegisterTargets", bind).await, "none");
}

/// The action, headers that are set (or left out, where empty), the code.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str);

#[tokio::test]
async fn what_is_wrong_has_its_code_and_is_counted() {
    let bench = Bench::new().await;
    let cases: [Case; 9] = [
        ("DescribeTargets", &[], "none"),
        ("DescribeNothing", &[], "InvalidAction"),
        ("DescribeTargets", &[("x-tc-version", "2017-03-12")], "NoSuchVersion"),
        ("DescribeTargets", &[("x-tc-region", "")], "MissingParameter"),
        ("DescribeTargets", &[("x-tc-region", "mars-1")], "UnsupportedRegion"),
        ("DescribeTargets", &[("x-tc-region", "ap-beijing")], "InvalidParameter.LBIdNotFound"),
        ("DescribeTargets", &[("authorization", "SKIP")], "MissingParameter"),
        ("DescribeTargets", &[("x-tc-token", "old")], "AuthFailure.TokenFailure"),
        ("DescribeTargets", &[("host", "other")], "AuthFailure.SignatureFailure"),
    ];
    for (action, change, code) in cases {
        assert_eq!(bench.changed(action, change).await, code, "{action} with {change:?}");
    }
    let bodies = [
        (json!({"LoadBalancerId": "lb-a", "Limit": 1}), "UnknownParameter"),
        (json!({}), "MissingParameter"),
        (json!({"LoadBalancerId": 7}), "InvalidParameter"),
        (json!({"LoadBalancerId": "lb-x"}), "InvalidParameter.LBIdNotFound"),
    ];
    for (body, code) in bodies {
        assert_eq!(bench.code("DescribeTargets", body.clone()).await, code, "{body}");
    }
    let calls = bench.admin().calls().await.unwrap();
    assert_eq!(calls.len(), 13);
    let first = &calls[0];
    assert_eq!((first.load_balancer_ids[0].as_str(), first.code.as_str()), ("lb-a", ""));
    let weight = json!([{"loadBalancerId": "lb-a", "ip": "10.0.0.7", "weight": 3}]);
    bench.admin().set("weights", &weight).await.unwrap();
    assert_eq!(bench.admin().weights("10.0.0.7").await.unwrap(), [3, 3]);
}

#[tokio::test]
async fn more_than_twenty_a_second_are_refused() {
    let bench = Bench::new().await;
    let settings = json!({"requestsPerSecond": 0});
    bench.admin().set("settings", &settings).await.unwrap();
    let body = json!({"LoadBalancerId": "lb-a"});
    assert_eq!(bench.code("DescribeTargets", body).await, "RequestLimitExceeded");
}

#[tokio::test]
async fn a_web_identity_becomes_a_temporary_secret() {
    let bench = Bench::new().await;
    let body = json!({"ProviderId": "p", "WebIdentityToken": "jwt", "RoleSessionName": "s",
        "RoleArn": "qcs::cam::uin/100000000001:roleName/lameduck"});
    let change = [("authorization", "SKIP"), ("x-tc-version", "2018-08-13")];
    let (_, answer) = bench.raw("AssumeRoleWithWebIdentity", &body, &change).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let credentials = &answer["Response"]["Credentials"];
    let text = |name: &str| credentials[name].as_str().unwrap();
    let world = bench.service.lock();
    let found =
        world.credentials.find(text("TmpSecretId"), Some(text("Token")), Timestamp::now()).unwrap();
    assert_eq!(found.1, text("TmpSecretKey"));
}

#[tokio::test]
async fn a_machine_with_a_role_has_a_temporary_secret() {
    let bench = Bench::new().await;
    bench.admin().set("settings", &json!({"temporarySeconds": 60})).await.unwrap();
    let get = async |path: &str| {
        let path = format!("/latest/meta-data/cam/security-credentials/{path}");
        exchange(bench.address, "GET", &path, &[], b"").await.unwrap()
    };
    let role = get("").await;
    assert_eq!(role.body, b"lameduck-lab");
    let answer: Value = serde_json::from_slice(&get("lameduck-lab").await.body).unwrap();
    assert_eq!(answer["Code"], "Success");
    let text = |name: &str| answer[name].as_str().unwrap();
    let end = answer["ExpiredTime"].as_i64().unwrap();
    let find = |second: i64| {
        let world = bench.service.lock();
        let now = Timestamp::from_second(second).unwrap();
        world.credentials.find(text("TmpSecretId"), Some(text("Token")), now).is_ok()
    };
    assert!(find(end - 60) && !find(end + 1), "valid for as long as was set");
    assert_eq!(get("another").await.status, 404);
}

#[tokio::test]
async fn each_fault_is_seen() {
    let bench = Bench::new().await;
    let body = json!({"LoadBalancerId": "lb-a"});
    let errors = [
        (json!({"kind": "throttling"}), "RequestLimitExceeded"),
        (json!({"kind": "expiredToken"}), "AuthFailure.TokenFailure"),
        (json!({"kind": "clockSkew", "seconds": 400}), "AuthFailure.SignatureExpire"),
        (json!({"kind": "clockSkew", "seconds": -400}), "AuthFailure.SignatureExpire"),
        (json!({"kind": "apiError", "code": "InternalError"}), "InternalError"),
        (json!({"kind": "slow", "millis": 1}), "none"),
    ];
    for (fault, code) in errors {
        bench.faults(json!([{"fault": fault}])).await;
        assert_eq!(bench.code("DescribeTargets", body.clone()).await, code, "{fault}");
    }
    bench.faults(json!([{"fault": {"kind": "httpStatus", "status": 503}}])).await;
    assert_eq!(bench.raw("DescribeTargets", &body, &[]).await.0, 503);
    bench.faults(json!([{"fault": {"kind": "truncatedJson"}}])).await;
    let (status, text) = bench.raw("DescribeTargets", &body, &[]).await;
    assert_eq!(status, 200);
    assert!(serde_json::from_slice::<Value>(&text).is_err());

    let listeners = |answer: &Value| answer["Listeners"].as_array().unwrap().len();
    bench.faults(json!([{"fault": {"kind": "partialListeners"}}])).await;
    assert_eq!(listeners(&bench.call("DescribeTargets", body.clone()).await), 1);
    bench.faults(json!([{"fault": {"kind": "missingRows", "ips": ["10.0.0.7"]}}])).await;
    let answer = bench.call("DescribeTargets", body.clone()).await;
    assert_eq!(answer["Listeners"][0]["Targets"], json!([]));
    bench.faults(json!([{"fault": {"kind": "nullMembers", "members": ["Weight"]}}])).await;
    let answer = bench.call("DescribeTargets", body.clone()).await;
    assert_eq!(answer["Listeners"][0]["Targets"][0]["Weight"], Value::Null);
    bench
        .faults(
            json!([{"fault": {"kind": "unknownMembers"}}, {"fault": {"kind": "lowerCaseTypes"}}]),
        )
        .await;
    let answer = bench.call("DescribeTargets", body.clone()).await;
    assert!(answer["Listeners"][0].get("AddedLater").is_some());
    assert_eq!(answer["Listeners"][0]["Targets"][0]["Type"], "eni");
    bench.faults(json!([])).await;
    assert_eq!(listeners(&bench.call("DescribeTargets", body).await), 2, "all is well again");
}

#[tokio::test]
async fn faults_have_a_place_and_a_turn() {
    let bench = Bench::new().await;
    let body = |id: &str| json!({"LoadBalancerId": id});
    bench
        .faults(json!([{"loadBalancerId": "lb-a", "action": "DescribeTargets", "every": 2,
                        "fault": {"kind": "throttling"}}]))
        .await;
    assert_eq!(bench.code("DescribeTargets", body("lb-a")).await, "RequestLimitExceeded");
    assert_eq!(bench.code("DescribeTargets", body("lb-a")).await, "none", "every second one");
    assert_eq!(bench.code("DescribeTargets", body("lb-a")).await, "RequestLimitExceeded");
    assert_eq!(bench.code("DescribeTargets", body("lb-b")).await, "none", "another one");
    assert_eq!(bench.code("DescribeListeners", body("lb-a")).await, "none", "another action");
    bench.faults(json!([{"seconds": 0, "fault": {"kind": "throttling"}}])).await;
    assert_eq!(bench.code("DescribeTargets", body("lb-a")).await, "none", "it is over");
    let refused = bench.admin().set("faults", &json!([{"fault": {"kind": "nonsense"}}])).await;
    assert!(refused.is_err());
}
