//! Every property of the SMTP service of IIS, and what it is here: the table of `src/IIS.md`, which is the manual's page
//! (`mailroot help iis`) and what the importer says about properties that it does not translate.

/// The page. `tests/iis.rs` holds it to the schema and to the tests that it names.
pub const PAGE: &str = include_str!("../IIS.md");

/// One property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its name: that of the metabase or the registry, or the words of the property sheet.
    pub name: &'static str,
    /// Its default in the schema of IIS; `-` where none is known.
    pub schema: &'static str,
    /// Its value as IIS was shipped; `-` where none is known.
    pub shipped: &'static str,
    /// A key of the configuration, or why there is none.
    pub here: &'static str,
    /// The default of that key; `-` where there is none.
    pub default: &'static str,
    /// A test that proves it, by the name of its function; `-` for what is not offered.
    pub test: &'static str,
}

/// All rows of the page.
pub fn properties() -> impl Iterator<Item = Property> {
    PAGE.lines().filter_map(row)
}

fn row(line: &'static str) -> Option<Property> {
    let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let mut cells = line.split(" | ").map(|cell| cell.trim().trim_matches('`'));
    let property = Property {
        name: cells.next()?,
        schema: cells.next()?,
        shipped: cells.next()?,
        here: cells.next()?,
        default: cells.next()?,
        test: cells.next()?,
    };
    let is_head = property.name == "property" || property.name.starts_with("---");
    (!is_head && cells.next().is_none()).then_some(property)
}

/// Why a property has no key.
pub fn why_not(name: &str) -> Option<&'static str> {
    properties()
        .find(|property| property.name.eq_ignore_ascii_case(name))
        .map(|property| property.here)
}

#[cfg(test)]
mod tests {
    use super::{properties, why_not};

    #[test]
    fn the_page_is_read_as_rows() {
        let rows = properties();
        assert!(rows.count() > 100);
        let why = why_not("smtpMailFromTimeout").unwrap();
        assert!(why.starts_with("not offered: "), "{why}");
        assert_eq!(why_not("zebra"), None);
    }
}
