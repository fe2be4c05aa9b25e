//! Which pods serve, and which of them may be taken away.

use super::facts::{Backend, Facts, Frontend, Pod, Set};
use super::weights::weight_of_user;
use super::zeros::{of_others, where_zero};

/// What a pod is judged by.
#[derive(Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) facts: &'a Facts,
    pub(super) set: &'a Set,
}

impl<'a> Ground<'a> {
    /// The pod of an ordinal.
    pub(super) fn pod(&self, ordinal: u32) -> Option<&'a Pod> {
        self.facts.pods.iter().find(|pod| pod.ordinal == ordinal)
    }

    /// Name of an ordinal's pod, also where it is not there.
    pub(super) fn name(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.facts.name)
    }

    /// Why the pod of an ordinal takes no traffic; None where it does.
    pub(super) fn idle(&self, ordinal: u32) -> Option<String> {
        let name = self.name(ordinal);
        let Some(pod) = self.pod(ordinal) else { return Some(format!("{name} is not there")) };
        if pod.deleted_until.is_some() {
            return Some(format!("{name} is ending"));
        }
        if pod.ready_since.is_none() {
            return Some(not_ready(pod));
        }
        if pod.marked {
            return Some(format!("{name} is marked as one that an upgrade deletes"));
        }
        self.weightless(pod)
    }

    /// Where a pod that is ready has no weight although it should; None where it has.
    pub(super) fn weightless(&self, pod: &Pod) -> Option<String> {
        if let Some(why) = &self.facts.balancers.unknown {
            return Some(format!("it is not known whether {} has its weight: {why}", pod.name));
        }
        let frontends = &self.facts.balancers.frontends;
        let carries_set =
            |frontend: &&Frontend| frontend.backends.iter().any(|backend| backend.pod.is_some());
        // A listener without backends is not shown: where none of the set's is bound yet, nobody serves.
        let mut clbs = self.facts.services.iter().filter_map(|one| one.load_balancer.as_ref());
        let is_carried = |clb: &std::sync::Arc<str>| {
            frontends.iter().filter(carries_set).any(|frontend| frontend.load_balancer == *clb)
        };
        if let Some(clb) = clbs.find(|clb| !is_carried(clb)) {
            return Some(format!("{} is no backend at CLB {clb}", pod.name));
        }
        // Others may be of one pod alone, and say nothing of the rest.
        let made = frontends.iter().filter(|frontend| self.is_made_for_set(frontend));
        let without = made.filter(carries_set).find(|frontend| {
            let own = frontend.backends.iter().find(|backend| is(backend, pod));
            !own.is_some_and(|own| takes(frontend, own)) && !self.user_wants_none(pod, frontend)
        })?;
        let Frontend { load_balancer, name, .. } = without;
        let what = match without.backends.iter().find(|backend| is(backend, pod)) {
            None => "is no backend",
            Some(Backend { weight: Some(0), .. }) => "has weight 0",
            Some(Backend { healthy: Some(false), .. }) => "is not healthy",
            Some(_) => "has a weight that cannot be read",
        };
        Some(format!("{} {what} at CLB {load_balancer} {name}", pod.name))
    }

    /// What an ordinal still has of a claim: our weight 0, or a mark. It is the message of its claim, and so
    /// it stands in the status before it is put back; whatever was decided before it was seen is refused then.
    pub(super) fn leftover(&self, ordinal: u32) -> Option<String> {
        let name = self.name(ordinal);
        let marked = |pod: &&Pod| pod.marked && pod.deleted_until.is_none();
        match (where_zero(self.facts, ordinal), self.pod(ordinal).filter(marked)) {
            (Some(service), _) => Some(format!("{name} gets its weight back on Service {service}")),
            (None, Some(_)) => Some(format!("{name} is not deleted any more")),
            (None, None) => None,
        }
    }

    /// Why a pod that is ready is still at the weight 0 that it had by our hand; None where it is not.
    pub(super) fn returning(&self, pod: &Pod) -> Option<String> {
        let is_ready = pod.ready_since.is_some() && pod.deleted_until.is_none();
        let mut frontends = self.facts.balancers.frontends.iter().filter(|_| is_ready);
        let at_zero = frontends.find(|frontend| {
            let mut own = frontend.backends.iter().filter(|backend| is(backend, pod));
            own.any(|backend| backend.weight == Some(0)) && !self.user_wants_none(pod, frontend)
        })?;
        let Frontend { load_balancer, name, .. } = at_zero;
        Some(format!("{} has weight 0 at CLB {load_balancer} {name}", pod.name))
    }

    /// Whether the author of the Service keeps the pod at weight 0 there.
    fn user_wants_none(&self, pod: &Pod, frontend: &Frontend) -> bool {
        let Some(port) = frontend.port else { return false };
        let services = self.facts.services.iter();
        let behind = |id: &std::sync::Arc<str>| *id == frontend.load_balancer;
        services.filter(|service| service.load_balancer.as_ref().is_some_and(behind)).any(
            |service| {
                let weight =
                    weight_of_user(&service.annotations(), &self.facts.name, pod.ordinal, port);
                matches!(weight, Ok(Some(0)))
            },
        )
    }

    /// Whether a Service that sends to the whole set is behind it.
    fn is_made_for_set(&self, frontend: &Frontend) -> bool {
        self.facts.services.iter().any(|service| {
            service.load_balancer.as_ref() == Some(&frontend.load_balancer)
                && frontend.port.is_some_and(|port| service.ports.contains(&port))
        })
    }

    /// Where nobody would take new connections if these ordinals took none; None where somebody would.
    pub(super) fn last_backend(&self, out: &[u32]) -> Option<String> {
        let is_out = |backend: &Backend| {
            let pod = self.facts.pods.iter().find(|pod| is(backend, pod));
            pod.is_some_and(|pod| {
                out.contains(&pod.ordinal)
                    || pod.deleted_until.is_some()
                    || pod.ready_since.is_none()
            })
        };
        let alone = self.facts.balancers.frontends.iter().find(|frontend| {
            let loses = |backend: &Backend| {
                let pod = self.facts.pods.iter().find(|pod| is(backend, pod));
                backend.weight != Some(0) && pod.is_some_and(|pod| out.contains(&pod.ordinal))
            };
            let rest = |backend: &&Backend| takes(frontend, backend) && !is_out(backend);
            let own = frontend.backends.iter().filter(rest).filter(|one| one.pod.is_some()).count();
            let others =
                frontend.backends.iter().filter(|one| one.pod.is_none() && takes(frontend, one));
            // Whose pods another set's are is not known here, so each of its zeros may be one of these that
            // the load balancer has not got yet.
            let zeros = of_others(self.facts, &frontend.load_balancer);
            // One that was made for a single pod has never had another.
            let is_alone = frontend.backends.len() == 1 && !self.is_made_for_set(frontend);
            frontend.backends.iter().any(loses) && !is_alone && own == 0 && others.count() <= zeros
        })?;
        Some(format!("CLB {} {}", alone.load_balancer, alone.name))
    }
}

/// What a pod that is not ready waits for.
pub(super) fn not_ready(pod: &Pod) -> String {
    match &pod.trouble {
        Some(trouble) => format!("{} is not ready: {trouble}", pod.name),
        None => format!("{} is not ready", pod.name),
    }
}

fn is(backend: &Backend, pod: &Pod) -> bool {
    backend.pod.as_deref() == Some(&*pod.uid)
}

/// Whether new connections are sent to a backend: it has a weight, and is healthy. Where none is healthy, a CLB
/// sends to all of them ("all dead, all alive"), so a check that fails everywhere says nothing of one.
fn takes(frontend: &Frontend, backend: &Backend) -> bool {
    let has_weight = |one: &Backend| one.weight.is_some_and(|weight| weight > 0);
    let is_alive = |one: &Backend| one.healthy != Some(false);
    has_weight(backend)
        && (is_alive(backend)
            || !frontend.backends.iter().any(|one| has_weight(one) && is_alive(one)))
}
