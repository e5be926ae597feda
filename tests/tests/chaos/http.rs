//! A client of a node: one connection, one request after the other.

use std::collections::HashMap;
use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// A request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// A token to include.
    pub(crate) token: Option<&'a str>,
    pub(crate) body: &'a str,
}

impl<'a> Request<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            token: None,
            body: "",
        }
    }
}

/// The connection to wherever the node listens now.
#[derive(Debug, Default)]
pub(crate) struct Client {
    address: String,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// Asks; after an error, or when it was dropped half-way, the next request has a new connection.
    pub(crate) async fn ask(&mut self, address: &str, request: Request<'_>) -> io::Result<Reply> {
        let stream = self.stream.take().filter(|_| self.address == address);
        let mut stream = if let Some(stream) = stream {
            stream
        } else {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            BufReader::new(stream)
        };
        address.clone_into(&mut self.address);
        let token = request.token.map(|token| format!("x-ci-token: {token}\r\n"));
        let text = format!(
            "{} {} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n{}",
            request.method,
            request.path,
            token.unwrap_or_default(),
            request.body.len(),
            request.body
        );
        stream.get_mut().write_all(text.as_bytes()).await?;
        let reply = read(&mut stream).await?;
        self.stream = Some(stream);
        Ok(reply)
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Reply> {
    let broken = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(broken)?;
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers
        .get("content-length")
        .and_then(|length| length.parse().ok());
    let mut body = vec![0; length.ok_or_else(broken)?];
    stream.read_exact(&mut body).await?;
    let body = String::from_utf8(body).map_err(|_| broken())?;
    Ok(Reply {
        status,
        headers,
        body,
    })
}
