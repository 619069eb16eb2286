//! The module on made-up processes, whose memory is a file, and on real ones.
#![cfg(test)]
#![cfg(target_os = "linux")]

use std::fs::File;
use std::os::unix::fs::{FileExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use mig_host::LocalHost;
use mig_module::{Budget, DynModule as _, ModuleResult, ParsedArgs};
use mig_module_memory::Memory;
use serde_json::{Value, json};
use tempfile::TempDir;

const PAGE: u64 = 4096;

/// A machine of made-up processes.
struct Machine {
    dir: TempDir,
    host: LocalHost,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("proc")).unwrap();
        let host = LocalHost::new(dir.path());
        Self { dir, host }
    }

    /// Adds a process with these lines of its table of mappings and these texts
    /// at addresses of its memory.
    fn process(&self, pid: u32, name: &str, maps: &str, memory: &[(u64, &[u8])]) -> File {
        let path = self.dir.path().join("proc").join(pid.to_string());
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("status"), format!("Name:\t{name}\n")).unwrap();
        let program = self.dir.path().join("usr/bin").join(name);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(program, "").unwrap();
        symlink(format!("/usr/bin/{name}"), path.join("exe")).unwrap();
        std::fs::write(path.join("maps"), maps).unwrap();
        let file = File::create(path.join("mem")).unwrap();
        for (address, bytes) in memory {
            file.write_all_at(bytes, *address).unwrap();
        }
        // As long as the mappings say, unless a test cuts it.
        let ends = maps.lines().filter_map(|line| line.split([' ', '-']).nth(1));
        let end = ends.filter_map(|end| u64::from_str_radix(end, 16).ok()).max().unwrap_or(0);
        file.set_len(end).unwrap();
        file
    }

    fn run(&self, params: Value) -> ModuleResult {
        Memory.run_json(&self.host, params, &Budget::new(None, 2))
    }

    /// The names found by one search with these members.
    fn found(&self, mut search: Value) -> Vec<String> {
        if search.get("options").is_none() {
            search["options"] = json!({ "matchall": true });
        }
        let result = self.run(json!({ "searches": { "s1": search } }));
        assert!(result.success && result.errors.is_none(), "{result:?}");
        names(&result, "s1")
    }
}

/// Names of found processes; the mark for nothing has none.
fn names(result: &ModuleResult, label: &str) -> Vec<String> {
    let found = result.elements[label].as_array().cloned().unwrap_or_default();
    let name = |element: &Value| element["process"]["name"].as_str().unwrap().to_owned();
    found.iter().map(name).filter(|name| !name.is_empty()).collect()
}

/// One mapping of a file, which is read whole.
fn file_line(start: u64, end: u64) -> String {
    format!("{start:x}-{end:x} rw-p 00000000 fe:00 7 /usr/bin/x\n")
}

const SECRET: &[u8] = b"sixteen bytes: x";

#[test]
fn refuses_searches_that_make_no_sense() {
    let machine = Machine::new();
    let search = |search: Value| json!({ "searches": { "s1": search } });
    for (params, reason) in [
        (json!({ "searches": { "a b": {} } }), "label \"a b\" must be"),
        (json!({ "searches": { "": {} } }), "label \"\" must be"),
        (json!({ "searches": { "x".repeat(65): {} } }), "must be 1 to 64"),
        (search(json!({ "bytes": ["zz"] })), "\"zz\" must be an even number of hexadecimal digits"),
        (search(json!({ "bytes": ["abc"] })), "\"abc\" must be an even number"),
        (search(json!({ "bytes": ["0x4d"] })), "\"0x4d\" must be an even number"),
        (search(json!({ "bytes": [""] })), "bytes: must not be empty"),
        (search(json!({ "contents": ["["] })), "content: invalid regular expression"),
        (search(json!({ "names": [""] })), "name: must not be empty"),
        (search(json!({ "libraries": ["("] })), "library: invalid regular expression"),
        (search(json!({ "options": { "offset": -1 } })), "offset: -1 must be between 0 and"),
        (search(json!({ "names": "x" })), "cannot read the parameters"),
    ] {
        let result = machine.run(params.clone());
        assert!(!result.success && !result.foundanything);
        assert_eq!(result.elements, json!({}));
        assert_eq!(result.statistics["exectime"], "");
        let errors = result.errors.unwrap();
        assert!(errors[0].contains(reason), "{params}: {errors:?}");
    }
}

#[test]
fn texts_and_bytes_are_found_wherever_they_lie() {
    // At the start, across pages, across halves of windows, across the pieces
    // that are read, and at the very end.
    let end = 3 << 20;
    let start = 0x10_0000;
    for at in [
        start,
        start + PAGE - 8,
        start + 2048 - 8,
        start + (1 << 20) - 8,
        start + (1 << 20) - 16,
        start + (1 << 20),
        end - 16,
    ] {
        let machine = Machine::new();
        machine.process(10, "victim", &file_line(start, end), &[(at, SECRET)]);
        machine.process(11, "other", &file_line(start, end), &[]);
        for search in [
            json!({ "contents": ["sixteen [a-z]+: x"] }),
            json!({ "bytes": [hex::encode(SECRET)] }),
            json!({ "names": ["victim"], "contents": ["sixteen bytes"], "bytes": ["3a2078"] }),
        ] {
            assert_eq!(machine.found(search.clone()), ["/usr/bin/victim"], "{at:#x} {search}");
        }
    }
}

#[test]
fn neighbouring_regions_are_one_and_gaps_are_not() {
    let machine = Machine::new();
    let (a, b) = (0x1_0000, 0x2_0000);
    let second = format!("{b:x}-{:x} r--p 00000000 00:00 0 \n", b + PAGE);
    let gap = format!("{:x}-{:x} r--p 00000000 00:00 0 \n", b + PAGE, b + 2 * PAGE);
    let memory = [(b - 8, SECRET)];
    machine.process(10, "joined", &format!("{}{second}", file_line(a, b)), &memory);
    machine.process(11, "gap", &format!("{}{gap}", file_line(a, b)), &memory);
    let closed = second.replace("r--p", "---p");
    machine.process(12, "closed", &format!("{}{closed}", file_line(a, b)), &memory);
    assert_eq!(machine.found(json!({ "contents": ["sixteen bytes: x"] })), ["/usr/bin/joined"]);
    assert_eq!(machine.found(json!({ "bytes": [hex::encode(SECRET)] })), ["/usr/bin/joined"]);
}

#[test]
fn long_byte_strings_are_found() {
    let machine = Machine::new();
    let long: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).take(300_000).collect();
    let start = 0x10_0000;
    let at = start + (1 << 20) - 150_000;
    machine.process(10, "victim", &file_line(start, 4 << 20), &[(at, &long)]);
    assert_eq!(machine.found(json!({ "bytes": [hex::encode(&long[..5000])] })).len(), 1);
    assert_eq!(machine.found(json!({ "bytes": [hex::encode(&long)] })).len(), 1);
    let mut other = long.clone();
    other[299_999] ^= 1;
    assert!(machine.found(json!({ "bytes": [hex::encode(&other)] })).is_empty());
}

#[test]
fn checks_may_hit_in_different_places() {
    let machine = Machine::new();
    let memory: [(u64, &[u8]); 2] = [(0x10_0100, b"first"), (0x28_0000, b"second")];
    machine.process(10, "victim", &file_line(0x10_0000, 0x30_0000), &memory);
    assert_eq!(machine.found(json!({ "contents": ["first", "second"] })).len(), 1);
    assert!(machine.found(json!({ "contents": ["first", "third"] })).is_empty());
    // Nothing is read after all have hit.
    let result = machine.run(json!({ "searches": { "s1": { "contents": ["first"] } } }));
    assert_eq!(result.statistics["memoryread"], 1 << 20);
}

#[test]
fn a_name_that_does_not_match_saves_the_walk() {
    let machine = Machine::new();
    machine.process(10, "victim", &file_line(0x1000, 0x3000), &[(0x1000, SECRET)]);
    let search = json!({ "names": ["nobody"], "contents": ["sixteen"],
        "description": "d", "options": { "matchall": true, "offset": 1, "maxlength": 2 } });
    let result = machine.run(json!({ "searches": { "s1": search } }));
    assert!(result.success && !result.foundanything);
    assert_eq!(result.statistics["memoryread"], 0);
    let mark = json!([{ "process": { "name": "", "pid": 0 }, "search": { "description": "d",
        "names": ["nobody"], "contents": ["sixteen"], "options": { "matchall": true } } }]);
    assert_eq!(result.elements["s1"], mark);
}

#[test]
fn each_check_has_findings_of_its_own_without_matchall() {
    let machine = Machine::new();
    machine.process(10, "one", &file_line(0x1000, 0x3000), &[(0x1000, SECRET)]);
    machine.process(11, "two", &file_line(0x1000, 0x3000), &[]);
    let search = json!({ "names": ["two"], "libraries": ["none"], "contents": ["sixteen"],
        "bytes": ["ffff"], "options": { "maxlength": 100_000 } });
    let result = machine.run(json!({ "searches": { "s1": search } }));
    assert_eq!(
        result.elements["s1"],
        json!([
            { "process": { "name": "/usr/bin/two", "pid": 11 },
              "search": { "names": ["two"], "options": {} } },
            { "process": { "name": "", "pid": 0 },
              "search": { "libraries": ["none"], "options": {} } },
            { "process": { "name": "/usr/bin/one", "pid": 10 },
              "search": { "contents": ["sixteen"], "options": {} } },
            { "process": { "name": "", "pid": 0 },
              "search": { "bytes": ["ffff"], "options": {} } },
        ])
    );
    assert_eq!(result.statistics["totalhits"], 2);
    let lines = Memory.print(&result, false).unwrap();
    assert_eq!(
        lines[..4],
        [
            "/usr/bin/two [pid:11] in search 's1' on checks name='two'",
            "0 match found in search 's1' on checks library='none'",
            "/usr/bin/one [pid:10] in search 's1' on checks content='sixteen'",
            "0 match found in search 's1' on checks byte='ffff'",
        ]
    );
    assert!(
        lines[4].starts_with("Statistics: 2 processes checked, 2 matched, 0 failures, ran in ")
    );
    assert_eq!(Memory.print(&result, true).unwrap().len(), 2);
}

#[test]
fn a_search_without_checks_finds_nothing() {
    let machine = Machine::new();
    machine.process(10, "x", "", &[]);
    let result = machine.run(json!({ "searches": {
        "any": {}, "all": { "options": { "matchall": true } } } }));
    assert!(result.success && !result.foundanything);
    assert_eq!(result.elements["any"], Value::Null);
    assert_eq!(result.elements["all"][0]["process"], json!({ "name": "", "pid": 0 }));
    let lines = Memory.print(&result, false).unwrap();
    assert_eq!(lines[0], "0 match found in search 'all'");
}

#[test]
fn each_search_has_a_beginning_and_a_length_of_its_own() {
    let machine = Machine::new();
    machine.process(10, "victim", &file_line(0x10_0000, 0x30_0000), &[(0x10_0800, SECRET)]);
    let with = |offset: u64, length: u64| {
        json!({ "contents": ["sixteen bytes: x"],
            "options": { "matchall": true, "offset": offset, "maxlength": length } })
    };
    for (offset, length, count) in [
        (0, 4096, 1),
        (0, 0x810, 1),
        (0, 0x80f, 0),
        (0x10_0800, 0, 1),
        (0x10_0801, 0, 0),
        (0x10_0800, 16, 1),
        (0x10_0800, 15, 0),
        (0x40_0000, 0, 0),
    ] {
        let found = machine.found(with(offset, length)).len();
        assert_eq!(found, count, "{offset:#x} {length}");
    }
    // A search with a smaller offset does not make the other one start earlier.
    let result = machine.run(json!({ "searches": {
        "early": with(0, 0), "late": with(0x10_0801, 0), "short": with(0, 16) } }));
    assert_eq!(names(&result, "early").len(), 1);
    assert!(names(&result, "late").is_empty() && names(&result, "short").is_empty());
}

#[test]
fn mapped_files_are_libraries() {
    let machine = Machine::new();
    let maps = format!(
        "{}2000-3000 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6\n\
         3000-4000 rw-p 00000000 00:00 0 [heap]\n",
        file_line(0x1000, 0x2000)
    );
    machine.process(10, "dynamic", &maps, &[]);
    machine.process(11, "static", &file_line(0x1000, 0x2000), &[]);
    assert_eq!(machine.found(json!({ "libraries": ["libc"] })), ["/usr/bin/dynamic"]);
    let both = json!({ "names": ["bin"], "libraries": ["libc", "lib/libc"] });
    assert_eq!(machine.found(both), ["/usr/bin/dynamic"]);
    assert!(machine.found(json!({ "libraries": ["heap"] })).is_empty());
}

#[test]
fn what_cannot_be_read_is_counted_and_the_rest_is_searched() {
    let machine = Machine::new();
    machine.process(10, "good", &file_line(0x1000, 0x3000), &[(0x1000, SECRET)]);
    machine.process(11, "odd", "no mappings\n", &[]);
    machine.process(12, "closed", &file_line(0x1000, 0x3000), &[]);
    std::fs::remove_file(machine.dir.path().join("proc/12/mem")).unwrap();
    let cut = machine.process(13, "ending", &file_line(0x1000, 0x3000), &[(0x1000, SECRET)]);
    cut.set_len(0x1000).unwrap();
    // Gone before it was looked at.
    std::fs::create_dir_all(machine.dir.path().join("proc/14")).unwrap();
    let search = json!({ "contents": ["sixteen"], "options": { "matchall": true } });
    let result = machine.run(json!({ "searches": { "s1": search } }));
    assert!(result.success && result.errors.is_none());
    assert_eq!(names(&result, "s1"), ["/usr/bin/good"]);
    assert_eq!(result.statistics["processcount"], 4);
    assert_eq!(
        result.statistics["failures"],
        json!([
            "cannot read the mappings of process 11: line 1 of maps is malformed",
            "Permission denied to access memory of process 12",
            "process 13 ended while its memory was read",
        ])
    );
    let lines = Memory.print(&result, false).unwrap();
    assert!(
        lines.contains(&"Failure: Permission denied to access memory of process 12".to_owned())
    );
    // Names need no memory.
    let result = machine.run(json!({ "searches": { "s1": { "names": ["closed"] } } }));
    assert_eq!(names(&result, "s1"), ["/usr/bin/closed"]);
    assert_eq!(result.statistics.get("failures"), None);
}

#[test]
fn a_removed_executable_is_known_by_both_names() {
    let machine = Machine::new();
    machine.process(10, "gone", "", &[]);
    let exe = machine.dir.path().join("proc/10/exe");
    std::fs::remove_file(&exe).unwrap();
    symlink("/usr/bin/gone (deleted)", &exe).unwrap();
    assert_eq!(machine.found(json!({ "names": [r"^\[gone\]$"] })), ["[gone]"]);
    assert_eq!(machine.found(json!({ "names": ["^/usr/bin/gone"] })), ["[gone]"]);
    // A thread of the kernel has none at all, and no memory.
    std::fs::remove_file(&exe).unwrap();
    std::fs::remove_file(machine.dir.path().join("proc/10/mem")).unwrap();
    assert_eq!(machine.found(json!({ "names": [r"^\["] })), ["[gone]"]);
    let result = machine.run(json!({ "searches": { "s1": { "contents": ["x"] } } }));
    assert!(names(&result, "s1").is_empty());
    assert_eq!(result.statistics.get("failures"), None);
}

#[test]
fn a_huge_mapping_that_was_never_touched_costs_nothing() {
    let machine = Machine::new();
    let start = 0x10_0000_u64;
    let end = start + (50 << 30);
    let maps = format!("{start:x}-{end:x} rw-p 00000000 00:00 0 \n");
    let at = start + (40 << 30);
    machine.process(10, "sparse", &maps, &[(at, SECRET)]);
    let pages = File::create(machine.dir.path().join("proc/10/pagemap")).unwrap();
    pages.write_all_at(&(1_u64 << 63).to_le_bytes(), at / PAGE * 8).unwrap();
    pages.set_len(end / PAGE * 8).unwrap();
    let begun = Instant::now();
    let search = json!({ "contents": ["sixteen"], "options": { "matchall": true } });
    let result = machine.run(json!({ "searches": { "s1": search } }));
    assert_eq!(names(&result, "s1"), ["/usr/bin/sparse"]);
    assert_eq!(result.statistics["memoryread"], PAGE);
    assert_eq!(result.statistics["memoryskipped"], 40_u64 << 30);
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    // Without a table of pages, time still has an end.
    std::fs::remove_file(machine.dir.path().join("proc/10/pagemap")).unwrap();
    let budget = Budget::new(Some(Instant::now() + Duration::from_millis(200)), 1);
    let search = json!({ "contents": ["not there"], "options": { "matchall": true } });
    let begun = Instant::now();
    let result = Memory.run_json(&machine.host, json!({ "searches": { "s1": search } }), &budget);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(result.success && result.errors.unwrap()[0].contains("time limit"));
}

#[test]
fn anchors_hold_at_line_ends_only() {
    let machine = Machine::new();
    machine.process(10, "x", &file_line(0x1000, 0x2000), &[(0x1000, b"x\nline\nx")]);
    assert!(machine.found(json!({ "contents": ["^x$"] })).is_empty());
    assert_eq!(machine.found(json!({ "contents": ["(?m)^line$"] })).len(), 1);
}

#[test]
fn privacy_masks_names() {
    let machine = Machine::new();
    machine.process(10, "x", "", &[]);
    let params = json!({ "searches": { "s1": { "names": ["x", "nobody"] } } });
    let mut result = machine.run(params);
    Memory.mask(&mut result);
    let found = &result.elements["s1"];
    assert_eq!(found[0]["process"], json!({ "name": "masked", "pid": 10 }));
    assert_eq!(found[1]["process"], json!({ "name": "", "pid": 0 }));
}

#[test]
fn prints_results_of_the_original() {
    let old = ModuleResult {
        foundanything: true,
        success: true,
        elements: json!({ "s1": [{ "process": { "name": "/usr/bin/python3.11", "pid": 12895 },
            "search": { "names": ["python3"], "contents": ["XsecretQ"],
                "options": { "matchall": true } } }], "s2": null }),
        statistics: json!({ "processcount": 114, "memoryread": 18_790_400, "totalhits": 1,
            "exectime": "213.3ms" }),
        errors: None,
    };
    assert_eq!(
        Memory.print(&old, false).unwrap(),
        [
            "/usr/bin/python3.11 [pid:12895] in search 's1'",
            "Statistics: 114 processes checked, 1 matched, 0 failures, ran in 213.3ms.",
        ]
    );
}

#[test]
fn options_become_parameters() {
    let parse = |args: &[&str]| {
        Memory.parse_args(&args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>())
    };
    let search = |search: Value| Ok(ParsedArgs::Params(json!({ "searches": { "s1": search } })));
    assert_eq!(
        parse(&["-name", "x", "-content", "zz"]),
        search(json!({ "names": ["x"], "contents": ["zz"], "options": { "matchall": true } }))
    );
    assert_eq!(
        parse(&["-lib", "a", "-bytes", "4d5a", "-matchany", "-logfailures"]),
        search(
            json!({ "libraries": ["a"], "bytes": ["4d5a"], "options": { "logfailures": true } })
        )
    );
    let numbers = search(json!({ "names": ["x"],
        "options": { "offset": 5, "maxlength": 7, "matchall": true } }));
    assert_eq!(parse(&["-name", "x", "-offset", "5", "-maxlength", "7"]), numbers);
    assert_eq!(parse(&["-name", "x", "-maxdepth", "5", "-matchlimit", "7"]), numbers);
    assert!(parse(&["-bytes", "zz"]).is_err());
    for args in [&[][..], &["help"]] {
        assert!(matches!(parse(args), Ok(ParsedArgs::Help(_))));
    }
}

/// A process of this machine that ends with the test.
struct Victim(Child);

impl Victim {
    #[expect(clippy::disallowed_methods, reason = "a process to look into")]
    fn start(program: &Path, secret: &str) -> Self {
        let deadline = Instant::now() + Duration::from_mins(1);
        let child = loop {
            match Command::new(program).arg("600").env("VICTIM", secret).spawn() {
                // Another test was starting a program while this one was copied,
                // and holds it open until that is done.
                Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                    assert!(Instant::now() < deadline, "the program stays busy");
                    std::thread::yield_now();
                }
                started => break started.unwrap(),
            }
        };
        // Until the program starts it is a copy of this process.
        let exe = format!("/proc/{}/exe", child.id());
        let own = std::fs::read_link("/proc/self/exe").unwrap();
        while std::fs::read_link(&exe).unwrap() == own {
            assert!(Instant::now() < deadline, "the program never starts");
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn run(params: Value) -> ModuleResult {
    Memory.run_json(&LocalHost::default(), params, &Budget::unlimited())
}

#[test]
fn a_running_process_is_found_by_what_it_holds() {
    let sleep = ["/usr/bin/sleep", "/bin/sleep"].map(Path::new);
    let sleep = sleep.into_iter().find(|path| path.exists()).unwrap();
    // Put together here, so that this process holds it as well.
    let secret = format!("unique-{}-text", std::process::id());
    let victim = Victim::start(sleep, &secret);
    let params = json!({ "searches": {
        "text": { "names": ["sleep|/memory-[0-9a-f]+$"], "contents": [secret],
            "options": { "matchall": true } },
        "bytes": { "names": ["sleep"], "bytes": [hex::encode(&secret)],
            "options": { "matchall": true } },
        "library": { "names": ["sleep"], "libraries": ["/libc[.-]"],
            "options": { "matchall": true } },
    } });
    let result = run(params);
    assert!(result.success && result.foundanything, "{result:?}");
    let pid = u64::from(victim.0.id());
    for label in ["text", "bytes", "library"] {
        let found = result.elements[label].as_array().unwrap();
        let has = |pid: u64| found.iter().any(|element| element["process"]["pid"] == json!(pid));
        assert!(has(pid), "{label}: {found:?}");
        // This one holds the text, but is left out.
        assert!(!has(std::process::id().into()), "{label}: {found:?}");
    }
    let own = json!(std::process::id());
    assert!(result.statistics["leftout"].as_array().unwrap().contains(&own));
    assert!(result.statistics["memoryread"].as_u64().unwrap() > 0);
}

#[test]
fn a_running_program_that_was_removed_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("short-lived");
    let sleep = ["/usr/bin/sleep", "/bin/sleep"].map(Path::new);
    let sleep = sleep.into_iter().find(|path| path.exists()).unwrap();
    std::fs::copy(sleep, &program).unwrap();
    let victim = Victim::start(&program, "x");
    std::fs::remove_file(&program).unwrap();
    let result = run(json!({ "searches": { "s1": { "names": ["/short-lived"] } } }));
    let found = result.elements["s1"].as_array().unwrap();
    let pid = json!(victim.0.id());
    let own = found.iter().find(|element| element["process"]["pid"] == pid).unwrap();
    assert_eq!(own["process"]["name"], "[short-lived]");
}
