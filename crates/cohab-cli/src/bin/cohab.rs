//! The command `cohab`.

fn main() -> std::process::ExitCode {
    cohab_cli::run(std::env::args_os())
}
