//! The program: arguments in, exit code out. Everything else is in the library.

use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "the program's last words")]
fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = match runtime {
        Ok(runtime) => runtime.block_on(tidekeeper::cli::main(std::env::args_os())),
        Err(error) => Err(error.into()),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("tidekeeper: {error:#}");
        ExitCode::FAILURE
    })
}
