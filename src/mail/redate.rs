//! Puts the dates of a message right that came while the clock was not known.
//!
//! Our trace field then holds a guess, and a `Date:` that was missing was not invented. Both are made up for when the
//! message leaves the queue, from how long it has waited.

use crate::base::Wall;
use crate::mail::date::Date;

/// What stands between the rest of our trace field and its date.
const BEFORE_DATE: &[u8] = b";\r\n\t";

/// What is to stand in place of the first bytes of the message that begins with `top`: how many of them, and what.
/// The date in its first field becomes `came`; with `missing` a `Date:` follows it. `None` when the first field is
/// not the trace field that we wrote, which then stays as it is.
pub fn redate(top: &[u8], came: Wall, missing: bool) -> Option<(usize, Vec<u8>)> {
    if !top.starts_with(b"Received: ") {
        return None;
    }
    let end = field_end(top)?;
    let field = top.get(..end)?;
    let date = field
        .windows(BEFORE_DATE.len())
        .rposition(|part| part == BEFORE_DATE)?;
    let date = date.saturating_add(BEFORE_DATE.len());
    let mut front = field.get(..date)?.to_vec();
    let came = Date::utc(came).to_string();
    front.extend_from_slice(came.as_bytes());
    front.extend_from_slice(b"\r\n");
    if missing {
        front.extend_from_slice(b"Date: ");
        front.extend_from_slice(came.as_bytes());
        front.extend_from_slice(b"\r\n");
    }
    Some((end, front))
}

/// Where the first field ends, behind its line end.
fn field_end(top: &[u8]) -> Option<usize> {
    let ends = top.windows(3).position(|three| {
        three.starts_with(b"\r\n") && !matches!(three.last(), Some(b' ' | b'\t'))
    })?;
    Some(ends.saturating_add(2))
}

#[cfg(test)]
mod tests {
    use super::redate;
    use crate::base::Wall;

    const GUESS: &str = "Received: by nas.lan (mailroot, from uid 0)\r\n\twith local id 11;\r\n\tThu, 1 Jan 1970 \
                         00:00:09 +0000\r\n";

    fn redated(top: &str, missing: bool) -> Option<String> {
        let today = Wall::from_secs(1_795_305_600);
        let (count, front) = redate(top.as_bytes(), today, missing)?;
        Some(String::from_utf8(front).unwrap() + top.split_at(count).1)
    }

    #[test]
    fn the_guess_goes_and_a_missing_date_comes() {
        let rest = "Subject: x; y\r\n\r\nDate: not me\r\n";
        let message = format!("{GUESS}{rest}");
        let received = GUESS.replace("Thu, 1 Jan 1970 00:00:09", "Sun, 22 Nov 2026 00:00:00");
        assert_eq!(redated(&message, false), Some(format!("{received}{rest}")));
        let date = "Date: Sun, 22 Nov 2026 00:00:00 +0000\r\n";
        let want = format!("{received}{date}{rest}");
        assert_eq!(redated(&message, true), Some(want));
    }

    #[test]
    fn what_we_did_not_write_stays() {
        for top in [
            "",
            "Received: ",
            "Subject: x\r\n\r\n",
            "Received: from x; Thu, 1 Jan 1970 00:00:09 +0000\r\nSubject: x\r\n",
            GUESS.split_at(40).0,
        ] {
            assert_eq!(redated(top, true), None, "{top:?}");
        }
    }
}
