//! The one-shot side of a persistent module: carries a question to the process
//! that lives, and its answer back.

use std::io::{Read, Write};
use std::time::Duration;

use mig_types::ModuleResult;
use serde_json::Value;

use crate::process::parameters_message;

/// Longest answer, in bytes.
const MAX_ANSWER: u64 = 64 << 20;
/// Longest silence of the other side.
const PATIENCE: Duration = Duration::from_mins(1);

/// Asks the process that listens at `spec` (`unix:<path>`, or `tcp:<host>:<port>`
/// on this machine); its answer as it came.
///
/// # Errors
///
/// A failed result that says why.
pub fn query(spec: &str, params: &Value) -> Result<Vec<u8>, ModuleResult> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        ModuleResult::failed(format!("cannot {what} the module at {spec}: {error}"))
    };
    let mut question = parameters_message(params);
    question.push(b'\n');
    let mut answer = Vec::new();
    let mut stream = connect(spec).map_err(|error| failed("reach", &error))?;
    stream.write_all(&question).map_err(|error| failed("ask", &error))?;
    let read = stream.take(MAX_ANSWER + 1).read_to_end(&mut answer);
    read.map_err(|error| failed("hear", &error))?;
    if answer.is_empty() || answer.len() as u64 > MAX_ANSWER {
        return Err(failed("understand", &format!("{} bytes of answer", answer.len())));
    }
    Ok(answer)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(spec: &str) -> std::io::Result<Box<dyn Stream>> {
    #[cfg(unix)]
    if let Some(path) = spec.strip_prefix("unix:") {
        let stream = std::os::unix::net::UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        return Ok(Box::new(stream));
    }
    let address = spec.strip_prefix("tcp:").and_then(|rest| rest.parse().ok());
    match address.filter(|address: &std::net::SocketAddr| address.ip().is_loopback()) {
        Some(address) => {
            let stream = std::net::TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
        None => Err(std::io::Error::other("it is no local socket")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_sockets_are_asked() {
        for spec in ["", "x", "unix", "unix:/nonexistent/socket", "tcp:192.0.2.1:80", "tcp:x"] {
            let result = query(spec, &Value::Null).unwrap_err();
            let text = result.errors.unwrap().join(" ");
            assert!(text.starts_with("cannot reach the module at"), "{spec}: {text}");
        }
    }

    #[test]
    fn the_answer_comes_back_as_it_is() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let spec = format!("tcp:{}", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = std::io::BufReader::new(stream);
            let mut line = String::new();
            std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
            reader.get_mut().write_all(b"answer\n").unwrap();
            line
        });
        let answer = query(&spec, &serde_json::json!({ "string": "a" })).unwrap();
        assert_eq!(answer, b"answer\n");
        let line = "{\"class\":\"parameters\",\"parameters\":{\"string\":\"a\"}}\n";
        assert_eq!(server.join().unwrap(), line);
    }
}
