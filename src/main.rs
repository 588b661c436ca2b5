//! The `mtnas` command.
fn main() {}
