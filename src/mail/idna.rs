//! Labels in other scripts as DNS and certificates know them: their A-labels (RFC 5890 s2.3.2.1).
//!
//! What is looked up is what was written, in lower case; it is not brought into Unicode's composed form first, which
//! the keyboards and programs that addresses come from have done (RFC 5891 s5.2 asks for it): the tables for that
//! would be larger than the resolver. A name that nobody registered in the other form is not found, and that is said.

/// RFC 3492 s5: the parameters that IDNA uses.
const BASE: u32 = 36;
const T_MIN: u32 = 1;
const T_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_N: u32 = 128;

/// The label in ASCII; `None` when that would be longer than a label may be.
pub fn a_label(label: &str) -> Option<String> {
    if label.is_ascii() {
        return Some(label.to_owned());
    }
    let lower: Vec<u32> = label
        .chars()
        .flat_map(char::to_lowercase)
        .map(u32::from)
        .collect();
    let text = format!("xn--{}", encode(&lower)?);
    (text.len() <= 63).then_some(text)
}

/// Punycode (RFC 3492 s6.3). `None` when the numbers grow out of their type, which a label's cannot.
fn encode(points: &[u32]) -> Option<String> {
    let basic = points.iter().filter(|point| **point < INITIAL_N);
    let mut out: String = basic.filter_map(|point| char::from_u32(*point)).collect();
    let basic = u32::try_from(out.len()).ok()?;
    if basic > 0 {
        out.push('-');
    }
    let (mut n, mut delta, mut bias, mut done) = (INITIAL_N, 0_u32, INITIAL_BIAS, basic);
    while let Some(next) = points.iter().copied().filter(|point| *point >= n).min() {
        let step = next.checked_sub(n)?.checked_mul(done.checked_add(1)?)?;
        delta = delta.checked_add(step)?;
        n = next;
        for point in points {
            if *point < n {
                delta = delta.checked_add(1)?;
            } else if *point == n {
                number(delta, bias, &mut out);
                bias = adapt(delta, done.checked_add(1)?, done == basic);
                delta = 0;
                done = done.checked_add(1)?;
            }
        }
        delta = delta.checked_add(1)?;
        n = n.checked_add(1)?;
    }
    Some(out)
}

/// A number in digits whose weights depend on `bias`.
fn number(mut value: u32, bias: u32, out: &mut String) {
    let mut k = BASE;
    loop {
        let t = k.saturating_sub(bias).clamp(T_MIN, T_MAX);
        if value < t {
            break;
        }
        let rest = value.saturating_sub(t);
        let span = BASE.saturating_sub(t);
        out.push(digit(t.saturating_add(rest % span)));
        value = rest / span;
        k = k.saturating_add(BASE);
    }
    out.push(digit(value));
}

fn digit(value: u32) -> char {
    char::from_digit(value.saturating_add(10) % BASE, BASE)
        .filter(|_| value < 26)
        .or_else(|| char::from_digit(value.saturating_sub(26), 10))
        .unwrap_or('a')
}

/// RFC 3492 s6.1.
fn adapt(delta: u32, points: u32, first: bool) -> u32 {
    let mut delta = if first { delta / DAMP } else { delta / 2 };
    delta = delta.saturating_add(delta / points.max(1));
    let mut k = 0_u32;
    while delta > (BASE - T_MIN) * T_MAX / 2 {
        delta /= BASE - T_MIN;
        k = k.saturating_add(BASE);
    }
    let part = (BASE - T_MIN + 1).saturating_mul(delta) / delta.saturating_add(SKEW);
    k.saturating_add(part)
}

#[cfg(test)]
mod tests {
    use super::a_label;

    /// The first ones are registered names, the others of RFC 3492 s7.1.
    #[test]
    fn labels_are_found_under_their_registered_names() {
        for (label, want) in [
            ("nas", "nas"),
            ("b\u{fc}cher", "xn--bcher-kva"),
            ("B\u{dc}CHER", "xn--bcher-kva"),
            ("m\u{fc}nchen", "xn--mnchen-3ya"),
            ("fa\u{df}", "xn--fa-hia"),
            ("\u{4f8b}\u{3048}", "xn--r8jz45g"),
            ("\u{30c6}\u{30b9}\u{30c8}", "xn--zckzah"),
            ("\u{1f4a9}", "xn--ls8h"),
            (
                "\u{4ed6}\u{4eec}\u{4e3a}\u{4ec0}\u{4e48}\u{4e0d}\u{8bf4}\u{4e2d}\u{6587}",
                "xn--ihqwcrb4cv8a8dqg056pqjye",
            ),
            (
                "3\u{5e74}b\u{7d44}\u{91d1}\u{516b}\u{5148}\u{751f}",
                "xn--3b-ww4c5e180e575a65lsy2b",
            ),
            (
                "\u{5b89}\u{5ba4}\u{5948}\u{7f8e}\u{6075}-with-super-monkeys",
                "xn---with-super-monkeys-pc58ag80a8qai00g7n9n",
            ),
        ] {
            assert_eq!(a_label(label).as_deref(), Some(want), "{label}");
        }
        let far_apart = (0..15).filter_map(|n| char::from_u32(0x1_0000 + n * 69_000));
        assert_eq!(a_label(&far_apart.collect::<String>()), None);
    }
}
