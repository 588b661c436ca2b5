//! What a network made by hand costs, by name.

use super::super::Context;
use super::cost::Arguments;
use super::counted::Named;
use crate::error::{Code, Error, Result};
use crate::model::preset::{HAND, Preset};

/// The name of a network made by hand, in any case of letters.
pub(super) fn named(what: &str) -> Option<&'static str> {
    let mut names = HAND.iter().map(|row| row.0);
    names.find(|name| name.eq_ignore_ascii_case(what))
}

/// The network of this name as it is published, or for another input or other classes.
///
/// # Errors
/// `Usage` for flags of cells; `NetworkDoesNotFit`.
pub(super) fn cost(name: &str, a: &Arguments, context: &Context) -> Result<Named> {
    let usage = |what: &str, help: &str| Err(Error::new(Code::Usage, what).help(help));
    let cells = a.channels.is_some() || a.cells.is_some() || a.partial_k.is_some();
    if a.network.is_some() || a.branches.is_some() || cells {
        return usage(
            &format!("{name} is made by hand: it has no cells and one width"),
            "--input and --classes change it",
        );
    }
    if !context.overrides()?.is_empty() {
        return usage(
            "-s sets keys of a configuration, and there is none",
            "use --input and --classes",
        );
    }
    let mut preset = Preset::hand(name).ok_or_else(|| {
        Error::new(
            Code::NotFound,
            format!("there is no network {name:?} made by hand"),
        )
    })?;
    preset.size = a.input.unwrap_or(preset.size);
    let number = |n: u32| n as usize;
    match (a.classes.as_slice(), &mut preset.classes, &mut preset.dense) {
        ([], _, _) => {}
        (&[n], Some(classes), _) => *classes = number(n),
        (&[n], None, Some([det, 0])) => *det = number(n),
        (&[n], None, Some([0, seg])) => *seg = number(n),
        (&[n, m], None, Some([det, seg])) if *det > 0 && *seg > 0 => {
            (*det, *seg) = (number(n), number(m));
        }
        _ => {
            return usage(
                "--classes: one number for each head of the network",
                "for example --classes 10, or --classes 3,16 for mtl-resnet18",
            );
        }
    }
    preset.frame.check_size(preset.size)?;
    Named::new(name, None, &preset.supernet())
}
