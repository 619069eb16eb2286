//! What is asked at the stat socket, in either of its two tongues.

/// Longest request, in bytes.
pub(super) const MAX_REQUEST: usize = 8190;
/// Most header lines looked at.
const MAX_HEADERS: usize = 32;
/// What the first word of an HTTP request can be.
const METHODS: [&[u8]; 8] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"PATCH ", b"OPTIONS ", b"CONNECT "];

/// How the peer speaks, and is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// One line of words: the guide's protocol.
    Text,
    /// What agents and loaders of 2017 and later speak.
    Http,
}

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub enum Request {
    Help,
    Pid,
    Status,
    /// With the id that shall prove the right to it.
    History(String),
    /// With the id that shall prove the right to it.
    Shutdown(String),
    /// Understood, and not known here.
    Unknown,
    /// A page that a browser on this machine was made to ask for.
    Foreign,
    TooShort,
    TooLong,
    /// No HTTP, although it began like it.
    Garbled,
}

/// The proof is left out.
impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Help => "Help",
            Self::Pid => "Pid",
            Self::Status => "Status",
            Self::History(_) => "History(***)",
            Self::Shutdown(_) => "Shutdown(***)",
            Self::Unknown => "Unknown",
            Self::Foreign => "Foreign",
            Self::TooShort => "TooShort",
            Self::TooLong => "TooLong",
            Self::Garbled => "Garbled",
        })
    }
}

/// Whether a request that has arrived so far is complete.
pub fn is_complete(bytes: &[u8]) -> bool {
    if is_http(bytes) {
        bytes.windows(4).any(|end| end == b"\r\n\r\n")
    } else {
        bytes.contains(&b'\n')
    }
}

/// Reads what a peer has sent.
///
/// **Shape** either one line of words separated by blanks, the end of the line
/// optional; or the head of an HTTP/1 request without a body. Every byte may
/// come from any account of this machine, or from a browser that runs on it.
/// Never panics.
pub fn parse(bytes: &[u8]) -> (Tongue, Request) {
    if is_http(bytes) {
        let request = if bytes.len() > MAX_REQUEST { Request::TooLong } else { parse_http(bytes) };
        return (Tongue::Http, request);
    }
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    (Tongue::Text, parse_line(line))
}

fn is_http(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| bytes.starts_with(method))
}

fn parse_line(line: &[u8]) -> Request {
    if line.len() > MAX_REQUEST {
        return Request::TooLong;
    }
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_whitespace();
    let Some(word) = words.next() else { return Request::TooShort };
    named(word, words.next().unwrap_or_default().to_owned())
}

fn named(word: &str, proof: String) -> Request {
    match word {
        "help" => Request::Help,
        "pid" => Request::Pid,
        "status" => Request::Status,
        "history" => Request::History(proof),
        "shutdown" => Request::Shutdown(proof),
        _ => Request::Unknown,
    }
}

fn parse_http(head: &[u8]) -> Request {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    if !request.parse(head).is_ok_and(|status| status.is_complete()) {
        return Request::Garbled;
    }
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).into_owned())
    };
    // A page in a browser can reach this port under a name of its own, and
    // then read the answer. It cannot change these two headers.
    if header("Origin").is_some() || header("Host").is_some_and(|host| !is_this_machine(&host)) {
        return Request::Foreign;
    }
    if request.method != Some("GET") {
        return Request::Unknown;
    }
    match request.path.and_then(|path| path.strip_prefix('/')) {
        Some("") => Request::Status,
        Some(path) => named(path, header("AGENTID").unwrap_or_default()),
        None => Request::Unknown,
    }
}

/// `localhost`, `127.0.0.1:51664`, `[::1]:51664`.
fn is_this_machine(host: &str) -> bool {
    let host = host.trim();
    let bare = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None => host.split(':').next().unwrap_or_default(),
    };
    bare.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, headers: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:51664\r\n{headers}\r\n")
    }

    #[test]
    fn refuses_what_is_no_request() {
        for (bytes, wanted) in [
            (String::new(), (Tongue::Text, Request::TooShort)),
            ("\n".into(), (Tongue::Text, Request::TooShort)),
            (" \t\n".into(), (Tongue::Text, Request::TooShort)),
            ("x".repeat(MAX_REQUEST + 1), (Tongue::Text, Request::TooLong)),
            ("x".repeat(MAX_REQUEST), (Tongue::Text, Request::Unknown)),
            ("PID\n".into(), (Tongue::Text, Request::Unknown)),
            ("GETTING on\n".into(), (Tongue::Text, Request::Unknown)),
            ("GET /pid HTTP/1.1\r\nHost".into(), (Tongue::Http, Request::Garbled)),
            ("GET \0\r\n\r\n".into(), (Tongue::Http, Request::Garbled)),
            ("POST /pid HTTP/1.1\r\n\r\n".into(), (Tongue::Http, Request::Unknown)),
            (get("/", &"X: y\r\n".repeat(40)), (Tongue::Http, Request::Garbled)),
            (get(&"x".repeat(MAX_REQUEST), ""), (Tongue::Http, Request::TooLong)),
            (get("/secret", ""), (Tongue::Http, Request::Unknown)),
        ] {
            assert_eq!(parse(bytes.as_bytes()), wanted, "{bytes:?}");
        }
    }

    #[test]
    fn a_page_in_a_browser_is_turned_away() {
        for head in [
            "GET /pid HTTP/1.1\r\nHost: evil.example.com:51664\r\n\r\n".to_owned(),
            "GET /pid HTTP/1.1\r\nHost: 127.0.0.1.evil.example.com\r\n\r\n".to_owned(),
            "GET /pid HTTP/1.1\r\nHost: [2001:db8::1]:51664\r\n\r\n".to_owned(),
            get("/pid", "Origin: http://127.0.0.1:51664\r\n"),
            get("/shutdown", "Origin: null\r\nAGENTID: x\r\n"),
        ] {
            assert_eq!(parse(head.as_bytes()), (Tongue::Http, Request::Foreign), "{head:?}");
        }
    }

    #[test]
    fn both_tongues_know_the_same_requests() {
        for (line, path, wanted) in [
            ("help\n", "/help", Request::Help),
            ("pid\n", "/pid", Request::Pid),
            ("pid", "/pid", Request::Pid),
            ("pid\r\n", "/pid", Request::Pid),
            ("status\nhelp\n", "/status", Request::Status),
            ("status", "/", Request::Status),
            ("  history  abc rest\n", "/history", Request::History("abc".into())),
            ("shutdown abc\n", "/shutdown", Request::Shutdown("abc".into())),
        ] {
            assert_eq!(parse(line.as_bytes()), (Tongue::Text, wanted.clone()), "{line:?}");
            let head = get(path, "agentId: abc\r\n");
            assert_eq!(parse(head.as_bytes()), (Tongue::Http, wanted), "{path}");
        }
        assert_eq!(parse(b"shutdown").1, Request::Shutdown(String::new()));
        assert_eq!(parse(get("/shutdown", "").as_bytes()).1, Request::Shutdown(String::new()));
        assert_eq!(format!("{:?}", Request::Shutdown("abc".into())), "Shutdown(***)");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = (is_complete(&bytes), parse(&bytes));
        }

        #[test]
        fn no_head_without_the_right_host_gets_through(
            host in "[a-z0-9.:\\[\\]-]{0,30}", path in "/[a-z]{0,9}",
        ) {
            let head = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAGENTID: x\r\n\r\n");
            let through = !matches!(parse(head.as_bytes()).1, Request::Foreign | Request::Garbled);
            proptest::prop_assert_eq!(through, is_this_machine(&host));
        }
    }
}
