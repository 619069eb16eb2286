//! What may stand between a client and an API: proxies of all kinds.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

/// Changes what passes by.
type Edit = fn(&str) -> String;

fn serve(at: Ipv4Addr, answer: impl Fn(TcpStream) + Send + 'static) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((IpAddr::from(at), 0))?;
    let address = listener.local_addr()?;
    // Ends with the test's process.
    thread::spawn(move || listener.incoming().flatten().for_each(&answer));
    Ok(address)
}

/// The head of a request.
fn head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        bytes.extend_from_slice(&byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Gives everybody the same answer.
pub(super) fn canned(status: &'static str, rest: &'static str) -> anyhow::Result<SocketAddr> {
    serve(Ipv4Addr::LOCALHOST, move |mut stream| {
        head(&mut stream);
        let text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n{rest}");
        drop(stream.write_all(text.as_bytes()));
    })
}

/// Takes every connection and never says anything.
pub(super) fn silent() -> anyhow::Result<SocketAddr> {
    let kept = std::sync::Mutex::new(Vec::new());
    serve(Ipv4Addr::LOCALHOST, move |stream| {
        if let Ok(mut kept) = kept.lock() {
            kept.push(stream);
        }
    })
}

/// Passes requests without a body on to an API, and their answers back.
pub(super) fn between(api: SocketAddr, ask: Edit, answer: Edit) -> anyhow::Result<SocketAddr> {
    serve(Ipv4Addr::LOCALHOST, move |mut stream| {
        let request = ask(&head(&mut stream));
        pass(&mut stream, api, &request, answer);
    })
}

fn pass(stream: &mut TcpStream, api: SocketAddr, request: &str, answer: Edit) {
    let request = request.replacen("\r\n", "\r\nconnection: close\r\n", 1);
    let Ok(mut upstream) = TcpStream::connect(api) else { return };
    drop(upstream.write_all(request.as_bytes()));
    let mut text = String::new();
    drop(upstream.read_to_string(&mut text));
    drop(stream.write_all(answer(&text).as_bytes()));
}

/// Passes bytes both ways, at another address.
pub(super) fn elsewhere(server: SocketAddr) -> anyhow::Result<SocketAddr> {
    serve(Ipv4Addr::new(127, 0, 0, 2), move |stream| {
        let Ok(upstream) = TcpStream::connect(server) else { return };
        let (Ok(mut from), Ok(mut to)) = (stream.try_clone(), upstream.try_clone()) else { return };
        thread::spawn(move || {
            drop(std::io::copy(&mut from, &mut to));
            drop(to.shutdown(Shutdown::Write));
        });
        let (mut from, mut to) = (upstream, stream);
        drop(std::io::copy(&mut from, &mut to));
        drop(to.shutdown(Shutdown::Both));
    })
}

/// An API whose clock is wrong.
pub(super) fn of_yesterday(answer: &str) -> String {
    let lines = answer.split("\r\n").map(|line| {
        if line.to_ascii_lowercase().starts_with("date: ") {
            "date: Tue, 15 Nov 1994 08:12:31 GMT"
        } else {
            line
        }
    });
    lines.collect::<Vec<_>>().join("\r\n")
}

/// A proxy that lets only headers pass that it knows.
pub(super) fn without_token(request: &str) -> String {
    let lines = request
        .split("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("x-pgpauthorization"));
    lines.collect::<Vec<_>>().join("\r\n")
}

pub(super) fn unchanged(text: &str) -> String {
    text.to_owned()
}

/// An API that knows where agents are, as that of 2016 did.
pub(super) fn of_2016(api: SocketAddr) -> anyhow::Result<SocketAddr> {
    const PLACE: &str = r#"{"collection":{"items":[{"data":[{"name":"geolocation","value":{
        "endpoint":"web1","commandid":1,"actionid":1,"foundanything":true,"latitude":59.9,
        "longitude":10.7,"city":"Oslo","country":"Norway"}}]}]}}"#;
    const NONE: &str = r#"{"collection":{"error":{"code":"1","message":"no results found"}}}"#;
    serve(Ipv4Addr::LOCALHOST, move |mut stream| {
        let request = head(&mut stream);
        if request.contains("report=geolocations") {
            let first = request.contains("offset=0");
            let (status, body) = if first { ("200 OK", PLACE) } else { ("404 Not Found", NONE) };
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}");
            drop(stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()));
        } else {
            pass(&mut stream, api, &request, unchanged);
        }
    })
}

/// An API that streams nothing, and for which an action is on its way for the
/// first few looks.
pub(super) fn polled(api: SocketAddr, id: &str) -> anyhow::Result<SocketAddr> {
    const LOOKS: usize = 4;
    let action = format!(
        r#"{{"id":{id},"status":"inflight","expireafter":"2099-01-01T00:00:00Z","counters":{{"sent":1}}}}"#
    );
    let busy = format!(
        r#"{{"collection":{{"items":[{{"data":[{{"name":"action","value":{action}}}]}}]}}}}"#
    );
    let looks = std::sync::atomic::AtomicUsize::new(0);
    serve(Ipv4Addr::LOCALHOST, move |mut stream| {
        let request = head(&mut stream);
        if request.contains("/follow") {
            let none = "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            drop(stream.write_all(none.as_bytes()));
        } else if request.contains("/action?")
            && looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < LOOKS
        {
            let length = busy.len();
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}");
            drop(stream.write_all(format!("{head}\r\n\r\n{busy}").as_bytes()));
        } else {
            pass(&mut stream, api, &request, unchanged);
        }
    })
}

/// The original, which answers what it answered when it was recorded; without public
/// keys, that of 2016.
pub(super) fn original(has_keys: bool) -> anyhow::Result<SocketAddr> {
    const HEARTBEAT: &str = r#"{"collection":{"version":"1.0","href":"http://127.0.0.1:51664/api/v1/heartbeat","items":[{"href":"/api/v1/heartbeat","data":[{"name":"heartbeat","value":"gatorz say hi"}]}],"template":{},"error":{}}}"#;
    const DASHBOARD: &str = r#"{"collection":{"version":"1.0","href":"http://127.0.0.1:51664/api/v1/dashboard","items":[{"href":"http://127.0.0.1:51664/api/v1/dashboard","data":[{"name":"online agents","value":2},{"name":"online agents by version","value":[{"version":"20190913-0.9e7e4f5.dev","count":2}]},{"name":"online endpoints","value":2},{"name":"idle agents","value":0},{"name":"idle agents by version","value":null},{"name":"idle endpoints","value":0},{"name":"new endpoints","value":0},{"name":"endpoints running 2 or more agents","value":0},{"name":"disappeared endpoints","value":0},{"name":"flapping endpoints","value":0}]}],"template":{},"error":{}}}"#;
    const AGENT: &str = r#"{"collection":{"version":"1.0","href":"x","items":[{"href":"x","data":[{"name":"agent","value":{"id":1,"name":"web1","status":"online"}}]}],"template":{},"error":{}}}"#;
    const NO_KEY: &str = "Invalid Fingerprint : No PublicKey found for fingerprint '0000'";
    const NO_PAGE: &str = "404 page not found\n";
    const NO_ACTION: &str = r#"{"collection":{"version":"1.0","href":"x","template":{},"error":{"code":"1","message":"no action"}}}"#;
    serve(Ipv4Addr::LOCALHOST, move |mut stream| {
        let request = head(&mut stream);
        let path = request.split(' ').nth(1).unwrap_or_default();
        let path = path.split('?').next().unwrap_or_default();
        let (status, body) = match path {
            "/api/v1/heartbeat" => ("200 OK", HEARTBEAT),
            "/api/v1/dashboard" => ("200 OK", DASHBOARD),
            "/api/v1/search" => ("200 OK", AGENT),
            "/api/v1/action/create/" => ("500 Internal Server Error", NO_ACTION),
            path if has_keys && path.starts_with("/api/v1/publickey/") => ("404 Not Found", NO_KEY),
            _ => ("404 Not Found", NO_PAGE),
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\nDate: \
             Mon, 23 Nov 2026 07:16:51 GMT\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        drop(stream.write_all(format!("{head}{body}").as_bytes()));
    })
}
