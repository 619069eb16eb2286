//! Which executable runs a module: the agent's own, or one beside it that brings
//! what the agent does not carry.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// The executables that run modules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    own: PathBuf,
    /// Where the others are.
    directory: PathBuf,
    /// Modules this build knows; the name of their executable if it is another.
    modules: BTreeMap<String, Option<&'static str>>,
}

/// Why a module has no executable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    #[error("no such module")]
    Unknown,
    #[error(
        "module {module} is unavailable: {program} is not installed (it belongs in {}, or where \
         agent.moduledir says)",
        directory.display()
    )]
    NotInstalled { module: String, program: &'static str, directory: PathBuf },
    #[error("module {module} is unavailable: {} {reason}", path.display())]
    Refused { module: String, path: PathBuf, reason: String },
}

impl Programs {
    /// The executables of the modules that this build knows. Those that are not
    /// `own` are in `directory`, or beside it.
    pub fn of_this_build(own: PathBuf, directory: Option<&Path>) -> Self {
        let beside = || own.parent().unwrap_or(Path::new("/")).to_owned();
        let directory = directory.map_or_else(beside, Path::to_owned);
        let registry = crate::modules::registry();
        let modules =
            registry.iter().map(|module| (module.name().to_owned(), module.program())).collect();
        Self { own, directory, modules }
    }

    /// The agent's own executable.
    pub fn own(&self) -> &Path {
        &self.own
    }

    /// The executable that runs a module. Looked at anew each time: it may have
    /// been installed, removed or exchanged meanwhile.
    ///
    /// # Errors
    ///
    /// [`ProgramError::Unknown`] for a module of another build, and the reason why
    /// an executable beside the agent's own is not started.
    pub fn of(&self, module: &str) -> Result<PathBuf, ProgramError> {
        let Some(program) = *self.modules.get(module).ok_or(ProgramError::Unknown)? else {
            return Ok(self.own.clone());
        };
        let path = self.directory.join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
        let refused = |path: &Path, reason: String| ProgramError::Refused {
            module: module.to_owned(),
            path: path.to_owned(),
            reason,
        };
        let found = match std::fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ProgramError::NotInstalled {
                    module: module.to_owned(),
                    program,
                    directory: self.directory.clone(),
                });
            }
            Err(error) => return Err(refused(&path, format!("cannot be looked at: {error}"))),
        };
        if !found.is_file() {
            return Err(refused(&path, "is no file".to_owned()));
        }
        // A link may lead elsewhere; whoever can write there decides what is run.
        let real = std::fs::canonicalize(&path)
            .map_err(|error| refused(&path, format!("cannot be looked at: {error}")))?;
        for place in [&real, &real.parent().unwrap_or(&real).to_owned()] {
            let found = std::fs::metadata(place)
                .map_err(|error| refused(place, format!("cannot be looked at: {error}")))?;
            judge(&found).map_err(|reason| refused(place, reason))?;
        }
        Ok(real)
    }

    /// Names of the modules that can be run here and now, sorted.
    pub fn available(&self) -> Vec<String> {
        self.modules.keys().filter(|module| self.of(module).is_ok()).cloned().collect()
    }
}

/// Whether nobody but root and the agent's own account can change a file.
#[cfg(unix)]
fn judge(found: &Metadata) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    may_be_started(found.uid(), found.gid(), found.mode(), (user, group))
}

/// Rights of files are the system's affair here.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "the signature of the other systems")]
fn judge(_found: &Metadata) -> Result<(), String> {
    Ok(())
}

#[cfg(unix)]
fn may_be_started(uid: u32, gid: u32, mode: u32, own: (u32, u32)) -> Result<(), String> {
    if uid != 0 && uid != own.0 {
        return Err(format!("belongs to user {uid}, neither to root nor to the agent's user"));
    }
    let by_group = mode & 0o020 != 0 && gid != 0 && gid != own.1;
    if by_group || mode & 0o002 != 0 {
        return Err(format!("can be written by others (mode {:04o})", mode & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    fn programs(directory: &Path) -> Programs {
        Programs {
            own: "/opt/mig-agent".into(),
            directory: directory.to_owned(),
            modules: [("file".to_owned(), None), ("yara".to_owned(), Some("mig-yara"))].into(),
        }
    }

    #[test]
    fn only_root_and_the_agents_user_may_be_able_to_change_it() {
        for (uid, gid, mode, fine) in [
            (0, 0, 0o755, true),
            (7, 7, 0o755, true),
            (7, 7, 0o775, true),
            (0, 0, 0o775, true),
            (0, 20, 0o775, false),
            (0, 0, 0o757, false),
            (7, 7, 0o777, false),
            (8, 7, 0o755, false),
        ] {
            let outcome = may_be_started(uid, gid, mode, (7, 7));
            assert_eq!(outcome.is_ok(), fine, "{uid} {gid} {mode:o}: {outcome:?}");
        }
    }

    #[test]
    fn what_is_missing_or_open_to_others_is_not_started() {
        let folder = tempfile::tempdir().unwrap();
        let programs = programs(folder.path());
        assert!(matches!(programs.of("nonsense"), Err(ProgramError::Unknown)));
        assert_eq!(programs.of("file").unwrap(), Path::new("/opt/mig-agent"));
        let text = programs.of("yara").unwrap_err().to_string();
        assert!(
            text.starts_with("module yara is unavailable: mig-yara is not installed"),
            "{text}"
        );
        assert_eq!(programs.available(), ["file"]);

        let path = folder.path().join("mig-yara");
        fs::create_dir(&path).unwrap();
        let text = programs.of("yara").unwrap_err().to_string();
        assert!(text.ends_with("mig-yara is no file"), "{text}");
        fs::remove_dir(&path).unwrap();

        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o757)).unwrap();
        let text = programs.of("yara").unwrap_err().to_string();
        assert!(text.ends_with("mig-yara can be written by others (mode 0757)"), "{text}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(programs.of("yara").unwrap(), fs::canonicalize(&path).unwrap());
        assert_eq!(programs.available(), ["file", "yara"]);

        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let text = programs.of("yara").unwrap_err().to_string();
        assert!(text.ends_with("can be written by others (mode 0777)"), "{text}");
    }
}
