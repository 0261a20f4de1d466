//! A connection of a client that believes any certificate.
#![allow(dead_code)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

/// In clear or inside TLS.
enum Inner {
    Clear(TcpStream),
    Secure(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Between the two.
    Gone,
}

impl Read for Inner {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Clear(stream) => stream.read(room),
            Self::Secure(stream) => stream.read(room),
            Self::Gone => Ok(0),
        }
    }
}

/// The connection.
pub struct Wire(BufReader<Inner>);

impl Wire {
    /// Connects; behind a load balancer when it is to speak for this client.
    pub fn connect(address: SocketAddr, wait: Duration, client: Option<[u8; 4]>) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(wait)).unwrap();
        if let Some(client) = client {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
            header.extend(client);
            header.extend([127, 0, 0, 1, 0x30, 0x39, 0, 25]);
            stream.write_all(&header).unwrap();
        }
        Self(BufReader::new(Inner::Clear(stream)))
    }

    /// Shakes hands; answers what a login can be bound to.
    pub fn secure(&mut self) -> [u8; 32] {
        assert!(self.0.buffer().is_empty(), "something was said before TLS");
        let Inner::Clear(mut stream) = std::mem::replace(self.0.get_mut(), Inner::Gone) else {
            panic!("inside TLS already");
        };
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            .with_no_client_auth();
        let name = ServerName::try_from("mx.example.com").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        while session.is_handshaking() {
            session.complete_io(&mut stream).unwrap();
        }
        let label = b"EXPORTER-Channel-Binding";
        let exporter = session
            .export_keying_material([0; 32], label, Some(b""))
            .unwrap();
        let secure = StreamOwned::new(session, stream);
        *self.0.get_mut() = Inner::Secure(Box::new(secure));
        exporter
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.0.get_mut() {
            Inner::Clear(stream) => stream.write_all(bytes),
            Inner::Secure(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Inner::Gone => Ok(()),
        }
    }

    /// Nothing more will be written.
    pub fn finish(&mut self) {
        match self.0.get_mut() {
            Inner::Clear(stream) => stream.shutdown(std::net::Shutdown::Write).unwrap(),
            Inner::Secure(stream) => stream.sock.shutdown(std::net::Shutdown::Write).unwrap(),
            Inner::Gone => {}
        }
    }

    /// The next line without its end; `None` at the end of the stream.
    pub fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let whole = line.strip_suffix("\r\n").map(str::to_owned);
        whole
            .map(Some)
            .ok_or_else(|| io::Error::other(format!("half a line: {line:?}")))
    }

    /// Whatever comes until it is closed.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut more = Vec::new();
        // A peer that had sent more than was read is reset, and TLS may be cut.
        let _ = self.0.read_to_end(&mut more);
        more
    }
}

/// Takes any certificate, and only good signatures.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
