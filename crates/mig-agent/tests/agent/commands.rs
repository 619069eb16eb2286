//! Signed and unsigned commands over a real relay, answered by a real agent.

use crate::stage::{self, Stage, by_name, errors, program};
use mig_types::{CommandStatus, Operation, wire};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_introduces_itself_and_answers() {
    let mut stage = Stage::set("").await;
    stage.start();
    let agent = stage.heartbeat().await;
    assert!(agent.queueloc.starts_with(&format!("{}.", agent.environment.os)));
    assert!(!agent.name.is_empty() && agent.pid == i64::from(stage.pid()));
    assert_eq!(agent.mode, mig_types::AgentMode::Daemon);
    assert_eq!(agent.tags.get("operator"), Some(&json!("it")));
    assert!(agent.environment.modules.contains(&"file".to_owned()));
    stage::eventually("mig-agent.ok", || stage.path("run/mig-agent.ok").exists().then_some(()))
        .await;

    // A signed action is run; the whole command comes back.
    let tree = stage.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("needle"), "x").unwrap();
    let action = stage.action(vec![by_name(&tree, "^needle$")]);
    let command = stage.command(action.clone());
    stage.send(&command).await;
    let answer = stage.result().await;
    assert_eq!(answer.status, CommandStatus::Success);
    assert_eq!(answer.action, command.action);
    assert_eq!(answer.agent, command.agent);
    let results = answer.results.clone().unwrap();
    assert!(results[0].success && results[0].foundanything, "{results:?}");
    assert!(results[0].elements.to_string().contains("needle"));

    // The same action in a new command: answered from memory. The file is gone,
    // so a second run could not have found it.
    std::fs::remove_file(tree.join("needle")).unwrap();
    let replay = stage.ask(action.clone()).await;
    assert_eq!(replay.results, Some(results.clone()));
    // Across a restart as well.
    assert_eq!(stage.terminate().await, Some(0));
    stage.start();
    assert_eq!(stage.heartbeat().await.queueloc, agent.queueloc);
    let replay = stage.ask(action).await;
    assert_eq!(replay.results, Some(results));
    let fresh = stage.action(vec![by_name(&tree, "^needle$")]);
    assert!(!stage.ask(fresh).await.results.unwrap()[0].foundanything);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_answered_once_per_operation() {
    let mut stage = Stage::play("").await;
    let tree = stage.path("conf");
    let two = || vec![by_name(&tree, "x"), by_name(&tree, "y")];
    let netstat = Operation {
        module: "netstat".into(),
        parameters: json!({ "listeningport": ["1"] }),
        ..Operation::default()
    };
    let good = stage.action(two());
    let mut unsigned = good.clone();
    unsigned.pgpsignatures.clear();
    let mut tampered = good.clone();
    tampered.operations.as_mut().unwrap()[1] = by_name(&tree, "z");
    let mut elsewhere = good.clone();
    elsewhere.target = "queueloc = 'linux.somebody.else'".into();
    stage.sign(&mut elsewhere);
    let too_light = stage.action(vec![by_name(&tree, "x"), netstat]);
    for (what, action, part) in [
        ("unsigned", unsigned, "not signed"),
        ("tampered", tampered, "action signature verification failed"),
        ("other target", elsewhere, "action target does not match this agent"),
        ("second operation", too_light, "needs weight 2, signers give 1"),
    ] {
        let answer = stage.ask(action).await;
        assert_eq!(answer.status, CommandStatus::Failed, "{what}");
        let results = answer.results.unwrap();
        assert_eq!(results.len(), 2, "{what}");
        for result in results {
            assert!(errors(&result).contains(part), "{what}: {}", errors(&result));
            assert!(!result.success);
        }
    }
    let mut misdirected = stage.command(good.clone());
    misdirected.agent.queueloc = "linux.somebody.else".into();
    stage.send(&misdirected).await;
    let answer = stage.result().await;
    assert_eq!(answer.agent.queueloc, stage.queueloc);
    assert!(errors(&answer.results.unwrap()[0]).contains("addressed to another agent"));

    // What is no command at all does not stop the next one, nor does a refusal
    // keep the action from being run when it comes properly.
    for body in [&b"{"[..], b"[]", b"\xff\xfe", b"{\"id\":0}", b"null"] {
        stage.send_bytes(body.to_vec()).await;
    }
    stage.send_bytes(br#"{"id":77,"action":7,"agent":{"name":"n"}}"#.to_vec()).await;
    let answer = stage.result().await;
    assert_eq!((answer.id.get(), answer.status), (77, CommandStatus::Failed));
    assert_eq!(stage.ask(good).await.status, CommandStatus::Success);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_operations_and_a_module_nobody_has() {
    let mut stage = Stage::play("").await;
    let tree = stage.path("conf");
    let mut operations = vec![by_name(&tree, "^acl"); 20];
    operations[7].module = "nosuchmodule".into();
    let answer = stage.ask(stage.action(operations)).await;
    assert_eq!(answer.status, CommandStatus::Failed);
    let results = answer.results.unwrap();
    assert_eq!(results.len(), 20);
    for (index, result) in results.iter().enumerate() {
        if index == 7 {
            assert_eq!(errors(result), "module 'nosuchmodule' is not available");
        } else {
            assert!(result.success && result.foundanything, "{index}: {result:?}");
        }
    }
    // The next command is not affected, and compressed parameters are read.
    let mut operation = by_name(&tree, "^acl");
    mig_module::compress::compress_parameters(&mut operation).unwrap();
    let answer = stage.ask(stage.action(vec![operation])).await;
    assert_eq!(answer.status, CommandStatus::Success);
    assert!(answer.results.unwrap()[0].foundanything);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_by_hand() {
    let stage = Stage::set("extraprivacymode = on").await;
    let config = stage.path("agent.cfg");
    let run = async |args: &[&str], input: Vec<u8>| {
        let mut child = program()
            .arg("-c")
            .arg(&config)
            .args(args)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stdin, &input).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    assert_eq!(run(&["-V"], vec![]).await, (Some(0), format!("{}\n", mig_agent::VERSION)));
    assert_eq!(run(&["-x"], vec![]).await.0, Some(2));
    let (code, settings) = run(&["-S"], vec![]).await;
    assert_eq!(code, Some(0));
    assert!(settings.contains("EXTRAPRIVACYMODE : true") && !settings.contains("secret"));

    // One module: nothing but the result, no line end, names masked.
    let operation = by_name(&stage.path("conf"), "^acl");
    let message = mig_module::process::parameters_message(&operation.parameters);
    let (code, output) = run(&["-m", "file"], message).await;
    assert_eq!(code, Some(0));
    assert!(output.starts_with('{') && output.ends_with('}'), "{output}");
    let result: mig_types::ModuleResult = wire::from_slice(output.as_bytes()).unwrap();
    assert!(result.foundanything && !output.contains("acl.cfg"), "{output}");

    // An action file, unsigned.
    let action = json!({ "name": "n", "operations": [operation, { "module": "x" }] });
    std::fs::write(stage.path("action.json"), action.to_string()).unwrap();
    let path = stage.path("action.json");
    let (code, output) = run(&["-i", path.to_str().unwrap()], vec![]).await;
    assert_eq!(code, Some(0));
    let results: Vec<mig_types::ModuleResult> = wire::from_slice(output.as_bytes()).unwrap();
    assert!(results[0].foundanything);
    assert_eq!(errors(&results[1]), "module 'x' is not available");
    assert!(output.starts_with("[\n  {"), "{output}");

    let (code, output) = run(&["-P", "file"], vec![]).await;
    assert_eq!(code, Some(1));
    assert!(output.contains("is not a persistent module"));
}
