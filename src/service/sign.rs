//! Puts a DKIM signature in front of a message, as the last change before it is sent.

use ring::rand::SystemRandom;

use crate::base::Wall;
use crate::config::Config;
use crate::disk::secret;
use crate::mail::dkim::key::Key;
use crate::mail::dkim::signing::Signer;
use crate::mail::dkim::signing::Signing;
use crate::service::outgoing::Blocks;

/// The keys of a configuration, read. Blocks on files.
pub fn signers(config: &Config) -> Result<Vec<Signer>, String> {
    if !cfg!(feature = "dkim") {
        return Ok(Vec::new());
    }
    let all = config.dkim.iter().map(|dkim| {
        let pem = secret::key(&dkim.key).map_err(|error| error.to_string())?;
        let key = Key::from_pem(&pem).map_err(|why| format!("{}: {why}", dkim.key.display()))?;
        Ok(Signer {
            domain: dkim.domain.clone(),
            selector: dkim.selector.clone(),
            forms: dkim.forms,
            key,
        })
    });
    all.collect()
}

/// The signatures for the top of this message; empty when nobody signs it, or when it cannot be read: whoever sends it
/// finds that out, too. Reads it once, block by block.
pub async fn sign(signers: &[Signer], blocks: Blocks<'_>, at: Option<Wall>) -> String {
    if !cfg!(feature = "dkim") || signers.is_empty() {
        return String::new();
    }
    let (mut signing, mut wanted) = (Signing::new(signers), true);
    let read = blocks.each(|block| wanted = wanted && signing.feed(block));
    if read.await && wanted {
        signing.finish(at, &SystemRandom::new())
    } else {
        String::new()
    }
}
