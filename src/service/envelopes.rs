//! What the recipients of all messages on their way in take together: one client may name ten thousand, and every client
//! may be that one (promise G4).

use std::cell::Cell;

use crate::base::limits;
use crate::mail::Recipient;
use crate::smtp::fault::Fault;

/// Bytes that are taken.
#[derive(Debug, Default)]
pub struct Envelopes(Cell<usize>);

/// What one conversation has of it, until this is dropped.
#[derive(Debug)]
pub struct Share<'a> {
    all: &'a Envelopes,
    mine: usize,
}

impl Envelopes {
    /// A share of nothing yet.
    pub fn share(&self) -> Share<'_> {
        Share { all: self, mine: 0 }
    }
}

impl Share<'_> {
    /// Takes what another recipient needs, in an envelope that has `before`. The first few are always taken.
    pub fn take(&mut self, before: usize, recipient: &Recipient) -> Result<(), Fault> {
        let address = &recipient.address;
        let orcpt = recipient.orcpt.as_ref().map_or(0, String::len);
        let text = address.local().len() + address.domain().as_str().len() + orcpt;
        // Lists grow by doubling.
        let weight = text + 2 * size_of::<Recipient>();
        let all = self.all.0.get().saturating_add(weight);
        if all > limits::ENVELOPES && before >= limits::RECIPIENTS_ALWAYS {
            return Err(Fault::TooManyRecipients);
        }
        self.all.0.set(all);
        self.mine = self.mine.saturating_add(weight);
        Ok(())
    }

    /// The envelope is gone.
    pub fn clear(&mut self) {
        let mine = std::mem::take(&mut self.mine);
        self.all.0.set(self.all.0.get().saturating_sub(mine));
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::Envelopes;
    use crate::base::limits;
    use crate::mail::{Address, Recipient};

    #[test]
    fn greedy_clients_share_one_limit_and_modest_ones_always_get_through() {
        let recipient = Recipient::new(Address::parse("somebody@office.example").unwrap());
        let all = Envelopes::default();
        let mut greedy = all.share();
        let taken = (0..)
            .take_while(|before| greedy.take(*before, &recipient).is_ok())
            .count();
        assert!(all.0.get() <= limits::ENVELOPES && taken > 5000, "{taken}");
        let mut modest = all.share();
        for before in 0..limits::RECIPIENTS_ALWAYS {
            assert!(modest.take(before, &recipient).is_ok());
        }
        assert!(modest.take(limits::RECIPIENTS_ALWAYS, &recipient).is_err());
        greedy.clear();
        assert!(modest.take(limits::RECIPIENTS_ALWAYS, &recipient).is_ok());
        drop((greedy, modest));
        assert_eq!(all.0.get(), 0);
    }
}
