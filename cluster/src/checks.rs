//! What all checks of every order in which threads can meet have in common: `bash .ci/loom`.

/// How often a thread may be interrupted where it would not wait by itself.
const PREEMPTIONS: usize = 2;

pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.check(model);
}
