//! Names to addresses, over UDP.
//!
//! The C library's resolver is out of the question: in a static binary it loads shared objects that
//! the user's image does not have. What a pod needs of a resolver is little: `/etc/hosts`, the search
//! list of `/etc/resolv.conf`, A and AAAA.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE};

/// Why a name has no address.
#[derive(Debug, PartialEq)]
pub(crate) enum Error {
    /// Every candidate name was denied.
    NoSuchName,
    /// No nameserver gave an answer that can be used; the last reason.
    NoAnswer(String),
    /// The name is none.
    InvalidName,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchName => f.write_str("DNS knows no such name"),
            Self::NoAnswer(reason) => write!(f, "no answer from DNS: {reason}"),
            Self::InvalidName => f.write_str("not a valid name"),
        }
    }
}

/// Time for one question to one nameserver.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(1);
/// Time for a whole look-up, whatever the search list and the nameservers do.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(6);
/// Rounds over the nameservers for one question.
const ROUNDS: usize = 2;
/// As the C library: more are ignored.
const MAX_NAMESERVERS: usize = 3;
const MAX_SEARCH: usize = 32;

/// Where and how to ask.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Resolver {
    nameservers: Vec<SocketAddr>,
    search: Vec<String>,
    ndots: usize,
    /// Text of the hosts file.
    hosts: String,
}

impl Resolver {
    /// Reads the container's configuration. A file that is missing counts as empty.
    pub(crate) fn from_system() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self { hosts: read("/etc/hosts"), ..Self::parse(&read("/etc/resolv.conf")) }
    }

    fn parse(resolv_conf: &str) -> Self {
        let mut this = Self { ndots: 1, ..Self::default() };
        for line in resolv_conf.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if this.nameservers.len() < MAX_NAMESERVERS => {
                    let ip = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    this.nameservers.extend(ip.map(|ip| SocketAddr::new(ip, 53)));
                }
                // The last line wins.
                Some("search" | "domain") => {
                    this.search = words.take(MAX_SEARCH).map(str::to_owned).collect();
                }
                Some("options") => {
                    let ndots = words.find_map(|word| word.strip_prefix("ndots:"));
                    this.ndots = ndots.and_then(|n| n.parse().ok()).unwrap_or(this.ndots);
                }
                _ => {}
            }
        }
        this
    }

    /// The addresses of `host`, which may be an address itself.
    ///
    /// # Errors
    /// There is no such name, or nobody answers in time.
    pub(crate) fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Error> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        let from_file = self.in_hosts(host);
        if !from_file.is_empty() {
            return Ok(from_file);
        }
        let give_up = Instant::now() + LOOKUP_TIMEOUT;
        let mut last = Error::NoSuchName;
        for name in self.candidates(host) {
            // A first: a single-stack cluster, and nearly every one is IPv4, is then done.
            for kind in [TYPE::A, TYPE::AAAA] {
                match self.ask(&name, kind, give_up) {
                    Ok(found) if !found.is_empty() => return Ok(found),
                    Ok(_) => {}
                    // The name has no other types either.
                    Err(Error::NoSuchName) => break,
                    Err(error @ Error::InvalidName) => return Err(error),
                    Err(error) => last = error,
                }
            }
        }
        Err(last)
    }

    fn in_hosts(&self, host: &str) -> Vec<IpAddr> {
        let lines = self.hosts.lines().filter_map(|line| line.split('#').next());
        lines
            .filter_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let ip = words.next()?.parse().ok()?;
                words.any(|word| word.eq_ignore_ascii_case(host)).then_some(ip)
            })
            .collect()
    }

    /// The names to try, in the C library's order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().map(|domain| {
            let domain = domain.trim_end_matches('.');
            if domain.is_empty() { host.to_owned() } else { format!("{host}.{domain}") }
        });
        let mut names: Vec<String> = searched.collect();
        let many_dots = host.matches('.').count() >= self.ndots;
        names.insert(if many_dots { 0 } else { names.len() }, host.to_owned());
        names
    }

    /// Asks the nameservers in turn until one answers the question, be it with nothing.
    fn ask(&self, name: &str, kind: TYPE, give_up: Instant) -> Result<Vec<IpAddr>, Error> {
        let mut last = "no nameserver is configured".to_owned();
        for _ in 0..ROUNDS {
            for nameserver in &self.nameservers {
                let left = give_up.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::NoAnswer("the look-up took too long".to_owned()));
                }
                match exchange(*nameserver, name, kind, left.min(QUESTION_TIMEOUT)) {
                    Ok(answer) => return answer,
                    Err(error) => last = format!("{nameserver}: {error}"),
                }
            }
        }
        Err(Error::NoAnswer(last))
    }
}

/// One question, one answer. The outer error: this nameserver is of no use for it.
fn exchange(
    nameserver: SocketAddr,
    name: &str,
    kind: TYPE,
    timeout: Duration,
) -> io::Result<Result<Vec<IpAddr>, Error>> {
    let Ok(question) = Name::new(name) else { return Ok(Err(Error::InvalidName)) };
    let question = Question::new(question, QTYPE::TYPE(kind), CLASS::IN.into(), false);
    let id = random_id();
    let mut query = Packet::new_query(id);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    query.questions.push(question.clone());
    let Ok(query) = query.build_bytes_vec() else { return Ok(Err(Error::InvalidName)) };

    let any: IpAddr = match nameserver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connected: the kernel drops what comes from anybody else.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(nameserver)?;
    socket.send(&query)?;
    let give_up = Instant::now() + timeout;
    let mut buffer = [0; 1500];
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        socket.set_read_timeout(Some(left))?;
        let length = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            length => length?,
        };
        let Ok(answer) = Packet::parse(buffer.get(..length).unwrap_or_default()) else { continue };
        // Another id is a late answer to somebody else's question on the same port.
        if answer.id() == id && answer.has_flags(PacketFlag::RESPONSE) {
            return read(&answer);
        }
    }
}

fn read(answer: &Packet<'_>) -> io::Result<Result<Vec<IpAddr>, Error>> {
    match answer.rcode() {
        RCODE::NoError => {}
        RCODE::NameError => return Ok(Err(Error::NoSuchName)),
        code => return Err(io::Error::other(format!("the nameserver answers {code:?}"))),
    }
    // Whatever their names: a nameserver puts the records of an alias into the same answer.
    let addresses = answer.answers.iter().filter_map(|record| match &record.rdata {
        RData::A(a) => Some(IpAddr::from(Ipv4Addr::from(a.address))),
        RData::AAAA(aaaa) => Some(IpAddr::from(Ipv6Addr::from(aaaa.address))),
        _ => None,
    });
    Ok(Ok(addresses.collect()))
}

/// The standard library seeds its hash maps from the kernel's random numbers; 16 bits of that are all
/// that a query needs.
fn random_id() -> u16 {
    std::hash::RandomState::new().build_hasher().finish() as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use simple_dns::ResourceRecord;
    use simple_dns::rdata::{A, AAAA, CNAME};

    /// What the stand-in does with a question.
    #[derive(Clone, Copy)]
    enum Reply {
        Address(&'static str),
        AliasAnd(&'static str),
        Empty,
        Code(RCODE),
        WrongIdThen(&'static str),
        Garbage,
        Silence,
    }

    /// A nameserver on loopback; its thread ends with the test process.
    fn nameserver(reply: impl Fn(&str, TYPE) -> Reply + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let address = socket.local_addr().expect("an address");
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                let query = Packet::parse(&buffer[..length]).expect("a query");
                let question = query.questions[0].clone();
                let QTYPE::TYPE(kind) = question.qtype else { panic!("an odd question") };
                let name = question.qname.clone();
                let record = |rdata| ResourceRecord::new(name.clone(), CLASS::IN, 5, rdata);
                let address = |text: &str| match text.parse::<IpAddr>().expect("an address") {
                    IpAddr::V4(ip) => record(RData::A(A { address: ip.into() })),
                    IpAddr::V6(ip) => record(RData::AAAA(AAAA { address: ip.into() })),
                };
                let mut answer = Packet::new_reply(query.id());
                answer.questions.push(question.clone());
                match reply(&question.qname.to_string(), kind) {
                    Reply::Address(ip) => answer.answers.push(address(ip)),
                    Reply::AliasAnd(ip) => {
                        let alias = Name::new("other.example").expect("a name");
                        answer.answers.push(record(RData::CNAME(CNAME(alias))));
                        answer.answers.push(address(ip));
                    }
                    Reply::Empty => {}
                    Reply::Code(code) => *answer.rcode_mut() = code,
                    Reply::WrongIdThen(ip) => {
                        let mut wrong = Packet::new_reply(query.id().wrapping_add(1));
                        wrong.answers.push(address("192.0.2.66"));
                        let bytes = wrong.build_bytes_vec().expect("a packet");
                        socket.send_to(&bytes, peer).expect("a reply");
                        answer.answers.push(address(ip));
                    }
                    Reply::Garbage => {
                        socket.send_to(b"\xff\xff", peer).expect("a reply");
                        continue;
                    }
                    Reply::Silence => continue,
                }
                socket
                    .send_to(&answer.build_bytes_vec().expect("a packet"), peer)
                    .expect("a reply");
            }
        });
        address
    }

    fn resolver(nameservers: &[SocketAddr]) -> Resolver {
        let search = ["shop.svc.cluster.local", "svc.cluster.local"].map(str::to_owned).to_vec();
        Resolver { nameservers: nameservers.to_vec(), search, ndots: 5, hosts: String::new() }
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn reads_what_the_kubelet_writes() {
        let read = Resolver::parse(
            "search shop.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\n\
             nameserver fd00::a\noptions edns0 ndots:5\n",
        );
        assert_eq!(read.nameservers.len(), 2);
        assert_eq!(
            read.candidates("hold.system"),
            ["hold.system.shop.svc.cluster.local", "hold.system.svc.cluster.local", "hold.system"]
        );
        assert_eq!(read.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(read.candidates("hold.system."), ["hold.system"]);
    }

    #[test]
    fn goes_through_the_search_list() {
        let server = nameserver(|name, _| match name {
            "hold.system.svc.cluster.local" => Reply::AliasAnd("10.96.0.7"),
            _ => Reply::Code(RCODE::NameError),
        });
        assert_eq!(resolver(&[server]).resolve("hold.system"), Ok(ips(&["10.96.0.7"])));
        assert_eq!(resolver(&[server]).resolve("absent"), Err(Error::NoSuchName));
    }

    #[test]
    fn takes_ipv6_where_there_is_no_ipv4() {
        let server = nameserver(|_, kind| match kind {
            TYPE::AAAA => Reply::Address("fd00::7"),
            _ => Reply::Empty,
        });
        assert_eq!(resolver(&[server]).resolve("hold"), Ok(ips(&["fd00::7"])));
    }

    #[test]
    fn a_bad_nameserver_does_not_spoil_the_good_one() {
        let good = nameserver(|_, _| Reply::Address("10.96.0.7"));
        for bad in [Reply::Garbage, Reply::Silence, Reply::Code(RCODE::ServerFailure)] {
            let bad = nameserver(move |_, _| bad);
            assert_eq!(resolver(&[bad, good]).resolve("hold"), Ok(ips(&["10.96.0.7"])));
        }
        let late = nameserver(|_, _| Reply::WrongIdThen("10.96.0.7"));
        assert_eq!(resolver(&[late]).resolve("hold"), Ok(ips(&["10.96.0.7"])));
    }

    #[test]
    fn says_why_there_is_no_answer() {
        let bad = nameserver(|_, _| Reply::Code(RCODE::ServerFailure));
        for (nameservers, expected) in
            [(vec![], "no nameserver is configured"), (vec![bad], "ServerFailure")]
        {
            let error = resolver(&nameservers).resolve("hold").expect_err("no address");
            assert!(error.to_string().contains(expected), "{error}");
        }
        let long = "x".repeat(70);
        assert_eq!(resolver(&[bad]).resolve(&long), Err(Error::InvalidName));
    }

    proptest! {
        /// A panic would end the hold, and with it the container.
        #[test]
        fn no_answer_makes_it_panic(
            changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..8),
            cut in proptest::option::of(any::<usize>()),
        ) {
            let name = Name::new("hold.system").expect("a name");
            let record = |rdata| ResourceRecord::new(name.clone(), CLASS::IN, 5, rdata);
            let mut answer = Packet::new_reply(7);
            answer.answers.push(record(RData::CNAME(CNAME(name.clone()))));
            answer.answers.push(record(RData::A(A { address: 7 })));
            answer.answers.push(record(RData::AAAA(AAAA { address: 7 })));
            let mut bytes = answer.build_bytes_vec_compressed().expect("a packet");
            for (at, byte) in changes {
                let length = bytes.len();
                bytes[at % length] = byte;
            }
            bytes.truncate(cut.map_or(bytes.len(), |cut| cut % bytes.len()));
            if let Ok(packet) = Packet::parse(&bytes) {
                read(&packet).ok();
            }
        }
    }

    #[test]
    fn addresses_and_the_hosts_file_need_no_nameserver() {
        let hosts = "127.0.0.1 localhost\n10.1.1.1 web-0 web # alias\n".to_owned();
        let resolver = Resolver { hosts, ..Resolver::default() };
        assert_eq!(resolver.resolve("localhost"), Ok(ips(&["127.0.0.1"])));
        assert_eq!(resolver.resolve("WEB"), Ok(ips(&["10.1.1.1"])));
        assert_eq!(resolver.resolve("fd00::1"), Ok(ips(&["fd00::1"])));
    }
}
