//! Reads what clang prints with `-fdump-record-layouts-complete`.

use super::{Layout, Layouts};

/// All structures that have a name, by it.
pub fn parse(text: &str) -> Layouts {
    let dumps = text.split("*** Dumping AST Record Layout").skip(1);
    dumps.filter_map(record).collect()
}

/// What tags are called in other sources than ours: `struct cmsghdr` is a `WSACMSGHDR` in most.
pub fn canonical(tag: &str) -> String {
    let name = tag.trim_start_matches('_').to_uppercase();
    match name.as_str() {
        "CMSGHDR" => "WSACMSGHDR".to_owned(),
        "SOCKADDR_IN6_LH" => "SOCKADDR_IN6".to_owned(),
        "SOCKADDR_STORAGE_LH" => "SOCKADDR_STORAGE".to_owned(),
        _ => name,
    }
}

fn record(dump: &str) -> Option<(String, Layout)> {
    let mut lines = dump.lines().filter_map(Line::parse);
    let head = lines.next()?;
    let tag = head.text.strip_prefix("struct ").or_else(|| head.text.strip_prefix("union ")).unwrap_or(head.text);
    // What has no name of its own, and the structures behind handles (DECLARE_HANDLE), which have no contents.
    if tag.contains(['(', ' ']) || tag.ends_with("__") || tag.starts_with("__NSConstant") {
        return None;
    }
    let mut layout = Layout { size: size(dump)?, ..Layout::default() };
    // The names of the members that the line belongs to, from the outside; anonymous ones have none.
    let mut path: Vec<Option<&str>> = Vec::new();
    for line in lines {
        path.truncate(line.depth.saturating_sub(1));
        let name = member(line.text);
        if let Some(name) = name {
            let mut full: Vec<&str> = path.iter().flatten().copied().collect();
            full.push(name);
            layout.fields.insert(full.join("."), line.bits);
        }
        path.push(name);
    }
    Some((canonical(tag), layout))
}

/// The name at the end of a member's line, or nothing for an anonymous one.
fn member(text: &str) -> Option<&str> {
    let name = text.trim_end().rsplit(' ').next()?;
    let is_name = name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (is_name && text.trim_end().contains(' ') && !text.ends_with(' ')).then_some(name)
}

fn size(dump: &str) -> Option<u64> {
    let rest = &dump[dump.find("[sizeof=")? + "[sizeof=".len()..];
    rest[..rest.find(',')?].parse().ok()
}

/// One line: where the member is, in bits, how deep it is nested, and its type and name.
struct Line<'a> {
    bits: u64,
    depth: usize,
    text: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (position, rest) = line.split_once(" | ")?;
        let bits = bits(position.trim())?;
        let text = rest.trim_start();
        Some(Self { bits, depth: (rest.len() - text.len()) / 2, text })
    }
}

/// `16`, or `5:0-1` for a bit field: byte and bits.
fn bits(position: &str) -> Option<u64> {
    let (byte, bit) = match position.split_once(':') {
        Some((byte, bits)) => (byte, bits.split('-').next()?.parse().unwrap_or(0)),
        None => (position, 0),
    };
    Some(byte.parse::<u64>().ok()? * 8 + bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "
*** Dumping AST Record Layout
         0 | struct _THING
         0 |   CSHORT Type
         8 |   union _THING::(anonymous at /some/where.h:1:2) 
         8 |     PVOID First
         8 |     struct _INNER Second
         8 |       ULONG Low
        12 |       ULONG High
    16:3-5 |   UCHAR Bits
        24 |   struct _OTHER *[4] Pointers
           | [sizeof=56, align=8]

*** Dumping AST Record Layout
         0 | struct _THING::(anonymous at /some/where.h:1:2)
         0 |   PVOID First
           | [sizeof=8, align=8]
";

    #[test]
    fn members_are_found_with_their_paths() {
        let parsed = parse(DUMP);
        assert_eq!(parsed.len(), 1);
        let thing = &parsed["THING"];
        assert_eq!(thing.size, 56);
        let offset = |field: &str| thing.fields.get(field).copied();
        assert_eq!(offset("Type"), Some(0));
        assert_eq!(offset("First"), Some(64));
        assert_eq!(offset("Second.High"), Some(96));
        assert_eq!(offset("Bits"), Some(16 * 8 + 3));
        assert_eq!(offset("Pointers"), Some(24 * 8));
        assert_eq!(thing.fields.len(), 7);
    }
}
