//! Rule files on an investigator's machine, with everything they include.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::tokens::includes;

/// Largest rule text, in bytes, with what it includes.
pub const MAX_RULES: u64 = 8 << 20;
/// How deep files may include each other.
const MAX_DEPTH: usize = 16;

/// Why a rule file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuleFileError {
    #[error("cannot read rules {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("rules {} are not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("rules {} are larger than {} MiB with what they include", path.display(), MAX_RULES >> 20)]
    TooLarge { path: PathBuf },
    #[error("rules {} include each other more than {MAX_DEPTH} levels deep", path.display())]
    TooDeep { path: PathBuf },
    #[error("rules {} include themselves", path.display())]
    Cycle { path: PathBuf },
}

/// Reads a rule file and puts the files it includes in the place of the statements.
/// A name is looked for beside the file that gives it.
///
/// # Errors
///
/// [`RuleFileError`] naming the file.
pub fn load(path: &Path) -> Result<String, RuleFileError> {
    let mut room = MAX_RULES;
    inline(path, &mut Vec::new(), &mut room)
}

fn inline(path: &Path, above: &mut Vec<PathBuf>, room: &mut u64) -> Result<String, RuleFileError> {
    let failed = |source| RuleFileError::Read { path: path.to_owned(), source };
    let real = fs::canonicalize(path).map_err(failed)?;
    if above.contains(&real) {
        return Err(RuleFileError::Cycle { path: path.to_owned() });
    }
    if above.len() >= MAX_DEPTH {
        return Err(RuleFileError::TooDeep { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = fs::File::open(&real).map_err(failed)?;
    file.take(*room + 1).read_to_end(&mut bytes).map_err(failed)?;
    let left = room.checked_sub(bytes.len() as u64);
    *room = left.ok_or_else(|| RuleFileError::TooLarge { path: path.to_owned() })?;
    let text =
        String::from_utf8(bytes).map_err(|_| RuleFileError::NotText { path: path.to_owned() })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    above.push(real);
    let mut whole = String::new();
    let mut at = 0;
    for (statement, name) in includes(text) {
        whole.push_str(text.get(at..statement.start).unwrap_or_default());
        let beside = path.parent().unwrap_or(Path::new("")).join(name);
        whole.push_str(&inline(&beside, above, room)?);
        // What follows must not become part of a comment in its last line.
        whole.push('\n');
        at = statement.end;
    }
    whole.push_str(text.get(at..).unwrap_or_default());
    above.pop();
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn includes_are_looked_for_beside_their_file() {
        let folder = folder(&[
            ("main.yar", "\u{feff}import \"pe\"\ninclude \"lib/a.yar\" rule m { condition: a }"),
            ("lib/a.yar", "include \"b.yar\"\nrule a { condition: b } // end"),
            ("lib/b.yar", "rule b { condition: true }"),
        ]);
        assert_eq!(
            load(&folder.path().join("main.yar")).unwrap(),
            "import \"pe\"\nrule b { condition: true }\n\nrule a { condition: b } // end\n \
             rule m { condition: a }"
        );
    }

    #[test]
    fn what_cannot_be_included_is_named() {
        let long = "x".repeat(usize::try_from(MAX_RULES / 2).unwrap());
        let folder = folder(&[
            ("missing.yar", "include \"none.yar\""),
            ("cycle.yar", "include \"back.yar\""),
            ("back.yar", "include \"./cycle.yar\""),
            ("self.yar", "include \"self.yar\""),
            ("half.yar", &long),
            ("large.yar", "include \"half.yar\" include \"half.yar\" include \"half.yar\""),
        ]);
        fs::write(folder.path().join("bytes.yar"), b"rule \xff").unwrap();
        for level in 0..20 {
            let text = format!("include \"deep{}.yar\"", level + 1);
            fs::write(folder.path().join(format!("deep{level}.yar")), text).unwrap();
        }
        for (name, part) in [
            ("none.yar", "cannot read rules"),
            ("missing.yar", "none.yar"),
            ("cycle.yar", "cycle.yar include themselves"),
            ("self.yar", "self.yar include themselves"),
            ("bytes.yar", "bytes.yar are not UTF-8"),
            ("large.yar", "half.yar are larger than 8 MiB"),
            ("deep0.yar", "deep16.yar include each other more than 16 levels"),
        ] {
            let error = load(&folder.path().join(name)).unwrap_err().to_string();
            assert!(error.contains(part), "{name}: {error}");
        }
    }
}
