//! What must hold for any bytes that the CLB API may answer.
//!
//! [`check`] reads them as each call does and counts again, from the JSON alone, what must have come out:
//! every weight stands in the answer, every backend is a row or a gap, nothing is an error that could
//! have been read, and nothing is read from what is no answer. `cargo test` runs it on the [`SAMPLES`]
//! and on edits of them, `cargo lab fuzz` on what libFuzzer makes of them, guided by the coverage of the
//! client's code.

mod edits;
mod health;
mod invariants;

pub use edits::edit;
pub use invariants::check;

/// An answer of each call, and a refusal: the samples of the client's own tests.
pub const SAMPLES: [&str; 6] = [
    include_str!("../../clb/samples/describe-targets.json"),
    include_str!("../../clb/samples/describe-lb-listeners.json"),
    include_str!("../../clb/samples/describe-load-balancers.json"),
    include_str!("../../clb/samples/describe-target-health.json"),
    include_str!("../../clb/samples/describe-task-status.json"),
    include_str!("../../clb/samples/refused.json"),
];

/// The answer with one to four edits, the same for the same `seed`; `None` where it is no JSON.
#[must_use]
pub fn edited(answer: &[u8], seed: u64) -> Option<Vec<u8>> {
    let mut value = serde_json::from_slice(answer).ok()?;
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..random.u8(1..=4) {
        edit(&mut value, &mut random);
    }
    Some(value.to_string().into_bytes())
}
