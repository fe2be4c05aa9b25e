//! A load balancer itself.

use serde_json::Value;

use crate::decode::{kind, text, texts, upper};
use crate::error::Failure;

/// Which load balancers are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection<'a> {
    /// All of the region.
    All,
    /// Those with these ids. What does not exist is missing in the answer.
    Ids(&'a [String]),
    /// All in this VPC, by its id `vpc-…`.
    Vpc(&'a str),
}

/// A load balancer, as DescribeLoadBalancers says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Id, `lb-…`.
    pub load_balancer_id: String,
    /// The name that people gave it.
    pub name: Option<String>,
    /// `OPEN` (public) or `INTERNAL`; upper case.
    pub load_balancer_type: Option<String>,
    /// Whether it is of the classic kind, whose weights cannot be read; `None` where it was not said.
    pub is_classic: Option<bool>,
    /// Its addresses.
    pub vips: Vec<String>,
    /// Whether it is in service (not being created); `None` where it was not said.
    pub is_normal: Option<bool>,
    /// Its VPC, `vpc-…`.
    pub vpc_id: Option<String>,
    /// The same as a number.
    pub numerical_vpc_id: Option<u64>,
    /// The region of its backends.
    pub target_region: Option<String>,
    /// Tags, key and value.
    pub tags: Vec<(String, String)>,
    /// `DeleteProtect`, `Stop`, `BanStatus`…
    pub attribute_flags: Vec<String>,
}

impl LoadBalancer {
    /// A tag's value, for example of `tke-clusterId`.
    #[must_use]
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    pub(crate) fn read(value: &Value) -> Result<Self, Failure> {
        let Some(load_balancer_id) = text(&value["LoadBalancerId"]) else {
            return Err(Failure::Unexpected {
                detail: format!(
                    "a load balancer without LoadBalancerId in LoadBalancerSet, {}",
                    kind(value)
                ),
            });
        };
        let number = |name: &str| value[name].as_u64();
        let tags = value["Tags"].as_array().into_iter().flatten();
        Ok(Self {
            load_balancer_id,
            name: text(&value["LoadBalancerName"]),
            load_balancer_type: upper(&value["LoadBalancerType"]),
            is_classic: number("Forward")
                .filter(|forward| *forward < 2)
                .map(|forward| forward == 0),
            vips: texts(&value["LoadBalancerVips"]),
            is_normal: number("Status").filter(|status| *status < 2).map(|status| status == 1),
            vpc_id: text(&value["VpcId"]),
            numerical_vpc_id: number("NumericalVpcId"),
            target_region: text(&value["TargetRegionInfo"]["Region"]),
            tags: tags
                .filter_map(|tag| {
                    let value = text(&tag["TagValue"]).unwrap_or_default();
                    Some((text(&tag["TagKey"])?, value))
                })
                .collect(),
            attribute_flags: texts(&value["AttributeFlags"]),
        })
    }
}
