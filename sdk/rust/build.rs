//! Generates the stubs from the contract's descriptors, so that neither protoc nor .proto files are needed.

use std::{env, error::Error, fs, path::Path};

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{FieldDescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    let contract = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("contract.binpb");
    println!("cargo::rerun-if-changed={}", contract.display());
    let mut descriptors = FileDescriptorSet::decode(fs::read(contract)?.as_slice())?;
    add_connection(&mut descriptors);
    tonic_prost_build::configure().include_file("contract.rs").compile_fds(descriptors)?;
    Ok(())
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
