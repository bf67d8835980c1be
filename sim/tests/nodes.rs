//! Nodes of a cluster in virtual time: each test is one sentence of what a node promises, whatever bus and registry do.

mod nodes {
    mod calls;
    mod chance;
    mod records;
    mod support;
    mod tables;
}
