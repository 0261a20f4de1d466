//! The program: looks at the name it was called by and hands over to `cli`.

fn main() -> std::process::ExitCode {
    mailroot::cli::main()
}
