//! The stubs in src/contract are those that prost makes of the contract's descriptors. They are kept so that an author's first build
//! needs no generator. `AGENTHOST_UPDATE=1 cargo test -p agenthost --test contract` writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{FieldDescriptorProto, FileDescriptorSet};

#[test]
fn the_stubs_are_those_of_the_contract() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut descriptors =
        FileDescriptorSet::decode(fs::read(package.join("contract.binpb")).unwrap().as_slice()).unwrap();
    add_connection(&mut descriptors);
    descriptors.file.retain(|file| file.package() != "grpc.health.v1"); // tonic-health has it
    let made = tempfile::tempdir().unwrap();
    let generator = tonic_prost_build::configure().out_dir(made.path()).include_file("mod.rs");
    generator.compile_fds(descriptors).unwrap();

    let kept = package.join("src/contract");
    let want = sources(made.path());
    if std::env::var_os("AGENTHOST_UPDATE").is_some() {
        let _ = fs::remove_dir_all(&kept);
        fs::create_dir(&kept).unwrap();
        for (name, source) in &want {
            fs::write(kept.join(name), source).unwrap();
        }
    }
    let have = sources(&kept);
    assert!(have.keys().eq(want.keys()), "src/contract has {:?}, want {:?}", have.keys(), want.keys());
    for (name, source) in &want {
        assert!(
            have[name] == *source,
            "src/contract/{name} is not what the contract says: AGENTHOST_UPDATE=1 cargo test -p agenthost --test contract"
        );
    }
}

fn sources(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_str().unwrap().into(), fs::read_to_string(&path).unwrap())).collect()
}

/// Flyte 2 sends a `connection` with its calls, which Flyte 1's messages do not have, and prost keeps no unknown fields.
fn add_connection(descriptors: &mut FileDescriptorSet) {
    let requests = ["CreateTaskRequest", "GetTaskRequest", "DeleteTaskRequest", "CreateRequestHeader"];
    let messages = descriptors.file.iter_mut().flat_map(|file| &mut file.message_type);
    for message in messages.filter(|message| requests.contains(&message.name())) {
        message.field.push(FieldDescriptorProto {
            name: Some("connection".into()),
            number: Some(5),
            label: Some(Label::Optional.into()),
            r#type: Some(Type::Bytes.into()),
            ..Default::default()
        });
    }
}
