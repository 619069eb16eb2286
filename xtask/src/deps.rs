//! Dependencies between crates point down.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command::{cargo, output};

/// What a crate may depend on, inside the workspace.
struct Rule {
    name: &'static str,
    /// Members it may use; a member that is not listed is a fault.
    members: &'static [&'static str],
    /// Crates from outside that it must not use.
    never: &'static [&'static str],
}

const HTTP: &[&str] = &["axum", "hyper", "reqwest", "tower-http"];
const ASYNC_OR_IO: &[&str] =
    &["tokio", "reqwest", "hyper", "axum", "lapin", "sqlx", "rustls", "getrandom"];
const STORE: &[&str] = &["axum", "hyper", "reqwest", "lapin", "tokio-tungstenite"];

const MODULE: &[&str] = &["mig-types", "mig-module", "mig-host"];

/// From the bottom up.
const RULES: &[Rule] = &[
    Rule { name: "mig-types", members: &[], never: ASYNC_OR_IO },
    Rule { name: "mig-host", members: &["mig-types"], never: ASYNC_OR_IO },
    Rule { name: "mig-sign", members: &["mig-types"], never: ASYNC_OR_IO },
    Rule { name: "mig-archive", members: &["mig-types"], never: ASYNC_OR_IO },
    Rule { name: "mig-module", members: &["mig-types", "mig-host"], never: ASYNC_OR_IO },
    Rule { name: "mig-runtime", members: &["mig-types"], never: HTTP },
    // The listener for monitoring: the one HTTP that programs may use that never
    // reach HTTP otherwise.
    Rule {
        name: "mig-observe",
        members: &["mig-runtime"],
        never: &["axum", "reqwest", "tower-http", "lapin", "sqlx"],
    },
    Rule { name: "mig-store", members: &["mig-types"], never: STORE },
    Rule { name: "mig-relay", members: &["mig-types"], never: HTTP },
    Rule { name: "mig-sandbox", members: &[], never: ASYNC_OR_IO },
    // A module sees its own trait and the host: no queue, no key, no runtime.
    Rule { name: "mig-module-agentdestroy", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-audit", members: MODULE, never: ASYNC_OR_IO },
    // Delivers over HTTP by itself: it lives outside of the agent's runtime.
    Rule {
        name: "mig-module-dispatch",
        members: MODULE,
        never: &["tokio", "reqwest", "hyper", "axum", "lapin", "sqlx", "getrandom"],
    },
    Rule { name: "mig-module-example", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-examplepersist", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-file", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-fswatch", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-memory", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-netstat", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-ping", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-pkg", members: MODULE, never: ASYNC_OR_IO },
    // Its files are found by the walk of `file`.
    Rule {
        name: "mig-module-scribe",
        members: &["mig-types", "mig-module", "mig-host", "mig-module-file"],
        never: ASYNC_OR_IO,
    },
    Rule { name: "mig-module-sshkey", members: MODULE, never: ASYNC_OR_IO },
    Rule { name: "mig-module-timedrift", members: MODULE, never: ASYNC_OR_IO },
    // Its files are found by the walk of `file`; its engine is `mig-yara`'s.
    Rule {
        name: "mig-module-yara",
        members: &["mig-types", "mig-module", "mig-host", "mig-module-file"],
        never: &["tokio", "reqwest", "hyper", "axum", "lapin", "sqlx", "rustls", "yara-x"],
    },
    Rule {
        name: "mig-modules",
        members: &[
            "mig-module",
            "mig-module-agentdestroy",
            "mig-module-audit",
            "mig-module-dispatch",
            "mig-module-example",
            "mig-module-examplepersist",
            "mig-module-file",
            "mig-module-fswatch",
            "mig-module-memory",
            "mig-module-netstat",
            "mig-module-ping",
            "mig-module-pkg",
            "mig-module-scribe",
            "mig-module-sshkey",
            "mig-module-timedrift",
            "mig-module-yara",
        ],
        never: ASYNC_OR_IO,
    },
    // A module process from inside: nothing of the agent's that it could reach.
    Rule {
        name: "mig-child",
        members: &["mig-types", "mig-host", "mig-module", "mig-sandbox"],
        never: ASYNC_OR_IO,
    },
    // The one program with an engine for rules.
    Rule {
        name: "mig-yara",
        members: &["mig-types", "mig-module", "mig-module-yara", "mig-child"],
        never: ASYNC_OR_IO,
    },
    Rule {
        name: "mig-client",
        members: &["mig-types", "mig-archive", "mig-sign", "mig-runtime"],
        never: &["axum", "lapin", "sqlx"],
    },
    // The agent never reaches the store, and accepts no connection but the
    // status socket's.
    Rule {
        name: "mig-agent",
        members: &[
            "mig-types",
            "mig-host",
            "mig-sign",
            "mig-module",
            "mig-modules",
            "mig-sandbox",
            "mig-child",
            "mig-relay",
            "mig-runtime",
        ],
        never: &["axum", "lapin", "yara-x"],
    },
    // The API never reaches the relay, the scheduler never reaches HTTP: they
    // meet in the store.
    Rule {
        name: "mig-api",
        members: &[
            "mig-types",
            "mig-archive",
            "mig-sign",
            "mig-store",
            "mig-runtime",
            "mig-observe",
        ],
        never: &["lapin", "sqlx"],
    },
    Rule {
        name: "mig-scheduler",
        members: &["mig-types", "mig-sign", "mig-store", "mig-relay", "mig-runtime", "mig-observe"],
        never: &["axum", "hyper", "reqwest", "tower-http", "lapin", "sqlx"],
    },
    Rule {
        name: "mig-terminal",
        members: &["mig-types", "mig-sign", "mig-client", "mig-module", "mig-runtime"],
        never: &["axum", "lapin", "sqlx"],
    },
    Rule {
        name: "mig-cli",
        members: &[
            "mig-types",
            "mig-host",
            "mig-sign",
            "mig-module",
            "mig-modules",
            "mig-client",
            "mig-terminal",
            "mig-runtime",
        ],
        never: &["axum", "lapin", "sqlx"],
    },
    Rule {
        name: "mig-console",
        members: &[
            "mig-types",
            "mig-archive",
            "mig-sign",
            "mig-module",
            "mig-modules",
            "mig-client",
            "mig-terminal",
            "mig-runtime",
        ],
        never: &["axum", "lapin", "sqlx"],
    },
    Rule {
        name: "mig-tools",
        members: &[
            "mig-types",
            "mig-sign",
            "mig-module",
            "mig-client",
            "mig-terminal",
            "mig-runtime",
        ],
        never: &["axum", "lapin", "sqlx"],
    },
    Rule {
        name: "mig-standalone",
        members: &[
            "mig-types",
            "mig-sign",
            "mig-store",
            "mig-relay",
            "mig-runtime",
            "mig-scheduler",
            "mig-api",
        ],
        never: &["lapin", "sqlx"],
    },
    // Stands where agents and investigators stand; reaches no server from inside.
    // Only `seed` speaks SQL: it writes the rows of a past that no program of the
    // platform would let anybody write.
    Rule {
        name: "mig-swarm",
        members: &["mig-types", "mig-sign", "mig-relay", "mig-client", "mig-runtime"],
        never: &["axum", "lapin"],
    },
    Rule { name: "xtask", members: &["mig-testservices"], never: &["tokio"] },
];

/// Support of tests; they may use anything, nothing above may use them.
const TEST_CRATES: [&str; 3] = ["mig-testservices", "mig-testkit", "mig-e2e"];

pub(crate) fn run() -> Result<ExitCode> {
    let faults = faults()?;
    for fault in &faults {
        eprintln!("{fault}");
    }
    println!("deps: {} crates, {} faults", RULES.len() + TEST_CRATES.len(), faults.len());
    Ok(if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One line for every dependency that the rules do not allow.
pub(crate) fn faults() -> Result<Vec<String>> {
    let text = output(cargo().args(["metadata", "--format-version", "1", "--no-deps"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata without packages")?;
    Ok(check(packages, RULES))
}

fn check(packages: &[Value], rules: &[Rule]) -> Vec<String> {
    let name_of = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
    let members: Vec<String> = packages.iter().map(name_of).collect();
    let mut faults = Vec::new();
    for package in packages {
        let name = name_of(package);
        if TEST_CRATES.contains(&name.as_str()) {
            continue;
        }
        let Some(rule) = rules.iter().find(|rule| rule.name == name) else {
            faults.push(format!("{name}: no rule; add one to xtask/src/deps.rs"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            // Tests may use what they need.
            if dependency["kind"] == "dev" {
                continue;
            }
            let used = name_of(dependency);
            let is_member = members.contains(&used);
            if is_member && !rule.members.contains(&used.as_str()) {
                faults.push(format!("{name}: must not depend on {used}"));
            }
            if !is_member && rule.never.contains(&used.as_str()) {
                faults.push(format!("{name}: must not use {used}"));
            }
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn finds_what_points_the_wrong_way() {
        let rules = [
            Rule { name: "a", members: &["b"], never: &["tokio"] },
            Rule { name: "b", members: &[], never: &[] },
        ];
        let dependency = |name: &str, kind: Value| json!({ "name": name, "kind": kind });
        let packages = [
            json!({ "name": "a", "dependencies": [
                dependency("b", Value::Null),
                dependency("serde", Value::Null),
                dependency("tokio", Value::Null),
                dependency("mig-testkit", json!("dev")),
            ]}),
            json!({ "name": "b", "dependencies": [
                dependency("a", json!("build")),
                dependency("mig-testkit", Value::Null),
                dependency("tokio", json!("dev")),
            ]}),
            json!({ "name": "c", "dependencies": [] }),
            json!({ "name": "mig-testkit", "dependencies": [dependency("a", Value::Null)] }),
        ];
        assert_eq!(
            check(&packages, &rules),
            [
                "a: must not use tokio",
                "b: must not depend on a",
                "b: must not depend on mig-testkit",
                "c: no rule; add one to xtask/src/deps.rs",
            ]
        );
    }

    #[test]
    fn rules_name_each_other_from_the_bottom_up() {
        for (index, rule) in RULES.iter().enumerate() {
            for member in rule.members {
                let below = RULES.iter().take(index).any(|other| other.name == *member);
                assert!(below || TEST_CRATES.contains(member), "{} uses {member}", rule.name);
            }
        }
    }
}
