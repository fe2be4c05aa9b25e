//! What stands in front of a side: the plain load balancer that follows the pods, or CLBs behind their API.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::stage::Stage;
use crate::clb::credentials::Secret;
use crate::clb::model::LoadBalancer;
use crate::clb::process::{Admin, ClbStandIn};
use crate::clb::tke;
use crate::cluster::Cluster;
use crate::lb::haproxy::Side;
use crate::lb::stand_in::StandIn;

/// What Lameduck signs its requests with in the lab.
pub const SECRET: (&str, &str) = ("AKIDLab000000000000000000000000000", "lab-secret-key");

/// What a scenario's sides stand behind.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Front {
    /// A load balancer that nobody can read, a lag behind the pods.
    Guessed,
    /// CLBs. The last one takes the load.
    Clb(&'static [Carrier]),
}

/// A CLB, and the object that it belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carrier {
    /// As kubectl takes it.
    pub(crate) object: &'static str,
    /// How late TKE is.
    pub(crate) lag: Duration,
}

impl Carrier {
    fn is_ingress(&self) -> bool {
        self.object.starts_with("ingress/")
    }

    /// Where TKE writes the CLB's id.
    fn annotation(&self) -> &'static str {
        if self.is_ingress() {
            "kubernetes.io/ingress.qcloud-loadbalance-id"
        } else {
            "service.kubernetes.io/loadbalance-id"
        }
    }
}

impl Front {
    /// How late the last one of it follows the pods.
    pub(super) fn lag(self, stage: &Stage<'_>) -> Duration {
        match self {
            Self::Guessed => stage.lag(),
            Self::Clb(carriers) => {
                carriers.iter().map(|carrier| carrier.lag).max().unwrap_or_default()
            }
        }
    }
}

/// A front at work. Dropping it ends what follows the pods.
pub(super) enum Standing {
    /// See [`Front::Guessed`].
    Guessed(StandIn),
    /// Ids of the CLBs.
    Clb(Vec<String>),
}

impl Standing {
    /// Ids of the CLBs, none without.
    pub(super) fn load_balancers(&self) -> &[String] {
        match self {
            Self::Guessed(_) => &[],
            Self::Clb(ids) => ids,
        }
    }

    /// Ends what follows the pods.
    ///
    /// # Errors
    /// It had failed.
    pub(super) async fn finish(self) -> Result<()> {
        match self {
            Self::Guessed(stand_in) => stand_in.finish().await,
            Self::Clb(_) => Ok(()),
        }
    }
}

/// The stand-ins of CLB and TKE of a stage, which its scenarios share.
#[derive(Debug)]
pub struct Clb {
    stand_in: ClbStandIn,
    tke: Mutex<tke::Settings>,
}

impl Clb {
    pub(super) async fn start(stage: &Stage<'_>) -> Result<Self> {
        let stand_in = stage.start_clb().await?;
        let (id, key) = SECRET;
        stand_in.admin().set("credentials", &[Secret::permanent(id, key)]).await?;
        Ok(Self { stand_in, tke: Mutex::default() })
    }

    /// The paths that set the stand-ins up.
    #[must_use]
    pub fn admin(&self) -> Admin {
        self.stand_in.admin()
    }

    /// Makes load balancers, and has TKE follow each so late.
    ///
    /// # Errors
    /// The stand-ins refuse.
    pub async fn make(&self, made: &[(LoadBalancer, Duration)]) -> Result<()> {
        let mut tke = self.tke.lock().await;
        for (load_balancer, lag) in made {
            let millis = u64::try_from(lag.as_millis()).context("the lag")?;
            tke.load_balancers.insert(load_balancer.id.clone(), millis);
        }
        self.admin().set("tke", &*tke).await?;
        let load_balancers: Vec<&LoadBalancer> = made.iter().map(|(made, _)| made).collect();
        self.admin().set("load-balancers", &load_balancers).await
    }
}

/// Puts CLBs in front of the objects of `namespace`, as TKE does when they are made: each gets its id.
pub(super) async fn stand_clbs(
    stage: &Stage<'_>,
    namespace: &str,
    carriers: &[Carrier],
) -> Result<(Vec<Side>, Vec<String>)> {
    let (mut sides, mut made, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for (number, carrier) in carriers.iter().enumerate() {
        let id = format!("lb-{namespace}-{number}");
        let load_balancer = LoadBalancer::new(id.as_str());
        let (side, load_balancer) = if carrier.is_ingress() {
            let side = stage.layer_7_side()?;
            let rule = ("shop.example", "/", Some(side.number()));
            (side, load_balancer.http(80, &[rule]))
        } else {
            let side = stage.side()?;
            let number = side.number();
            (side, load_balancer.tcp(80, Some(number)))
        };
        sides.push(side);
        made.push((load_balancer, carrier.lag));
        ids.push(id);
    }
    stage.clb().await?.make(&made).await?;
    for (carrier, id) in carriers.iter().zip(&ids) {
        annotate(stage.cluster(), namespace, carrier, id).await?;
    }
    Ok((sides, ids))
}

async fn annotate(cluster: &Cluster, namespace: &str, carrier: &Carrier, id: &str) -> Result<()> {
    let annotation = format!("{}={id}", carrier.annotation());
    let mut kubectl =
        cluster.kubectl(["--namespace", namespace, "annotate", carrier.object, &annotation]);
    crate::process::output("kubectl annotate", &mut kubectl).await.map(drop)
}

/// How long a fault lasts at least.
const FAULT: Duration = Duration::from_secs(3);
/// How long it may take until something was read with it: a new pod starts first, and an old one ends then.
const READ_LIMIT: Duration = Duration::from_secs(45);

/// One way in which a CLB cannot be read, or not rightly.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// The API answers so.
    Answers(Value),
    /// The keys are taken back.
    Keys,
}

impl Fault {
    /// All of them; `ips` are addresses of pods.
    pub(super) fn all(ips: &[String]) -> Vec<Self> {
        let answers = [
            json!({"kind": "staleReads", "ageSeconds": 5}),
            json!({"kind": "flappingWeight", "weight": 10, "periodMillis": 700}),
            json!({"kind": "partialListeners"}),
            json!({"kind": "missingRows", "ips": ips}),
            json!({"kind": "nullMembers", "members": ["Weight"]}),
            json!({"kind": "nullMembers", "members": ["Targets"]}),
            json!({"kind": "unknownMembers"}),
            json!({"kind": "lowerCaseTypes"}),
            json!({"kind": "slow", "millis": 2500}),
            json!({"kind": "truncatedJson"}),
            json!({"kind": "httpStatus", "status": 503}),
            json!({"kind": "throttling"}),
            json!({"kind": "expiredToken"}),
            json!({"kind": "clockSkew", "seconds": -400}),
            json!({"kind": "apiError", "code": "InternalError", "message": "an error of the service"}),
        ];
        answers.into_iter().map(Self::Answers).chain([Self::Keys]).collect()
    }

    /// Lets the CLBs `ids` have it until those of `read` have been read with it; and takes it away.
    ///
    /// # Errors
    /// Nothing was read: the fault would have shown nothing.
    pub(super) async fn endure(
        &self,
        stage: &Stage<'_>,
        ids: &[String],
        read: &[String],
    ) -> Result<()> {
        let admin = stage.clb().await?.admin();
        let known = admin.calls().await?.len();
        match self {
            Self::Answers(kind) => {
                let fault = |id: &String| json!({"loadBalancerId": id, "fault": kind});
                let faults: Vec<Value> = ids.iter().map(fault).collect();
                admin.set("faults", &faults).await.with_context(|| kind.to_string())?;
            }
            Self::Keys => admin.delete("credentials").await?,
        }
        let began = Instant::now();
        let mut were_read = read.is_empty();
        while !were_read || began.elapsed() < FAULT {
            if began.elapsed() >= READ_LIMIT {
                bail!("no CLB was read within {} s while {self:?}", READ_LIMIT.as_secs());
            }
            sleep(Duration::from_millis(500)).await;
            let calls = admin.calls().await?;
            let mut since = calls.iter().skip(known).flat_map(|call| &call.load_balancer_ids);
            were_read = were_read || since.any(|id| read.contains(id));
        }
        Self::none(stage).await
    }

    /// Takes every fault away.
    ///
    /// # Errors
    /// The stand-in refuses.
    pub(super) async fn none(stage: &Stage<'_>) -> Result<()> {
        let admin = stage.clb().await?.admin();
        admin.set("faults", &json!([])).await?;
        admin.set("credentials", &[Secret::permanent(SECRET.0, SECRET.1)]).await
    }
}
