//! The command `cohab`, which without arguments runs `cohab demo`.

fn main() -> std::process::ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.len() < 2 {
        arguments.resize_with(1, || "cohab".into());
        arguments.push("demo".into());
    }
    cohab_cli::run(arguments)
}
