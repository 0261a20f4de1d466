//! Puts a DKIM signature in front of a message, as the last change before it is sent.

use ring::rand::SystemRandom;

use crate::base::Wall;
use crate::config::Config;
use crate::disk::secret;
use crate::disk::stored::StoredBody;
use crate::mail::dkim::key::Key;
use crate::mail::dkim::signing::Signer;
use crate::mail::dkim::signing::Signing;

/// The keys of a configuration, read. Blocks on files.
pub fn signers(config: &Config) -> Result<Vec<Signer>, String> {
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
pub async fn sign(signers: &[Signer], body: &mut StoredBody, at: Option<Wall>) -> String {
    let mut signing = Signing::new(signers);
    let (mut block, mut offset) = (Vec::new(), 0_u64);
    while !signers.is_empty() && offset < body.len() {
        if body.read(offset, &mut block).await.is_err() {
            return String::new();
        }
        offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        if !signing.feed(&block) {
            return String::new();
        }
    }
    signing.finish(at, &SystemRandom::new())
}
