//! `cereus repl` with a server of Go that speaks protobuf and tells of its routes and types.

use crate::Go;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/documented.repl");

#[test]
fn learns_the_types_from_the_server() {
    let go = Go::start(&["-protobuf"]);
    for address in go.addresses() {
        for docs in ["connector.interop.docs", "interop.docs"] {
            let arguments = ["repl", "--docs", docs, "--filename", SCRIPT, address];
            let output = cereus_service_tests::run("CEREUS_CLI", arguments);
            assert!(output.contains(r#"sv-> {"code":200,"msg":"got grüße"}"#), "{output}");
            assert!(!output.contains("does not tell"), "{output}");
        }
    }
}
