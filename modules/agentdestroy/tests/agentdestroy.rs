//! The module on real processes that stand in for agents.

#[cfg(test)]
#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, Stdio};

    use std::time::{Duration, Instant};

    use mig_host::LocalHost;
    use mig_module::{Budget, DynModule};
    use mig_module_agentdestroy::AgentDestroy;
    use mig_types::ModuleResult;
    use serde_json::{Value, json};

    /// What it says for its version, without the last character.
    fn version_of(program: &Path) -> String {
        let said = output(program, &["-V"]);
        String::from_utf8(said).unwrap().strip_suffix('\n').unwrap().to_owned()
    }

    #[expect(clippy::disallowed_methods, reason = "agents to destroy")]
    fn output(program: &Path, args: &[&str]) -> Vec<u8> {
        Command::new(program).args(args).output().unwrap().stdout
    }

    /// A copy of a program in a folder of its own, with nothing to read.
    struct Stand {
        _folder: tempfile::TempDir,
        program: PathBuf,
        child: Child,
    }

    impl Stand {
        #[expect(clippy::disallowed_methods, reason = "agents to destroy")]
        fn start(name: &str, source: &str, args: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let program = folder.path().join(name);
            fs::copy(source, &program).unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
            let mut command = Command::new(&program);
            let child = command.args(args).stdin(Stdio::piped()).stdout(Stdio::null());
            // A test that starts a program at this moment holds our copy open for
            // writing until that program runs.
            let deadline = Instant::now() + Duration::from_secs(20);
            let child = loop {
                match child.spawn() {
                    Err(error)
                        if error.kind() == ErrorKind::ExecutableFileBusy
                            && Instant::now() < deadline =>
                    {
                        std::thread::yield_now();
                    }
                    started => break started.unwrap(),
                }
            };
            Self { _folder: folder, program, child }
        }

        fn runs(&mut self) -> bool {
            self.child.try_wait().unwrap().is_none()
        }

        /// Waits for its end, which must be a kill.
        fn was_killed(&mut self) -> bool {
            use std::os::unix::process::ExitStatusExt as _;
            self.child.wait().unwrap().signal() == Some(9)
        }
    }

    impl Drop for Stand {
        fn drop(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// What waits for input, and with `-V` says a version.
    fn agent() -> Stand {
        Stand::start("mig-agent", "/usr/bin/gzip", &["-c"])
    }

    fn ask(parameters: Value) -> ModuleResult {
        AgentDestroy.run_json(&LocalHost::default(), parameters, &Budget::unlimited())
    }

    fn order(pid: impl Into<Value>, version: &str) -> ModuleResult {
        ask(json!({ "pid": pid.into(), "version": version }))
    }

    fn refusal(result: &ModuleResult) -> String {
        assert!(!result.success && !result.foundanything, "{result:?}");
        assert_eq!(result.elements, Value::Null);
        result.errors.clone().unwrap().join("\n")
    }

    #[test]
    fn refuses_what_cannot_be_an_order() {
        for pid in [1, 0, -5, 4_194_305] {
            let text = refusal(&order(pid, "1"));
            assert_eq!(text, format!("PID '{pid}' is not in the range [2:4194304]"));
        }
        assert_eq!(refusal(&order(2000, "")), "parameter 'version' is empty. Expecting version.");
        for pid in [json!(123.5), json!("123"), Value::Null] {
            refusal(&order(pid, "1"));
        }
    }

    #[test]
    fn refuses_a_process_that_is_not_there() {
        let mut gone = Stand::start("mig-agent", "/bin/sleep", &["0"]);
        gone.child.wait().unwrap();
        let text = refusal(&order(gone.child.id(), "1"));
        assert!(text.starts_with("Executable path of PID '"), "{text}");
        assert!(gone.program.exists());
    }

    #[test]
    fn refuses_its_own_agent() {
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        let text = refusal(&order(parent, "1"));
        assert_eq!(text, format!("PID '{parent}' is mine. Refusing to suicide."));
        let own = std::process::id();
        assert!(refusal(&order(own, "1")).contains("is mine"));
    }

    #[test]
    fn refuses_what_is_no_agent() {
        let mut other = Stand::start("sleep", "/bin/sleep", &["600"]);
        let text = refusal(&order(other.child.id(), "1"));
        assert!(text.contains("is not called mig-agent"), "{text}");
        assert!(other.runs() && other.program.exists());

        let mut open = Stand::start("mig-agent-1", "/bin/sleep", &["600"]);
        fs::set_permissions(&open.program, fs::Permissions::from_mode(0o777)).unwrap();
        let text = refusal(&order(open.child.id(), "1"));
        assert!(text.contains("can be written by others"), "{text}");
        assert!(open.runs() && open.program.exists());
    }

    #[test]
    fn refuses_another_version() {
        let mut agent = agent();
        let text = refusal(&order(agent.child.id(), "20990101-0.none"));
        let expected = "Version mismatch. Expected '20990101-0.none', found '";
        assert!(text.starts_with(expected), "{text}");
        assert!(agent.runs() && agent.program.exists());
    }

    #[test]
    fn refuses_an_agent_that_does_not_say_its_version() {
        let mut agent = Stand::start("mig-agent", "/usr/bin/tail", &["-f", "/dev/null"]);
        let text = refusal(&order(agent.child.id(), "1"));
        assert!(text.starts_with("Version mismatch. Expected '1', found ''"), "{text}");
        assert!(agent.runs() && agent.program.exists());
    }

    #[test]
    fn ends_an_agent_and_removes_its_executable() {
        let mut agent = agent();
        let version = version_of(&agent.program);
        let (pid, program) = (agent.child.id(), agent.program.clone());
        let result = order(pid, &version);
        assert!(result.success && !result.foundanything, "{result:?}");
        let text = format!(
            "PID {pid} from agent {version} has been killed and its executable removed from {}",
            program.display()
        );
        assert_eq!(result.elements, Value::from(text.clone()));
        assert_eq!(result.errors, None);
        assert_eq!(
            AgentDestroy.print(&result, false).unwrap().last().unwrap(),
            "agentdestroy module has succeeded"
        );
        assert!(agent.was_killed() && !program.exists());
    }

    #[test]
    fn ends_an_agent_whose_executable_is_gone() {
        let mut agent = agent();
        let version = version_of(&agent.program);
        fs::remove_file(&agent.program).unwrap();
        let result = order(agent.child.id(), &version);
        assert!(result.success, "{result:?}");
        let errors = result.errors.unwrap().join("\n");
        assert!(errors.contains("(deleted) is another file or gone"), "{errors}");
        assert!(agent.was_killed());
    }

    #[test]
    fn has_no_command_line() {
        let error = AgentDestroy.parse_args(&["-h".to_owned()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "module 'agentdestroy' does not support command line invocation"
        );
    }
}
