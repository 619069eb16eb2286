//! Files handed to a visitor instead of being reported.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::time::Instant;

use mig_host::LocalHost;
use mig_module::Budget;
use mig_module_file::{Options, Search, Selection, Visitor, select};

use crate::tree::Tree;

fn search(tree: &Tree, name: &str, limit: f64) -> Search {
    Search {
        paths: vec![tree.root().display().to_string()],
        names: vec![name.to_owned()],
        options: Options { matchall: true, matchlimit: limit, ..Options::default() },
        ..Search::default()
    }
}

/// What was visited, with its content where it could be opened.
fn visit(search: &Search, budget: &Budget) -> (Selection, Vec<(String, Option<String>)>) {
    let seen = Mutex::new(Vec::new());
    let visitors = || -> Visitor<'_> {
        Box::new(|file| {
            let mut content = String::new();
            let opened = file.open().map(|mut file| file.read_to_string(&mut content).unwrap());
            let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
            if let Ok(length) = opened {
                assert_eq!(length as u64, file.size_bytes());
            } else {
                file.failed("stays closed");
            }
            seen.lock().unwrap().push((name, opened.is_ok().then_some(content)));
        })
    };
    let selection = select(&LocalHost::default(), search, budget, &visitors).unwrap();
    let mut seen = seen.into_inner().unwrap();
    seen.sort();
    (selection, seen)
}

#[test]
fn every_file_that_is_found_is_visited_once_with_its_content() {
    let tree = Tree::new();
    let budget = Budget::new(None, 3);
    let (selection, seen) = visit(&search(&tree, "^(f|link|nonl)", 0.0), &budget);
    let hello = || Some("hello\n".to_owned());
    let expected = [
        ("f1", hello()),
        ("f2", Some("hello\nworld\n".to_owned())),
        ("f3", Some("x".to_owned())),
        ("f4", hello()),
        ("link_f1", hello()),
        ("nonl", Some("no newline".to_owned())),
    ];
    assert_eq!(seen, expected.map(|(name, content)| (name.to_owned(), content)));
    assert_eq!((selection.files, selection.was_limited, selection.was_cut), (6, false, false));
    // What the walk itself could not look at is told.
    assert_eq!(selection.errors.len(), 3, "{selection:?}");
}

#[test]
fn checks_of_content_select_and_a_file_with_two_hits_comes_once() {
    let tree = Tree::new();
    let mut search = search(&tree, "^f", 0.0);
    search.contents = vec!["^hello$".to_owned()];
    let budget = Budget::new(None, 2);
    let names = |search: &Search| -> Vec<String> {
        visit(search, &budget).1.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(&search), ["f1", "f2", "f4"]);
    search.options.matchall = false;
    search.options.returnsha256 = true;
    assert_eq!(names(&search), ["f1", "f2", "f3", "f4", "link_f1"]);
}

#[test]
fn a_limit_that_cuts_nothing_off_is_told_from_one_that_does() {
    let tree = Tree::empty();
    for number in 0..200 {
        tree.write(&format!("d{}/f{number}", number % 7), "x");
    }
    for threads in [1, 4] {
        let budget = Budget::new(None, threads);
        for (limit, files, was_limited) in [
            (199.0, 199, true),
            (200.0, 200, false),
            (0.0, 200, false),
            (1.0, 1, true),
            (-1.0, 0, false),
        ] {
            let (selection, seen) = visit(&search(&tree, ".", limit), &budget);
            let different: BTreeSet<_> = seen.iter().collect();
            assert_eq!(different.len(), seen.len());
            assert_eq!((selection.files, seen.len()), (files, usize::try_from(files).unwrap()));
            assert_eq!(selection.was_limited, was_limited, "{limit}");
        }
    }
}

#[test]
fn errors_of_visitors_count_against_the_limit_of_errors() {
    let tree = Tree::empty();
    // No regular files: a visitor cannot open them.
    for number in 0..5 {
        symlink("/dev/null", tree.at(&format!("null{number}"))).unwrap();
    }
    let mut search = search(&tree, ".", 0.0);
    search.paths =
        (0..5).map(|number| tree.at(&format!("null{number}")).display().to_string()).collect();
    search.options.maxerrors = 3.0;
    let (selection, seen) = visit(&search, &Budget::new(None, 1));
    // They all lead to one device.
    assert_eq!(seen, [("null".to_owned(), None)]);
    assert_eq!(selection.errors, ["/dev/null: stays closed"]);
}

#[test]
fn time_that_is_over_ends_the_selection() {
    let tree = Tree::new();
    let (selection, seen) = visit(&search(&tree, ".", 0.0), &Budget::new(Some(Instant::now()), 2));
    assert!(selection.was_cut && seen.is_empty());
}
