//! The files themselves.

use std::path::Path;

use super::{Job, Manager, ServiceError};

/// The sample for administrators is what an installation writes.
const SYSTEMD: &str = include_str!("../../../../conf/systemd/mig-agent.service");
/// How the sample calls the agent.
const SAMPLE_START: &str = "ExecStart=/sbin/mig-agent -f\n";
const SAMPLE_CONDITION: &str = "ConditionFileIsExecutable=/sbin/mig-agent\n";
const SAMPLE_WRITES: &str = "ReadWritePaths=-/sbin -/usr/sbin\n";

/// The file of a service.
pub(super) fn service(manager: Manager, job: &Job) -> Result<String, ServiceError> {
    let (program, command) = (path(&job.program)?, command(job, |_| true)?);
    Ok(match manager {
        Manager::Systemd => systemd(job, &program, &command)?,
        Manager::Upstart => upstart(&program, &command),
        Manager::SysV => sysv(&program, &command),
        Manager::Launchd => launchd(job),
    })
}

/// The file for cron: asks, and starts an agent when nobody answers. That one
/// is not told to stay in the foreground, so that it looks for its service.
pub(super) fn watchdog(job: &Job) -> Result<String, ServiceError> {
    let command = command(job, |argument| argument != "-f")?;
    Ok(format!(
        "# Starts the agent again when it does not answer.\n\
         SHELL=/bin/bash\nMAILTO=\"\"\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         */30 * * * * root {command} -q=pid >/dev/null 2>&1 || {command}\n"
    ))
}

fn systemd(job: &Job, program: &str, command: &str) -> Result<String, ServiceError> {
    let mut writes = "ReadWritePaths=-/sbin -/usr/sbin".to_owned();
    for folder in &job.writes {
        writes.push_str(" -");
        writes.push_str(&path(folder)?);
    }
    Ok(SYSTEMD
        .replace("# Sample. Install as /etc/systemd/system/mig-agent.service.\n#\n", "")
        .replace(SAMPLE_START, &format!("ExecStart={command}\n"))
        .replace(SAMPLE_CONDITION, &format!("ConditionFileIsExecutable={program}\n"))
        .replace(SAMPLE_WRITES, &format!("{writes}\n")))
}

fn upstart(program: &str, command: &str) -> String {
    format!(
        "description \"Mozilla InvestiGator Agent\"\n\n\
         start on filesystem or runlevel [2345]\nstop on runlevel [!2345]\n\n\
         respawn\nrespawn limit 5 300\numask 022\nconsole none\n\n\
         pre-start script\n    test -x {program} || {{ stop; exit 0; }}\nend script\n\n\
         exec {command}\n"
    )
}

fn sysv(program: &str, command: &str) -> String {
    format!(
        r#"#!/bin/sh
### BEGIN INIT INFO
# Provides:          mig-agent
# Required-Start:    $remote_fs $network
# Required-Stop:     $remote_fs $network
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: Mozilla InvestiGator Agent
### END INIT INFO

pidfile=/var/run/mig-agent.pid

# The agent itself, not what got its number later.
is_running() {{
    [ -s "$pidfile" ] && [ "$(readlink "/proc/$(cat "$pidfile")/exe")" = "$(readlink -f {program})" ]
}}

case "$1" in
    start)
        is_running && exit 0
        {command} >>/var/log/mig-agent.log 2>>/var/log/mig-agent.err </dev/null &
        echo $! >"$pidfile"
        ;;
    stop)
        is_running || exit 0
        pid=$(cat "$pidfile")
        kill "$pid"
        i=0
        while kill -0 "$pid" 2>/dev/null && [ $i -lt 40 ]; do
            sleep 1
            i=$((i + 1))
        done
        kill -9 "$pid" 2>/dev/null
        rm -f "$pidfile"
        ;;
    restart)
        "$0" stop && "$0" start
        ;;
    status)
        if is_running; then
            echo "mig-agent is running"
        else
            echo "mig-agent is not running"
            exit 3
        fi
        ;;
    *)
        echo "usage: $0 {{start|stop|restart|status}}" >&2
        exit 2
        ;;
esac
exit 0
"#
    )
}

fn launchd(job: &Job) -> String {
    let words = std::iter::once(job.program.to_string_lossy().into_owned())
        .chain(job.arguments.iter().cloned());
    let words: Vec<String> =
        words.map(|word| format!("        <string>{word}</string>\n")).collect();
    let words = words.concat();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n    <key>Label</key>\n    <string>mig-agent</string>\n\
         \u{20}   <key>ProgramArguments</key>\n    <array>\n{words}    </array>\n\
         \u{20}   <key>KeepAlive</key>\n    <true/>\n    <key>RunAtLoad</key>\n    <false/>\n\
         \u{20}   <key>Disabled</key>\n    <false/>\n</dict>\n</plist>\n"
    )
}

/// The command line.
fn command(job: &Job, wanted: impl Fn(&str) -> bool) -> Result<String, ServiceError> {
    let mut words = vec![path(&job.program)?];
    for argument in job.arguments.iter().filter(|argument| wanted(argument)) {
        words.push(word(argument)?.to_owned());
    }
    Ok(words.join(" "))
}

fn path(path: &Path) -> Result<String, ServiceError> {
    let text = path.to_string_lossy();
    if !text.starts_with('/') {
        return Err(ServiceError::Unsuitable(text.into_owned()));
    }
    word(&text).map(str::to_owned)
}

/// A word that means itself in every notation used here.
fn word(text: &str) -> Result<&str, ServiceError> {
    let means_itself = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-=:@,".contains(&byte);
    if !text.is_empty() && text.bytes().all(means_itself) {
        Ok(text)
    } else {
        Err(ServiceError::Unsuitable(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_still_has_what_is_filled_in() {
        for part in [SAMPLE_START, SAMPLE_CONDITION, SAMPLE_WRITES] {
            assert_eq!(SYSTEMD.matches(part).count(), 1, "{part}");
        }
        let job = Job {
            program: "/opt/mig-agent".into(),
            arguments: vec!["-f".into()],
            writes: vec!["/srv/mig".into()],
        };
        let text = service(Manager::Systemd, &job).unwrap();
        for line in [
            "ExecStart=/opt/mig-agent -f",
            "ConditionFileIsExecutable=/opt/mig-agent",
            "ReadWritePaths=-/sbin -/usr/sbin -/srv/mig",
            "Restart=on-failure",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("Sample") && !text.contains("/sbin/mig-agent"), "{text}");
    }
}
