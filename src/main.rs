//! The program `ratebook`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ratebook::cli::main(std::env::args_os())
}
