//! A load of one request over and over on several connections that stay open: as little work of its own as can be, since it shares the
//! machine with what it measures.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Connections at work at the same time.
const CONNECTIONS: usize = 32;

/// A request and where it goes.
pub(crate) struct Load {
    address: SocketAddr,
    request: Vec<u8>,
}

/// A whole answer.
pub(crate) struct Answer {
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| {
            line.split_once(':')
                .is_some_and(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let line = self.head.lines().find(named)?;
        Some(line.split_once(':')?.1.trim())
    }
}

/// Where the head of an answer ends that begins a buffer, if it is all there.
fn head_end(buffer: &[u8]) -> Option<usize> {
    Some(buffer.windows(4).position(|four| four == b"\r\n\r\n")? + 4)
}

/// How long the body is, as a head says.
fn body_length(head: &[u8]) -> usize {
    let text = std::str::from_utf8(head).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 "), "{text}");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().unwrap())
    });
    length.unwrap()
}

impl Load {
    pub(crate) fn new(address: SocketAddr, path: &str, token: Option<&str>) -> Self {
        let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        Self {
            address,
            request: format!("GET {path} HTTP/1.1\r\nhost: load\r\naccept: */*\r\n{token}\r\n").into_bytes(),
        }
    }

    /// Asks once.
    pub(crate) fn once(&self) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.write_all(&self.request).unwrap();
        let (mut buffer, mut part) = (Vec::new(), [0; 16_384]);
        loop {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "the service closed the connection");
            buffer.extend_from_slice(&part[..read]);
            let Some(head) = head_end(&buffer) else { continue };
            if buffer.len() >= head + body_length(&buffer[..head]) {
                return Answer {
                    head: String::from_utf8(buffer[..head].to_vec()).unwrap(),
                    body: buffer.split_off(head),
                };
            }
        }
    }

    /// Asks for so long from a thread of its own; answers per second, and how long each took, in microseconds.
    pub(crate) fn run(&self, length: Duration) -> (f64, Histogram<u64>) {
        let asked = std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
                runtime.unwrap().block_on(self.all(length))
            });
            load.join()
        });
        let (times, took) = asked.unwrap();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
        let rate = times.len() as f64 / took.as_secs_f64();
        (rate, times)
    }

    async fn all(&self, length: Duration) -> (Histogram<u64>, Duration) {
        let began = Instant::now();
        let asking = (0..CONNECTIONS).map(|_| self.one(began + length));
        let all = futures_util::future::join_all(asking).await;
        let took = began.elapsed();
        let mut times = Histogram::new(3).unwrap();
        for one in &all {
            times.add(one).unwrap();
        }
        (times, took)
    }

    async fn one(&self, until: Instant) -> Histogram<u64> {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut times = Histogram::new(3).unwrap();
        let mut buffer = Vec::with_capacity(65_536);
        // Heads differ in the age of the answer and the like; the body is the same each time.
        let mut body = None;
        loop {
            let began = Instant::now();
            if began >= until {
                return times;
            }
            stream.write_all(&self.request).await.unwrap();
            buffer.clear();
            let mut end = None;
            while end.is_none_or(|end| buffer.len() < end) {
                assert!(stream.read_buf(&mut buffer).await.unwrap() > 0, "closed");
                end = end.or_else(|| {
                    let head = head_end(&buffer)?;
                    Some(head + *body.get_or_insert_with(|| body_length(&buffer[..head])))
                });
            }
            assert_eq!(Some(buffer.len()), end);
            let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            times.record(took.max(1)).unwrap();
        }
    }
}
