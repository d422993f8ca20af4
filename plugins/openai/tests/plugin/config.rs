//! The configuration: described whole, and refused by key.

use agenthost::testing::run;
use serde_json::{Value, json};

#[tokio::test]
async fn every_key_is_described() {
    let client = run(openai::plugin()).await;
    let described = client.describe().await.unwrap();
    assert_eq!(described.capabilities, ["idempotent_create", "find_by_key"]);
    let schema: Value = serde_json::from_str(&described.config_schema).unwrap();
    let mut objects = vec![("config".to_string(), &schema)];
    objects.extend(schema["$defs"].as_object().unwrap().iter().map(|(name, schema)| (name.clone(), schema)));
    assert_eq!(objects.len(), 4);
    for (name, object) in objects {
        for (key, property) in object["properties"].as_object().unwrap() {
            assert!(property["description"].is_string(), "{name}.{key} has no description");
        }
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_by_key() {
    let client = run(openai::plugin()).await;
    for (config, key, want) in [
        (json!({"base_ur": "x"}), "base_ur", "did you mean \"base_url\"?"),
        (json!({"base_url": "api.openai.com"}), "base_url", "is no address"),
        (json!({"base_url": "ftp://host/v1"}), "base_url", "must begin with http:// or https://"),
        (json!({"base_url": "https://user:sk-1@host/v1"}), "base_url", "keys belong into secrets"),
        (json!({"accounts": [{"name": "a"}, {"name": "a"}]}), "accounts[1].name", "different from every other"),
        (json!({"accounts": [{"name": "a", "base_url": "host"}]}), "accounts[0].base_url", "is no address"),
        (json!({"retry": {"attempts": 0}}), "retry.attempts", "at least 1"),
        (json!({"call_timeout": "soon"}), "call_timeout", "expected a duration"),
        (json!({"call_timeout": "0s"}), "call_timeout", "longer than nothing"),
        (json!({"ca_file": "/nowhere/ca.pem"}), "ca_file", "/nowhere/ca.pem cannot be used"),
        (json!({"prices": {"gpt": {"output": 1}}}), "prices.gpt.input", "is required"),
    ] {
        let errors = client.configure(config.clone()).await.unwrap();
        assert_eq!(errors.len(), 1, "{config}: {errors:?}");
        assert_eq!(errors[0].key, key, "{config}: {errors:?}");
        assert!(errors[0].message.contains(want), "{want:?} is not in {errors:?}");
    }
}

#[tokio::test]
async fn a_job_whose_account_is_gone_says_so() {
    let (_server, client) = crate::support::both().await;
    let job = client.job("openai-batch", r#"{"batch_id": "batch_000", "account": "old"}"#);
    let error = job.get().await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::FailedPrecondition);
    assert!(
        error
            .message()
            .contains(r#"created with the account "old", which accounts: in the plugin's config does not have"#),
        "{error}"
    );
}
