//! Finds rows and sections of the schema, and the nearest name when there is none.

use crate::config::schema::ROWS;
use crate::config::schema::Row;
use crate::config::schema::SECTIONS;
use crate::config::schema::Section;

/// The row with this key path.
pub fn row(key: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.key == key)
}

/// The row with this name in this section.
pub fn row_in(section: &str, name: &str) -> Option<&'static Row> {
    rows_of(section).find(|row| row.name() == name)
}

/// The rows of a section, in order.
pub fn rows_of(section: &str) -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(move |row| row.section() == section)
}

/// The section with this name; the top of the file has the empty one.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// What an owner who wrote an unknown name may have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Near {
    /// The key of this name in the same section.
    Here(&'static str),
    /// The key of this path in another section.
    Key(&'static str),
    /// This section.
    Section(&'static str),
    /// Nothing is near.
    Nothing,
}

/// The key nearest to `name` in `section`: the same name in another section, its name in IIS, else the fewest
/// slips away in this section, else anywhere.
pub fn near_key(section: &str, name: &str) -> Near {
    let slim = name.replace('-', "_").to_ascii_lowercase();
    if let Some(row) = row_in(section, &slim) {
        return Near::Here(row.name());
    }
    if section.is_empty()
        && let Some(section) = self::section(&slim)
    {
        return Near::Section(section.name);
    }
    if let Some(row) = ROWS
        .iter()
        .find(|row| row.name() == slim || row.key == slim)
    {
        return Near::Key(row.key);
    }
    if let Some(row) = by_iis_name(&slim) {
        return Near::Key(row.key);
    }
    if let Some(row) = nearest(&slim, rows_of(section), |row| row.name()) {
        return Near::Here(row.name());
    }
    nearest(&slim, ROWS.iter(), |row| row.name()).map_or(Near::Nothing, |row| Near::Key(row.key))
}

/// The row that had this name in IIS; underscores do not count.
fn by_iis_name(name: &str) -> Option<&'static Row> {
    let name = name.replace('_', "");
    ROWS.iter().find(|row| {
        row.iis
            .is_some_and(|(iis, _)| iis.eq_ignore_ascii_case(&name))
    })
}

/// The section nearest to `name`, else a key of that name.
pub fn near_section(name: &str) -> Near {
    let slim = name.replace('-', "_").to_ascii_lowercase();
    nearest(&slim, SECTIONS.iter(), |section| section.name)
        .map(|section| Near::Section(section.name))
        .or_else(|| by_iis_name(&slim).map(|row| Near::Key(row.key)))
        .or_else(|| nearest(&slim, rows_of(""), |row| row.name()).map(|row| Near::Key(row.key)))
        .unwrap_or(Near::Nothing)
}

/// The name with the fewest slips, when they are few for its length.
pub fn nearest_name<'a>(text: &str, names: &[&'a str]) -> Option<&'a str> {
    nearest(text, names.iter(), |name| name).copied()
}

fn nearest<'a, T>(
    text: &str,
    all: impl Iterator<Item = &'a T>,
    name: impl Fn(&T) -> &str,
) -> Option<&'a T> {
    // A name far longer than any of ours is nothing we know, and would make the count slow.
    if text.len() > 64 {
        return None;
    }
    let few = |one: &T| 1.max(text.len().min(name(one).len()) / 3);
    all.filter(|one| !name(one).is_empty())
        .map(|one| (slips(text, name(one)), one))
        .filter(|(slips, one)| *slips <= few(one))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, one)| one)
}

/// How many letters must be put in, taken out or changed to make one text from the other (Levenshtein's count;
/// two swapped neighbours count once).
fn slips(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (row, from) in a.chars().enumerate() {
        let mut line = vec![row + 1];
        let get = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX / 2);
        let mut left = None;
        for (at, to) in b.iter().enumerate() {
            let change = get(&above, at) + usize::from(from != *to);
            let mut best = change.min(get(&above, at + 1) + 1).min(get(&line, at) + 1);
            if at > 0 && last == Some(*to) && left == Some(from) {
                best = best.min(get(&before, at - 1) + 1);
            }
            line.push(best);
            left = Some(*to);
        }
        before = std::mem::replace(&mut above, line);
        last = Some(from);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{Near, near_key, near_section, slips};

    #[test]
    fn slips_are_counted() {
        for (a, b, want) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("recpients", "recipients", 1),
            ("recipeints", "recipients", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(slips(a, b), want, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_name_is_offered() {
        for (section, name, want) in [
            ("limits", "recipeints", Near::Here("recipients")),
            ("limits", "message-bytes", Near::Here("message_bytes")),
            ("", "MaxMessageSize", Near::Key("limits.message_bytes")),
            ("", "smart_host", Near::Key("route.hosts")),
            ("limits", "Hops", Near::Here("hops")),
            ("", "hops", Near::Key("limits.hops")),
            ("", "limits.hops", Near::Key("limits.hops")),
            ("", "host_name", Near::Here("hostname")),
            ("", "Listen", Near::Section("listen")),
            ("limits", "zebra", Near::Nothing),
            ("route", "host", Near::Here("hosts")),
        ] {
            assert_eq!(near_key(section, name), want, "{section} {name}");
        }
        assert_eq!(near_section("limit"), Near::Section("limits"));
        assert_eq!(near_section("routes"), Near::Section("route"));
        assert_eq!(near_section("zebra"), Near::Nothing);
        assert_eq!(near_key("limits", &"x".repeat(100_000)), Near::Nothing);
    }
}
