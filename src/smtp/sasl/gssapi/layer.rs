//! The end of the exchange: which layer protects what follows (RFC 4752 s3.1), in messages of the session that was
//! made (RFC 4121 s4.2.6.2).

use crate::smtp::sasl::gssapi::cipher::Key;
use crate::smtp::sasl::gssapi::cipher::same;

/// Bytes before what is wrapped.
const HEAD: usize = 16;

/// The one flag that we set: the message is from the acceptor.
const FROM_US: u8 = 1;

/// The uses of the key (RFC 4121 s2).
const OUR_USE: u32 = 22;
const THEIR_USE: u32 = 24;

/// No layer, and no room for one: the only one there is, as there is TLS.
const NONE: [u8; 4] = [1, 0, 0, 0];

/// The message cannot be read, was not made with the session's key, or chooses another layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLayer;

/// A session that both ends have the key of.
#[derive(Clone, Debug)]
pub struct Context {
    key: Key,
    /// The number of our first message, and of the client's.
    send: u32,
    receive: u32,
}

impl Context {
    /// With this key, and the numbers of the first messages.
    pub fn new(key: Key, send: u32, receive: u32) -> Self {
        Self { key, send, receive }
    }

    /// Our offer.
    pub fn offer(&self) -> Vec<u8> {
        self.wrap(&NONE)
    }

    /// Whom the client's choice says it acts for; empty is whom its ticket names.
    pub fn choice(&self, token: &[u8]) -> Result<String, BadLayer> {
        let text = self.unwrap(token).ok_or(BadLayer)?;
        let [1, _, _, _, name @ ..] = text.as_slice() else {
            return Err(BadLayer);
        };
        String::from_utf8(name.to_vec()).map_err(|_| BadLayer)
    }

    fn wrap(&self, text: &[u8]) -> Vec<u8> {
        let size = u16::try_from(self.key.etype().checksum_size()).unwrap_or(0);
        // The checksum is over a head that does not tell its size.
        let code = [text, &head(FROM_US, 0, self.send)].concat();
        let code = self.key.checksum(OUR_USE, &code);
        [&head(FROM_US, size, self.send), text, &code].concat()
    }

    fn unwrap(&self, token: &[u8]) -> Option<Vec<u8>> {
        let (given, body) = token.split_first_chunk::<HEAD>()?;
        let [5, 4, 0, 0xff, high, low, turn @ .., _, _, _, _, _, _, _, _] = *given else {
            return None;
        };
        let size = usize::from(u16::from_be_bytes([high, low]));
        let number = given.last_chunk().copied().map(u64::from_be_bytes);
        if size != self.key.etype().checksum_size()
            || number != Some(u64::from(self.receive))
            || body.len() < size
        {
            return None;
        }
        // Some turn what comes behind the head (RFC 4121 s4.2.5).
        let mut body = body.to_vec();
        let turn = usize::from(u16::from_be_bytes(turn)) % body.len();
        body.rotate_left(turn);
        let (text, code) = body.split_at_checked(body.len().checked_sub(size)?)?;
        let wanted = [text, &head(0, 0, self.receive)].concat();
        let wanted = self.key.checksum(THEIR_USE, &wanted);
        same(&wanted, code).then(|| text.to_vec())
    }
}

/// What stands before a wrapped text: kind, flags, a filler, the size of the checksum, no turn, the number.
fn head(flags: u8, size: u16, number: u32) -> [u8; HEAD] {
    let [high, low] = size.to_be_bytes();
    let [a, b, c, d] = number.to_be_bytes();
    [5, 4, flags, 0xff, high, low, 0, 0, 0, 0, 0, 0, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::{BadLayer, Context, HEAD, NONE, THEIR_USE, head};
    use crate::smtp::sasl::gssapi::cipher::{Etype, Key};

    fn context() -> Context {
        let key = Key::new(Etype::Aes256Sha1, &[7; 32]).unwrap();
        Context::new(key, 0x0102_0304, 9)
    }

    /// What a client says.
    fn said(context: &Context, text: &[u8]) -> Vec<u8> {
        let sum = [text, &head(0, 0, 9)].concat();
        let code = context.key.checksum(THEIR_USE, &sum);
        [&head(0, 12, 9), text, &code].concat()
    }

    #[test]
    fn our_offer_is_no_layer() {
        let offer = context().offer();
        assert_eq!(
            offer[..HEAD],
            [5, 4, 1, 0xff, 0, 12, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]
        );
        assert_eq!(offer[HEAD..HEAD + 4], NONE);
        assert_eq!(offer.len(), HEAD + 4 + 12);
    }

    #[test]
    fn the_choice_is_read_turned_or_not_and_nothing_else_is() {
        let context = context();
        let good = said(&context, b"\x01\0\0\0tim");
        assert_eq!(context.choice(&good).as_deref(), Ok("tim"));
        let mut turned = good.clone();
        turned[7] = 30;
        let length = turned.len() - HEAD;
        turned[HEAD..].rotate_right(30 % length);
        assert_eq!(context.choice(&turned).as_deref(), Ok("tim"));
        for at in 0..good.len() {
            // A turn of nothing, and one that is a whole circle, are the same.
            let mut changed = good.clone();
            changed[at] ^= 1;
            assert_eq!(context.choice(&changed), Err(BadLayer), "{at}");
            assert_eq!(context.choice(&good[..at]), Err(BadLayer), "{at}");
        }
        // Integrity, confidentiality, all of them, and nothing.
        for layer in [2, 4, 7, 0] {
            let other = said(&context, &[layer, 0, 0, 0]);
            assert_eq!(context.choice(&other), Err(BadLayer), "{layer}");
        }
        assert_eq!(context.choice(&context.offer()), Err(BadLayer), "our own");
    }
}
