//! `nc`: compiles and runs spiking and recurrent models.
//!
//! The rest of the house does no IO; this crate reads files and arguments, calls the passes, and writes what they say.
//! [`args`] is the command line, [`driver`] goes from a file to a model, [`machine`] from a model to something that runs,
//! and each command has a room of its own.

mod args;
mod bench;
mod cache;
mod check;
mod chip;
mod codes;
mod compile;
mod convert;
mod decisions;
mod driver;
mod explain;
mod format;
mod gpu;
mod machine;
mod plot;
mod profile;
mod render;
mod run;
mod targets;
mod test;
mod wishes;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use nc_ir::Diagnostic;
use render::Reporter;
use std::io::Write;
use std::process::ExitCode;

/// Stack of the thread that does the work: passes recurse to bounded depths, which fit with room to spare.
const STACK: usize = 256 << 20;

/// Why a command ends early.
#[derive(Debug)]
pub enum Stop {
    /// Something is wrong, and is still to be said.
    Because(Vec<Diagnostic>),
    /// Something is wrong and was said.
    Said,
    /// The reader of standard output went away, which is no fault.
    Unread,
}

impl From<Diagnostic> for Stop {
    fn from(d: Diagnostic) -> Stop {
        Stop::Because(vec![d])
    }
}

impl From<Vec<Diagnostic>> for Stop {
    fn from(d: Vec<Diagnostic>) -> Stop {
        Stop::Because(d)
    }
}

/// What is wrong, for functions that do not stop the command themselves.
#[derive(Debug)]
pub struct Errors(pub Vec<Diagnostic>);

impl From<Diagnostic> for Errors {
    fn from(d: Diagnostic) -> Errors {
        Errors(vec![d])
    }
}

impl From<Vec<Diagnostic>> for Errors {
    fn from(d: Vec<Diagnostic>) -> Errors {
        Errors(d)
    }
}

impl From<Errors> for Stop {
    fn from(e: Errors) -> Stop {
        Stop::Because(e.0)
    }
}

/// The result of a command.
pub type Outcome<T = ()> = Result<T, Stop>;

/// Writes to standard output.
///
/// # Errors
/// [`Stop::Unread`] if nobody reads it any more, E0630 and E0631 for other failures.
pub fn print(text: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| match e.kind() {
        std::io::ErrorKind::BrokenPipe => Stop::Unread,
        std::io::ErrorKind::StorageFull => {
            Diagnostic::error_nowhere("E0631", format!("standard output: the disk is full: {e}")).into()
        }
        _ => Diagnostic::error_nowhere("E0630", format!("standard output cannot be written: {e}")).into(),
    })
}

fn main() -> ExitCode {
    report_panics();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version go to standard output and are no error. A closed pipe has no reader to tell.
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    let worker = std::thread::Builder::new().name("nc".to_owned()).stack_size(STACK).spawn(move || work(cli));
    match worker.map(std::thread::JoinHandle::join) {
        Ok(Ok(code)) => ExitCode::from(code),
        // A panic has ended the process in its hook.
        Ok(Err(_)) => ExitCode::from(70),
        Err(e) => {
            eprintln!("error[E0652]: the main thread cannot be started: {e}");
            ExitCode::from(1)
        }
    }
}

/// A panic is a fault of nc: say so, leave nothing half-written, and end.
fn report_panics() {
    std::panic::set_hook(Box::new(|info| {
        // What the reader of HDF5 makes of a damaged file is caught, and reported as the file's fault.
        if nc_nir::is_reading() {
            return;
        }
        let _stopped = nc_runtime::atomic::remove_pending();
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        eprintln!(
            "internal error: {message}\n  at {place}\n  in nc {} on {} {}\n\nThis is a fault of nc, not of your model. \
             Please report it at\n  {}/issues\nwith this message, the command, and the model if you can share it.",
            env!("CARGO_PKG_VERSION"),
            std::env::consts::OS,
            std::env::consts::ARCH,
            env!("CARGO_PKG_REPOSITORY"),
        );
        std::process::exit(70);
    }));
}

/// Ends the process on Ctrl-C without leaving half-written files.
fn handle_interrupts() -> Outcome {
    ctrlc::set_handler(|| {
        let _stopped = nc_runtime::atomic::remove_pending();
        eprintln!("\ninterrupted: no output was written");
        std::process::exit(130);
    })
    .map_err(|e| Diagnostic::error_nowhere("E0803", format!("Ctrl-C cannot be handled: {e}")).into())
}

fn work(cli: Cli) -> u8 {
    let mut reporter = Reporter::new(cli.message_format);
    let done = handle_interrupts().and_then(|()| match cli.command {
        Command::Check(a) => check::check(&a, &mut reporter),
        Command::Fmt(a) => format::format(&a, &mut reporter),
        Command::Run(a) => run::run(&a, &mut reporter),
        Command::Compile(a) => compile::compile(&a, &mut reporter),
        Command::Profile(a) => profile::profile(&a, &mut reporter),
        Command::Bench(a) => bench::bench(&a, &mut reporter),
        Command::Convert(a) => convert::convert(&a, &mut reporter),
        Command::Test(a) => test::test(&a, &mut reporter),
        Command::View(a) => chip::view(&a),
        Command::Targets => print(&targets::describe()),
        Command::Explain(a) => explain::explain(&a, &mut reporter),
        Command::Man => man(),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "nc", &mut out);
            print(&String::from_utf8_lossy(&out))
        }
        Command::InternalPanic => panic!("asked for by internal-panic"),
    });
    match done {
        Ok(()) | Err(Stop::Unread) => 0,
        Err(Stop::Said) => 1,
        Err(Stop::Because(list)) => {
            for d in &list {
                reporter.report(d);
            }
            reporter.summary();
            exit_code(&list)
        }
    }
}

/// Codes that report a fault of nc itself, whatever the model.
const FAULTS: [&str; 3] = ["E0653", "E0654", "E0799"];

/// 70 if nc is at fault, else 1.
fn exit_code(list: &[Diagnostic]) -> u8 {
    if list.iter().any(|d| FAULTS.contains(&d.code)) { 70 } else { 1 }
}

/// The manual: a page for nc and one section for each command.
fn man() -> Outcome {
    let mut command = Cli::command();
    command.build();
    let failed = |e: std::io::Error| Diagnostic::error_nowhere("E0630", format!("the manual cannot be written: {e}"));
    let mut out = Vec::new();
    clap_mangen::Man::new(command.clone()).render(&mut out).map_err(failed)?;
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set() && c.get_name() != "help") {
        let name = format!("nc {}", sub.get_name());
        let page = clap_mangen::Man::new(sub.clone());
        out.extend(format!(".SH \"{}\"\n", name.to_uppercase()).bytes());
        page.render_description_section(&mut out).map_err(failed)?;
        page.render_synopsis_section(&mut out).map_err(failed)?;
        page.render_options_section(&mut out).map_err(failed)?;
    }
    print(&String::from_utf8_lossy(&out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_compiler_are_told_from_those_of_a_model() {
        let coded = |code| vec![Diagnostic::error_nowhere(code, "said")];
        assert_eq!(exit_code(&coded("E0799")), 70);
        assert_eq!(exit_code(&coded("E0203")), 1);
        assert!(FAULTS.iter().all(|code| explain::pages().iter().any(|p| p.0 == *code)));
    }
}
