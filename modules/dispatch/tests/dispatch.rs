//! The process of the module, without an agent around it, and a collector.
#![cfg(test)]
#![cfg(unix)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use mig_module::persist::{Connection, Message, Outlet, Said, session};
use mig_module::{DynModule as _, ParsedArgs, Registry};
use mig_module_dispatch::Dispatch;
use mig_module_dispatch::http::{Endpoint, PostError};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_mins(1);

struct Lab {
    input: UnixStream,
    output: BufReader<UnixStream>,
}

impl Lab {
    fn start(config: &Value) -> Self {
        let registry = Arc::new(Registry::new(vec![Box::new(Dispatch::default())]));
        let (input, theirs) = UnixStream::pair().unwrap();
        let (output, outlet) = UnixStream::pair().unwrap();
        output.set_read_timeout(Some(PATIENCE)).unwrap();
        let (_, taken) = channel::<Box<dyn Connection>>();
        std::thread::spawn(move || {
            let outlet = Outlet::new(outlet);
            session(&registry, "dispatch", "unix:/r/s", theirs, &outlet, taken)
        });
        let mut lab = Self { input, output: BufReader::new(output) };
        assert_eq!(lab.hear(), Said::Register("unix:/r/s".into()));
        lab.alert("{\"before\":\"the configuration\"}");
        let briefing = json!({ "config": { "dispatch": config }, "hostname": "web1",
            "environment": { "os": "linux" }, "tags": { "operator": "it" } });
        writeln!(lab.input, "{}", json!({ "class": "config", "parameters": briefing })).unwrap();
        assert_eq!(lab.hear(), Said::Log("module received configuration".into()));
        lab
    }

    fn alert(&mut self, text: &str) {
        let line = Message::from(Said::Alert(text.to_owned())).to_line();
        self.input.write_all(&line).unwrap();
    }

    fn hear(&mut self) -> Said {
        let mut line = Vec::new();
        self.output.read_until(b'\n', &mut line).unwrap();
        Message::read(&line).unwrap().said()
    }

    fn hear_log(&mut self) -> String {
        match self.hear() {
            Said::Log(text) => text,
            other => panic!("{other:?}"),
        }
    }
}

/// What a collector got: its head and its document.
fn receive(stream: &mut TcpStream) -> (String, Value) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let length = head.split("Content-Length: ").nth(1).unwrap();
    let length: usize = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

/// A collector that answers each request with the next of these statuses, the
/// last one for ever.
fn collector(statuses: &'static [u16]) -> (String, Receiver<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/events?x=1", listener.local_addr().unwrap());
    let (sender, received) = channel();
    std::thread::spawn(move || {
        let mut left = statuses.iter().copied();
        let mut status = 200;
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let got = receive(&mut stream);
            status = left.next().unwrap_or(status);
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").unwrap();
            if sender.send(got).is_err() {
                return;
            }
        }
    });
    (url, received)
}

#[test]
fn alerts_are_delivered_in_their_order_with_the_host_around_them() {
    let (url, received) = collector(&[]);
    let mut lab = Lab::start(&json!({ "httpurl": url, "channelsize": 100 }));
    for alert in ["{\"a\":1}", "not json", "100% %s", "{\"severity\":\"low\"}"] {
        lab.alert(alert);
    }
    let events = [
        json!({ "before": "the configuration" }),
        json!({ "a": 1 }),
        json!("not json"),
        json!("100% %s"),
        json!({ "severity": "low" }),
    ];
    for event in events {
        let (head, document) = received.recv_timeout(PATIENCE).unwrap();
        assert!(head.starts_with("POST /events?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"), "{head}");
        assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
        assert_eq!(
            document,
            json!({ "hostname": "web1", "environment": { "os": "linux" },
                "tags": { "operator": "it" }, "event": event })
        );
    }
}

#[test]
fn mozdef_gets_events() {
    let (url, received) = collector(&[]);
    let _lab = Lab::start(&json!({ "httpurl": url, "outputmozdef": true }));
    let (_, event) = received.recv_timeout(PATIENCE).unwrap();
    assert_eq!(event["category"], "mig");
    assert_eq!(event["summary"], "mig dispatch event");
    assert_eq!(event["details"]["event"], json!({ "before": "the configuration" }));
}

#[test]
fn what_fails_is_tried_again_and_what_is_refused_is_not() {
    let (url, received) = collector(&[503, 200, 404, 200]);
    let mut lab = Lab::start(&json!({ "httpurl": url, "channelsize": 10 }));
    lab.alert("\"refused\"");
    lab.alert("\"taken\"");
    let events: Vec<Value> =
        (0..4).map(|_| received.recv_timeout(PATIENCE).unwrap().1["event"].clone()).collect();
    assert_eq!(events[0], events[1], "503 is tried again");
    assert_eq!(events[2..], [json!("refused"), json!("taken")]);
    assert_eq!(lab.hear_log(), "http post: 127.0.0.1 answered with status 404");
}

#[test]
fn a_full_queue_drops_and_nobody_waits() {
    // It takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut lab = Lab::start(&json!({ "httpurl": url, "channelsize": 10 }));
    let (mut first, _) = listener.accept().unwrap();
    receive(&mut first);
    for _ in 0..5000 {
        lab.alert("{\"a\":1}");
    }
    assert_eq!(
        lab.hear_log(),
        "warning, dispatch module dropping messages (buffer full, 1 dropped since last warning)"
    );
    // The next one is tried when the time of the first is over.
    assert_eq!(lab.hear_log(), "http post: 127.0.0.1 did not answer within 10 seconds");
    let (mut second, _) = listener.accept().unwrap();
    assert_eq!(receive(&mut second).1["event"], json!({ "a": 1 }));
}

#[test]
fn without_an_address_failures_are_said_and_the_module_stays() {
    for (config, reason) in [
        (json!({ "channelsize": 5 }), "http post: neither httpurl nor a topic"),
        (json!({ "channelsize": 5, "httpurl": "ftp://x" }), "http post: \"ftp://x\" is no http"),
    ] {
        let mut lab = Lab::start(&config);
        assert!(lab.hear_log().starts_with(reason), "{config}");
        // Said once in a while: what comes next is the answer to a ping.
        lab.alert("1");
        lab.alert("2");
        writeln!(lab.input, "{{\"class\":\"ping\"}}").unwrap();
        assert_eq!(lab.hear(), Said::Ping);
    }
}

#[test]
fn nobody_listens() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let endpoint = Endpoint::parse(&format!("http://{closed}/")).unwrap();
    let error = endpoint.post(b"{}").unwrap_err();
    assert!(matches!(error, PostError::Connect { .. }) && error.is_worth_another_try());
}

#[test]
fn the_certificate_of_an_endpoint_is_verified() {
    use rustls::{ClientConfig, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = signed.cert.der().clone();
    let key =
        rustls::pki_types::PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = Arc::new(server);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&server)).unwrap();
            let mut stream = StreamOwned::new(session, stream.unwrap());
            let mut request = [0; 4096];
            // A client that does not trust us says so and leaves.
            if stream.read(&mut request).is_ok_and(|count| count > 0) {
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
                stream.flush().unwrap();
            }
        }
    });
    let endpoint = Endpoint::parse(&format!("https://localhost:{port}/")).unwrap();
    let error = endpoint.post(b"{}").unwrap_err();
    assert!(matches!(error, PostError::Talk { .. }), "{error:?}");
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    endpoint.trusting(Arc::new(trusting)).post(b"{}").unwrap();
}

#[test]
fn answers_that_it_is_alive() {
    let module = Dispatch::default();
    let host = mig_host::LocalHost::default();
    let result = module.run_json(&host, json!({}), &mig_module::Budget::unlimited());
    assert_eq!(result.elements, json!({ "ok": true }));
    assert_eq!(module.print(&result, true).unwrap(), ["ok:true"]);
    assert_eq!(module.parse_args(&[]).unwrap(), ParsedArgs::Params(json!({})));
}
