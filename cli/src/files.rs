//! How many files, connections among them, a process may have open.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a process has open beside its connections.
const OTHERS: u64 = 64;

/// Lets the process have so many connections, if the system does. The text says why it may not.
pub(crate) fn allow_connections(count: u64) -> Option<String> {
    let wanted = count.saturating_add(OTHERS);
    let (now, most) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    if now >= wanted {
        return None;
    }
    if most >= wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, most).is_ok() {
        return None;
    }
    let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    Some(format!(
        "this process may have {most} files open, too few for {count} connections: raise the limit first, see `ulimit -Hn`"
    ))
}
