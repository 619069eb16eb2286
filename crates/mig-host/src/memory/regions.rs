//! Regions of memory that a kernel tells of one at a time.

use std::io;

use super::{Mapping, PAGE};

/// Most regions of one process that are looked at.
const MAX_REGIONS: usize = 1 << 20;

/// All regions, where `ask` has the one at an address or the next one above it. A region
/// that is empty or leads nowhere ends it: the process changes meanwhile.
///
/// # Errors
///
/// The first that `ask` has.
pub fn ascending(
    mut ask: impl FnMut(u64) -> io::Result<Option<Mapping>>,
) -> io::Result<Vec<Mapping>> {
    let mut found = Vec::new();
    let mut at = 0;
    while found.len() < MAX_REGIONS
        && let Some(mut region) = ask(at)?
    {
        // Neighbours that became one since.
        region.start = region.start.max(at);
        if region.end <= region.start {
            break;
        }
        at = region.end;
        found.push(region);
    }
    Ok(found)
}

/// Gives regions that have no path the one of the file they are of. Both ascend.
pub fn name(regions: &mut [Mapping], files: &[Mapping]) {
    let mut files = files.iter().peekable();
    for region in regions.iter_mut().filter(|region| region.path.is_empty()) {
        while files.next_if(|file| file.end <= region.start).is_some() {}
        let file = files.peek().filter(|file| file.start <= region.start);
        region.is_anonymous = file.is_none();
        if let Some(file) = file {
            region.path.clone_from(&file.path);
        }
    }
}

/// How much to try after `length` bytes could not be read at once: about half of them, up
/// to the end of a page. `None` when they were of one page.
pub fn shorter(address: u64, length: usize) -> Option<usize> {
    let first = usize::try_from(PAGE - address % PAGE).unwrap_or(usize::MAX);
    if length <= first {
        return None;
    }
    let middle = address.saturating_add(length as u64 / 2) / PAGE * PAGE;
    let half = usize::try_from(middle.saturating_sub(address)).unwrap_or(0);
    Some(half.max(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(start: u64, end: u64, path: &str) -> Mapping {
        Mapping { start, end, path: path.to_owned(), ..Mapping::default() }
    }

    /// Answers as a kernel does that knows these regions.
    fn kernel(regions: &[(u64, u64)]) -> impl FnMut(u64) -> io::Result<Option<Mapping>> {
        move |at| {
            let next = regions.iter().find(|(start, end)| *end > at || *start >= at);
            Ok(next.map(|(start, end)| mapping(*start, *end, "")))
        }
    }

    #[test]
    fn regions_are_told_in_order_and_to_an_end() {
        let found = |regions: &[(u64, u64)]| {
            let found = ascending(kernel(regions)).unwrap();
            found.iter().map(|region| (region.start, region.end)).collect::<Vec<_>>()
        };
        assert_eq!(found(&[]), []);
        let whole = [(0, 4), (4, 8), (16, u64::MAX)];
        assert_eq!(found(&whole), whole);
        assert_eq!(found(&[(4, 8), (8, 8), (16, 20)]), [(4, 8)]);
        // A kernel that always says the same, and one that goes back.
        let mut asked = 0;
        let same = ascending(|_| {
            asked += 1;
            Ok(Some(mapping(4, 8, "")))
        });
        assert_eq!((same.unwrap().len(), asked), (1, 2));
        let mut answers = vec![mapping(2, 6, ""), mapping(4, 12, ""), mapping(0, 8, "")];
        let merged = ascending(|_| Ok((!answers.is_empty()).then(|| answers.remove(0))));
        assert_eq!(merged.unwrap(), [mapping(2, 6, ""), mapping(6, 12, "")]);
        assert!(ascending(|_| Err(io::ErrorKind::NotFound.into())).is_err());
        let endless = ascending(|at| Ok(Some(mapping(at, at + 1, ""))));
        assert_eq!(endless.unwrap().len(), MAX_REGIONS);
    }

    #[test]
    fn regions_have_the_names_of_their_files() {
        let mut regions = [
            mapping(0, 4, ""),
            mapping(4, 8, ""),
            mapping(8, 12, ""),
            mapping(12, 16, "[shared cache]"),
            mapping(16, 20, ""),
            mapping(24, 28, ""),
        ];
        let files = [mapping(2, 3, "/none"), mapping(4, 12, "/a"), mapping(24, 28, "/b")];
        name(&mut regions, &files);
        let named = regions.map(|region| (region.path, region.is_anonymous));
        let expected = [
            ("", true),
            ("/a", false),
            ("/a", false),
            ("[shared cache]", false),
            ("", true),
            ("/b", false),
        ];
        assert_eq!(named, expected.map(|(path, is)| (path.to_owned(), is)));
    }

    #[test]
    fn what_cannot_be_read_is_halved_down_to_a_page() {
        let page = usize::try_from(PAGE).unwrap();
        for (address, length, next) in [
            (PAGE, 0, None),
            (PAGE, page, None),
            (PAGE, page + 1, Some(page)),
            (PAGE, 8 * page, Some(4 * page)),
            (PAGE, 3 * page, Some(page)),
            // From the middle of a page on.
            (PAGE + 6, page - 6, None),
            (PAGE + 6, page, Some(page - 6)),
            (PAGE + 6, 8 * page, Some(4 * page - 6)),
            (u64::MAX - 5, 6, None),
            (u64::MAX - 5, 100, Some(6)),
        ] {
            assert_eq!(shorter(address, length), next, "{address:#x} {length}");
        }
        let mut length = 1 << 20;
        let mut steps = 0;
        while let Some(next) = shorter(PAGE + 1, length) {
            assert!(next < length && next > 0);
            length = next;
            steps += 1;
        }
        assert_eq!((length, steps), (page - 1, 8));
    }
}
