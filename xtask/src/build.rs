//! Release binaries where the guide has them: `bin/<os>/<arch>/`.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::command::{cargo, command, output, root};

/// A program and the crate it lives in.
const PROGRAMS: [(&str, &str); 11] = [
    ("mig", "mig-cli"),
    ("mig-agent", "mig-agent"),
    ("mig-action-generator", "mig-tools"),
    ("mig-action-verifier", "mig-tools"),
    ("mig-agent-search", "mig-tools"),
    ("mig-api", "mig-api"),
    ("mig-console", "mig-console"),
    ("mig-scheduler", "mig-scheduler"),
    ("mig-standalone", "mig-standalone"),
    ("mig-swarm", "mig-swarm"),
    (YARA, YARA),
];

/// The program with an engine that no other is built with: a cargo feature.
const YARA: &str = "mig-yara";

/// The guide's names for a platform and the compiler's name.
const PLATFORMS: [(&str, &str, &str); 7] = [
    ("linux", "amd64", "x86_64-unknown-linux-gnu"),
    ("linux", "386", "i686-unknown-linux-gnu"),
    ("linux", "arm64", "aarch64-unknown-linux-gnu"),
    ("darwin", "amd64", "x86_64-apple-darwin"),
    ("darwin", "arm64", "aarch64-apple-darwin"),
    ("windows", "amd64", "x86_64-pc-windows-gnu"),
    ("windows", "386", "i686-pc-windows-gnu"),
];

/// Builds the programs named, as `OS=… ARCH=… BUILDENV=…` say, and links
/// `<program>-latest` to each.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let mut settings = Settings::default();
    let mut programs = Vec::new();
    for argument in arguments {
        match argument.split_once('=') {
            // Make passes settings on even when nobody has set them.
            Some((_, "")) => {}
            Some(("OS", value)) => settings.os = Some(value.to_owned()),
            Some(("ARCH", value)) => settings.arch = Some(value.to_owned()),
            Some(("BUILDENV", value)) => value.clone_into(&mut settings.env),
            Some(("AGTCONF", value)) => settings.agent_configuration = Some(value.into()),
            Some((name, _)) => bail!("unknown setting {name}"),
            None => programs.push(argument.as_str()),
        }
    }
    if programs.is_empty() {
        bail!("name a program: {}", PROGRAMS.map(|(name, _)| name).join(", "));
    }
    if let Some(file) = &settings.agent_configuration
        && !file.is_file()
    {
        bail!("{} configuration file does not exist", file.display());
    }
    let platform = settings.platform()?;
    let version = version(platform.os, &settings.env)?;
    for program in programs {
        let built = compile(program, &platform, &version)?;
        let path = install(program, &platform, &version, &built, &settings)?;
        println!("{}", path.strip_prefix(root()).unwrap_or(&path).display());
    }
    Ok(ExitCode::SUCCESS)
}

struct Settings {
    os: Option<String>,
    arch: Option<String>,
    env: String,
    /// What agents shall carry: `AGTCONF`.
    agent_configuration: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { os: None, arch: None, env: "dev".to_owned(), agent_configuration: None }
    }
}

struct Platform {
    os: &'static str,
    arch: &'static str,
    /// `None` for the machine we are on.
    target: Option<&'static str>,
}

impl Settings {
    fn platform(&self) -> Result<Platform> {
        let verbose = output(command("rustc").arg("-vV"))?;
        let host = verbose.lines().find_map(|line| line.strip_prefix("host: "));
        let host = host.context("rustc does not name its host")?;
        let here = PLATFORMS.iter().find(|(_, _, target)| *target == host);
        let os = self.os.as_deref().or(here.map(|(os, _, _)| *os)).context("OS is needed")?;
        let arch =
            self.arch.as_deref().or(here.map(|(_, arch, _)| *arch)).context("ARCH is needed")?;
        let found = PLATFORMS.iter().find(|platform| platform.0 == os && platform.1 == arch);
        let Some(&(os, arch, target)) = found else { bail!("no platform {os}/{arch}") };
        Ok(Platform { os, arch, target: (target != host).then_some(target) })
    }
}

/// The version of the commit that is checked out; the date is the commit's, so
/// that a commit has one version.
fn version(os: &str, env: &str) -> Result<String> {
    let shown = output(command("git").args(["log", "-1", "--format=%cd %h", "--date=short"]))?;
    let (date, commit) = shown.trim().split_once(' ').context("git names no commit")?;
    Ok(version_text(os, date, commit, env))
}

/// `20160901+1a2b3c4.dev`, on Windows `16.09.01.0`; `date` is `2016-09-01`.
fn version_text(os: &str, date: &str, commit: &str, env: &str) -> String {
    if os == "windows" {
        let short = date.get(2..).unwrap_or(date);
        return format!("{}.0", short.replace('-', "."));
    }
    format!("{}+{commit}.{env}", date.replace('-', ""))
}

/// Where cargo put the program; nothing is compiled that has not changed.
fn compile(program: &str, platform: &Platform, version: &str) -> Result<PathBuf> {
    let package = PROGRAMS.iter().find(|(name, _)| *name == program);
    let (_, package) = package.with_context(|| format!("no program {program}"))?;
    // An agent is a guest: its file is small.
    let profile = if program == "mig-agent" { "agent" } else { "release" };
    let mut cargo = cargo();
    cargo
        .args(["build", "--profile", profile, "--package", package, "--bin", program])
        .arg("--message-format=json-render-diagnostics")
        .env("MIG_VERSION", version)
        .stdout(Stdio::piped());
    if let Some(target) = platform.target {
        cargo.args(["--target", target]);
    }
    if program == YARA {
        cargo.args(["--features", "engine"]);
    }
    let messages = output(&mut cargo)?;
    executable(&messages, program)
        .with_context(|| format!("cargo built {program} and did not say where"))
}

/// Puts a program where the guide has it.
fn install(
    program: &str,
    platform: &Platform,
    version: &str,
    built: &Path,
    settings: &Settings,
) -> Result<PathBuf> {
    let directory = root().join("bin").join(platform.os).join(platform.arch);
    std::fs::create_dir_all(&directory)?;
    let suffix = if platform.os == "windows" { ".exe" } else { "" };
    let name = format!("{program}-{version}{suffix}");
    let path = directory.join(&name);
    match &settings.agent_configuration {
        Some(file) if program == "mig-agent" => embed(file, platform, version, built, &path)?,
        _ => {
            std::fs::copy(built, &path)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    link(&directory, &name, &format!("{program}-latest{suffix}"))?;
    Ok(path)
}

/// Copies an agent and lets the copy carry a configuration. An agent of this
/// machine does that, whatever the other is made for.
fn embed(file: &Path, platform: &Platform, version: &str, built: &Path, path: &Path) -> Result<()> {
    let here = match platform.target {
        None => built.to_owned(),
        Some(_) => compile("mig-agent", &Platform { target: None, ..*platform }, version)?,
    };
    let mut agent = command(here);
    agent.arg("-embed").arg(file).arg("-from").arg(built).arg("-out").arg(path);
    let status = agent.status().context("cannot start the agent that was built")?;
    if !status.success() {
        bail!("{} was not embedded", file.display());
    }
    Ok(())
}

/// Where cargo's messages say that a program is.
pub(crate) fn executable(messages: &str, program: &str) -> Option<PathBuf> {
    messages.lines().rev().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        if message["target"]["name"] != program {
            return None;
        }
        message["executable"].as_str().map(PathBuf::from)
    })
}

#[cfg(unix)]
fn link(directory: &Path, name: &str, latest: &str) -> Result<()> {
    let latest = directory.join(latest);
    // Not there at the first build.
    let _ = std::fs::remove_file(&latest);
    std::os::unix::fs::symlink(name, &latest)
        .with_context(|| format!("cannot link {}", latest.display()))
}

/// Links need a privilege on Windows; a copy does as well.
#[cfg(not(unix))]
fn link(directory: &Path, name: &str, latest: &str) -> Result<()> {
    std::fs::copy(directory.join(name), directory.join(latest))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_it_does_not_know() {
        let run = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
            super::run(&arguments).unwrap_err().to_string()
        };
        assert!(run(&[]).starts_with("name a program: mig, "));
        assert_eq!(
            run(&["mig-agent", "AGTCONF=/nonexistent.cfg"]),
            "/nonexistent.cfg configuration file does not exist"
        );
        assert_eq!(run(&["mig", "COLOR=blue"]), "unknown setting COLOR");
        assert_eq!(run(&["mig", "OS=plan9", "ARCH=amd64"]), "no platform plan9/amd64");
    }

    #[test]
    fn versions_have_the_guides_shape() {
        let version = |os| version_text(os, "2016-09-01", "1a2b3c4", "prod");
        assert_eq!(version("linux"), "20160901+1a2b3c4.prod");
        assert_eq!(version("darwin"), "20160901+1a2b3c4.prod");
        assert_eq!(version("windows"), "16.09.01.0");
    }

    #[test]
    fn the_executable_is_read_from_cargos_messages() {
        let messages = "{\"target\":{\"name\":\"serde\"},\"executable\":null}\n\
                        {\"target\":{\"name\":\"mig\"},\"executable\":\"/t/release/mig\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(executable(messages, "mig"), Some(PathBuf::from("/t/release/mig")));
        assert_eq!(executable(messages, "mig-api"), None);
    }
}
