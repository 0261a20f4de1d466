//! How far a message has come: the state of every recipient, as one record that replaces the one before.
//!
//! The record is cumulative, so losing one can only repeat an attempt (PROMISES.md), and only the newest has to be
//! kept when segments are reclaimed.

use std::time::Duration;

use crate::base::limits;
use crate::mail::outcome::Reason;
use crate::mail::status::Status;
use crate::queue::field::Fields;
use crate::queue::field::Malformed;
use crate::queue::field::clip;
use crate::queue::field::put_text;

/// How far one recipient is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// To be tried (again).
    #[default]
    Waiting,
    /// The next hop has it.
    Delivered,
    /// Given up; where a report was due it was accepted together with this record.
    Failed,
}

/// A sender was told of the delay.
pub const TOLD_DELAY: u8 = 1;
/// The operator was told.
pub const TOLD_OPERATOR: u8 = 2;

/// How many reasons back an equal one is looked for: one peer says the same of many recipients in a row, and a search
/// through ten thousand different ones would be quadratic.
const LOOK_BACK: usize = 64;

/// The state of a message that was tried at least once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// How often it was tried.
    pub attempts: u32,
    /// Running time it has spent in the queue, to the millisecond. Running time, not calendar time: a clock that
    /// jumps by decades expires nothing.
    pub age: Duration,
    /// From the moment of this record to the next attempt, to the millisecond.
    pub wait: Duration,
    /// What was told to whom: [`TOLD_DELAY`], [`TOLD_OPERATOR`].
    pub told: u8,
    /// In the order of the envelope. The number is the place of the reason plus one; zero is none.
    stages: Vec<(Stage, u16)>,
    /// Each reason once.
    reasons: Vec<Reason>,
}

impl Progress {
    /// All `recipients` waiting, nothing tried.
    pub fn new(recipients: usize) -> Self {
        Self {
            stages: vec![(Stage::Waiting, 0); recipients.min(limits::RECIPIENTS)],
            ..Self::default()
        }
    }

    /// How many recipients it speaks of.
    pub fn len(&self) -> usize {
        self.stages.len()
    }

    /// Whether it speaks of none.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// How far recipient `at` is; one that it does not speak of is waiting.
    pub fn stage(&self, at: usize) -> Stage {
        self.stages.get(at).map_or(Stage::Waiting, |s| s.0)
    }

    /// Why recipient `at` is where it is, when something was said.
    pub fn reason(&self, at: usize) -> Option<&Reason> {
        let place = usize::from(self.stages.get(at)?.1).checked_sub(1)?;
        self.reasons.get(place)
    }

    /// The recipients that are still waiting, by their place in the envelope.
    pub fn waiting(&self) -> impl Iterator<Item = usize> + '_ {
        self.stages
            .iter()
            .enumerate()
            .filter(|(_, s)| s.0 == Stage::Waiting)
            .map(|(at, _)| at)
    }

    /// Moves recipient `at`; equal reasons are kept once. Reason texts are cut to what is kept of a reply.
    pub fn set(&mut self, at: usize, stage: Stage, reason: Reason) {
        // The newest is the likeliest: one peer usually says the same of all.
        let place = self
            .reasons
            .iter()
            .enumerate()
            .rev()
            .take(LOOK_BACK)
            .find(|(_, known)| **known == reason)
            .map(|(place, _)| place)
            .unwrap_or_else(|| {
                self.forget_unused(at);
                self.reasons.push(reason);
                self.reasons.len().saturating_sub(1)
            });
        let number = u16::try_from(place.saturating_add(1)).unwrap_or(0);
        if let Some(slot) = self.stages.get_mut(at) {
            *slot = (stage, number);
        }
    }

    /// Drops reasons that no recipient but `at` has any more, once there are as many as recipients: so a message
    /// that is tried for days does not collect every sentence it ever heard.
    fn forget_unused(&mut self, at: usize) {
        if self.reasons.len() < self.stages.len().saturating_mul(2).max(8) {
            return;
        }
        let mut places = vec![0_u16; self.reasons.len()];
        let mut kept = Vec::new();
        for (index, slot) in self.stages.iter_mut().enumerate() {
            let Some(old) = usize::from(slot.1).checked_sub(1).filter(|_| index != at) else {
                slot.1 = 0;
                continue;
            };
            let Some(place) = places.get_mut(old) else {
                continue;
            };
            if *place == 0
                && let Some(reason) = self.reasons.get_mut(old)
            {
                let nothing = Reason::ours(reason.status, String::new());
                kept.push(std::mem::replace(reason, nothing));
                *place = u16::try_from(kept.len()).unwrap_or(0);
            }
            slot.1 = *place;
        }
        self.reasons = kept;
    }

    /// Appends the payload of a Progress record. Texts that would make it larger than
    /// [`limits::PROGRESS`] are left out, states never.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let millis = |wait: Duration| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        out.extend_from_slice(&self.attempts.to_le_bytes());
        out.extend_from_slice(&millis(self.age).to_le_bytes());
        out.extend_from_slice(&millis(self.wait).to_le_bytes());
        out.push(self.told);
        let count = u16::try_from(self.reasons.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for reason in self.reasons.iter().take(usize::from(count)) {
            let room = limits::PROGRESS > out.len().saturating_sub(start);
            out.push(reason.status.class());
            out.extend_from_slice(&reason.status.subject().to_le_bytes());
            out.extend_from_slice(&reason.status.detail().to_le_bytes());
            out.extend_from_slice(&reason.code.unwrap_or(0).to_le_bytes());
            let text = |text| {
                if room {
                    clip(text, limits::REPLY_TEXT)
                } else {
                    ""
                }
            };
            put_text(out, text(&reason.text));
            put_text(out, text(&reason.peer));
        }
        let count = u16::try_from(self.stages.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for (stage, reason) in self.stages.iter().take(usize::from(count)) {
            out.push(match stage {
                Stage::Waiting => 0,
                Stage::Delivered => 1,
                Stage::Failed => 2,
            });
            out.extend_from_slice(&reason.to_le_bytes());
        }
    }

    /// Reads the payload of a Progress record.
    pub fn read(payload: &[u8]) -> Result<Self, Malformed> {
        let mut fields = Fields::new(payload);
        let attempts = fields.u32()?;
        let age = Duration::from_millis(fields.u64()?);
        let wait = Duration::from_millis(fields.u64()?);
        let told = fields.u8()?;
        let count = fields.u16()?;
        let mut reasons = Vec::with_capacity(usize::from(count).min(payload.len() / 11));
        for _ in 0..count {
            let status = Status::new(fields.u8()?, fields.u16()?, fields.u16()?);
            let code = fields.u16()?;
            reasons.push(Reason {
                status,
                code: (code != 0).then_some(code),
                text: fields.text()?.to_owned(),
                peer: fields.text()?.to_owned(),
            });
        }
        let count = fields.u16()?;
        let mut stages = Vec::with_capacity(usize::from(count).min(payload.len() / 3));
        for _ in 0..count {
            let stage = match fields.u8()? {
                0 => Stage::Waiting,
                1 => Stage::Delivered,
                2 => Stage::Failed,
                _ => return Err(Malformed),
            };
            stages.push((stage, fields.u16()?));
        }
        fields.end()?;
        Ok(Self {
            attempts,
            age,
            wait,
            told,
            stages,
            reasons,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Progress, Stage, TOLD_DELAY};
    use crate::base::limits;
    use crate::mail::outcome::Reason;
    use crate::mail::status::Status;
    use std::time::Duration;

    fn said(text: &str) -> Reason {
        Reason {
            code: Some(451),
            peer: "mx.example [192.0.2.1]".to_owned(),
            ..Reason::ours(Status::new(4, 2, 2), text)
        }
    }

    fn bytes(progress: &Progress) -> Vec<u8> {
        let mut out = Vec::new();
        progress.write(&mut out);
        out
    }

    #[test]
    fn progress_comes_back_whole_or_not_at_all() {
        let mut progress = Progress::new(3);
        progress.attempts = 4;
        progress.age = Duration::from_millis(86_400_001);
        progress.wait = Duration::from_secs(900);
        progress.told = TOLD_DELAY;
        progress.set(0, Stage::Waiting, said("busy"));
        progress.set(1, Stage::Delivered, said("ok"));
        progress.set(2, Stage::Waiting, said("busy"));
        assert_eq!(progress.reason(0), progress.reason(2));
        assert_eq!(progress.waiting().collect::<Vec<_>>(), [0, 2]);
        let out = bytes(&progress);
        assert_eq!(Progress::read(&out), Ok(progress));
        for cut in 0..out.len() {
            assert!(Progress::read(&out[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_message_tried_for_days_keeps_only_the_reasons_it_has() {
        let mut progress = Progress::new(2);
        for round in 0..100 {
            progress.set(0, Stage::Waiting, said(&format!("busy {round}")));
            progress.set(1, Stage::Waiting, said(&format!("full {round}")));
        }
        assert!(progress.reasons.len() <= 9, "{}", progress.reasons.len());
        assert_eq!(progress.reason(0).unwrap().text, "busy 99");
        assert_eq!(progress.reason(1).unwrap().text, "full 99");
    }

    #[test]
    fn ten_thousand_reasons_lose_their_texts_but_no_state() {
        let mut progress = Progress::new(limits::RECIPIENTS);
        for at in 0..limits::RECIPIENTS {
            progress.set(
                at,
                Stage::Failed,
                said(&format!("{at} {}", "x".repeat(500))),
            );
        }
        let out = bytes(&progress);
        assert!(out.len() < limits::PROGRESS + 200_000);
        let back = Progress::read(&out).unwrap();
        assert_eq!(back.len(), limits::RECIPIENTS);
        let last = back.reason(limits::RECIPIENTS - 1).unwrap();
        assert_eq!((last.code, last.text.as_str()), (Some(451), ""));
        assert_eq!(back.stage(limits::RECIPIENTS - 1), Stage::Failed);
    }
}
