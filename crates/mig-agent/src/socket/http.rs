//! HTTP answers: written by an agent, read by `-q`.

/// Most header lines looked at.
const MAX_HEADERS: usize = 32;

/// A whole answer; the connection ends after it.
pub(super) fn answer(status: u16, body: &str) -> String {
    let reason = match status {
        200 => "OK",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        413 => "Content Too Large",
        _ => "Bad Request",
    };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\n\
         X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads an answer: its status and its body as text. `None` when it is no HTTP.
///
/// **Source** whoever listens where the agent should. Never panics.
pub fn read_answer(answer: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(answer).ok()? else { return None };
    let chunked = response.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("Transfer-Encoding")
            && header.value.eq_ignore_ascii_case(b"chunked")
    });
    let body = answer.get(head..).unwrap_or_default();
    let body = if chunked { unchunk(body)? } else { body.to_vec() };
    Some((response.code?, String::from_utf8_lossy(&body).into_owned()))
}

/// Whether an answer that has arrived so far is all of it, for a peer that does
/// not end the connection.
pub(crate) fn is_whole(answer: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(head)) = response.parse(answer) else { return false };
    let length = response.headers.iter().find_map(|header| {
        let is_length = header.name.eq_ignore_ascii_case("Content-Length");
        std::str::from_utf8(header.value).ok().filter(|_| is_length)?.trim().parse::<usize>().ok()
    });
    length.is_some_and(|length| answer.len().saturating_sub(head) >= length)
}

/// Joins the chunks of a body, up to the last that is complete.
fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) {
        let size = usize::try_from(size).ok()?;
        let end = start.checked_add(size)?;
        let Some(chunk) = rest.get(start..end).filter(|chunk| !chunk.is_empty()) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(end.checked_add(2)?..).unwrap_or_default();
    }
    Some(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_back() {
        for (status, body) in [(200, "42"), (401, "no\nway"), (404, "")] {
            let read = read_answer(answer(status, body).as_bytes());
            assert_eq!(read, Some((status, body.to_owned())));
        }
        assert_eq!(read_answer(b"42\n"), None);
    }

    #[test]
    fn an_answer_is_whole_when_its_length_is_there() {
        let text = answer(200, "42");
        assert!(is_whole(text.as_bytes()));
        for end in 0..text.len() {
            assert!(!is_whole(&text.as_bytes()[..end]), "{end}");
        }
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\n\r\nabc"), "only the end says so");
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nabc"));
    }

    #[test]
    fn bodies_in_chunks_are_joined() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (chunks, body) in [
            ("2\r\n42\r\n0\r\n\r\n", "42"),
            ("1\r\n4\r\n1\r\n2\r\n0\r\n\r\n", "42"),
            ("1\r\n4\r\nff\r\n2", "4"),
            ("zz\r\n", ""),
            ("", ""),
        ] {
            let read = read_answer(format!("{head}{chunks}").as_bytes());
            assert_eq!(read, Some((200, body.to_owned())), "{chunks:?}");
        }
        assert_eq!(read_answer(format!("{head}ffffffffffffffff\r\n1").as_bytes()), None);
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes: Vec<u8>) {
            let _ = (read_answer(&bytes), is_whole(&bytes));
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let _ = read_answer(&[head, bytes].concat());
        }
    }
}
