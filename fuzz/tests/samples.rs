//! The checks that libFuzzer makes, on the samples and on edits of them: the same on every run.

use lameduck_fuzz::{SAMPLES, check, edited};

#[test]
fn samples() {
    for sample in SAMPLES {
        check(sample.as_bytes());
    }
}

#[test]
fn every_begin_of_a_sample() {
    for sample in SAMPLES {
        for end in 0..sample.len() {
            check(&sample.as_bytes()[..end]);
        }
    }
}

#[test]
fn edits_of_samples() {
    for sample in SAMPLES {
        for seed in 0..400 {
            // Now and then edits of edits: with more of them little is left to read.
            let once = edited(sample.as_bytes(), seed).unwrap();
            check(&once);
            check(&edited(&once, seed).unwrap());
        }
    }
}
