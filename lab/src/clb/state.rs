//! What the CLB service knows: load balancers, their listeners, rules and targets, and the tasks that
//! change them. Pure: the time is an argument.
//!
//! A write is checked and answered at once, and takes effect when its task completes. A load balancer
//! has one task at a time. A task that is due is first previewed ([`State::after`]), so that the data
//! plane can follow, and then completed ([`State::complete`]): only then do reads show it.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::model::{Health, Listener, LoadBalancer};
use super::write::{self, BACKENDS_MAX, Write};

/// The most load balancers: more than the benchmark's 100.
const LOAD_BALANCERS_MAX: usize = 1_000;
/// The most tasks that are remembered; the oldest are forgotten first.
const TASKS_MAX: usize = 20_000;
/// The most former listeners of a load balancer that are kept for stale reads.
const HISTORY_MAX: usize = 64;

/// How long tasks take.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskTime {
    /// The shortest.
    pub min_millis: u64,
    /// The longest.
    pub max_millis: u64,
}

impl Default for TaskTime {
    /// What is seen of CLB: nothing is published.
    fn default() -> Self {
        Self { min_millis: 300, max_millis: 2_000 }
    }
}

/// What became of a write.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// `Status` 2.
    Working,
    /// `Status` 0.
    Done,
    /// `Status` 1, and why.
    Failed(String),
}

#[derive(Clone, Debug)]
struct Task {
    write: Write,
    due: Timestamp,
    outcome: Outcome,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct State {
    /// How long a write takes.
    pub task_time: TaskTime,
    /// The next tasks fail with this message, so many of them.
    pub failing_tasks: u32,
    /// How many targets a load balancer may have.
    pub backends_max: usize,
    load_balancers: BTreeMap<String, LoadBalancer>,
    /// Load balancer -> its task at work.
    working: BTreeMap<String, String>,
    tasks: BTreeMap<String, Task>,
    order: VecDeque<String>,
    history: BTreeMap<String, VecDeque<(Timestamp, Vec<Listener>)>>,
    begun: u64,
    refused: u64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            task_time: TaskTime::default(),
            failing_tasks: 0,
            backends_max: BACKENDS_MAX,
            load_balancers: BTreeMap::new(),
            working: BTreeMap::new(),
            tasks: BTreeMap::new(),
            order: VecDeque::new(),
            history: BTreeMap::new(),
            begun: 0,
            refused: 0,
        }
    }
}

impl State {
    /// Makes or replaces a load balancer, without a task.
    ///
    /// # Errors
    /// It has rules where its protocol has none, or the other way round; or there are too many.
    pub fn make(&mut self, made: LoadBalancer, now: Timestamp) -> Result<(), ApiError> {
        let wrong = made.listeners.iter().find(|listener| {
            if listener.protocol.has_rules() {
                !listener.targets.is_empty() || listener.side.is_some()
            } else {
                !listener.rules.is_empty()
            }
        });
        if let Some(listener) = wrong {
            let message = format!("{} mixes targets and rules", listener.id);
            return Err(ApiError::new("InvalidParameter", message));
        }
        if self.load_balancers.len() >= LOAD_BALANCERS_MAX {
            return Err(ApiError::new("LimitExceeded", "too many load balancers"));
        }
        self.working.remove(&made.id);
        let history = self.history.entry(made.id.clone()).or_default();
        history.clear();
        history.push_back((now, made.listeners.clone()));
        self.load_balancers.insert(made.id.clone(), made);
        Ok(())
    }

    /// Takes a load balancer away.
    pub fn remove(&mut self, id: &str) {
        self.load_balancers.remove(id);
        self.working.remove(id);
        self.history.remove(id);
    }

    /// All load balancers, by id.
    pub fn all(&self) -> impl Iterator<Item = &LoadBalancer> {
        self.load_balancers.values()
    }

    /// The load balancer `id`.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&LoadBalancer> {
        self.load_balancers.get(id)
    }

    /// Sets the health of every target at `ip`. A health check is no task.
    pub fn set_health(&mut self, id: &str, ip: IpAddr, health: Health) {
        let Some(found) = self.load_balancers.get_mut(id) else { return };
        for target in found.targets_mut().filter(|target| target.ip == ip) {
            target.health = health;
        }
    }

    /// Sets the weights of every target at these addresses at once, as if somebody's task had just
    /// completed.
    pub fn set_weights(&mut self, id: &str, weights: &[(IpAddr, u32)], now: Timestamp) {
        let Some(found) = self.load_balancers.get_mut(id) else { return };
        for target in found.targets_mut() {
            if let Some((_, weight)) = weights.iter().rev().find(|(ip, _)| *ip == target.ip) {
                target.weight = *weight;
            }
        }
        let listeners = found.listeners.clone();
        self.remember(id, listeners, now);
    }

    fn remember(&mut self, id: &str, listeners: Vec<Listener>, now: Timestamp) {
        let history = self.history.entry(id.to_owned()).or_default();
        history.push_back((now, listeners));
        if history.len() > HISTORY_MAX {
            history.pop_front();
        }
    }

    /// The load balancer as it was `age` ago, or as far back as is known.
    #[must_use]
    pub fn as_of(&self, id: &str, now: Timestamp, age: Duration) -> Option<LoadBalancer> {
        let mut found = self.load_balancers.get(id)?.clone();
        if age.is_zero() {
            return Some(found);
        }
        let then = now.checked_sub(age).unwrap_or(Timestamp::UNIX_EPOCH);
        let history = self.history.get(id)?;
        let old = history.iter().rev().find(|(since, _)| *since <= then).or(history.front());
        if let Some((_, listeners)) = old {
            found.listeners.clone_from(listeners);
        }
        Some(found)
    }

    /// Whether a write on `id` would be refused for another that is at work.
    #[must_use]
    pub fn is_busy(&self, id: &str) -> bool {
        self.working.contains_key(id)
    }

    /// Takes a write on. Its effect comes when its task, `request_id`, completes.
    ///
    /// # Errors
    /// The write makes no sense, the load balancer is at work, or it is protected and the caller is not
    /// its owner.
    pub fn begin(
        &mut self,
        write: Write,
        by_owner: bool,
        request_id: &str,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let id = write.load_balancer.clone();
        let found = self.load_balancers.get(&id).ok_or_else(|| not_found(&id))?;
        write::check(found, &write, self.backends_max)?;
        if found.protected && !by_owner {
            let message = format!("{id} is protected against changes of its configuration.");
            return Err(ApiError::new("OperationDenied", message));
        }
        if let Some(task) = self.working.get(&id).and_then(|task| self.tasks.get(task)) {
            let error = busy(&id, task.write.action.worker(), self.refused);
            self.refused += 1;
            return Err(error);
        }
        let TaskTime { min_millis, max_millis } = self.task_time;
        // Spread evenly over the range, and the same in each run: steps of the golden ratio.
        let part = self.begun.wrapping_mul(618) % 1_000;
        let millis = min_millis + max_millis.saturating_sub(min_millis) * part / 1_000;
        self.begun += 1;
        let due = now.checked_add(Duration::from_millis(millis)).unwrap_or(now);
        self.working.insert(id, request_id.to_owned());
        self.tasks.insert(request_id.to_owned(), Task { write, due, outcome: Outcome::Working });
        self.order.push_back(request_id.to_owned());
        if self.order.len() > TASKS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.tasks.remove(&oldest);
        }
        Ok(())
    }

    /// When the next task is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.working.values().filter_map(|task| self.tasks.get(task)).map(|task| task.due).min()
    }

    /// The tasks that are due.
    #[must_use]
    pub fn due(&self, now: Timestamp) -> Vec<String> {
        let is_due = |id: &&String| self.tasks.get(*id).is_some_and(|task| task.due <= now);
        self.working.values().filter(is_due).cloned().collect()
    }

    /// The load balancer as it will be after `task`.
    #[must_use]
    pub fn after(&self, task: &str, now: Timestamp) -> Option<LoadBalancer> {
        let write = &self.tasks.get(task)?.write;
        let mut found = self.load_balancers.get(&write.load_balancer)?.clone();
        if self.failing_tasks == 0 {
            write::apply(&mut found, write, now);
        }
        Some(found)
    }

    /// Ends `task`: with its effect, or with the reason why it has none.
    pub fn complete(&mut self, task: &str, failure: Option<String>, now: Timestamp) {
        let failure = match failure {
            None if self.failing_tasks > 0 => {
                self.failing_tasks -= 1;
                Some("the lab was told to let this task fail".to_owned())
            }
            other => other,
        };
        let Some(found) = self.tasks.get_mut(task) else { return };
        let id = found.write.load_balancer.clone();
        if self.working.get(&id).is_none_or(|working| working != task) {
            return;
        }
        self.working.remove(&id);
        if let Some(why) = failure {
            found.outcome = Outcome::Failed(why);
            return;
        }
        found.outcome = Outcome::Done;
        let Some(load_balancer) = self.load_balancers.get_mut(&id) else { return };
        write::apply(load_balancer, &found.write, now);
        let listeners = load_balancer.listeners.clone();
        self.remember(&id, listeners, now);
    }

    /// What became of the write `task`, and on which load balancer.
    #[must_use]
    pub fn outcome(&self, task: &str) -> Option<(Outcome, &str)> {
        let found = self.tasks.get(task)?;
        Some((found.outcome.clone(), &found.write.load_balancer))
    }
}

/// `InvalidParameter.LBIdNotFound`.
#[must_use]
pub fn not_found(id: &str) -> ApiError {
    ApiError::new("InvalidParameter.LBIdNotFound", format!("LoadBalancer {id} not exist"))
}

/// The refusals that clients of CLB have seen, in turn.
fn busy(id: &str, worker: &str, number: u64) -> ApiError {
    match number % 3 {
        0 => ApiError::new(
            "FailedOperation.ResourceInOperating",
            format!(
                "Your task is working ({worker}). Pls wait for the task to complete and try again."
            ),
        ),
        1 => ApiError::new(
            "FailedOperation.ResourceInOperating",
            format!(
                "Loadbalancer({id}) is not in normal desState, maybe some tasks are being processed, please try later."
            ),
        ),
        _ => ApiError::new(
            "FailedOperation",
            format!("Task Check Failed : Same wsName is Working({worker}), pls Try Later"),
        ),
    }
}

#[cfg(test)]
mod tests;
