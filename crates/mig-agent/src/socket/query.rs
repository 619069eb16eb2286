//! Asking a running agent, of this generation or an older one.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::http;

/// Longest answer `-q` waits for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Largest answer `-q` prints.
const MAX_ANSWER: u64 = 1 << 20;
/// How long an agent that was asked to stop may take.
const STOP_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks whether it is gone.
const LOOK: Duration = Duration::from_millis(200);

/// Sends one request to a running agent; its answer, ending in a newline. One
/// that only knows HTTP is asked again in its own tongue.
///
/// # Errors
///
/// When nobody answers, the agent refuses, or it does not know the request.
pub async fn query(address: &str, request: &str) -> io::Result<String> {
    let request = request.trim();
    let answer = exchange(address, &format!("{request}\n")).await?;
    let Some(_) = http::read_answer(answer.as_bytes()) else {
        return match answer.trim() {
            "" if request != "history" => Err(io::Error::other("the answer is empty")),
            text @ "unknown command" => Err(io::Error::other(text.to_owned())),
            text if text.ends_with("invalid agent id") => Err(io::Error::other(text.to_owned())),
            _ => Ok(format!("{}\n", answer.trim_end())),
        };
    };
    let mut words = request.split_whitespace();
    let path = match words.next().unwrap_or_default() {
        "status" => "",
        word @ ("pid" | "shutdown") => word,
        _ => return Err(io::Error::other("this agent answers pid, status and shutdown only")),
    };
    let proof = words.next().map(|id| format!("AGENTID: {id}\r\n")).unwrap_or_default();
    let head =
        format!("GET /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{proof}\r\n");
    let answer = exchange(address, &head).await?;
    match http::read_answer(answer.as_bytes()) {
        Some((200, body)) if path == "shutdown" && body.trim().is_empty() => {
            Ok("shutdown requested\n".to_owned())
        }
        Some((200, body)) => Ok(format!("{}\n", body.trim_end())),
        Some((status, body)) => Err(io::Error::other(format!("{status}: {}", body.trim_end()))),
        None => Err(io::Error::other("the answer is not understood")),
    }
}

/// Stops a running agent whose secret id is known, and waits until its process
/// is gone: whoever follows finds socket and run directory free.
///
/// # Errors
///
/// When nobody answers, the agent refuses, or it is still there after a minute.
pub async fn stop(address: &str, id: &str) -> io::Result<()> {
    let pid = query(address, "pid").await?.trim().parse::<i32>().ok();
    query(address, &format!("shutdown {id}")).await?;
    let begun = Instant::now();
    while begun.elapsed() < STOP_WITHIN {
        let silent = TcpStream::connect(address).await.is_err();
        if silent && !pid.is_some_and(is_running) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    Err(io::Error::other("the agent still runs a minute after it agreed to stop"))
}

#[cfg(unix)]
fn is_running(pid: i32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    // One that belongs to somebody else is not what was stopped.
    pid > 0
        && Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
        && !is_zombie(pid)
}

/// Ended, and its parent has not looked yet.
#[cfg(unix)]
fn is_zombie(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

#[cfg(not(unix))]
fn is_running(_pid: i32) -> bool {
    false
}

async fn exchange(address: &str, request: &str) -> io::Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
        // A peer that closes with unread input resets; what it said counts.
        if answer.is_empty() {
            read?;
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    timeout(ANSWER_WITHIN, exchange)
        .await
        .unwrap_or_else(|_| Err(io::Error::other("no answer in time")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// An agent that speaks HTTP only, as Go's server does; it answers
    /// `shutdown` with `status` and then closes its socket.
    async fn http_only(status: u16) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut buffer = [0; 1024];
                let Ok(count) = stream.read(&mut buffer).await else { continue };
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                let reply = if text.starts_with("GET /pid ") {
                    http::answer(200, "0")
                } else if text.starts_with("GET /shutdown ") {
                    assert!(text.contains("\r\nAGENTID: secret\r\n"), "{text}");
                    http::answer(status, "")
                } else {
                    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
                     Connection: close\r\n\r\n400 Bad Request"
                        .to_owned()
                };
                let _ = stream.write_all(reply.as_bytes()).await;
                if status == 200 && text.starts_with("GET /shutdown ") {
                    return;
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn an_agent_that_only_knows_http_is_asked_and_stopped() {
        let address = http_only(200).await;
        assert_eq!(query(&address, "pid").await.unwrap(), "0\n");
        stop(&address, "secret").await.unwrap();
        assert!(query(&address, "pid").await.is_err());
    }

    #[tokio::test]
    async fn a_refusal_is_an_error_at_once() {
        let address = http_only(401).await;
        let error = stop(&address, "secret").await.unwrap_err().to_string();
        assert!(error.starts_with("401"), "{error}");
        let error = query(&address, "history").await.unwrap_err().to_string();
        assert!(error.contains("pid, status and shutdown only"), "{error}");
    }
}
