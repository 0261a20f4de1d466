//! Certificates of a test's own, and authorities that vouch for them.

use mailroot::net::tls::own::armour;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

/// An authority that signs what it is given.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
pub struct Certified {
    pub certificate: String,
    pub key: KeyPair,
}

impl Certified {
    fn new(certificate: &[u8], key: KeyPair) -> Self {
        let certificate = armour("CERTIFICATE", certificate);
        Self { certificate, key }
    }

    pub fn key(&self) -> String {
        armour("PRIVATE KEY", &self.key.serialize_der())
    }

    /// Both as one file.
    pub fn pem(&self) -> String {
        self.certificate.clone() + &self.key()
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its own certificate.
    pub fn pem(&self) -> String {
        armour("CERTIFICATE", self.der())
    }

    pub fn der(&self) -> &[u8] {
        self.0.der()
    }

    /// A certificate for these names.
    pub fn vouch(&self, names: &[&str]) -> Certified {
        self.sign(&params(names))
    }

    /// The same, good from the first day of one year to the first day of another.
    pub fn vouch_between(&self, names: &[&str], (from, to): (i32, i32)) -> Certified {
        let mut params = params(names);
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        self.sign(&params)
    }

    /// The certificate of somebody who has a name and is no host.
    pub fn vouch_for_client(&self, name: &str) -> Certified {
        let mut params = params(&[]);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Certified {
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.0).unwrap();
        Certified::new(made.der(), key)
    }
}

/// What `openssl req -x509` makes: a certificate that vouches for itself.
pub fn self_signed(name: &str) -> Certified {
    let mut params = params(&[name]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let made = params.self_signed(&key).unwrap();
    Certified::new(made.der(), key)
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap()
}
