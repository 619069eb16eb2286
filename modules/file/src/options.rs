//! The command line of the module.

use mig_module::args::{self, Flag, Kind, Outcome};
use mig_module::{Parsed, UsageError};

use crate::params::{Options, Params, Search};

/// Label of the one search a command line makes.
const LABEL: &str = "s1";

const FLAGS: [Flag; 20] = [
    ("path", Kind::List),
    ("name", Kind::List),
    ("size", Kind::List),
    ("mode", Kind::List),
    ("mtime", Kind::List),
    ("content", Kind::List),
    ("md5", Kind::List),
    ("sha1", Kind::List),
    ("sha2", Kind::List),
    ("sha3", Kind::List),
    ("maxdepth", Kind::Number),
    ("maxerrors", Kind::Number),
    ("matchlimit", Kind::Number),
    ("matchall", Kind::Bool),
    ("matchany", Kind::Bool),
    ("macroal", Kind::Bool),
    ("mismatch", Kind::List),
    ("returnsha256", Kind::Bool),
    ("decompress", Kind::Bool),
    ("containers", Kind::Bool),
];

/// Accepted for old command lines; it only ever concerned the client itself.
const IGNORED: Flag = ("verbose", Kind::Bool);

pub(crate) fn parse(args: &[String]) -> Result<Parsed<Params>, UsageError> {
    let mut flags = FLAGS.to_vec();
    flags.push(IGNORED);
    let given = match args::parse(&flags, args)? {
        Outcome::Help => return Ok(Parsed::Help),
        Outcome::Options(given) => given,
    };
    let options = Options {
        maxdepth: given.number("maxdepth", 1000.0),
        maxerrors: given.number("maxerrors", 30.0),
        matchall: given.boolean("matchall", true) && !given.boolean("matchany", false),
        macroal: given.boolean("macroal", false),
        mismatch: given.list("mismatch"),
        matchlimit: given.number("matchlimit", 1000.0),
        returnsha256: given.boolean("returnsha256", false),
        decompress: given.boolean("decompress", false),
        containers: given.boolean("containers", false),
        ..Options::default()
    };
    let search = Search {
        paths: given.list("path"),
        contents: given.list("content"),
        names: given.list("name"),
        sizes: given.list("size"),
        modes: given.list("mode"),
        mtimes: given.list("mtime"),
        md5: given.list("md5"),
        sha1: given.list("sha1"),
        sha2: given.list("sha2"),
        sha3: given.list("sha3"),
        options,
        ..Search::default()
    };
    Ok(Parsed::Params(Params { searches: [(LABEL.to_owned(), Some(search))].into() }))
}

pub(crate) const HELP: &str = "\
file finds files by name, size, mode, modification time, content and checksum.

Where to look
  -path <path>          directory or file to search, repeatable
  -maxdepth <n>         directory levels entered, the path itself is 1 (1000, 0 = all)
  -containers           the same paths in running containers, too, with their id

What to look for, each repeatable
  -name <regex>         base name; '!regex' inverts
  -size <size>          10, <10m, >1g with k, m, g, t; bounds include their number
  -mode <regex>         mode text such as -rw-r--r--; setuid shows as urwxr-xr-x
  -mtime <age>          <90d modified within, >5h modified before; d, h, m
  -content <regex>      matches a line; '!regex' inverts
  -md5, -sha1 <hex>     checksum
  -sha2, -sha3 <hex>    checksum, the length tells the function

How checks combine
  -matchall=<bool>      all checks must hold (true)
  -matchany             each check is reported on its own
  -macroal              content expressions must hold on every line
  -mismatch <check>     inverts name, size, mode, mtime, content, md5, sha1, sha2 or sha3
  -decompress           looks into gzip files

What comes back
  -matchlimit <n>       stops after so many hits (1000, 0 = all)
  -maxerrors <n>        errors returned (30, 0 = all)
  -returnsha256         adds the SHA-256 of each file found

Expressions are those of Go (RE2). Examples:
  file -path /etc -name '^passwd$' -content '^root'
  file -path /usr/bin -mode '^u' -mtime '<7d' -returnsha256
  file -path /etc -name '^passwd$' -content '^[^:]*::' -containers
  file -path /home -name '^authorized_keys$' -macroal -mismatch content -content 'known@host$'
";

#[cfg(test)]
mod tests {
    use super::*;
    use mig_types::wire;

    fn read(line: &str) -> Result<Parsed<Params>, UsageError> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn makes_the_parameters_that_are_signed() {
        let Ok(Parsed::Params(params)) = read("-path /etc -name passwd") else { panic!("params") };
        assert_eq!(
            wire::to_string(&params).unwrap(),
            concat!(
                r#"{"searches":{"s1":{"paths":["/etc"],"names":["passwd"],"options":{"#,
                r#""maxdepth":1000,"maxerrors":30,"matchall":true,"macroal":false,"#,
                r#""mismatch":null,"matchlimit":1000}}}}"#
            )
        );
    }

    #[test]
    fn matchany_wins_over_matchall() {
        let Ok(Parsed::Params(params)) = read(
            "-path=/a -path /b -matchall=true -matchany -returnsha256 -mismatch mode -maxdepth 0.5",
        ) else {
            panic!("params")
        };
        let search = params.searches["s1"].clone().unwrap();
        assert_eq!(search.paths, ["/a", "/b"]);
        assert!(!search.options.matchall && search.options.returnsha256);
        assert_eq!(search.options.mismatch, ["mode"]);
        let text = wire::to_string(&params).unwrap();
        assert!(text.contains(r#""maxdepth":0.5"#), "{text}");
    }

    #[test]
    fn every_option_is_in_the_help() {
        for (name, _) in FLAGS {
            assert!(HELP.contains(&format!("-{name}")), "{name}");
        }
        assert_eq!(read("help"), Ok(Parsed::Help));
        assert!(read("-path /etc passwd").is_err());
    }
}
