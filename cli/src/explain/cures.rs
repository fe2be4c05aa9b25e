//! What a person can do about what a pod waits for: a line per reason. Pure.

use lameduck_core::drain::TrafficReason;

/// What would change a `TrafficOff` condition with this reason.
#[must_use]
pub fn traffic(reason: &str) -> &'static str {
    let is = |one: TrafficReason| one.as_str() == reason;
    if is(TrafficReason::EndpointReady) {
        "its endpoints go not ready: the endpoint controller does that within seconds, unless the Service \
         publishes not-ready addresses"
    } else if is(TrafficReason::NotReplaced) {
        "another pod of the Service gets ready, 120 s at most"
    } else if is(TrafficReason::Settling) {
        "time: trafficOff.settleSeconds of its policy"
    } else if is(TrafficReason::ClbWeightNotZero) {
        "TKE sets its weight to 0: look at the events of its Service (kubectl describe service)"
    } else if is(TrafficReason::ClbConfirming) {
        "one more equal read of the load balancer"
    } else if is(TrafficReason::ClbUnknown) {
        "the load balancer can be read: kubectl lameduck check says what is wrong; docs/tencent-clb.md"
    } else if is(TrafficReason::WatchNotFresh) {
        "the controller's watch is resumed: look at the controller's log, and at the API server"
    } else {
        "nothing more is needed of its traffic"
    }
}
