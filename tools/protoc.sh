#!/bin/sh
# protoc for the build script of etcd-client, made from crates alone. `.cargo/config.toml` names it in PROTOC, unless
# that is set. Cargo does the rest: it builds at the first call, lets a second caller wait for its lock, and rebuilds
# what changed. A protoc on PATH is not looked for: without its own `.proto` files, as Debian packages it, it fails.
#
# Windows cannot run this: install protoc with its `include` folder, and set PROTOC to the path of protoc.exe.
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit
target=$here/../target/protoc-shim

# What the build around this one sets for itself: its target, its flags, clippy in place of rustc, its job server.
unset CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTFLAGS \
    RUSTC_WRAPPER RUSTC_WORKSPACE_WRAPPER CARGO_BUILD_RUSTC_WRAPPER CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER \
    CARGO_MAKEFLAGS MAKEFLAGS MFLAGS
# In a folder that it shared with the build around it, it would wait for its own caller.
export CARGO_TARGET_DIR="$target" CARGO_BUILD_BUILD_DIR="$target"

exec "${CARGO:-cargo}" run --quiet --locked --manifest-path "$here/protoc-shim/Cargo.toml" -- "$@"
