use std::path::PathBuf;

use clap::Args;

use super::Schema;
use crate::failure::Failure;

/// Where the types of protobuf bodies come from.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Protobuf")]
pub(crate) struct Options {
    /// Learn routes and types from the server: the route of the handler that answers with its documentation.
    #[arg(short, long, value_name = "ROUTE", conflicts_with_all = ["descriptors", "proto"])]
    pub(crate) docs: Option<String>,
    /// The route that descriptors are asked at, where the documentation does not tell.
    #[arg(long, value_name = "ROUTE", requires = "docs")]
    pub(crate) descriptors_route: Option<String>,
    /// Read types from a FileDescriptorSet: protoc --include_imports --descriptor_set_out FILE.
    #[arg(long, value_name = "FILE")]
    descriptors: Vec<PathBuf>,
    /// Read types from a .proto file.
    #[arg(long, value_name = "FILE")]
    proto: Vec<PathBuf>,
    /// A folder with the files that .proto files import.
    #[arg(long, value_name = "DIR", requires = "proto")]
    include: Vec<PathBuf>,
}

impl Options {
    /// Whether bodies are protobuf.
    pub(crate) fn are_given(&self) -> bool {
        self.docs.is_some() || !self.descriptors.is_empty() || !self.proto.is_empty()
    }

    /// The types that are in files.
    pub(crate) fn schema(&self) -> Result<Schema, Failure> {
        let mut schema = Schema::default();
        for file in &self.descriptors {
            schema.add_descriptors(file)?;
        }
        if !self.proto.is_empty() {
            schema.compile(&self.proto, &self.include)?;
        }
        Ok(schema)
    }
}
