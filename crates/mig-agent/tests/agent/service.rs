//! An agent that becomes a service, on a system where only this is real.

use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, eventually};

/// The first process of a small system whose service manager writes down what
/// it is told.
const INIT: &str = r#"
set -e
mount --bind "$STAGE/etc" /etc
export PATH="$STAGE/bin:$PATH"
as_a_person() { sh -c '"$AGENT" "$@"; echo "code $?" >>"$STAGE/codes"' sh "$@"; }
as_a_person -c "$STAGE/agent.cfg"
cp "$STAGE/etc/systemd/system/mig-agent.service" "$STAGE/first.service"
echo upgrade >>"$STAGE/calls"
as_a_person -c "$STAGE/agent.cfg" -u
touch "$STAGE/calls.complete"
# As its manager starts it.
"$AGENT" -c "$STAGE/agent.cfg" &
agent=$!
read -r line || true
kill -TERM "$agent"
wait "$agent"
echo "code $?" >>"$STAGE/codes"
"#;

fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

async fn may_make_systems() -> bool {
    let mut command = tokio::process::Command::new("unshare");
    command.args(["--mount", "--pid", "--fork", "--mount-proc", "true"]);
    command.stderr(Stdio::null()).status().await.is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_installs_itself_serves_and_is_upgraded() {
    if !may_make_systems().await {
        println!("skipped: this account may not make namespaces");
        return;
    }
    let mut stage = Stage::set("").await;
    for folder in ["etc/systemd/system", "etc/cron.d", "bin"] {
        std::fs::create_dir_all(stage.path(folder)).unwrap();
    }
    executable(&stage.path("bin/systemctl"), "#!/bin/sh\necho \"$@\" >>\"$STAGE/calls\"\n");
    std::fs::write(stage.path("init.sh"), INIT).unwrap();
    let mut command = tokio::process::Command::new("unshare");
    command
        .args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"])
        .args(["bash", "-c", "exec -a /usr/lib/systemd/systemd bash \"$0\""])
        .arg(stage.path("init.sh"))
        .env("STAGE", stage.dir.path())
        .env("AGENT", crate::AGENT)
        .stdin(Stdio::piped())
        .kill_on_drop(true);
    let mut system = command.spawn().unwrap();
    let agent = stage.heartbeat().await;
    assert_eq!(agent.environment.init, "systemd");
    let read = |name: &str| std::fs::read_to_string(stage.path(name)).unwrap();
    let log = stage.path("agent.log");
    eventually("a line in the log", || {
        std::fs::read_to_string(&log).ok()?.contains("Running as a service.").then_some(())
    })
    .await;

    let config = stage.path("agent.cfg");
    let started = format!("{} -f -c {}", crate::AGENT, config.display());
    let unit = read("first.service");
    for line in [
        format!("ExecStart={started}"),
        format!("ConditionFileIsExecutable={}", crate::AGENT),
        format!(
            "ReadWritePaths=-/sbin -/usr/sbin -{} -{}",
            stage.path("run").display(),
            stage.dir.path().display()
        ),
        "Restart=on-failure".to_owned(),
    ] {
        assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
    }
    assert_eq!(read("etc/systemd/system/mig-agent.service"), unit);
    let cron = read("etc/cron.d/mig-agent");
    assert!(cron.contains(&format!("{} -c {} -q=pid", crate::AGENT, config.display())), "{cron}");
    let calls = read("calls");
    let calls: Vec<&str> = calls.lines().collect();
    let start = ["daemon-reload", "enable mig-agent", "start mig-agent"];
    let wanted = [&start[..], &["upgrade", "stop mig-agent", "disable mig-agent"], &start].concat();
    assert_eq!(calls, wanted);

    system.stdin.take().unwrap().write_all(b"\n").await.unwrap();
    let ended = timeout(PATIENCE, system.wait()).await.expect("the system ends").unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(read("codes"), "code 0\ncode 0\ncode 0\n");
}
