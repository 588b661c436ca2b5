//! The command line. One file a command; a new one is that file and a row in the table of commands below.
//!
//! A command gets its arguments and a [`Context`] and returns the exit status, or an error that carries its own. Results go to the
//! standard output (as JSON with `--json`), everything else to the standard error.

use std::ffi::OsString;
use std::io::{IsTerminal, Write};

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum};

use crate::backend::Device;
use crate::error::{Code, Error, Result};
use crate::search::config::Override;
use crate::search::progress::Show;
use crate::tape::{Cx, Path};

mod arch;
mod bench;
mod config;
mod data;
mod demo;
mod doctor;
mod eval;
mod explain;
mod export;
mod gradcheck;
mod plan;
mod predict;
mod report;
mod resume;
mod running;
mod search;
mod step;
mod train;

macro_rules! commands {
    ($($(#[doc = $doc:literal])* $name:ident: $module:ident;)*) => {
        #[derive(Debug, Subcommand)]
        enum Command { $($(#[doc = $doc])* $name($module::Arguments),)* }

        impl Command {
            fn run(self, context: &Context) -> Result<u8> {
                match self { $(Command::$name(arguments) => $module::run(arguments, context),)* }
            }
        }
    };
}

commands! {
    /// Show, count, check, convert and draw architectures
    Arch: arch;
    /// Time a search step, operations, the loader, or the kernels of a device
    Bench: bench;
    /// Show, check, compare and explain configurations
    Config: config;
    /// Make, check, count and show data sets
    Data: data;
    /// Search on a made-up driving data set: the main job with nothing at hand
    Demo: demo;
    /// Say what this program finds on this machine, and what is missing
    Doctor: doctor;
    /// Measure a finished run's network on its held-out data
    Eval: eval;
    /// Explain an error code
    Explain: explain;
    /// Write a network, its weights or its cells for other programs
    Export: export;
    /// Check the gradient of every operation
    Gradcheck: gradcheck;
    /// Say what memory and time the stages of a configuration will need
    Plan: plan;
    /// Draw a finished run's predictions on pictures
    Predict: predict;
    /// Write one offline page about a run
    Report: report;
    /// Go on with a run that was interrupted
    Resume: resume;
    /// Search a network as a configuration says
    Search: search;
    /// Take one step and write down everything about it, for audits
    Step: step;
    /// Train a given architecture, without a search
    Train: train;
}

/// Searches joint detection and segmentation networks.
#[derive(Debug, Parser)]
#[command(
    name = "mtnas",
    version,
    max_term_width = 80,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(after_help = STATUSES)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const STATUSES: &str = "\
Exit status: 0 done, 1 a check failed, 2 usage, 65 bad data, 66 not found,
69 device, 71 memory, 73 cannot write, 74 I/O, 75 interrupted,
78 configuration, 79 diverged.
`mtnas COMMAND --help` shows examples; `mtnas explain CODE` says more.";

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// Say only what is asked for, and errors
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Say more
    #[arg(short, long, global = true, conflicts_with = "quiet")]
    verbose: bool,
    /// Colours in messages
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    color: Colour,
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Threads of the processor; 0: one for each core
    #[arg(long, global = true, value_name = "N")]
    threads: Option<u16>,
    /// Where operations run: auto, cpu, cuda, cuda:1, emulated
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<Device>,
    /// Wait for every launch on a GPU: a fault names the kernel that did it
    #[arg(long, global = true)]
    sync_launches: bool,
    /// Seed of everything random
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Set a key of the configuration, as in -s search.batch=16
    #[arg(short = 's', long = "set", global = true, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What a command knows beside its own arguments.
#[derive(Debug)]
pub struct Context {
    global: Global,
}

impl Context {
    /// Results are wanted as JSON.
    pub fn json(&self) -> bool {
        self.global.json
    }

    /// More than usual is wanted on the standard error.
    pub fn verbose(&self) -> bool {
        self.global.verbose
    }

    /// Nothing but results and errors is wanted.
    pub fn quiet(&self) -> bool {
        self.global.quiet
    }

    /// How progress is shown.
    pub fn show(&self) -> Show {
        if self.global.quiet {
            Show::Quiet
        } else {
            Show::Auto
        }
    }

    /// `--threads`, if it was given.
    pub fn threads(&self) -> Option<usize> {
        self.global.threads.map(usize::from)
    }

    /// `--seed`, if it was given.
    pub fn seed(&self) -> Option<u64> {
        self.global.seed
    }

    /// The device of commands without a configuration; `fallback` when none was given.
    pub fn device(&self, fallback: Device) -> Device {
        self.global.device.unwrap_or(fallback)
    }

    /// How operations run there.
    ///
    /// # Errors
    /// `Device` when it is not there.
    pub fn cx(&self, fallback: Device) -> Result<Cx> {
        let engine = self.device(fallback).open(self.global.sync_launches)?;
        Ok(Cx {
            path: engine.map_or(Path::Fast, Path::Device),
            ..Cx::default()
        })
    }

    /// What `-s` and the flags put on top of a configuration file, in order.
    ///
    /// # Errors
    /// `Usage` for an override that is not `key=value`.
    pub fn overrides(&self) -> Result<Vec<Override>> {
        let mut list: Vec<Override> = self
            .global
            .set
            .iter()
            .map(|s| Override::parse(s))
            .collect::<Result<_>>()?;
        if let Some(n) = self.seed() {
            list.push(Override::flag("run.seed", n as i64, format!("--seed {n}")));
        }
        if let Some(n) = self.threads() {
            list.push(Override::flag(
                "run.threads",
                n as i64,
                format!("--threads {n}"),
            ));
        }
        if let Some(d) = self.global.device {
            list.push(Override::flag(
                "run.device",
                d.to_string(),
                format!("--device {d}"),
            ));
        }
        if self.global.sync_launches {
            list.push(Override::flag("run.sync_launches", true, "--sync-launches"));
        }
        Ok(list)
    }

    /// Writes a result to the standard output. A reader that has gone away (`| head`) is no error.
    ///
    /// # Errors
    /// `Io`, `CannotCreate`.
    pub fn print(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
                Err(Error::io("(standard output)", e))
            }
            _ => Ok(()),
        }
    }

    /// Writes a result as indented JSON to the standard output.
    ///
    /// # Errors
    /// As [`Context::print`].
    pub fn print_json(&self, value: &impl serde::Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        self.print(&(text + "\n"))
    }
}

/// Runs a command line (with the program's name in front) and gives the exit status.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) if !e.use_stderr() => {
            let _ = e.print();
            return 0;
        }
        Err(e) => {
            let text = e.render().to_string();
            let code = Code::Usage;
            eprint!(
                "{}",
                text.replacen("error:", &format!("error[{}]:", code.id()), 1)
            );
            return code.exit();
        }
    };
    let colour = cli.global.color;
    let context = Context { global: cli.global };
    match cli.command.run(&context) {
        Ok(status) => status,
        Err(e) => {
            eprint!("{}", coloured(&e.render(), colour));
            e.code().exit()
        }
    }
}

/// The first words of a message in red, if the standard error shows colours.
fn coloured(text: &str, when: Colour) -> String {
    let wanted = match when {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    };
    match text.split_once(": ") {
        Some((head, rest)) if wanted => format!("\x1b[1;31m{head}\x1b[0m: {rest}"),
        _ => text.to_string(),
    }
}

/// The clap definition, for tests and generated pages.
pub fn definition() -> clap::Command {
    use clap::CommandFactory;
    Cli::command().color(ColorChoice::Never)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `f` with the path and definition of every command, from the outside in.
    fn walk(c: &clap::Command, path: &str, f: &mut impl FnMut(&str, &clap::Command)) {
        for sub in c.get_subcommands().filter(|s| s.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            f(&path, sub);
            walk(sub, &path, f);
        }
    }

    #[test]
    fn the_definition_is_consistent_and_every_command_shows_two_examples() {
        definition().debug_assert();
        walk(&definition(), "mtnas", &mut |path, c| {
            if c.has_subcommands() {
                return;
            }
            let help = c.clone().render_long_help().to_string();
            let examples = help.matches(&format!("  {path}")).count();
            assert!(
                help.contains("Examples:") && examples >= 2,
                "{path}: {examples} examples\n{help}"
            );
            let wide = help.lines().find(|l| l.chars().count() > 80);
            assert!(wide.is_none(), "{path}: wider than 80 columns: {wide:?}");
            assert!(c.get_about().is_some(), "{path} says nothing about itself");
        });
    }

    #[test]
    fn odd_command_lines_do_no_harm() {
        let words = [
            "mtnas",
            "config",
            "show",
            "check",
            "explain",
            "-s",
            "a=b",
            "--seed",
            "-1",
            "99999999999999999999",
            "--json",
            "-q",
            "-v",
            "",
            "MT0103",
            "é",
            "--",
            "--threads",
            "x",
            "--color",
            "never",
        ];
        for case in 0..2000 {
            let mut rng = crate::rng::Rng::new(8, &[case]);
            let line: Vec<OsString> = (0..rng.below(7))
                .map(|_| words[rng.below(words.len())].into())
                .collect();
            let _ = Cli::try_parse_from([OsString::from("mtnas")].into_iter().chain(line));
        }
    }

    #[test]
    fn flags_come_after_overrides() {
        let cli = Cli::try_parse_from([
            "mtnas",
            "explain",
            "MT0001",
            "-s",
            "run.seed=3",
            "--seed",
            "4",
        ])
        .unwrap();
        let list = Context { global: cli.global }.overrides().unwrap();
        assert_eq!(list.len(), 2);
        assert_eq!(list[1].label, "--seed 4");
        let config = crate::search::config::Config::from_toml_with(
            include_str!("../../configs/demo.toml"),
            "demo.toml",
            &list,
        );
        assert_eq!(config.unwrap().run.seed, 4);
    }
}
