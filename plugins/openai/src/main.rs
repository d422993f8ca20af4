fn main() {
    openai::plugin().serve()
}
