//! HAProxy's answers and log lines -> servers, their connections, and how one ended. Pure.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};

use super::haproxy::Abnormal;
use super::plan::Server;

/// `PORT BACKEND SERVER END`, as the log format above says.
pub(super) fn log_line(line: &str) -> Option<((String, u16), Abnormal)> {
    let mut words = line.split_whitespace();
    let port = words.next()?.parse().ok()?;
    let backend = words.next()?.to_owned();
    let server = words.next()?.to_owned();
    let end = words.next()?.to_owned();
    Some(((backend, port), Abnormal { server, end }))
}

/// The answer to `show servers state`: a version, the columns' names, and a line per server.
pub(super) fn servers(answer: &str) -> Result<Vec<Server>> {
    /// The bit of `srv_admin_state` that `set server … state maint` sets.
    const MAINTENANCE: u32 = 1;
    let mut lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    let version = lines.next().unwrap_or_default();
    let columns: Vec<&str> = lines
        .next()
        .and_then(|line| line.strip_prefix("# "))
        .with_context(|| format!("the load balancer's servers cannot be read: {version}"))?
        .split_whitespace()
        .collect();
    let column = |name: &str| {
        columns
            .iter()
            .position(|column| *column == name)
            .with_context(|| format!("the load balancer's list of servers has no column {name}"))
    };
    let (name, ip, port) = (column("srv_name")?, column("srv_addr")?, column("srv_port")?);
    let (weight, admin) = (column("srv_uweight")?, column("srv_admin_state")?);
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let word = |index: usize| words.get(index).copied().unwrap_or_default();
            let parse = || -> Result<Server> {
                Ok(Server {
                    name: word(name).to_owned(),
                    address: SocketAddr::new(word(ip).parse()?, word(port).parse()?),
                    weight: word(weight).parse()?,
                    maintenance: word(admin).parse::<u32>()? & MAINTENANCE != 0,
                })
            };
            parse().with_context(|| format!("a server of the load balancer cannot be read: {line}"))
        })
        .collect()
}

/// The answer to `show stat`, a table of comma-separated values: the connections of each server of `side`.
pub(super) fn sessions(answer: &str, side: &str) -> Result<BTreeMap<String, u32>> {
    let mut lines = answer.lines().map(str::trim).filter(|line| !line.is_empty());
    let columns: Vec<&str> = lines
        .next()
        .and_then(|line| line.strip_prefix("# "))
        .with_context(|| format!("the load balancer's connections cannot be read: {answer}"))?
        .split(',')
        .collect();
    let column = |name: &str| {
        let found = columns.iter().position(|column| *column == name);
        found.with_context(|| format!("the load balancer's connections have no column {name}"))
    };
    let (proxy, server, current) = (column("pxname")?, column("svname")?, column("scur")?);
    let mut found = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(',').collect();
        let word = |index: usize| words.get(index).copied().unwrap_or_default();
        if word(proxy) == side {
            let count = word(current)
                .parse()
                .with_context(|| format!("a server's connections cannot be read: {line}"))?;
            found.insert(word(server).to_owned(), count);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::{Abnormal, log_line, servers, sessions};
    use crate::lb::plan::Server;

    #[test]
    fn servers_are_read_by_the_names_of_the_columns() {
        // Recorded from HAProxy 2.6.12.
        let answer = include_str!("recorded/servers-state.txt");
        let server = |name: &str, last: u8, weight: u32, maintenance: bool| Server {
            name: name.into(),
            address: SocketAddr::from(([127, 0, 0, last], 8080)),
            weight,
            maintenance,
        };
        let expected = vec![
            server("web-0.1a2b", 1, 10, false),
            server("web-1.3c4d", 2, 0, false),
            server("web-2.5e6f", 3, 10, true),
        ];
        assert_eq!(servers(answer).unwrap(), expected);
        assert!(servers("Can't find backend.\n").is_err());
    }

    #[test]
    fn sessions_are_those_of_one_side() {
        // Recorded from HAProxy 2.6.12, with two connections to the first server.
        let answer = include_str!("recorded/stat.csv");
        let found = sessions(answer, "side-0").unwrap();
        assert_eq!(found, [("web-0.1a2b".to_owned(), 2), ("web-1.3c4d".to_owned(), 0)].into());
        assert!(sessions(answer, "side-1").unwrap().is_empty());
        assert!(sessions("Permission denied\n", "side-0").is_err());
    }

    #[test]
    fn log_lines_that_are_none_are_passed_over() {
        let abnormal = Abnormal { server: "web-0.1a2b".into(), end: "SC".into() };
        let key = ("side-1".to_owned(), 40_000);
        assert_eq!(log_line("40000 side-1 web-0.1a2b SC"), Some((key, abnormal)));
        assert_eq!(log_line("[NOTICE] something else"), None);
    }
}
