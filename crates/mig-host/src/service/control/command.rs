//! The command lines that the manager keeps.

/// Whether a command line starts a program, whose path is written as it is there.
/// Letters that differ in case only are the same, and a path with blanks is quoted.
pub(super) fn starts(command: &str, program: &str) -> bool {
    let command = command.trim_start();
    let (found, quoted) = match command.strip_prefix('"') {
        Some(rest) => (rest, true),
        None => (command, false),
    };
    let end = if quoted { found.find('"') } else { found.find([' ', '\t']) };
    let found = end.and_then(|end| found.get(..end)).unwrap_or(found);
    !program.is_empty() && found.to_lowercase() == program.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_starts_the_program_at_its_beginning() {
        let program = r"C:\Program Files\MIG\mig-agent.exe";
        for command in [
            r#""C:\Program Files\MIG\mig-agent.exe" -c "C:\mig agent.cfg""#,
            r#"  "c:\program files\mig\MIG-AGENT.EXE""#,
        ] {
            assert!(starts(command, program), "{command}");
        }
        assert!(starts(r"C:\mig\mig-agent.exe -c x", r"C:\mig\mig-agent.exe"));
        assert!(starts(r"C:\mig\mig-agent.exe", r"C:\mig\mig-agent.exe"));
        for command in [
            "",
            r#"""#,
            r"C:\Program Files\MIG\mig-agent.exe",
            r#""C:\Program Files\MIG\mig-agent.exe.old""#,
            r#""C:\other.exe" "C:\Program Files\MIG\mig-agent.exe""#,
        ] {
            assert!(!starts(command, program), "{command}");
        }
        assert!(!starts("", ""));
    }
}
