//! Fetches one small text over HTTPS: verified TLS, one request, no redirects, everything bounded.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use smol::io::AsyncReadExt;
use smol::io::AsyncWriteExt;

use crate::base::limits;
use crate::mail::Domain;
use crate::net::dial::Dial;
use crate::net::dial::DialError;
use crate::net::http;
use crate::net::http::BadResponse;
use crate::net::http::Response;
use crate::net::stream::Stream;
use crate::net::tls::Client;
use crate::net::tls::error::TlsError;
use crate::net::within::within;

/// Why nothing was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpsError {
    /// The server cannot be reached.
    Dial(DialError),
    /// It does not prove who it is.
    Tls(TlsError),
    /// The connection broke.
    Broken(String),
    /// What it said cannot be read.
    Bad(BadResponse),
    /// All of it took too long.
    TooLate,
}

impl fmt::Display for HttpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Broken(why) => write!(f, "the connection broke: {why}"),
            Self::Bad(bad) => bad.fmt(f),
            Self::TooLate => f.write_str("it took too long"),
        }
    }
}

impl std::error::Error for HttpsError {}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    /// Whom it goes to; the certificate must be this host's.
    pub host: &'a Domain,
    /// Where that is, in the order to be tried.
    pub addresses: &'a [SocketAddr],
    /// What is asked for, with its leading slash.
    pub path: &'a str,
    /// How long all of it may take.
    pub wait: Duration,
}

impl Get<'_> {
    /// Fetches it, whatever its status. The response has at most [`limits::HTTPS_RESPONSE`] bytes with its header.
    pub async fn fetch(&self, tls: &Client) -> Result<Response, HttpsError> {
        let fetched = within(self.wait, self.unbounded(tls)).await;
        fetched.unwrap_or(Err(HttpsError::TooLate))
    }

    async fn unbounded(&self, tls: &Client) -> Result<Response, HttpsError> {
        let dial = Dial {
            timeout: self.wait,
            source: Vec::new(),
        };
        let (stream, _) = dial
            .connect(self.addresses)
            .await
            .map_err(HttpsError::Dial)?;
        let mut stream = tls
            .start(stream, self.host, self.wait)
            .await
            .map_err(HttpsError::Tls)?;
        let broken = |error: std::io::Error| HttpsError::Broken(error.to_string());
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: mailroot\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
            self.path, self.host
        );
        stream.write_all(request.as_bytes()).await.map_err(broken)?;
        stream.flush().await.map_err(broken)?;
        response(&mut stream).await
    }
}

async fn response(stream: &mut Stream) -> Result<Response, HttpsError> {
    let (mut bytes, mut block) = (Vec::new(), vec![0; 4096]);
    loop {
        let (count, closed) = match stream.read(&mut block).await {
            Ok(count) => (count, count == 0),
            // Many servers close without saying so in TLS; whether something is missing the response itself tells.
            Err(_) => (0, true),
        };
        bytes.extend_from_slice(block.get(..count).unwrap_or_default());
        if bytes.len() > limits::HTTPS_RESPONSE {
            return Err(HttpsError::Bad(BadResponse::TooLarge));
        }
        if let Some(response) = http::read(&bytes, closed).map_err(HttpsError::Bad)? {
            return Ok(response);
        }
    }
}
