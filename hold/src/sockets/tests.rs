//! Against real sockets. Loopback peers never count, so the two ends get addresses of their own in a
//! fresh network namespace, which takes root.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};

use super::*;

const POD: &str = "198.18.0.1";
const CLIENT: &str = "198.18.0.2";
/// Below those that the kernel gives to clients: one of them with the same port would be counted for the pod.
const PORT: u16 = 8080;
const OTHER_PORT: u16 = 8081;

/// Runs `test` on a thread inside a network namespace that has both addresses.
fn in_a_namespace(test: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: a network namespace takes root");
        return;
    }
    std::thread::spawn(move || {
        // The flag that makes `unshare` unsound, FILES, is not given.
        #[allow(deprecated)]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).expect("a namespace");
        for line in [
            "link set lo up".to_owned(),
            format!("address add {POD}/32 dev lo"),
            format!("address add {CLIENT}/32 dev lo"),
            "address add fd00::1/128 dev lo nodad".to_owned(),
            "address add fd00::2/128 dev lo nodad".to_owned(),
        ] {
            let status = Command::new("ip").args(line.split(' ')).status().expect("ip runs");
            assert!(status.success(), "ip {line}");
        }
        test();
    })
    .join()
    .expect("the test in the namespace");
}

/// A connection from `from` to `to`.
fn dial(from: &str, to: SocketAddr) -> TcpStream {
    let from = SocketAddr::new(from.parse().expect("an address"), 0);
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket(family, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &from).expect("a local address");
    connect(&socket, &to).expect("a connection");
    TcpStream::from(socket)
}

/// Waits until a hold of `ports` sees `expected` connections, by sock_diag and by procfs. The kernel
/// may still be moving packets when a call returns, so a first other answer is none yet.
fn assert_seen(ports: &[u16], rule: &Rule, expected: u64) {
    let mut by_diag = Sockets::new(ports);
    assert!(matches!(by_diag.source, Source::Diag(_)));
    let mut by_procfs = Sockets { source: Source::Procfs, ..Sockets::new(ports) };
    let mut last = [0, 0];
    for _ in 0..500 {
        last = [&mut by_diag, &mut by_procfs].map(|sockets| {
            sockets.sample(&mut Census::default(), rule, Extent::All).expect("a sample").seen
        });
        // Procfs knows no idle times.
        if last[0] == expected && (last[1] == expected || rule.idle_limit.is_some()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("expected {expected} connections, sock_diag and procfs say {last:?}");
}

const RULE: Rule = Rule { idle_limit: None, waited: Duration::from_secs(3600) };

#[test]
fn counts_what_clients_have_open_and_nothing_else() {
    in_a_namespace(|| {
        let serving = TcpListener::bind((POD, PORT)).expect("a listener");
        let other = TcpListener::bind((POD, OTHER_PORT)).expect("a listener");
        let [to, to_other] =
            [&serving, &other].map(|listener| listener.local_addr().expect("an address"));
        let ports = [to.port()];
        assert_seen(&ports, &RULE, 0);

        let _to_itself = dial(POD, to);
        let _elsewhere = dial(CLIENT, to_other);
        assert_seen(&ports, &RULE, 0);
        assert_seen(&[], &RULE, 1);

        // Not accepted yet: the client may have sent its request already.
        let client = dial(CLIENT, to);
        assert_seen(&ports, &RULE, 1);
        drop(client);
        assert_seen(&ports, &RULE, 0);
    });
}

#[test]
fn sees_both_families_and_mapped_addresses() {
    in_a_namespace(|| {
        let both = TcpListener::bind(("::", PORT)).expect("a listener");
        let port = both.local_addr().expect("an address").port();
        let _v6 = dial("fd00::2", SocketAddr::new("fd00::1".parse().expect("an address"), port));
        let _mapped = dial(CLIENT, SocketAddr::new(POD.parse().expect("an address"), port));
        let _loopback = dial("127.0.0.1", SocketAddr::from(([127, 0, 0, 1], port)));
        assert_seen(&[port], &RULE, 2);
    });
}

#[test]
fn data_on_its_way_to_a_client_counts_after_the_application_closed() {
    in_a_namespace(|| {
        let serving = TcpListener::bind((POD, PORT)).expect("a listener");
        let to = serving.local_addr().expect("an address");
        let mut client = dial(CLIENT, to);
        let (mut server, _) = serving.accept().expect("a connection");
        server.set_nonblocking(true).expect("a mode");
        // More than the client's window, which it does not read.
        while server.write(&[0; 65_536]).is_ok() {}
        drop(server);
        assert_seen(&[to.port()], &RULE, 1);

        let mut everything = Vec::new();
        client.read_to_end(&mut everything).expect("the rest");
        assert_seen(&[to.port()], &RULE, 0);
    });
}

#[test]
fn a_half_closed_connection_counts_while_an_answer_may_be_in_the_making() {
    in_a_namespace(|| {
        let serving = TcpListener::bind((POD, PORT)).expect("a listener");
        let to = serving.local_addr().expect("an address");
        let client = dial(CLIENT, to);
        let (_server, _) = serving.accept().expect("a connection");
        client.shutdown(Shutdown::Write).expect("a half close");
        assert_seen(&[to.port()], &Rule { waited: Duration::ZERO, ..RULE }, 1);
        assert_seen(&[to.port()], &RULE, 0);
    });
}

#[test]
fn silence_is_told_apart_from_use() {
    in_a_namespace(|| {
        let serving = TcpListener::bind((POD, PORT)).expect("a listener");
        let to = serving.local_addr().expect("an address");
        let mut client = dial(CLIENT, to);
        let (mut server, _) = serving.accept().expect("a connection");
        let within = |limit| Rule { idle_limit: Some(limit), ..RULE };
        assert_seen(&[to.port()], &within(Duration::from_secs(60)), 1);
        let limit = Duration::from_millis(20);
        std::thread::sleep(4 * limit);
        assert_seen(&[to.port()], &within(limit), 0);

        client.write_all(b"x").expect("a byte");
        server.read_exact(&mut [0]).expect("a byte");
        assert_seen(&[to.port()], &within(Duration::from_secs(60)), 1);
    });
}

#[test]
fn the_mesh_sidecars_port_counts_too() {
    in_a_namespace(|| {
        let sidecar = TcpListener::bind((POD, MESH_INBOUND_PORTS[0])).expect("a listener");
        let _client = dial(CLIENT, sidecar.local_addr().expect("an address"));
        assert_seen(&[8080], &RULE, 1);
    });
}

#[test]
fn a_port_that_stopped_listening_keeps_its_connections() {
    in_a_namespace(|| {
        let serving = TcpListener::bind((POD, PORT)).expect("a listener");
        let _client = dial(CLIENT, serving.local_addr().expect("an address"));
        let _server = serving.accept().expect("a connection");
        let mut sockets = Sockets::new(&[]);
        let mut census = Census::default();
        assert_eq!(sockets.sample(&mut census, &RULE, Extent::All).expect("a sample").seen, 1);
        drop(serving);
        sockets.listeners_read = None;
        assert_eq!(sockets.sample(&mut census, &RULE, Extent::All).expect("a sample").seen, 1);
    });
}

#[test]
fn every_way_of_asking_the_kernel_finds_the_same() {
    in_a_namespace(|| {
        let both = TcpListener::bind(("::", PORT)).expect("a listener");
        let port = both.local_addr().expect("an address").port();
        let clients: Vec<_> = (0..50)
            .map(|_| dial(CLIENT, SocketAddr::new(POD.parse().expect("an address"), port)))
            .chain([dial("fd00::2", SocketAddr::new("fd00::1".parse().expect("ip"), port))])
            .collect();
        for (one_walk, filters) in [(true, true), (true, false), (false, true), (false, false)] {
            let mut diag = diag::Diag::with(one_walk, filters);
            let mut ids = BTreeSet::new();
            let mut listening = BTreeSet::new();
            diag.listeners(&mut |port| {
                listening.insert(port);
            })
            .expect("listeners");
            diag.connections(&BTreeSet::from([port]), true, &mut |connection| {
                assert!(connection.idle.is_some());
                if connection.local.port() == port {
                    ids.insert(connection.id);
                }
                ControlFlow::Continue(())
            })
            .expect("connections");
            assert_eq!((ids.len(), listening), (clients.len(), BTreeSet::from([port])));
        }
    });
}

#[test]
fn a_dump_that_was_cut_short_does_not_spoil_the_next() {
    in_a_namespace(|| {
        let serving = TcpListener::bind((POD, PORT)).expect("a listener");
        let to = serving.local_addr().expect("an address");
        // More than fit into one datagram of the answer.
        let clients: Vec<_> =
            (0..600).map(|_| (dial(CLIENT, to), serving.accept().expect("a connection"))).collect();
        let mut diag = diag::Diag::open().expect("sock_diag");
        for limit in [1, 500, usize::MAX] {
            let mut seen = 0;
            diag.connections(&BTreeSet::from([to.port()]), false, &mut |_| {
                seen += 1;
                if seen < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
            .expect("connections");
            assert_eq!(seen, limit.min(clients.len()));
        }
    });
}

#[test]
fn a_witness_is_found_by_itself_until_it_has_closed() {
    in_a_namespace(|| {
        let both = TcpListener::bind(("::", PORT)).expect("a listener");
        let port = both.local_addr().expect("an address").port();
        for (client, pod) in [(CLIENT, POD), ("fd00::2", "fd00::1")] {
            let client = dial(client, SocketAddr::new(pod.parse().expect("an address"), port));
            let (server, _) = both.accept().expect("a connection");
            let mut sockets = Sockets::new(&[port]);
            let mut census = Census::default();
            let mut sample = |extent| sockets.sample(&mut census, &RULE, extent).expect("a sample");
            sample(Extent::All);
            assert_eq!(sample(Extent::Enough), Sample { seen: 1, lasting: 1 });

            let witness = *sockets.witnesses.first().expect("a witness");
            let Source::Diag(diag) = &mut sockets.source else { panic!("no sock_diag") };
            assert!(diag.look_up(&witness, true).expect("it is there").idle.is_some());
            // Another connection of the same ends, as its cookie tells, is not the witness.
            let other = Connection { id: witness.id.wrapping_add(1), ..witness };
            assert!(diag.look_up(&other, true).is_none());

            drop((client, server));
            let gone = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                !sockets.a_witness_holds(&RULE)
            });
            assert!(gone, "the connection has closed");
            let after = sockets.sample(&mut census, &RULE, Extent::Enough).expect("a sample");
            assert_eq!(after, Sample::default());
        }
    });
}
