//! The calls: what is sent, and what comes back. `answers` reads it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::answers;
use crate::change::{self, TaskId, TaskStatus, WeightChange};
use crate::client::{Action, Client};
use crate::envelope::Reply;
use crate::error::{Error, Failure};
use crate::health::Health;
use crate::load_balancer::{LoadBalancer, Selection};
use crate::rows::{Gap, Listeners};

/// Most listeners of one DescribeTargets: document 214/30684.
const LISTENERS_MAX: usize = 20;
/// Most load balancers of one DescribeTargetHealth: document 214/34898.
const HEALTH_MAX: usize = 30;
/// Most ids of one DescribeLoadBalancers, and the largest page of it: document 214/30685.
const IDS_MAX: usize = 20;
const PAGE_MAX: usize = 100;
/// 10,000 load balancers in a region: far above the quota of any account.
const PAGES_MAX: usize = 100;

/// A backend to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VpcAddress {
    /// The VPC, `vpc-…`.
    pub vpc_id: String,
    /// The address in it, for example a pod's.
    pub private_ip: IpAddr,
}

/// A load balancer that sends to a looked-up backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundLoadBalancer {
    /// Id, `lb-…`.
    pub load_balancer_id: String,
    /// Its address.
    pub vip: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// Listeners that send to the backend, with the rows of that backend only.
    pub listeners: Listeners,
}

/// The load balancers that send to looked-up backends, as far as the answer could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bindings {
    /// What could be read.
    pub load_balancers: Vec<BoundLoadBalancer>,
    /// Load balancers that could not: a backend may stand behind one of them.
    pub gaps: Vec<Gap>,
}

impl Client {
    /// DescribeTargets (214/30684): the backends and weights of a load balancer, of all its listeners
    /// or of at most 20. Not for classic load balancers.
    ///
    /// # Errors
    /// Nothing is known about the weights then. Where no list of listeners comes back, too: that is
    /// not an empty one.
    pub async fn describe_targets(
        &self,
        load_balancer_id: &str,
        listener_ids: &[String],
    ) -> Result<Listeners, Error> {
        let body = identified(load_balancer_id).and_then(|mut body| {
            at_most(LISTENERS_MAX, listener_ids.len(), "listeners")?;
            if !listener_ids.is_empty() {
                body["ListenerIds"] = json!(listener_ids);
            }
            Ok(body)
        });
        self.call(Action::DescribeTargets, body, |reply| answers::targets(&reply.response)).await
    }

    /// DescribeTargetHealth (214/34898): what the health checks of at most 30 load balancers say of their
    /// backends. Not for classic load balancers.
    ///
    /// # Errors
    /// Nothing is known about the health then. Where no list of load balancers comes back, too.
    pub async fn describe_target_health(
        &self,
        load_balancer_ids: &[&str],
    ) -> Result<Health, Error> {
        let body = match load_balancer_ids {
            [] => Err(Failure::Invalid("no load balancer to look at".to_owned())),
            ids => ids
                .iter()
                .try_for_each(|id| identified(id).map(drop))
                .and_then(|()| at_most(HEALTH_MAX, ids.len(), "load balancers"))
                .map(|()| json!({"LoadBalancerIds": ids})),
        };
        self.call(Action::DescribeTargetHealth, body, |reply| answers::health(&reply.response))
            .await
    }

    /// DescribeLBListeners: the load balancers, listeners and rules that send to `backends`, with
    /// their weights. The rows have no registered time.
    ///
    /// # Errors
    /// Nothing is known about the bindings then. Where no list of load balancers comes back, too.
    pub async fn describe_lb_listeners(&self, backends: &[VpcAddress]) -> Result<Bindings, Error> {
        let asked = backends
            .iter()
            .map(|backend| json!({"VpcId": backend.vpc_id, "PrivateIp": backend.private_ip}));
        let body = if backends.is_empty() {
            Err(Failure::Invalid("no backend to look up".to_owned()))
        } else {
            Ok(json!({"Backends": asked.collect::<Vec<_>>()}))
        };
        self.call(Action::DescribeLBListeners, body, |reply| answers::bindings(&reply.response))
            .await
    }

    /// DescribeLoadBalancers (214/30685), all pages. Ids that do not exist are missing in the answer;
    /// in a wrong region that is all of them.
    ///
    /// # Errors
    /// Nothing is known then: part of the pages is not an answer. The bounds of a call hold for each
    /// page.
    pub async fn describe_load_balancers(
        &self,
        selection: Selection<'_>,
    ) -> Result<Vec<LoadBalancer>, Error> {
        let mut found = Vec::new();
        match selection {
            Selection::All => self.pages(&json!({}), &mut found).await?,
            Selection::Vpc(id) => self.pages(&json!({"VpcId": id}), &mut found).await?,
            Selection::Ids(ids) => {
                let ids: Vec<_> = ids.iter().collect::<BTreeSet<_>>().into_iter().collect();
                for ids in ids.chunks(IDS_MAX) {
                    self.pages(&json!({"LoadBalancerIds": ids}), &mut found).await?;
                }
            }
        }
        Ok(found)
    }

    async fn pages(&self, selection: &Value, found: &mut Vec<LoadBalancer>) -> Result<(), Error> {
        // While pages are read, load balancers come and go: the same one may stand on two pages.
        let mut ids: BTreeSet<String> = BTreeSet::new();
        let mut offset = 0;
        for page in 1..=PAGES_MAX {
            let mut body = selection.clone();
            body["Offset"] = json!(offset);
            body["Limit"] = json!(PAGE_MAX);
            let read = |reply: &Reply| {
                let (set, total) = answers::page(&reply.response, offset)?;
                if page == PAGES_MAX && offset + set.len() < total {
                    let detail = format!("{total} load balancers are more than can be read");
                    return Err(Failure::Unexpected { detail });
                }
                Ok((set, total))
            };
            let (set, total) = self.call(Action::DescribeLoadBalancers, Ok(body), read).await?;
            offset += set.len();
            found.extend(set.into_iter().filter(|it| ids.insert(it.load_balancer_id.clone())));
            if offset >= total {
                break;
            }
        }
        Ok(())
    }

    /// DescribeTaskStatus (214/30683): how far a write is.
    ///
    /// # Errors
    /// Nothing is known about the write then. A status that this client does not know is an error,
    /// too.
    pub async fn describe_task_status(&self, task: &TaskId) -> Result<TaskStatus, Error> {
        let body = match task.0.as_str() {
            "" => Err(Failure::Invalid("a task id is needed".to_owned())),
            id => Ok(json!({"TaskId": id})),
        };
        self.call(Action::DescribeTaskStatus, body, |reply| TaskStatus::read(&reply.response)).await
    }

    /// ModifyTargetWeight (214/30677): writes weights of one listener or rule. The API only takes the
    /// task on; ask [`Client::describe_task_status`] for its end. A load balancer does one write at a
    /// time; while it is busy, this waits and tries again.
    ///
    /// # Errors
    /// The write may have been taken on all the same where the failure is no refusal. It names the
    /// weight itself, so writing it again is safe.
    pub async fn modify_target_weight(
        &self,
        load_balancer_id: &str,
        change: &WeightChange,
    ) -> Result<TaskId, Error> {
        let body = identified(load_balancer_id).and_then(|_| change::one(load_balancer_id, change));
        self.call(Action::ModifyTargetWeight, body, task).await
    }

    /// BatchModifyTargetWeight (214/34309): writes weights of several listeners and rules of one load
    /// balancer: at most 100 changes of at most 50 backends each, 500 in all. Otherwise as
    /// [`Client::modify_target_weight`].
    ///
    /// # Errors
    /// As [`Client::modify_target_weight`].
    pub async fn batch_modify_target_weight(
        &self,
        load_balancer_id: &str,
        changes: &[WeightChange],
    ) -> Result<TaskId, Error> {
        let body =
            identified(load_balancer_id).and_then(|_| change::batch(load_balancer_id, changes));
        self.call(Action::BatchModifyTargetWeight, body, task).await
    }
}

fn identified(load_balancer_id: &str) -> Result<Value, Failure> {
    if load_balancer_id.is_empty() {
        return Err(Failure::Invalid("a load balancer id is needed".to_owned()));
    }
    Ok(json!({"LoadBalancerId": load_balancer_id}))
}

fn at_most(most: usize, count: usize, what: &str) -> Result<(), Failure> {
    if count <= most {
        return Ok(());
    }
    Err(Failure::Invalid(format!("{count} {what} in one call, at most {most}")))
}

/// A write's task has the id of its request.
fn task(reply: &Reply) -> Result<TaskId, Failure> {
    reply.request_id.clone().map(TaskId).ok_or_else(|| Failure::Unexpected {
        detail: "the write was taken on without a RequestId, so it cannot be followed".to_owned(),
    })
}
