//! libFuzzer on [`lameduck_fuzz::check`]: `cargo lab fuzz`.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(|answer: &[u8]| lameduck_fuzz::check(answer));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // Every other time bytes, as libFuzzer does it; else what an answer is made of.
    let edited = match seed % 2 {
        0 => None,
        _ => lameduck_fuzz::edited(&data[..size], u64::from(seed)),
    };
    match edited {
        Some(answer) if answer.len() <= max_size => {
            data[..answer.len()].copy_from_slice(&answer);
            answer.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
