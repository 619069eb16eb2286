//! A program on a pseudo-terminal, and what a person sees of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mig_testkit::until;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::operator::tool;

/// Longest wait for anything on the screen.
const PATIENCE: Duration = Duration::from_mins(1);

/// A program that believes a person sits in front of it. Dropping it ends it.
pub struct Terminal {
    keyboard: File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    /// The line of the last prompt, which lines are counted from.
    read: usize,
}

impl Terminal {
    /// Starts `command` on a terminal of its own, with that many columns.
    ///
    /// # Errors
    ///
    /// When there is no terminal, or no `setsid` to give it to the program.
    pub fn start(command: &Command, columns: u16) -> anyhow::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let size = Winsize { ws_row: 50, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size)?;
        let name = ptsname(&master, Vec::new())?;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let screen = File::options().read(true).write(true).open(path)?;
        // Its controlling terminal: ctrl-c becomes a signal there.
        let mut own = tool("setsid");
        own.arg("--ctty").arg(command.get_program()).args(command.get_args());
        own.env("TERM", "xterm").env_remove("NO_COLOR");
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => own.env(key, value),
                None => own.env_remove(key),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            own.current_dir(directory);
        }
        own.stdin(Stdio::from(screen.try_clone()?));
        own.stdout(Stdio::from(screen.try_clone()?)).stderr(Stdio::from(screen));
        let child = own.spawn()?;
        let keyboard = File::from(master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut output, shared) = (keyboard.try_clone()?, Arc::clone(&seen));
        // Ends with the program: reading fails when nobody holds the screen.
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend_from_slice(bytes.get(..count).unwrap_or_default());
            }
        });
        Ok(Self { keyboard, child, seen, read: 0 })
    }

    /// Everything shown so far, as bytes.
    pub fn raw(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// Everything shown so far, line by line.
    pub fn lines(&self) -> Vec<String> {
        shown(&self.raw())
    }

    /// Types keys.
    ///
    /// # Errors
    ///
    /// When the program is gone.
    pub fn keys(&mut self, keys: &str) -> anyhow::Result<()> {
        self.keyboard.write_all(keys.as_bytes())?;
        Ok(())
    }

    /// Waits until the last line is this prompt, and returns the lines from the
    /// last prompt on, with what was typed there.
    ///
    /// # Errors
    ///
    /// When it does not come; with everything seen.
    pub fn prompt(&mut self, prompt: &str) -> anyhow::Result<Vec<String>> {
        let what = format!("the prompt {prompt:?}");
        let found = until(&what, PATIENCE, || {
            let lines = self.lines();
            let last = lines.last().filter(|last| last.trim_end() == prompt);
            // Not the one that was answered already.
            (last.is_some() && lines.len() > self.read + 1).then_some(lines)
        });
        let lines = found.map_err(|error| error.context(self.lines().join("\n")))?;
        let new = lines.get(self.read..lines.len() - 1).unwrap_or_default().to_vec();
        self.read = lines.len() - 1;
        Ok(new)
    }

    /// Types a line at a prompt and waits for the next prompt: the lines
    /// between.
    ///
    /// # Errors
    ///
    /// As [`Terminal::prompt`].
    pub fn answer(&mut self, line: &str, prompt: &str) -> anyhow::Result<Vec<String>> {
        self.keys(&format!("{line}\r"))?;
        self.prompt(prompt)
    }

    /// Waits until a text is shown.
    ///
    /// # Errors
    ///
    /// When it is not, with everything seen.
    pub fn wait(&self, text: &str) -> anyhow::Result<()> {
        let what = format!("{text:?} on the terminal");
        until(&what, PATIENCE, || self.lines().iter().any(|line| line.contains(text)).then_some(()))
            .map_err(|error| error.context(self.lines().join("\n")))
    }

    /// Waits for the program's end.
    ///
    /// # Errors
    ///
    /// When it stays, with everything seen.
    pub fn end(&mut self) -> anyhow::Result<ExitStatus> {
        let child = &mut self.child;
        let ended = until("the end of the program", PATIENCE, || child.try_wait().ok().flatten());
        ended.map_err(|error| error.context(shown(&self.raw()).join("\n")))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Gone already is fine.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a terminal shows of these bytes, as far as line editors go.
fn shown(bytes: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let mut column: usize = 0;
    let mut rest = bytes.chars().peekable();
    while let Some(c) = rest.next() {
        let Some(line) = lines.last_mut() else { break };
        match c {
            '\r' => column = 0,
            '\n' => {
                lines.push(Vec::new());
                column = 0;
            }
            '\u{8}' => column = column.saturating_sub(1),
            '\u{7}' => {}
            '\u{1b}' => {
                if rest.next() != Some('[') {
                    continue;
                }
                let mut number = String::new();
                let mut command = 'm';
                for c in rest.by_ref() {
                    if c.is_ascii_alphabetic() {
                        command = c;
                        break;
                    }
                    number.push(c);
                }
                let count = number.parse().unwrap_or(1);
                match command {
                    'K' | 'J' => line.truncate(column),
                    'C' => column += count,
                    'D' => column = column.saturating_sub(count),
                    _ => {}
                }
            }
            c => {
                while line.len() <= column {
                    line.push(' ');
                }
                if let Some(cell) = line.get_mut(column) {
                    *cell = c;
                }
                column += 1;
            }
        }
    }
    lines.into_iter().map(|line| line.into_iter().collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn a_line_that_is_drawn_anew_is_seen_once() {
        for (bytes, lines) in [
            ("mig> \r\u{1b}[Kmig> s\r\u{1b}[Kmig> st\r\n", vec!["mig> st", ""]),
            ("\u{1b}[32;1mmig>\u{1b}[0m \u{1b}[?2004hx\r\n", vec!["mig> x", ""]),
            ("50%\r100%\n", vec!["100%", ""]),
            ("abc\u{8}\u{8}\u{1b}[K", vec!["a"]),
            ("\r\u{1b}[5Cx", vec!["     x"]),
        ] {
            assert_eq!(shown(bytes), lines, "{bytes:?}");
        }
    }
}
