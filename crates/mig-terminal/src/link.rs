//! Addresses behind identifiers, for terminals that have them (OSC 8).

use mig_types::ActionId;
use url::Url;

use crate::settings::environment;

/// Where the identifiers of one stream lead to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// An address with `{id}` in it; none where there are no links.
    web: Option<String>,
}

impl Links {
    /// Those of a stream, knowing whether it is a terminal and whether it gets colours:
    /// who wants none wants no links either. There are none without `MIG_WEB_URL`, or
    /// `web_url` in `config.toml`.
    pub fn on(terminal: bool, color: bool) -> Self {
        let shows = terminal && color && is_able(&|name| std::env::var(name).ok());
        Self { web: environment("MIG_WEB_URL").filter(|_| shows) }
    }

    /// A printable line in which the first mention of an action leads to it.
    pub fn action(&self, line: &str, id: ActionId) -> String {
        let id = id.to_string();
        match self.web.as_deref().and_then(|web| address(web, &id)) {
            Some(url) => line.replacen(&id, &format!("\x1b]8;;{url}\x1b\\{id}\x1b]8;;\x1b\\"), 1),
            None => line.to_owned(),
        }
    }
}

/// The address of a page about an action: in the place of `{id}`, or at the end.
fn address(web: &str, id: &str) -> Option<String> {
    let text = if web.contains("{id}") { web.replace("{id}", id) } else { format!("{web}{id}") };
    // Parsed, it has no control characters.
    let url = Url::parse(&text).ok()?;
    ["http", "https"].contains(&url.scheme()).then(|| url.into())
}

/// Whether a terminal has links; there is no way to ask it. `FORCE_HYPERLINK` knows
/// better.
fn is_able(variable: &dyn Fn(&str) -> Option<String>) -> bool {
    const PROGRAMS: [&str; 8] =
        ["iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio", "mintty"];
    const TERMS: [&str; 6] =
        ["xterm-kitty", "xterm-ghostty", "alacritty", "foot", "wezterm", "contour"];
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let term = set("TERM").unwrap_or_default();
    if term == "dumb" {
        return false;
    }
    if let Some(forced) = set("FORCE_HYPERLINK") {
        return forced != "0";
    }
    // What stands behind a multiplexer cannot be told.
    if ["screen", "tmux"].iter().any(|name| term.starts_with(name)) {
        return false;
    }
    let number = |name: &str| set(name).and_then(|value| value.parse::<u32>().ok()).unwrap_or(0);
    TERMS.iter().any(|name| term.starts_with(name))
        || set("TERM_PROGRAM").is_some_and(|program| PROGRAMS.contains(&program.as_str()))
        || number("VTE_VERSION") >= 5000
        || number("KONSOLE_VERSION") >= 201_200
        || set("WT_SESSION").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_terminals_have_links() {
        for (variables, able) in [
            (&[][..], false),
            (&[("TERM", "xterm-256color")], false),
            (&[("TERM", "xterm-256color"), ("VTE_VERSION", "4999")], false),
            (&[("TERM", "xterm-256color"), ("VTE_VERSION", "6800")], true),
            (&[("TERM", "tmux-256color"), ("VTE_VERSION", "6800")], false),
            (&[("TERM", "dumb"), ("VTE_VERSION", "6800")], false),
            (&[("TERM", "dumb"), ("FORCE_HYPERLINK", "1")], false),
            (&[("TERM", "xterm"), ("FORCE_HYPERLINK", "1")], true),
            (&[("TERM", "xterm-kitty"), ("FORCE_HYPERLINK", "0")], false),
            (&[("TERM", "xterm-kitty")], true),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "WezTerm")], true),
            (&[("TERM", "xterm-256color"), ("TERM_PROGRAM", "Apple_Terminal")], false),
            (&[("TERM", "xterm-256color"), ("WT_SESSION", "x")], true),
        ] {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(is_able(&variable), able, "{variables:?}");
        }
    }

    #[test]
    fn an_identifier_leads_to_its_page_and_nothing_else_gets_in() {
        let line = "6884999430150 6884999430150 file";
        let links = |web: &str| Links { web: Some(web.to_owned()) };
        let id: ActionId = "6884999430150".parse().unwrap();
        let linked = |url: &str| {
            format!("\x1b]8;;{url}\x1b\\6884999430150\x1b]8;;\x1b\\ 6884999430150 file")
        };
        for (web, url) in [
            ("https://mig.example.net/a/{id}?x", "https://mig.example.net/a/6884999430150?x"),
            ("https://mig.example.net/#", "https://mig.example.net/#6884999430150"),
            ("https://mig.example.net/\x1b]{id}", "https://mig.example.net/%1B]6884999430150"),
        ] {
            assert_eq!(links(web).action(line, id), linked(url), "{web}");
        }
        for web in ["javascript:alert({id})", "mig", "", "file:///{id}"] {
            assert_eq!(links(web).action(line, id), line, "{web}");
        }
        assert_eq!(Links::default().action(line, id), line);
        let cut = "68849994301…";
        assert_eq!(links("https://mig.example.net/").action(cut, id), cut);
    }
}
