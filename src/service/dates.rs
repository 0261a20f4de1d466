//! Puts the dates of a loaded message right once the clock is known, if it was not when the message came.

use std::io;
use std::time::Duration;

use crate::base::Wall;
use crate::disk::stored::StoredBody;
use crate::disk::stored::StoredMessage;
use crate::mail::redate::redate;
use crate::queue::Dates;

/// Puts right what the message says of when it came: `age` before `now`. What is stored stays as it is.
pub async fn put_right(message: &mut StoredMessage, now: Wall, age: Duration) {
    let accept = &mut message.stored.accept;
    let waited = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
    let came = Wall::from_millis(now.as_millis().saturating_sub(waited));
    accept.arrived = came;
    let missing = accept.dates == Dates::Missing;
    accept.dates = Dates::Good;
    if let Some(crc) = message.stored.body_crc {
        // Whoever sends it could not check it any more, with another front.
        match checksum(&mut message.body).await {
            Ok(found) if found == crc => {}
            // Found out again, and told, by whoever reads it.
            Ok(_) | Err(_) => return,
        }
    }
    let mut top = Vec::new();
    if message.body.read(0, &mut top).await.is_ok()
        && let Some((count, front)) = redate(&top, came, missing)
    {
        message.body.replace_front(count, front);
        message.stored.body_crc = None;
    }
}

async fn checksum(body: &mut StoredBody) -> io::Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let (mut block, mut offset) = (Vec::new(), 0_u64);
    while offset < body.len() {
        body.read(offset, &mut block).await?;
        crc.update(&block);
        offset = offset.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
    }
    Ok(crc.finalize())
}
