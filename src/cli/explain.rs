//! `mtnas explain`: what an error code means and what to do about it.

use clap::Args;

use super::Context;
use crate::error::{Code, Error, Result, nearest};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  mtnas explain MT0103\n  mtnas explain --json")]
pub(super) struct Arguments {
    /// The code, for example MT0103; all codes without it
    code: Option<String>,
}

pub(super) fn run(arguments: Arguments, context: &Context) -> Result<u8> {
    let codes = match arguments.code {
        None => Code::ALL.to_vec(),
        Some(text) => {
            let wanted = text.to_ascii_uppercase();
            let found = Code::ALL.iter().find(|c| c.id() == wanted);
            vec![*found.ok_or_else(|| {
                let e = Error::new(Code::Usage, format!("there is no error code {text:?}"));
                match nearest(&wanted, Code::ALL.iter().map(|c| c.id())) {
                    Some(n) => e.help(format!("a code with a similar name exists: {n}")),
                    None => e.help("`mtnas explain` lists all codes"),
                }
            })?]
        }
    };
    if context.json() {
        let row = |c: &Code| serde_json::json!({"code": c.id(), "exit": c.exit(), "meaning": c.meaning(), "advice": advice(*c)});
        let list: Vec<_> = codes.iter().map(row).collect();
        context.print_json(&list)?;
    } else if let [code] = codes[..] {
        context.print(&format!(
            "{}: {}\n\n{}\n\nThe process ends with status {}.\n",
            code.id(),
            code.meaning(),
            advice(code),
            code.exit()
        ))?;
    } else {
        let lines: String = codes
            .iter()
            .map(|c| format!("{}  {:>2}  {}\n", c.id(), c.exit(), c.meaning()))
            .collect();
        context.print(&lines)?;
    }
    Ok(0)
}

/// What usually leads here, and the way out.
fn advice(code: Code) -> &'static str {
    match code {
        Code::Usage => {
            "The words after `mtnas` are not a command, or an argument is missing or malformed.\n`mtnas COMMAND --help` shows the arguments with examples."
        }
        Code::CheckFailed => {
            "The program worked; what it looked at did not pass. The lines before say which case,\nfile or figure, and how to see it again."
        }
        Code::ConfigSyntax => {
            "The file is not TOML: an unclosed bracket or quote, a key given twice, text without\nquotes. The mark in the message stands where reading stopped."
        }
        Code::ConfigValue => {
            "A value has the wrong type, lies outside its range, or does not fit another key.\n`mtnas config explain KEY` tells what a key takes and why its default is what it is."
        }
        Code::UnknownKey => {
            "Keys are never ignored: a misspelt one would silently run with a default. The message\nnames the nearest key; `mtnas config explain` lists all."
        }
        Code::ConfigChanged => {
            "A resumed run must be the run that was started, or its results mean nothing. Take the\nchanges back, or start a new run with them."
        }
        Code::NetworkDoesNotFit => {
            "Every reduction halves a map, and some detection cells lose two pixels a side. The\nmessage names the cell whose map gets odd or vanishes: use a larger `input.size`, or fewer\n`model.det_levels`."
        }
        Code::BadImage => {
            "The file is truncated, of a kind that is not read (PNG and JPEG are), or not an image.\nGet it again, or leave it out with `on_corrupt = \"skip\"`."
        }
        Code::SizeMismatch => {
            "A label must have exactly the size of its image. One of the two was resized or belongs\nto another frame."
        }
        Code::BadLabelId => {
            "A pixel or record names a class that the map does not know. Perhaps the file holds\nother ids than `labels` says."
        }
        Code::BadBox => {
            "Coordinates are left, top, right, bottom in pixels, left < right and top < bottom, inside\nthe image."
        }
        Code::EmptyClass => {
            "Without an example a class can be neither learned nor judged. Take it out of `classes`,\nmerge it into another, or use another split."
        }
        Code::BadLine => {
            "A line of a text file does not have the fields its format asks for. The message gives\nfile, line and field."
        }
        Code::BadFormat => {
            "The content is not what name or header promise. Get the file again, or correct the\n`format` of the data set."
        }
        Code::TooLarge => {
            "Limits protect memory from damaged headers. A file that is really that large can be\nmade smaller without loss for training."
        }
        Code::BadGenotype => {
            "Genotype text is that of DARTS: `Genotype(normal=[('sep_conv_3x3', 1), ...], ...)`. The\nmessage gives line and column."
        }
        Code::BadCheckpoint => {
            "A checkpoint's checksum does not fit, or it belongs to another network. `mtnas resume`\nfalls back to the one before by itself; this error means that none was good."
        }
        Code::EmptyData => {
            "A folder or list exists but leads to no sample. Check the split's name and the suffixes\nof the files."
        }
        Code::NotFound => "A path does not exist. Relative paths start at the working directory.",
        Code::Shape | Code::DType | Code::Argument => {
            "A library call got operands that do not fit each other. From the command line this\nshould not happen: please report it with the configuration."
        }
        Code::Internal => {
            "A bug of mtnas. Please report the message with the configuration and the command."
        }
        Code::CannotCreate => {
            "The disk is full, the directory may not be written, or something else is in the way.\nThe previous checkpoint is intact: `mtnas resume RUN` goes on."
        }
        Code::Io => {
            "The operating system could not read or write. Look at the disk and the network mount."
        }
        Code::Busy => {
            "Two processes must not work on one run. The lock goes with its process: after a crash\nnothing has to be removed by hand."
        }
        Code::Interrupted => {
            "Ctrl-C or SIGTERM came; a checkpoint was written. `mtnas resume RUN` goes on and ends\nwith the same bits as an undisturbed run."
        }
        Code::Diverged => {
            "The loss became NaN or infinite and stayed so after going back to earlier checkpoints.\nLower `search.weights.lr` or `search.alpha.lr`, or look at the data with `mtnas data check`."
        }
        Code::Device => {
            "The device asked for is not there, or its driver is too old. `--device cpu` always works."
        }
        Code::OutOfMemory => {
            "Set `search.memory = \"small\"`, lower `search.batch`, `model.channels` or `input.size`, or\nraise `model.partial_k`. `mtnas plan CFG` tells what a step needs."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_fits_a_terminal() {
        for c in Code::ALL {
            assert!(
                advice(*c).lines().all(|l| l.chars().count() <= 96),
                "{}",
                c.id()
            );
        }
    }
}
