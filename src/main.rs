//! The whole pipeline in one program.
fn main() {}
