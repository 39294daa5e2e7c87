//! The command `cohab`, which without a command of its own runs `cohab demo`.

fn main() -> std::process::ExitCode {
    cohab_cli::run_or_demo(std::env::args_os())
}
