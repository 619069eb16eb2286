//! The process of a persistent module, without an agent around it.
#![cfg(unix)]

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::thread::JoinHandle;

    use mig_module::persist::{Connection, Message, Outlet, Said, session};
    use mig_module::{Module as _, Registry};
    use mig_module_examplepersist::{ExamplePersist, Params};
    use serde_json::{Value, json};

    /// One session, and both ends of its channels.
    struct Lab {
        input: UnixStream,
        output: BufReader<UnixStream>,
        connections: Sender<Box<dyn Connection>>,
        ended: JoinHandle<Result<(), String>>,
    }

    impl Lab {
        fn start() -> Self {
            let registry = Arc::new(Registry::new(vec![Box::new(ExamplePersist)]));
            let (input, theirs) = UnixStream::pair().unwrap();
            let (output, outlet) = UnixStream::pair().unwrap();
            let (connections, taken) = channel();
            let ended = std::thread::spawn(move || {
                let outlet = Outlet::new(outlet);
                session(&registry, "examplepersist", "unix:/r/s", theirs, &outlet, taken)
            });
            Self { input, output: BufReader::new(output), connections, ended }
        }

        fn tell(&mut self, line: &str) {
            writeln!(self.input, "{line}").unwrap();
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

        /// What comes back for a question; empty when the connection is just closed.
        fn ask(&self, question: &str) -> String {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            self.connections.send(Box::new(theirs)).unwrap();
            ours.write_all(question.as_bytes()).unwrap();
            ours.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            ours.read_to_string(&mut answer).unwrap();
            answer
        }

        fn echo(&self, text: &str) -> Value {
            let question = json!({ "class": "parameters", "parameters": { "string": text } });
            let answer = self.ask(&format!("{question}\n"));
            assert!(answer.ends_with('\n'));
            serde_json::from_str(&answer).unwrap()
        }
    }

    #[test]
    fn registers_answers_pings_and_works_once_it_is_configured() {
        let mut lab = Lab::start();
        assert_eq!(lab.hear(), Said::Register("unix:/r/s".into()));
        lab.tell(r#"{"class":"ping"}"#);
        assert_eq!(lab.hear(), Said::Ping);
        lab.tell(r#"{"class":"config","parameters":{"config":{"ExamplePersist":{"interval":1}}}}"#);
        assert_eq!(lab.hear_log(), "module received configuration");
        for _ in 0..2 {
            let line = lab.hear_log();
            assert!(line.starts_with("running, current time is "), "{line}");
        }
        drop(lab.input);
        assert_eq!(lab.ended.join().unwrap(), Ok(()));
    }

    #[test]
    fn an_interval_that_makes_no_sense_is_the_default() {
        for config in
            ["{}", r#"{"ExamplePersist":{"interval":-1}}"#, r#"{"examplepersist":7}"#, "7"]
        {
            let mut lab = Lab::start();
            lab.hear();
            lab.tell(&format!(r#"{{"class":"config","parameters":{{"config":{config}}}}}"#));
            assert_eq!(lab.hear_log(), "module received configuration");
            assert_eq!(lab.hear_log(), "interval not set, defaulting to 30", "{config}");
        }
    }

    #[test]
    fn echoes_and_survives_every_other_question() {
        let lab = Lab::start();
        let answer = lab.echo("hello");
        assert_eq!(
            answer,
            json!({ "foundanything": true, "success": true, "elements": { "string": "hello" },
                "statistics": null, "errors": null })
        );
        for question in [
            "",
            "\n",
            "junk\n",
            "{\"class\":\"parameters\",\"parameters\":{}}\n",
            "{\"class\":\"parameters\",\"parameters\":7}\n",
            "{\"class\":\"stop\"}\n",
            "\u{1b}[2J\n",
        ] {
            let answer: Value = serde_json::from_str(&lab.ask(question)).unwrap();
            assert_eq!(answer["success"], false, "{question:?}");
            assert!(answer["errors"][0].as_str().is_some_and(|text| !text.is_empty()), "{answer}");
        }
        let endless = format!("{}\n", "x".repeat(5 << 20));
        // Closed before everything is read: what matters is what follows.
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        lab.connections.send(Box::new(theirs)).unwrap();
        let _ = ours.write_all(endless.as_bytes());
        drop(ours);
        for text in ["\"quoted\"", "two\nlines", "zażółć 日本", "100% %s"] {
            assert_eq!(lab.echo(text)["elements"]["string"], text);
        }
    }

    #[test]
    fn a_strange_message_of_the_agent_is_no_reason_to_end() {
        let mut lab = Lab::start();
        lab.hear();
        lab.tell("junk");
        assert!(lab.hear_log().starts_with("a message of the agent is not understood"));
        lab.tell(r#"{"class":"news"}"#);
        lab.tell(r#"{"class":"ping"}"#);
        assert_eq!(lab.hear(), Said::Ping);
    }

    #[test]
    fn the_command_line_and_the_lines_of_a_report() {
        let parse = |args: &[&str]| {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            ExamplePersist.parse_args(&args)
        };
        let params = Params { string: "a b".into() };
        assert_eq!(parse(&["-echo", "a b"]), Ok(mig_module::Parsed::Params(params.clone())));
        assert_eq!(parse(&["help"]), Ok(mig_module::Parsed::Help));
        assert!(parse(&["-shout", "x"]).is_err());
        assert!(ExamplePersist.validate(&Params::default()).is_err());
        let host = mig_host::LocalHost::default();
        let report = ExamplePersist.run(&host, &params, &mig_module::Budget::unlimited()).unwrap();
        assert_eq!(ExamplePersist.print(&report, true), ["echo string was \"a b\""]);
    }
}
