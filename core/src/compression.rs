//! zlib bodies (specification, section 2.6), bounded on the way in.

use alloc::vec::Vec;

use miniz_oxide::{
    deflate::compress_to_vec_zlib,
    inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit},
};
use thiserror::Error;

/// The default level of every zlib.
const LEVEL: u8 = 6;

/// Why a compressed body cannot be read. The peer is at fault.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum InflateError {
    /// Not a zlib stream, a damaged one, or one that ends too early.
    #[error("the compressed body is not a valid zlib stream")]
    Invalid,
    /// The body grows beyond the limit.
    #[error("the compressed body is longer than {0} bytes when inflated")]
    TooLarge(usize),
}

/// The zlib form of `body`, if that is strictly shorter.
pub(crate) fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    // A zlib stream has at least eight bytes of header, final block and checksum.
    if body.len() <= 8 {
        return None;
    }
    Some(compress_to_vec_zlib(body, LEVEL)).filter(|deflated| deflated.len() < body.len())
}

/// Inflates at most `max` bytes. Bytes after the end of the stream are ignored.
pub(crate) fn inflate(body: &[u8], max: usize) -> Result<Vec<u8>, InflateError> {
    decompress_to_vec_zlib_with_limit(body, max).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => InflateError::TooLarge(max),
        _ => InflateError::Invalid,
    })
}

/// Whether a handshake response is compressed: no flag says so, clients look at the first bytes (specification, 3.4).
pub(crate) fn looks_deflated(body: &[u8]) -> bool {
    body.len() > 2 && matches!(body[..2], [0x78, 0x01 | 0x5e | 0x9c | 0xda])
}
