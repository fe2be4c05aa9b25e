//! Failures are counted as what they were, against servers that misbehave in one way each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::run;
use crate::load::{FailureKind, Settings, Tally};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npod\n";

/// What a server does with a connection.
#[derive(Clone, Copy, Debug)]
enum Habit {
    /// Answers every request.
    Good,
    /// Answers this many requests, then closes without being asked.
    CloseIdle(u32),
    /// Reads the request after this many answered ones, and closes.
    CloseEarly(u32),
    /// Reads the request after this many answered ones, and resets the connection.
    Reset(u32),
    /// Reads and never answers.
    Stall,
    /// Answers with status 500.
    Status,
    /// Closes in the middle of an answer.
    Half,
    /// Announces that the connection ends with this answer.
    SayClose,
}

async fn read_request(stream: &mut TcpStream) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
    }
    true
}

async fn serve(mut stream: TcpStream, habit: Habit) {
    let mut answered = 0;
    loop {
        if let Habit::CloseIdle(limit) = habit
            && answered == limit
        {
            return;
        }
        if !read_request(&mut stream).await {
            return;
        }
        let answer: &[u8] = match habit {
            Habit::CloseEarly(limit) if answered == limit => return,
            Habit::Reset(limit) if answered == limit => {
                sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
                return;
            }
            Habit::Stall => return std::future::pending().await,
            Habit::Status => b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            Habit::Half => &ANSWER[..ANSWER.len() - 2],
            Habit::SayClose => {
                b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\npod\n"
            }
            _ => ANSWER,
        };
        if stream.write_all(answer).await.is_err() || matches!(habit, Habit::Half) {
            return;
        }
        answered += 1;
    }
}

async fn server(habit: Habit) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(serve(stream, habit));
        }
    });
    (address, accepted)
}

fn idle(target: SocketAddr) -> Settings {
    Settings {
        new_per_second: 0,
        kept_per_second: 0,
        kept_connections: 0,
        long_connections: 0,
        timeout_millis: 200,
        ..Settings::new(target)
    }
}

fn only_new(target: SocketAddr) -> Settings {
    Settings { new_per_second: 100, ..idle(target) }
}

fn only_kept(target: SocketAddr) -> Settings {
    Settings { kept_per_second: 100, kept_connections: 2, ..idle(target) }
}

fn only_long(target: SocketAddr, long_millis: u64) -> Settings {
    Settings { long_connections: 3, long_millis, heartbeat_millis: 20, ..idle(target) }
}

async fn load(settings: Settings) -> Tally {
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(500)).await;
        stopper.cancel();
    });
    run(settings, stop, |_| ()).await
}

/// Every request failed, and each as `kind`.
fn all_failed(tally: &Tally, kind: FailureKind) {
    let counts = tally.counts;
    assert!(counts.requests > 0, "{tally:?}");
    assert_eq!(counts.failed, counts.requests, "{tally:?}");
    assert_eq!(tally.failures.get(&kind), Some(&counts.failed), "{tally:?}");
}

#[tokio::test]
async fn each_way_to_fail_has_its_name() {
    for (habit, kind) in [
        (Habit::CloseEarly(0), FailureKind::ClosedEarly),
        (Habit::Half, FailureKind::ClosedEarly),
        (Habit::Reset(0), FailureKind::Reset),
        (Habit::Stall, FailureKind::ResponseTimeout),
        (Habit::Status, FailureKind::BadStatus),
    ] {
        let (address, _) = server(habit).await;
        all_failed(&load(only_new(address)).await, kind);
        all_failed(&load(only_kept(address)).await, kind);
    }
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    all_failed(&load(only_new(closed)).await, FailureKind::ConnectRefused);
}

#[tokio::test]
async fn a_good_server_loses_nothing_and_is_known_by_name() {
    let (address, accepted) = server(Habit::Good).await;
    let tally = load(only_kept(address)).await;
    assert_eq!(tally.counts.failed, 0, "{tally:?}");
    assert_eq!(tally.pods["pod"].answered, tally.counts.requests);
    assert!(accepted.load(Ordering::Relaxed) < tally.counts.requests, "connections are kept");

    let recycled = Settings { kept_millis: 50, ..only_kept(address) };
    let before = accepted.load(Ordering::Relaxed);
    let tally = load(recycled).await;
    assert!(accepted.load(Ordering::Relaxed) - before > 2, "connections are recycled: {tally:?}");
    assert_eq!((tally.counts.failed, tally.idle_closes), (0, 0), "by the client: {tally:?}");
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_while_idle_is_opened_again() {
    let (address, _) = server(Habit::CloseIdle(2)).await;
    let tally = load(only_kept(address)).await;
    assert_eq!(tally.counts.failed, 0, "{tally:?}");
    assert!(tally.idle_closes > 0, "{tally:?}");
}

#[tokio::test]
async fn a_request_that_was_sent_is_never_sent_again() {
    let (address, _) = server(Habit::CloseEarly(3)).await;
    let tally = load(only_kept(address)).await;
    assert!(tally.counts.failed > 0, "{tally:?}");
    assert_eq!(tally.failures.get(&FailureKind::ClosedEarly), Some(&tally.counts.failed));
    assert_eq!(tally.losses[0].pod.as_deref(), Some("pod"), "the connection had named its pod");
    assert!(tally.losses[0].client_port.is_some());
}

#[tokio::test]
async fn a_long_connection_is_cut_however_it_ends_before_its_time() {
    for habit in [Habit::CloseIdle(2), Habit::CloseEarly(2), Habit::Reset(2), Habit::SayClose] {
        let (address, _) = server(habit).await;
        let tally = load(only_long(address, 60_000)).await;
        let counts = tally.counts;
        assert!(counts.long_connections >= 3, "{habit:?}: {tally:?}");
        assert!(
            counts.long_connections_cut + 3 >= counts.long_connections
                && counts.long_connections_cut > 0,
            "all but those that were alive at the end: {habit:?}: {tally:?}"
        );
        let silent = matches!(habit, Habit::CloseIdle(_) | Habit::SayClose);
        assert_eq!(counts.failed == 0, silent, "{habit:?}: {tally:?}");
    }
}

#[tokio::test]
async fn long_connections_that_reach_their_end_or_the_end_of_the_load_are_not_cut() {
    let (address, _) = server(Habit::Good).await;
    for long_millis in [100, 60_000] {
        let tally = load(only_long(address, long_millis)).await;
        assert!(tally.counts.long_connections >= 3, "{tally:?}");
        assert_eq!((tally.counts.long_connections_cut, tally.counts.failed), (0, 0), "{tally:?}");
    }
    let (address, _) = server(Habit::CloseEarly(0)).await;
    let tally = load(only_long(address, 60_000)).await;
    assert_eq!((tally.counts.long_connections, tally.counts.long_connections_cut), (0, 0));
    assert!(tally.counts.failed > 0, "one that never stood counts as a failed request: {tally:?}");
}
