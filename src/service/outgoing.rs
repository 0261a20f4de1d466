//! A message as one peer gets it: loaded, adapted to what the peer takes, then signed, then sent. Whoever signs reads
//! [`Blocks`], as whoever sends does: after every other change.
//!
//! Never: a body whole in memory that was not. What is adapted is walked once more before it is sent, since the size
//! is said first.

use crate::disk::stored::StoredBody;
use crate::mail::Envelope;
use crate::mail::Status;
use crate::mail::adapt::Adapter;
use crate::mail::adapt::Glance;
use crate::mail::adapt::Needs;
use crate::mail::adapt::Plan;
use crate::mail::adapt::Survey;
use crate::mail::adapt::Unfit;
use crate::mail::envelope::Body;
use crate::smtp::client::capability::Capabilities;

/// A message made ready for one peer.
#[derive(Debug)]
pub struct Outgoing {
    /// What to change; `None` is nothing.
    plan: Option<Plan>,
    /// What the body is now.
    pub form: Body,
    /// What comes before it.
    front: String,
    /// Its bytes now, before stuffing, without those.
    size: u64,
}

/// Why this peer cannot get a message, as a status and a sentence for its report.
pub type Unsendable = (Status, &'static str);

impl Outgoing {
    /// Looks at the message, and at what the peer offers.
    pub async fn prepare(
        envelope: &Envelope,
        body: &mut StoredBody,
        offer: &Capabilities,
    ) -> Result<Self, Unsendable> {
        let binary = envelope.body == Body::Binary;
        let needs = Needs {
            seven: !offer.eight_bit,
            lines: !(binary && offer.binary && offer.chunking),
        };
        // Without SMTPUTF8 the headers of the parts have to be known as well (RFC 6531 s3.2).
        let wide = envelope.utf8 && !offer.utf8;
        let same = Self {
            plan: None,
            form: envelope.body,
            front: String::new(),
            size: body.len(),
        };
        let mut glance = Glance::default();
        if !Blocks::of(body, None)
            .each(|block| glance.push(block))
            .await
        {
            // It cannot be read: whoever sends it finds that out, too, and says it.
            return Ok(same);
        }
        let fits = glance.fits(needs);
        if fits && !wide {
            let form = match envelope.body {
                Body::Binary if needs.lines => Body::Eight,
                form => form,
            };
            return Ok(Self { form, ..same });
        }
        let mut survey = Survey::new(needs);
        if !Blocks::of(body, None)
            .each(|block| survey.push(block))
            .await
        {
            return Ok(same);
        }
        let plan = survey.end().map_err(|unfit| match unfit {
            Unfit::Signed => (
                Status::new(5, 6, 2),
                "the peer takes no 8-bit text, and what would have to be encoded is signed",
            ),
            Unfit::Closed => (
                Status::new(5, 6, 3),
                "the peer takes no 8-bit text, and the message cannot be encoded",
            ),
        })?;
        if wide && plan.header_8bit {
            let text = "the peer does not take SMTPUTF8, and the header is not ASCII";
            return Err((Status::new(5, 6, 7), text));
        }
        if fits {
            return Ok(same);
        }
        let mut size = 0_u64;
        let count = |block: &[u8]| {
            size = size.saturating_add(u64::try_from(block.len()).unwrap_or(u64::MAX));
        };
        if !Blocks::of(body, Some(&plan)).each(count).await {
            return Ok(same);
        }
        Ok(Self {
            form: if needs.seven {
                Body::Seven
            } else {
                Body::Eight
            },
            plan: Some(plan),
            front: String::new(),
            size,
        })
    }

    /// Puts a signature in front of what is there.
    pub fn put_in_front(&mut self, signature: String) {
        self.front = signature;
    }

    /// What is sent before [`Self::blocks`].
    pub fn front(&self) -> &[u8] {
        self.front.as_bytes()
    }

    /// The bytes of all of it, before stuffing.
    pub fn size(&self) -> u64 {
        let front = u64::try_from(self.front.len()).unwrap_or(u64::MAX);
        self.size.saturating_add(front)
    }

    /// Whether the message goes as it is.
    pub fn is_plain(&self) -> bool {
        self.plan.is_none()
    }

    /// The message from its beginning, without what was put in front.
    pub fn blocks<'a>(&self, body: &'a mut StoredBody) -> Blocks<'a> {
        Blocks::of(body, self.plan.as_ref())
    }
}

/// A message read block by block, as the peer gets it.
#[derive(Debug)]
pub struct Blocks<'a> {
    body: &'a mut StoredBody,
    adapter: Option<Adapter>,
    offset: u64,
    /// What is stored, when it differs from what is sent.
    stored: Vec<u8>,
    crc: crc32fast::Hasher,
}

impl<'a> Blocks<'a> {
    fn of(body: &'a mut StoredBody, plan: Option<&Plan>) -> Self {
        Self {
            body,
            adapter: plan.map(|plan| Adapter::new(plan.clone())),
            offset: 0,
            stored: Vec::new(),
            crc: crc32fast::Hasher::new(),
        }
    }

    /// Puts the next bytes into `out`, replacing what is there; false when there are no more. Without changes a block
    /// is at most [`BODY_STEP`](crate::base::limits::BODY_STEP) long.
    pub async fn next(&mut self, out: &mut Vec<u8>) -> std::io::Result<bool> {
        out.clear();
        while out.is_empty() && self.offset < self.body.len() {
            let read = match &mut self.adapter {
                None => &mut *out,
                Some(_) => &mut self.stored,
            };
            self.body.read(self.offset, read).await?;
            self.crc.update(read);
            let length = u64::try_from(read.len()).unwrap_or(u64::MAX);
            self.offset = self.offset.saturating_add(length);
            if let Some(adapter) = &mut self.adapter {
                adapter.push(&self.stored, out);
                if self.offset >= self.body.len() {
                    adapter.end(out);
                }
            }
        }
        Ok(!out.is_empty())
    }

    /// How much of what is stored was read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The CRC-32 of what was read so far, as it is stored.
    pub fn crc(self) -> u32 {
        self.crc.finalize()
    }

    /// Shows each block; false when the message cannot be read.
    pub async fn each(mut self, mut show: impl FnMut(&[u8])) -> bool {
        if let (None, Some(bytes)) = (&self.adapter, self.body.inline()) {
            show(bytes);
            return true;
        }
        let mut block = Vec::new();
        loop {
            match self.next(&mut block).await {
                Ok(true) => show(&block),
                Ok(false) => return true,
                Err(_) => return false,
            }
        }
    }
}
