//! The binary `chatelaine`.

use std::process::ExitCode;

use chatelaine_server::cli::{Cli, Terminal, run, start_log};
use chatelaine_server::platform;
use clap::Parser;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody is left to be told when even this cannot be printed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    // Every command may hold a key: before anything is read.
    let unprotected = platform::protect();
    let mut builder = if cli.is_server() {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        start_log(&cli);
        tokio::runtime::Builder::new_current_thread()
    };
    let mut terminal = Terminal::of_process(&cli);
    for problem in unprotected {
        terminal.warn(&problem);
    }
    match builder.enable_all().build() {
        Ok(runtime) => ExitCode::from(runtime.block_on(run(cli, &mut terminal))),
        Err(_) => ExitCode::FAILURE,
    }
}
