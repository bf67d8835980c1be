use std::io::{self, Write};

use crate::failure::Failure;

/// Prints one text and a line break. Unlike `println!` it does not panic when nobody reads it.
pub(crate) fn print_line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| Failure::Failed(format!("nobody reads what is printed: {error}")))
}

/// Tells something beside what is printed: on standard error, and nobody minds when it is not read.
pub(crate) fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A text in a page or in an attribute of it.
pub(crate) fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
