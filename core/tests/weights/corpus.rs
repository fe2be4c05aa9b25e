//! Annotations as Tencent's documents and people write them, one a file.

use std::path::{Path, PathBuf};
use std::{fs, iter};

use lameduck_core::upgrade::weights::{Port, Zeros, weight_of_user};

use crate::reader::{ORDINALS, assert_merged, weights};
use crate::user::SETS;
use crate::{HTTP, HTTPS, QUIC, Service, ordinals};

fn texts() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/weights/corpus");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<_> =
        paths.map(|path| (path.clone(), fs::read_to_string(&path).unwrap())).collect();
    assert!(texts.len() > 10);
    texts
}

fn plenty() -> impl Iterator<Item = (Vec<Port>, Zeros)> {
    let mut both = ordinals("nginx", &[0, 1, 5]);
    both.extend(ordinals("envoy", &[1]));
    let zeros = [
        ordinals("nginx", &[0]),
        ordinals("nginx", &[1]),
        ordinals("nginx", &[0, 1, 2, 3, 4, 5]),
        ordinals("redis", &[2]),
        both,
    ];
    let ports = [vec![HTTP], vec![HTTP, HTTPS], vec![QUIC, HTTPS, HTTP, HTTP]];
    ports.into_iter().flat_map(move |ports| iter::repeat(ports).zip(zeros.clone()))
}

#[test]
fn what_is_documented_goes_there_and_back() {
    for (path, text) in texts() {
        println!("{}", path.display());
        for (ports, zeros) in plenty() {
            let mut service = Service::new(Some(&text));
            service.zero(&ports, &zeros);
            assert_merged(Some(&text), service.weights.as_deref().unwrap(), &ports, &zeros);
            service.give_back();
            assert_eq!(service, Service::new(Some(&text)));
        }
    }
}

#[test]
fn the_users_weight_is_read_without_ours() {
    for (path, text) in texts() {
        println!("{}", path.display());
        let expected = weights(Some(&text));
        for (ports, zeros) in plenty() {
            let mut service = Service::new(Some(&text));
            service.zero(&ports, &zeros);
            for port in ports {
                for set in SETS {
                    for ordinal in 0..ORDINALS {
                        let weight = weight_of_user(&service.now(), set, ordinal, port).unwrap();
                        let key = ((port.protocol.as_str(), port.port), set, ordinal);
                        assert_eq!(weight.map(u64::from), expected[&key]);
                    }
                }
            }
        }
    }
}

#[test]
fn weights_are_as_before_where_ours_was_only_spaced_anew() {
    for (path, text) in texts() {
        println!("{}", path.display());
        for (ports, zeros) in plenty() {
            let mut service = Service::new(Some(&text));
            service.zero(&ports, &zeros);
            service.weights = service.weights.map(|text| format!(" {text}\n"));
            service.give_back();
            assert_eq!(weights(service.weights.as_deref()), weights(Some(&text)));
        }
    }
}
