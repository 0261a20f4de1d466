//! Reads a header that is whole in memory: its fields one by one, and their values on one line.

/// RFC 5322 s2.2: printable ASCII without the colon.
pub(super) fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_graphic())
}

/// A field value on one line: line ends go, white space at both ends goes, bytes that are no UTF-8 are replaced.
pub fn unfold(value: &[u8]) -> String {
    let flat: Vec<u8> = value
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n' | 0))
        .collect();
    String::from_utf8_lossy(flat.trim_ascii()).into_owned()
}

/// The fields of a header block, one by one, in either kind of line end. Ends at the blank line or at what is no
/// field.
pub fn fields(block: &[u8]) -> Fields<'_> {
    Fields { rest: block }
}

/// See [`fields`]. Yields the name and the value behind the colon, still folded, without the last line end.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut end = 0;
        loop {
            let tail = self.rest.get(end..)?;
            end = match find(tail, b'\n') {
                Some(at) => end.checked_add(at)?.checked_add(1)?,
                None => self.rest.len(),
            };
            if !matches!(self.rest.get(end), Some(b' ' | b'\t')) {
                break;
            }
        }
        let (field, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        let (name, value) = field.split_at_checked(find(field, b':')?)?;
        let name = name.trim_ascii_end();
        is_name(name).then(|| (name, value.get(1..).unwrap_or_default().trim_ascii_end()))
    }
}

/// Where `wanted` stands first. Eight bytes a step: this is all the work there is on a body.
pub fn find(bytes: &[u8], wanted: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = ONES << 7;
    let pattern = ONES.wrapping_mul(u64::from(wanted));
    let (words, _) = bytes.as_chunks::<8>();
    let mut start: usize = 0;
    for word in words {
        let zero_where_wanted = u64::from_ne_bytes(*word) ^ pattern;
        if zero_where_wanted.wrapping_sub(ONES) & !zero_where_wanted & HIGHS != 0 {
            break;
        }
        start = start.wrapping_add(8);
    }
    let tail = bytes.get(start..)?;
    let at = tail.iter().position(|&byte| byte == wanted)?;
    start.checked_add(at)
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn find_finds_the_first() {
        for length in 0..40 {
            for at in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[at] = b'\n';
                if let Some(later) = bytes.get_mut(at + 3) {
                    *later = b'\n';
                }
                assert_eq!(find(&bytes, b'\n'), Some(at));
            }
            assert_eq!(find(&vec![0x8a; length], b'\n'), None);
            assert_eq!(find(&vec![0x0b; length], b'\n'), None);
        }
    }
}
