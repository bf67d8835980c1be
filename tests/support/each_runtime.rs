//! Tests of the client that run on every runtime.

use std::{future::Future, pin::Pin, time::Duration};

use cereus_async_std::{Smol, async_std::AsyncStd};
use cereus_tokio::Tokio;
use cereus_transports::rt::{Connector, Runtime};

/// How long a test may take. Far more than any ever needs, also on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A runtime to run a test on.
pub(crate) trait Run: Runtime + Connector {
    fn run(test: impl FnOnce(Self) -> Pin<Box<dyn Future<Output = ()> + Send>>);
}

impl Run for Tokio {
    fn run(test: impl FnOnce(Self) -> Pin<Box<dyn Future<Output = ()> + Send>>) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let test = test(Self::new());
            tokio::time::timeout(PATIENCE, test).await.expect("it ends in time");
        });
    }
}

fn in_time(test: impl Future<Output = ()>) {
    let late = async {
        smol::Timer::after(PATIENCE).await;
        panic!("it does not end in time");
    };
    smol::block_on(smol::future::or(test, late));
}

impl Run for Smol {
    fn run(test: impl FnOnce(Self) -> Pin<Box<dyn Future<Output = ()> + Send>>) {
        in_time(test(Self::new()));
    }
}

impl Run for AsyncStd {
    fn run(test: impl FnOnce(Self) -> Pin<Box<dyn Future<Output = ()> + Send>>) {
        in_time(test(Self::new()));
    }
}

/// Makes a test for each runtime of functions that take one.
macro_rules! on_each_runtime {
    ($($test:ident)*) => {
        on_each_runtime!(@on on_tokio, cereus_tokio::Tokio: $($test)*);
        on_each_runtime!(@on on_smol, cereus_async_std::Smol: $($test)*);
        on_each_runtime!(@on on_async_std, cereus_async_std::async_std::AsyncStd: $($test)*);
    };
    (@on $name:ident, $runtime:ty: $($test:ident)*) => {
        mod $name {
            use crate::each_runtime::Run as _;

            $(#[test]
            fn $test() {
                <$runtime>::run(|runtime| Box::pin(super::$test(runtime)));
            })*
        }
    };
}

pub(crate) use on_each_runtime;
