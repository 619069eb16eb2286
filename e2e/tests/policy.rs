//! A policy file, from the investigator's machine through a platform to an
//! agent's packages and files, and back as lines.

#![cfg(test)]
#![cfg(target_os = "linux")]

use std::path::Path;

use mig_testkit::{AgentOptions, TestPlatform};
use mig_types::{Acl, AclEntry};

/// Files of an application, and a policy about them and about dpkg.
fn write_policy(directory: &Path) -> anyhow::Result<(String, String)> {
    let root = directory.join("application");
    std::fs::create_dir_all(root.join("lib"))?;
    std::fs::write(root.join("lib/version.py"), "VERSION = (1, 4, 2, 'final')\n")?;
    let policy = directory.join("policy.yaml");
    let text = format!(
        r"variables:
- key: root
  value: {}
objects:
- object: version
  filecontent:
    path: ${{root}}
    file: ^version\.py$
    expression: '^VERSION = \((\S+), (\S+), (\S+),'
    concat: .
- object: dpkg
  package:
    name: dpkg
tests:
- test: old
  name: the application is old
  object: version
  evr:
    operation: <
    value: 1.10
- test: new
  object: version
  regexp:
    value: ^2\.
- test: packaged
  object: dpkg
  if: [old]
",
        root.display()
    );
    std::fs::write(&policy, text)?;
    let file = root.join("lib/version.py");
    Ok((policy.display().to_string(), file.display().to_string()))
}

#[test]
fn a_policy_is_evaluated_on_an_agent() -> anyhow::Result<()> {
    let mut platform = TestPlatform::embedded()?;
    let mut acl = Acl::default();
    let investigators = platform.investigators.iter().map(|person| person.weighing(1)).collect();
    acl.insert("default", AclEntry { minimumweight: 1, investigators });
    let agent = AgentOptions { name: "web1".to_owned(), acl, ..AgentOptions::default() };
    platform.start_agent(&agent)?;
    platform.wait_agents(1)?;
    let (policy, file) = write_policy(platform.directory())?;
    let has_dpkg = Path::new("/var/lib/dpkg/status").exists();

    let found = platform.mig("alice", &["scribe", "-path", &policy, "-onlytrue"])?;
    assert_eq!(found.code, Some(0), "{found:#?}");
    let master = "web1 master [true] name:\"the application is old\" id:\"old\" hastrue:true";
    let sub =
        format!("web1 sub [true] name:\"the application is old\" id:\"old\" identifier:\"{file}\"");
    let lines: Vec<&str> = found.stdout.lines().collect();
    assert!(lines[0].starts_with(master) && lines[1] == sub, "{found:#?}");
    assert_eq!(lines.len(), if has_dpkg { 4 } else { 2 }, "{found:#?}");
    assert!(!found.stdout.contains("1.4.2"), "what was read stays there");

    // Compressed, and all of the tests.
    let all = platform.mig("alice", &["scribe", "-z", "-path", &policy, "-human"])?;
    assert_eq!(all.code, Some(0), "{all:#?}");
    for line in [
        "web1 result for \"the application is old\" (old)".to_owned(),
        "web1 \tmaster result: true".to_owned(),
        format!("web1 \t[true] identifier: \"{file}\""),
        "web1 result for \"new\"".to_owned(),
    ] {
        assert!(all.stdout.lines().any(|found| found == line), "{line}: {all:#?}");
    }

    let here = platform.mig("alice", &["scribe", "-t", "local", "-path", &policy, "-json"])?;
    assert_eq!(here.code, Some(0), "{here:#?}");
    let first = here.stdout.lines().next().unwrap_or_default();
    let first: serde_json::Value = serde_json::from_str(first)?;
    assert_eq!((&first["testid"], &first["masterresult"]), (&"old".into(), &true.into()));

    let wrong = platform.mig("alice", &["scribe", "-path", "/nonexistent"])?;
    assert!(wrong.stderr.contains("cannot load policy /nonexistent"), "{wrong:#?}");
    Ok(())
}
