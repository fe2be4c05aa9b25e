//! A filter on local ports that the kernel runs over its sockets (`INET_DIAG_REQ_BYTECODE`).
//!
//! With it ten thousand sockets that do not count cost a comparison each, and not a message each.

use std::collections::BTreeSet;

/// More ranges than this are left to the reader: the filter only saves work.
const MAX_RANGES: usize = 64;

const JUMP: u8 = 1;
const SOURCE_PORT_GE: u8 = 2;
const SOURCE_PORT_LE: u8 = 3;

/// Bytes of one instruction, and of one comparison, which is an instruction and its operand.
const INSTRUCTION: u16 = 4;
const COMPARISON: u16 = 2 * INSTRUCTION;
/// Bytes of "at least `low`, at most `high`, then accept".
const RANGE: u16 = 2 * COMPARISON + INSTRUCTION;

/// The program that accepts sockets with one of these local ports, or none where it would get too long.
///
/// A program accepts by arriving exactly at its end, and refuses by jumping beyond it.
pub(super) fn program(ports: &BTreeSet<u16>) -> Option<Vec<u8>> {
    let ranges = ranges(ports);
    if ranges.is_empty() || ranges.len() > MAX_RANGES {
        return None;
    }
    let length = RANGE * ranges.len() as u16;
    let mut program = Vec::with_capacity(length.into());
    for (low, high) in ranges {
        let to_end = length - program.len() as u16;
        // Past the last range "not this one" is a refusal: 4 bytes beyond the end.
        let otherwise = if to_end == RANGE { RANGE + INSTRUCTION } else { RANGE };
        instruction(&mut program, SOURCE_PORT_GE, COMPARISON, otherwise);
        instruction(&mut program, 0, 0, low);
        instruction(&mut program, SOURCE_PORT_LE, COMPARISON, otherwise - COMPARISON);
        instruction(&mut program, 0, 0, high);
        instruction(&mut program, JUMP, INSTRUCTION, to_end - 2 * COMPARISON);
    }
    Some(program)
}

/// `struct inet_diag_bc_op`: code, offset if true, offset if false (or an operand).
fn instruction(program: &mut Vec<u8>, code: u8, yes: u16, no: u16) {
    program.extend([code, yes as u8]);
    program.extend(no.to_ne_bytes());
}

fn ranges(ports: &BTreeSet<u16>) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, high)) if high.checked_add(1) == Some(port) => *high = port,
            _ => ranges.push((port, port)),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel does with a program and a port.
    fn accepts(program: &[u8], port: u16) -> bool {
        let mut left = program.len() as i32;
        while left > 0 {
            let at = &program[program.len() - left as usize..];
            let no = |offset: usize| u16::from_ne_bytes([at[offset + 2], at[offset + 3]]);
            let holds = match at[0] {
                SOURCE_PORT_GE => port >= no(4),
                SOURCE_PORT_LE => port <= no(4),
                _ => false,
            };
            left -= if holds { i32::from(at[1]) } else { i32::from(no(0)) };
        }
        left == 0
    }

    proptest! {
        #[test]
        fn accepts_these_ports_and_no_other(
            ports in proptest::collection::btree_set(1u16.., 1..40),
            others in proptest::collection::vec(any::<u16>(), 50),
        ) {
            let program = program(&ports).expect("few enough");
            for port in ports.iter().chain(&others) {
                for near in [port.saturating_sub(1), *port, port.saturating_add(1)] {
                    prop_assert_eq!(accepts(&program, near), ports.contains(&near), "{}", near);
                }
            }
        }
    }

    #[test]
    fn neighbours_become_one_range() {
        assert_eq!(
            ranges(&BTreeSet::from([80, 81, 82, 443, 65535])),
            [(80, 82), (443, 443), (65535, 65535)]
        );
        assert_eq!(program(&BTreeSet::new()), None);
        assert_eq!(program(&(0..200).map(|n| n * 2).collect()), None);
    }
}
