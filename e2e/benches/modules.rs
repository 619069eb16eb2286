//! Modules against the tools people would use instead: the same question on the
//! same tree or sockets with the same number of threads, whole process against
//! whole process with start-up and JSON, in turns, everything in memory. The agent
//! is the one that is shipped.
//!
//! Each question is asked twice: of a module started by hand, and of one started as
//! the agent does, confined and stepping back. Either has half of the cores, and the
//! tools get as many threads.
//!
//! `MIG_BENCH_FILES` (100,000), `MIG_BENCH_ROUNDS` (5) and `MIG_BENCH_SOCKETS`
//! (50,000) change what is measured; `MIG_BENCH_ONLY` names one question. Prints the
//! figures last and fails when an answer differs from the tool's, a module is the
//! slower one, or it takes more than 64 MiB.

#![expect(clippy::print_stdout, reason = "figures are what a bench is run for")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use mig_child::{ORDERS, Orders, Sandboxing};
use mig_module::process::parameters_message;
use mig_testkit::binary;
use mig_types::{ModuleResult, wire};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};

/// Files of one directory.
const CROWD: usize = 64;
/// Memory of a module process, KiB.
const GOAL_MEMORY: u64 = 64 << 10;

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % bound.max(1) as u64).unwrap_or_default()
    }
}

const WORDS: [&str; 24] = [
    "the",
    "system",
    "error:",
    "user=root",
    "0x7f",
    "configuration",
    "value;",
    "return",
    "comment",
    "if (length",
    "static",
    "int",
    "include",
    "failed",
    "10.0.0.17",
    "connection",
    "from",
    "GET",
    "/index.html",
    "warning",
    "default",
    "Listen",
    "shadows",
    "Passed",
];
const ENDINGS: [&str; 10] = ["conf", "log", "c", "h", "py", "txt", "html", "so", "bin", "service"];

/// Files as there are on a server: lines of text, pieces of programs, bytes without
/// sense. A few hold what the questions look for. Returns their bytes.
fn grow(tree: &Path, count: usize) -> anyhow::Result<u64> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let program = fs::read("/proc/self/exe")?;
    #[expect(clippy::disallowed_methods, reason = "how old files are counts from now on")]
    let now = std::time::SystemTime::now();
    let mut bytes = 0;
    let mut directory = tree.to_owned();
    for number in 0..count {
        if number % CROWD == 0 {
            let group = number / CROWD;
            directory = tree.join(format!("a{:02}/b{:02}/c{group}", group % 16, group / 16 % 16));
            fs::create_dir_all(&directory)?;
        }
        // Most have a few kilobytes, one of a hundred a quarter of a megabyte.
        let size = 1 << (6 + dice.below(9) + if dice.below(100) == 0 { 4 } else { 0 });
        let size = size + dice.below(size);
        let mut content = Vec::with_capacity(size + 64);
        let is_text = dice.below(10) < 7;
        if is_text {
            while content.len() < size {
                for _ in 0..=dice.below(9) {
                    content.extend_from_slice(WORDS[dice.below(WORDS.len())].as_bytes());
                    content.push(b' ');
                }
                content.push(b'\n');
            }
        } else {
            let from = dice.below(program.len().saturating_sub(size));
            content.extend_from_slice(&program[from..(from + size).min(program.len())]);
        }
        let bait: &[u8] = match dice.below(400) {
            0 => b"\nneedle4711=\n",
            1 => b"\nmy PassPhrase is\n",
            2 => b"\nsecretKey here\n",
            3 => b"\nQX193744z\n",
            _ => b"",
        };
        let at = dice.below(content.len());
        content.splice(at..at, bait.iter().copied());
        bytes += content.len() as u64;
        let ending = ENDINGS[dice.below(ENDINGS.len())];
        let path = directory.join(format!("f{number}.{ending}"));
        fs::write(&path, content)?;
        let age = Duration::from_hours(1 + dice.roll() % (24 * 365));
        fs::File::options().append(true).open(&path)?.set_modified(now - age)?;
    }
    Ok(bytes)
}

/// One run of one program.
struct Run {
    time: Duration,
    /// KiB at most, mapped files among them.
    resident: u64,
    output: Vec<u8>,
}

/// Who is asked.
struct Asked {
    command: Command,
    input: Vec<u8>,
}

fn run(asked: &mut Asked) -> anyhow::Result<Run> {
    let begun = Instant::now();
    let mut child = asked
        .command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", asked.command.get_program().display()))?;
    let status = format!("/proc/{}/status", child.id());
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let over = AtomicBool::new(false);
    let (ended, output, time, resident) = std::thread::scope(|scope| -> anyhow::Result<_> {
        let watcher = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                let text = fs::read_to_string(&status).unwrap_or_default();
                let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
                most = most.max(kib.unwrap_or(0));
                std::thread::sleep(Duration::from_millis(3));
            }
            most
        });
        // A program may not read what it is not interested in.
        let _ = stdin.context("no input")?.write_all(&asked.input);
        let mut output = Vec::new();
        let read = stdout.context("no output")?.read_to_end(&mut output);
        let ended = child.wait();
        let time = begun.elapsed();
        over.store(true, Ordering::Relaxed);
        let resident = watcher.join().map_err(|_| anyhow::anyhow!("watching panicked"))?;
        read?;
        Ok((ended?, output, time, resident))
    })?;
    let program = asked.command.get_program().display();
    ensure!(ended.success(), "{program} ended with {ended}");
    Ok(Run { time, resident, output })
}

/// A module by hand, or as the agent starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Free,
    Guest,
}

impl Manner {
    const fn name(self) -> &'static str {
        match self {
            Self::Free => "limits off",
            Self::Guest => "limits on",
        }
    }
}

/// What modules take by themselves.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
}

#[expect(clippy::disallowed_methods, reason = "the programs that are measured")]
fn ask(program: impl AsRef<std::ffi::OsStr>) -> Command {
    Command::new(program)
}

fn module(agent: &Path, name: &str, params: &Value, manner: Manner) -> anyhow::Result<Asked> {
    let mut command = ask(agent);
    command.args(["-m", name]);
    if manner == Manner::Guest {
        let orders = Orders {
            parent: std::process::id(),
            memory_bytes: GOAL_MEMORY << 10,
            deadline: Duration::from_mins(5),
            threads: threads(),
            compressed: false,
            privacy: false,
            sandbox: Sandboxing::BestEffort,
            cgroup: None,
        };
        command.env(ORDERS, serde_json::to_string(&orders)?);
    }
    Ok(Asked { command, input: parameters_message(params) })
}

fn shell(script: &str) -> Asked {
    let mut command = ask("sh");
    command.args(["-c", script]);
    Asked { command, input: Vec::new() }
}

/// One question, put to both.
struct Question<'a> {
    name: &'a str,
    module: &'a str,
    params: Value,
    /// The tool's command line for so many threads.
    tool: &'a dyn Fn(usize) -> String,
    /// What was found, as said by each.
    found: fn(&ModuleResult) -> BTreeSet<String>,
    said: fn(&str) -> BTreeSet<String>,
    /// So many times as fast as the tool.
    goal: f64,
}

fn files(result: &ModuleResult) -> BTreeSet<String> {
    let searches = result.elements.as_object().into_iter().flatten();
    let found = searches.flat_map(|(_, found)| found.as_array().into_iter().flatten());
    let paths = found.filter_map(|file| file["file"].as_str());
    // One without a path says that a search found nothing.
    paths.filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

fn lines(text: &str) -> BTreeSet<String> {
    text.lines().map(str::to_owned).collect()
}

/// The paths of `SHA2-256(path)= sum`, as openssl says it.
fn openssl_paths(text: &str) -> BTreeSet<String> {
    let path = |line: &str| Some(line.split_once(")= ")?.0.split_once('(')?.1.to_owned());
    text.lines().filter_map(path).collect()
}

fn remote_ports(result: &ModuleResult) -> BTreeSet<String> {
    let kinds = result.elements["connectedip"].as_object().into_iter().flatten();
    let found = kinds.flat_map(|(_, found)| found.as_array().into_iter().flatten());
    let pair = |found: &Value| {
        Some(format!(
            "{}:{} {}:{}",
            found["localaddr"].as_str()?,
            found["localport"].as_f64()?,
            found["remoteaddr"].as_str()?,
            found["remoteport"].as_f64()?
        ))
    };
    found.filter_map(pair).collect()
}

/// Kind, state, queues, local and remote address.
fn ss_ports(text: &str) -> BTreeSet<String> {
    let pair = |line: &str| {
        let mut words = line.split_whitespace().skip(4);
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    text.lines().filter_map(pair).collect()
}

fn median(times: &[Duration]) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64)
}

/// Asks both in turns; whether the goals are met.
fn compare(agent: &Path, question: &Question<'_>, rounds: usize) -> anyhow::Result<bool> {
    let mut good = true;
    for manner in [Manner::Free, Manner::Guest] {
        let threads = threads();
        let mut ours = module(agent, question.module, &question.params, manner)?;
        let mut theirs = shell(&(question.tool)(threads));
        let (mut own_times, mut other_times, mut memory) = (Vec::new(), Vec::new(), 0);
        // Cold tools would be compared with warm ones without the first.
        for round in 0..=rounds {
            let (own, other) = (run(&mut ours)?, run(&mut theirs)?);
            memory = memory.max(own.resident);
            if round > 0 {
                own_times.push(own.time);
                other_times.push(other.time);
                continue;
            }
            let result: ModuleResult = wire::from_slice(&own.output)?;
            ensure!(result.success && result.errors.is_none(), "{:?}", result.errors);
            let found = (question.found)(&result);
            let said = (question.said)(&String::from_utf8_lossy(&other.output));
            ensure!(!said.is_empty(), "{}: the tool found nothing", question.name);
            for difference in found.symmetric_difference(&said).take(5) {
                println!("modules: {}: only one of them has {difference}", question.name);
                good = false;
            }
        }
        let (own, other) = (median(&own_times), median(&other_times));
        let met = other / own >= question.goal && memory <= GOAL_MEMORY;
        good &= met;
        println!(
            "modules: {}, {} ({threads} threads): {own:.3} s, tools {other:.3} s, {:.2} times as \
             fast, goal {}; at most {memory} KiB; {}",
            question.name,
            manner.name(),
            other / own,
            question.goal,
            if met { "met" } else { "missed" }
        );
    }
    Ok(good)
}

fn search(params: &Value) -> Value {
    let mut search = json!({ "options": {
        "maxdepth": 0, "maxerrors": 30, "matchall": true, "macroal": false,
        "mismatch": null, "matchlimit": 0
    } });
    for (name, value) in params.as_object().into_iter().flatten() {
        match value.as_object() {
            Some(options) => {
                for (option, value) in options {
                    search["options"][option] = value.clone();
                }
            }
            None => search[name] = value.clone(),
        }
    }
    search
}

#[expect(clippy::too_many_lines, reason = "a list of questions")]
fn about_files(agent: &Path, rounds: usize, only: &str) -> anyhow::Result<bool> {
    let count = number("MIG_BENCH_FILES", 100_000)?;
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("tree");
    let bytes = grow(&root, count)?;
    println!("modules: {count} files of {} MiB, {rounds} rounds in turns, medians", bytes >> 20);
    let tree = root.display().to_string();
    let one = |params: Value| {
        let mut search = search(&params);
        search["paths"] = json!([tree]);
        json!({ "searches": { "s": search } })
    };
    let listed = |options: &str, pattern: &str, threads: usize| {
        format!("rg -l -uuu --no-messages -j {threads} {options} -e '{pattern}' {tree} || true")
    };
    let hashed = |list: &str, threads: usize| {
        format!("{list} | xargs -0 -r -n 500 -P {threads} openssl dgst -sha256")
    };
    // One file is asked for by its checksum.
    let mut known =
        shell(&format!("find {tree} -type f -name 'f4711.*' | xargs openssl dgst -sha256"));
    let known = String::from_utf8_lossy(&run(&mut known)?.output).trim().to_owned();
    let sum = known.rsplit(' ').next().context("openssl told no checksum")?;
    // Five questions of one case: what is in a file, and what its checksum is.
    let patterns = [
        "needle[0-9]{4}=",
        "my PassPhrase",
        "secret(Key|Word)",
        "QX[0-9]{6}z",
        "user=r[a-z]+t 0x7f 0x7f",
    ];
    let five: serde_json::Map<String, Value> = patterns
        .iter()
        .enumerate()
        .map(|(index, pattern)| {
            let params = json!({ "contents": [pattern], "options": { "returnsha256": true } });
            let mut search = search(&params);
            search["paths"] = json!([tree]);
            (format!("s{index}"), search)
        })
        .collect();
    let questions = [
        Question {
            name: "name",
            module: "file",
            params: one(json!({ "names": ["^f[0-9]*7\\.(conf|so)$"] })),
            tool: &|threads| format!("fdfind -u -t f -j {threads} '^f[0-9]*7\\.(conf|so)$' {tree}"),
            found: files,
            said: lines,
            goal: 1.0,
        },
        Question {
            name: "size and mtime",
            module: "file",
            params: one(json!({ "sizes": [">32k"], "mtimes": ["<30d"] })),
            tool: &|_| format!("find {tree} -type f -size +32767c -mmin -43200"),
            found: files,
            said: lines,
            goal: 1.0,
        },
        Question {
            name: "content, literal prefix",
            module: "file",
            params: one(json!({ "contents": ["needle[0-9]{4}="] })),
            tool: &|threads| listed("", "needle[0-9]{4}=", threads),
            found: files,
            said: lines,
            goal: 1.0,
        },
        Question {
            name: "content, alternation without case",
            module: "file",
            params: one(json!({ "contents": ["(?i)(passphrase|secretkey|privatekey)"] })),
            tool: &|threads| listed("-i", "(passphrase|secretkey|privatekey)", threads),
            found: files,
            said: lines,
            goal: 1.0,
        },
        Question {
            name: "content, no literal",
            module: "file",
            params: one(json!({ "contents": ["[A-Z]{2}[0-9]{6}[a-z]"] })),
            tool: &|threads| listed("", "[A-Z]{2}[0-9]{6}[a-z]", threads),
            found: files,
            said: lines,
            goal: 1.0,
        },
        Question {
            name: "five searches, contents and checksums",
            module: "file",
            params: json!({ "searches": five }),
            tool: &|threads| {
                let each = patterns.map(|pattern| {
                    let list =
                        format!("rg -l -0 -uuu --no-messages -j {threads} -e '{pattern}' {tree}");
                    hashed(&list, threads)
                });
                each.join("; ")
            },
            found: files,
            said: openssl_paths,
            goal: 3.0,
        },
        Question {
            name: "sha256 of everything",
            module: "file",
            params: one(json!({ "sha2": [sum] })),
            tool: &|threads| {
                hashed(&format!("find {tree} -type f -print0"), threads) + &format!(" | grep {sum}")
            },
            found: files,
            said: openssl_paths,
            goal: 1.0,
        },
    ];
    let mut good = true;
    for question in questions.iter().filter(|question| question.name.contains(only)) {
        good &= compare(agent, question, rounds)?;
    }
    Ok(good)
}

/// Connections of one process, which has only so many descriptors, to one address.
const HELD: usize = 5_000;
/// The argument that makes this program hold them.
const HOLD: &str = "--hold-connections-to";

/// A process that holds both ends of connections until it is dropped.
struct Holder(std::process::Child);

impl Holder {
    #[expect(clippy::disallowed_methods, reason = "this program once more")]
    fn start(address: Ipv4Addr) -> anyhow::Result<Self> {
        let child = Command::new(std::env::current_exe()?)
            .args([HOLD, &address.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut holder = Self(child);
        let mut ready = [0];
        let stdout = holder.0.stdout.as_mut().context("no output")?;
        stdout.read_exact(&mut ready).context("cannot hold connections")?;
        Ok(holder)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Gone already is fine.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn hold(address: &str) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit })?;
    let listener = TcpListener::bind((address.parse::<Ipv4Addr>()?, 0))?;
    let mut pairs = Vec::with_capacity(HELD);
    for _ in 0..HELD {
        let client = TcpStream::connect(listener.local_addr()?)?;
        pairs.push((client, listener.accept()?.0));
    }
    std::io::stdout().write_all(b"!")?;
    std::io::stdout().flush()?;
    // Until nobody wants them any more.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn about_sockets(agent: &Path, rounds: usize, only: &str) -> anyhow::Result<bool> {
    if !"netstat".contains(only) {
        return Ok(true);
    }
    let count = number("MIG_BENCH_SOCKETS", 50_000)?;
    let holders: Vec<Holder> = (0..count.div_ceil(2 * HELD))
        .map(|number| Holder::start(Ipv4Addr::new(127, 0, 0, u8::try_from(10 + number)?)))
        .collect::<anyhow::Result<_>>()?;
    let rare = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 99), 0))?;
    let few: Vec<_> = (0..10).map(|_| TcpStream::connect(rare.local_addr()?)).collect();
    ensure!(few.iter().all(Result::is_ok), "cannot connect");
    let open = fs::read_to_string("/proc/net/sockstat")?;
    println!("modules: {}", open.lines().nth(1).unwrap_or_default());
    let one = |found: &str| json!({ "connectedip": [found], "namespaces": false });
    let questions = [
        Question {
            name: "netstat, ten of them",
            module: "netstat",
            params: one("127.0.0.99"),
            tool: &|_| "ss -Hntau dst 127.0.0.99".to_owned(),
            found: remote_ports,
            said: ss_ports,
            goal: 1.0,
        },
        Question {
            name: "netstat, a fifth of them",
            module: "netstat",
            params: one("127.0.0.10/31"),
            tool: &|_| "ss -Hntau dst 127.0.0.10/31".to_owned(),
            found: remote_ports,
            said: ss_ports,
            goal: 1.0,
        },
    ];
    let mut good = true;
    for question in &questions {
        good &= compare(agent, question, rounds)?;
    }
    drop((holders, few));
    Ok(good)
}

fn number(name: &str, default: usize) -> anyhow::Result<usize> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| name.to_owned()),
        Err(_) => Ok(default),
    }
}

fn measure() -> anyhow::Result<bool> {
    // `cargo test --benches` only asks whether it starts.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(true);
    }
    if let Some(address) = std::env::args().skip_while(|arg| arg != HOLD).nth(1) {
        return hold(&address).map(|()| true);
    }
    let target = binary("mig-standalone")?;
    let target = target.ancestors().nth(2).context("no target directory")?.to_owned();
    let agent = target.join("agent/mig-agent");
    ensure!(agent.is_file(), "{} is not built: make modules-bench", agent.display());
    for (tool, package) in
        [("rg", "ripgrep"), ("fdfind", "fd-find"), ("openssl", "openssl"), ("ss", "iproute2")]
    {
        if !["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
            .iter()
            .any(|place| PathBuf::from(place).join(tool).is_file())
        {
            bail!("no {tool}: apt-get install {package}");
        }
    }
    let rounds = number("MIG_BENCH_ROUNDS", 5)?.max(1);
    let only = std::env::var("MIG_BENCH_ONLY").unwrap_or_default();
    let sockets = about_sockets(&agent, rounds, &only)?;
    let files = only == "netstat" || about_files(&agent, rounds, &only)?;
    Ok(sockets && files)
}

fn main() -> ExitCode {
    match measure() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("modules: {error:#}");
            ExitCode::FAILURE
        }
    }
}
