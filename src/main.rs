//! The `mtnas` command.

fn main() -> std::process::ExitCode {
    mtnas::cli::main(std::env::args_os()).into()
}
