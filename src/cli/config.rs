//! `mtnas config`: show, check, diff, explain.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Context;
use crate::error::Result;
use crate::search::config::{Config, explain};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a configuration with every default filled in
    #[command(
        after_help = "Examples:\n  mtnas config show configs/demo.toml\n  mtnas config show configs/demo.toml -s search.batch=4 --json"
    )]
    Show {
        /// Configuration file
        file: PathBuf,
    },
    /// Read configurations and say what is wrong with them
    #[command(
        after_help = "Examples:\n  mtnas config check my.toml\n  mtnas config check configs/*.toml"
    )]
    Check {
        /// Configuration files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// List the keys whose values differ; exit status 1 if there are any
    #[command(
        after_help = "Examples:\n  mtnas config diff configs/demo.toml my.toml\n  mtnas config diff runs/a/run.toml runs/b/run.toml"
    )]
    Diff {
        /// The first configuration file
        old: PathBuf,
        /// The second
        new: PathBuf,
    },
    /// Explain a key, a table, or all of them
    #[command(
        after_help = "Examples:\n  mtnas config explain search.stop\n  mtnas config explain data.kitti.augment"
    )]
    Explain {
        /// Dotted key; all keys without it
        key: Option<String>,
        /// The whole reference as a Markdown page
        #[arg(long, conflicts_with = "key")]
        markdown: bool,
    },
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    match arguments.action {
        Action::Show { file } => {
            let config = Config::load(file, &context.overrides()?)?;
            match context.json() {
                true => context.print_json(&config)?,
                false => context.print(&config.to_toml())?,
            }
        }
        Action::Check { files } => {
            for file in files {
                let config = Config::load(&file, &context.overrides()?)?;
                let tasks: Vec<&str> = config.tasks.keys().map(String::as_str).collect();
                let (method, frame) = (config.search.method, config.model.frame);
                let text = format!(
                    "{}: good ({method}, frame {frame}, tasks {})\n",
                    file.display(),
                    tasks.join(" and ")
                );
                context.print(&text)?;
            }
        }
        Action::Diff { old, new } => {
            let overrides = context.overrides()?;
            let changes = Config::load(old, &[])?.changes(&Config::load(new, &overrides)?);
            if context.json() {
                let list: Vec<_> = changes
                    .iter()
                    .map(|c| serde_json::json!({"key": c.key, "old": c.old, "new": c.new}))
                    .collect();
                context.print_json(&list)?;
            } else {
                let lines: String = changes.iter().map(|c| format!("{c}\n")).collect();
                context.print(&lines)?;
            }
            return Ok(u8::from(!changes.is_empty()));
        }
        Action::Explain { markdown: true, .. } => context.print(&explain::markdown())?,
        Action::Explain { key, .. } => {
            let rows = match key {
                Some(key) => explain::lookup(&key)?,
                None => explain::rows(),
            };
            if context.json() {
                let list: Vec<_> = rows
                    .iter()
                    .map(|r| serde_json::json!({"key": r.path, "type": r.kind, "default": r.default, "meaning": r.doc}))
                    .collect();
                context.print_json(&list)?;
            } else {
                let text: Vec<String> = rows.iter().map(paragraph).collect();
                context.print(&text.join("\n"))?;
            }
        }
    }
    Ok(0)
}

fn paragraph(row: &explain::Row) -> String {
    if row.default.is_empty() {
        return format!("[{}]\n    {}\n", row.path, wrapped(&row.doc));
    }
    let mut text = format!(
        "{} = {}\n    {}\n",
        row.path,
        row.default,
        wrapped(&row.doc)
    );
    for (choice, meaning) in &row.choices {
        text += &format!("    \"{choice}\": {}\n", wrapped(meaning));
    }
    if row.choices.is_empty() {
        text += &format!("    ({})\n", row.kind.replace('`', ""));
    }
    text
}

/// Lines of at most 76 columns, indented by four.
fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("starts with one line");
        if !last.is_empty() && last.chars().count() + word.chars().count() >= 76 {
            lines.push(word.to_string());
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines.join("\n    ")
}
