//! The plugin as a program.

fn main() {
    retrieval::plugin().serve()
}
