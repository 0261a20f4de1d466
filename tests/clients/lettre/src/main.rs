//! lettre sends by both ports and with each mechanism that it has in common with mailroot.
//!
//! Arguments: the STARTTLS port, the implicit port, the CA's file, then the messages of both ports. Each way that
//! worked is a line of the output, and its name stands in the message for the word WAY.

use std::error::Error;
use std::fs;
use std::time::Duration;

use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{SmtpTransport, Transport};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [starttls, implicit, ca, small, large] = &args[..] else {
        return Err("arguments: STARTTLS-PORT IMPLICIT-PORT CA SMALL LARGE".into());
    };
    let ca = Certificate::from_pem(&fs::read(ca)?)?;
    let tls = TlsParameters::builder("localhost".to_owned())
        .add_root_certificate(ca)
        .build()?;
    let envelope = Envelope::new(
        Some("alice@nas.example".parse()?),
        vec!["bob@office.example".parse()?, "eve@office.example".parse()?],
    )?;
    for (name, port, tls, message) in [
        ("starttls", starttls, Tls::Required(tls.clone()), small),
        ("implicit", implicit, Tls::Wrapper(tls.clone()), large),
    ] {
        for (mechanism, called) in [(Mechanism::Plain, "PLAIN"), (Mechanism::Login, "LOGIN")] {
            let client = SmtpTransport::builder_dangerous("localhost")
                .port(port.parse()?)
                .timeout(Some(Duration::from_secs(60)))
                .tls(tls.clone())
                .credentials(Credentials::new("tim".to_owned(), "hunter2".to_owned()))
                .authentication(vec![mechanism])
                .build();
            let way = format!("{name}-{called}");
            let text = fs::read_to_string(message)?.replace("WAY", &way);
            // It adds a line end to what it sends.
            let text = text.strip_suffix("\r\n").unwrap_or(&text);
            client.send_raw(&envelope, text.as_bytes())?;
            println!("{way}");
        }
    }
    Ok(())
}
