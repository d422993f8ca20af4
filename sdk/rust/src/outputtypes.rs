//! The types that a task declares its outputs with.

use std::collections::HashMap;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::contract::flyteidl::core::LiteralType;
use crate::value::{read_type, write_type};

/// The types of outputs by name. They can be a field of an async agent's metadata.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutputTypes(HashMap<String, LiteralType>);

/// One type, as metadata has it.
#[derive(Serialize, Deserialize)]
struct Kept(#[serde(serialize_with = "write_type", deserialize_with = "read_type")] LiteralType);

impl Serialize for OutputTypes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, declared)| (name, Kept(declared.clone()))))
    }
}

impl<'de> Deserialize<'de> for OutputTypes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let kept = HashMap::<String, Kept>::deserialize(deserializer)?;
        Ok(OutputTypes(kept.into_iter().map(|(name, Kept(declared))| (name, declared)).collect()))
    }
}

impl Deref for OutputTypes {
    type Target = HashMap<String, LiteralType>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl From<HashMap<String, LiteralType>> for OutputTypes {
    fn from(types: HashMap<String, LiteralType>) -> Self {
        OutputTypes(types)
    }
}

impl From<OutputTypes> for HashMap<String, LiteralType> {
    fn from(types: OutputTypes) -> Self {
        types.0
    }
}
