//! The hello agent as the program that it is: handshake, mutual TLS, log, end.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use agenthost::testing::{TestTask, command};

/// The program, built once for all tests, and with everything else: for itself alone, cargo would compile its dependencies again.
fn hello() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let mut build = Command::new(env!("CARGO"));
            // Build scripts look at what cargo says of a test's package: they would run again, and what needs them be compiled again.
            for (name, _) in std::env::vars_os() {
                if ["CARGO_PKG_", "CARGO_MANIFEST_", "OUT_DIR"].iter().any(|of| name.to_string_lossy().starts_with(of))
                {
                    build.env_remove(name);
                }
            }
            let output = build
                .args(["everything", "--message-format", "json", "--quiet"])
                .stderr(Stdio::inherit())
                .output()
                .expect("cargo runs");
            assert!(output.status.success(), "cargo build failed");
            let messages = String::from_utf8(output.stdout).unwrap();
            let found = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let mut programs = found.filter(|m| m["target"]["name"] == "hello" && m["profile"]["test"] == false);
            let program = programs.find_map(|m| m["executable"].as_str().map(PathBuf::from));
            program.expect("cargo names the program")
        })
        .clone()
}

#[tokio::test]
async fn it_greets_over_mutual_tls_and_stops_when_asked() {
    let client = command(Command::new(hello())).await;
    let result = client.run(TestTask::new("hello").input("name", "Ada")).await.unwrap();
    assert_eq!(result.output::<String>("greeting"), "Hello, Ada");
    client.stop().await;
}

#[test]
fn by_hand_it_says_how_it_is_meant() {
    let output = Command::new(hello()).env_remove("AGENTHOST_PLUGIN").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    for want in [
        "hello 1.0.0 is a Flyte agent plugin",
        "task type hello, version 0 (async)",
        "agenthost task run",
        "agenthost check",
    ] {
        assert!(said.contains(want), "{want:?} is not in {said}");
    }
}

#[test]
fn a_host_of_another_contract_is_told_so() {
    let output = Command::new(hello())
        .env("AGENTHOST_PLUGIN", "flyte-agent-plugin")
        .env("PLUGIN_PROTOCOL_VERSIONS", "2,3")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(
        said.contains(r#"the host speaks versions "2,3" of the plugin contract, and this plugin speaks 1"#),
        "{said}"
    );
}

#[test]
fn its_source_is_at_most_25_lines() {
    assert!(include_str!("../examples/hello/src/main.rs").lines().count() <= 25);
}

#[test]
fn a_socket_whose_path_is_too_long_says_what_to_do() {
    let output = Command::new(hello())
        .env("AGENTHOST_PLUGIN", "flyte-agent-plugin")
        .env("PLUGIN_PROTOCOL_VERSIONS", "1")
        .env("PLUGIN_UNIX_SOCKET_DIR", format!("/tmp/{}", "x".repeat(120)))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(said.contains("more than 107 bytes") && said.contains("shorter run_dir"), "{said}");
}
