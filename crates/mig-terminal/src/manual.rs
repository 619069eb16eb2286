//! Manual pages, made from the texts that `--help` prints: what one says, the
//! other says.

/// A manual page under way.
pub struct Page {
    text: String,
}

/// A part of a help text.
#[derive(Debug, PartialEq, Eq)]
enum Block<'a> {
    /// Command lines.
    Usage(Vec<&'a str>),
    Heading(&'a str),
    /// An option, or another word, and what it is; how far it is indented.
    Term(usize, &'a str, Vec<&'a str>),
    /// Lines that stay as they are.
    Sample(Vec<&'a str>),
    Text(Vec<&'a str>),
}

impl Page {
    /// Begins a page of that section, such as 1 for programs. `version` is the
    /// program's.
    pub fn new(name: &str, section: u8, version: &str, summary: &str) -> Self {
        let title = name.to_uppercase();
        let text = format!(
            ".TH {title} {section} \"\" \"mig {version}\" \"Mozilla InvestiGator\"\n.SH NAME\n{} \
             \\- {}\n",
            escaped(name),
            escaped(summary)
        );
        Self { text }
    }

    /// A section with a help text, laid out for a page.
    #[must_use]
    pub fn section(mut self, title: &str, help: &str) -> Self {
        self.order("SH", title);
        for block in blocks(help) {
            self.block(&block);
        }
        self
    }

    /// Ends with the pages that say more: `gpg(1)`.
    pub fn see_also(mut self, others: &[&str]) -> String {
        if !others.is_empty() {
            self.order("SH", "SEE ALSO");
            self.line(&others.join(", "));
        }
        self.text
    }

    fn lines(&mut self, lines: &[&str]) {
        for line in lines {
            self.line(line);
        }
    }

    fn block(&mut self, block: &Block<'_>) {
        match block {
            Block::Usage(lines) | Block::Sample(lines) => {
                self.text.push_str(".PP\n.nf\n");
                self.lines(lines);
                self.text.push_str(".fi\n");
            }
            Block::Heading(text) => self.order("SS", text),
            Block::Term(_, term, lines) => {
                self.text.push_str(".TP\n");
                self.order("B", term);
                self.lines(lines);
            }
            Block::Text(lines) => {
                self.text.push_str(".PP\n");
                self.lines(lines);
            }
        }
    }

    fn order(&mut self, order: &str, text: &str) {
        let text = escaped(text).replace('"', "\\(dq");
        self.text.extend([".", order, " \"", &text, "\"\n"]);
    }

    fn line(&mut self, text: &str) {
        // A dot or quote in front is an order to the formatter.
        let guard = if text.starts_with(['.', '\'']) { "\\&" } else { "" };
        self.text.push_str(guard);
        self.text.push_str(&escaped(text));
        self.text.push('\n');
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// The options a help text lists, with their dashes, sorted: those of its
/// command lines, and those that begin a line.
pub fn options(help: &str) -> Vec<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let option = |word: &&str| word.len() > 1 && word.starts_with('-') && word.chars().all(plain);
    let mut all: Vec<&str> = Vec::new();
    for block in blocks(help) {
        match block {
            Block::Usage(lines) => {
                let words = lines.iter().flat_map(|line| line.split([' ', '[', ']', '|', '=']));
                all.extend(words.filter(option));
            }
            // `-y, --yes` is two of them; what follows is no option.
            Block::Term(_, term, _) => {
                let words = term.split([' ', ',', '=']).filter(|word| !word.is_empty());
                all.extend(words.take_while(option));
            }
            _ => {}
        }
    }
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(str::to_owned).collect()
}

fn blocks(help: &str) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    // A blank line ends what is under way.
    let mut open = false;
    for line in help.lines() {
        let text = line.trim();
        if text.is_empty() {
            // Descriptions of options may stand below a blank line.
            open = false;
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let last = blocks.last_mut().filter(|_| open);
        open = true;
        let usage = line.get(..6).filter(|word| word.eq_ignore_ascii_case("usage:"));
        match (indent, last) {
            (0, _) if usage.is_some() => {
                let rest = line.get(6..).unwrap_or_default().trim();
                blocks.push(Block::Usage(vec![rest]));
            }
            (1.., Some(Block::Usage(lines))) => lines.push(text),
            (0, Some(Block::Text(lines))) if !text.ends_with(':') => lines.push(text),
            (0, _) if text.ends_with(':') => {
                blocks.push(Block::Heading(text.trim_end_matches(':')));
            }
            (0, _) => blocks.push(Block::Text(vec![text])),
            // Some list long options alone further in, below short ones.
            (_, Some(Block::Term(at, _, lines))) if indent > *at && !text.starts_with("--") => {
                lines.push(text);
            }
            (_, last) => match (term(text), last) {
                (Some((term, about)), _) => {
                    let about = Some(about).filter(|about| !about.is_empty());
                    blocks.push(Block::Term(indent, term, about.into_iter().collect()));
                }
                (None, Some(Block::Sample(lines))) => lines.push(text),
                (None, _) => blocks.push(Block::Sample(vec![text])),
            },
        }
    }
    blocks
}

/// A word and what it means: parted by two blanks, or an option alone.
fn term(text: &str) -> Option<(&str, &str)> {
    match text.split_once("  ") {
        Some((term, about)) => Some((term, about.trim())),
        None if text.starts_with('-') => Some(match text.split_once("> ") {
            // `-target-found <id> only agents …`
            Some((term, about)) => (text.get(..=term.len()).unwrap_or(term), about.trim()),
            None => (text, ""),
        }),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "\
Asks questions.

usage: mig ask [-c <file>]
       mig ask help

options, anywhere:
    -c <file>          configuration
                       [default: ~/.migrc]
    -y, --yes          no countdown
    -target-found <id> only agents
  -d, --debug
          Say more
      --openapi  Say all

examples:
    mig ask \"x\"
    .hidden

That is all:
or not.";

    #[test]
    fn a_help_text_falls_into_its_parts() {
        let found = blocks(HELP);
        let expected = [
            Block::Text(vec!["Asks questions."]),
            Block::Usage(vec!["mig ask [-c <file>]", "mig ask help"]),
            Block::Heading("options, anywhere"),
            Block::Term(4, "-c <file>", vec!["configuration", "[default: ~/.migrc]"]),
            Block::Term(4, "-y, --yes", vec!["no countdown"]),
            Block::Term(4, "-target-found <id>", vec!["only agents"]),
            Block::Term(2, "-d, --debug", vec!["Say more"]),
            Block::Term(6, "--openapi", vec!["Say all"]),
            Block::Heading("examples"),
            Block::Sample(vec!["mig ask \"x\"", ".hidden"]),
            Block::Heading("That is all"),
            Block::Text(vec!["or not."]),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            options(HELP),
            ["--debug", "--openapi", "--yes", "-c", "-d", "-target-found", "-y"]
        );
    }

    #[test]
    fn no_line_of_a_page_is_an_order_by_accident() {
        let page = Page::new("mig-x", 1, "1.0", "asks - and waits");
        let page = page.section("A \"b\"", HELP).see_also(&["gpg(1)"]);
        let head = ".TH MIG-X 1 \"\" \"mig 1.0\" \"Mozilla InvestiGator\"\n.SH NAME\nmig\\-x \\- asks \
                    \\- and waits\n.SH \"A \\(dqb\\(dq\"\n.PP\nAsks questions.\n";
        assert!(page.starts_with(head), "{page}");
        let sample = ".SS \"examples\"\n.PP\n.nf\nmig ask \"x\"\n\\&.hidden\n.fi\n";
        assert!(page.contains(sample), "{page}");
        let option = ".TP\n.B \"\\-y, \\-\\-yes\"\nno countdown\n";
        assert!(page.contains(option), "{page}");
        assert!(page.ends_with(".SH \"SEE ALSO\"\ngpg(1)\n"), "{page}");
    }
}
