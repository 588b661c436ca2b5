//! One `Error`, one `Result`. An error says what was wrong, where (file, line, pixel, tensor), and how to mend it.
//!
//! Every error has a stable code (`MT0103`) and a process exit status; the table below is the only list of them.

use std::fmt;

/// `Result` of the whole crate.
pub type Result<T> = std::result::Result<T, Error>;

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $exit:literal;)*) => {
        /// What kind of thing went wrong. The number of a code never changes and is never used again.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[doc = $doc])* $name,)* }

        impl Code {
            /// All codes, in numeric order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];
            /// The stable name, for example `MT0103`.
            pub fn id(self) -> &'static str { match self { $(Code::$name => $code,)* } }
            /// Exit status of a process that ends with this error.
            pub fn exit(self) -> u8 { match self { $(Code::$name => $exit,)* } }
            /// One sentence on when this happens.
            pub fn meaning(self) -> &'static str { match self { $(Code::$name => concat!($($doc,)*).trim_ascii(),)* } }
        }
    };
}

codes! {
    /// A command line that cannot be understood.
    Usage = "MT0001", 2;
    /// A check ran and failed: gradient check, data check, `--fail-under`.
    CheckFailed = "MT0002", 1;
    /// A configuration file that is not TOML.
    ConfigSyntax = "MT0101", 78;
    /// A configuration value of the wrong type or outside its range.
    ConfigValue = "MT0102", 78;
    /// A configuration key that does not exist.
    UnknownKey = "MT0103", 78;
    /// A resume whose configuration differs from the run's.
    ConfigChanged = "MT0104", 78;
    /// A network that cannot be built at this input size or width.
    NetworkDoesNotFit = "MT0105", 78;
    /// An image that cannot be decoded.
    BadImage = "MT0201", 65;
    /// An image and its label of different sizes.
    SizeMismatch = "MT0202", 65;
    /// A label id outside the class map.
    BadLabelId = "MT0203", 65;
    /// A box that is inverted, empty, not finite or outside its image.
    BadBox = "MT0204", 65;
    /// A class without a single example.
    EmptyClass = "MT0205", 65;
    /// A line of a label or list file that does not have the expected fields.
    BadLine = "MT0206", 65;
    /// A file whose format is not what its name or header says.
    BadFormat = "MT0207", 65;
    /// A file larger than the limits that protect memory.
    TooLarge = "MT0208", 65;
    /// Genotype text that does not parse.
    BadGenotype = "MT0209", 65;
    /// A checkpoint that is damaged or of another network.
    BadCheckpoint = "MT0210", 65;
    /// A data set, or a split of it, with nothing in it.
    EmptyData = "MT0211", 65;
    /// A file or directory that does not exist.
    NotFound = "MT0301", 66;
    /// Tensors whose shapes do not fit the operation.
    Shape = "MT0401", 70;
    /// Tensors of a dtype that the operation does not take.
    DType = "MT0402", 70;
    /// An argument outside its range.
    Argument = "MT0403", 70;
    /// A bug of mtnas itself.
    Internal = "MT0499", 70;
    /// An output that cannot be created, a full disk included.
    CannotCreate = "MT0501", 73;
    /// A read or write that failed.
    Io = "MT0502", 74;
    /// A run directory in use by another process.
    Busy = "MT0503", 73;
    /// Interrupted on request; a checkpoint was saved.
    Interrupted = "MT0601", 75;
    /// The loss is not finite, also after going back to earlier checkpoints.
    Diverged = "MT0602", 79;
    /// A device that is not there or cannot be used.
    Device = "MT0701", 69;
    /// Memory is exhausted.
    OutOfMemory = "MT0702", 71;
}

/// An error with its code, place and remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.one_line())]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    code: Code,
    message: String,
    place: Option<String>,
    snippet: Option<String>,
    notes: Vec<String>,
    help: Option<String>,
}

impl Error {
    /// A new error; `message` is lower case and without a final stop.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Inner {
            code,
            message: printable(message.into(), &[]),
            place: None,
            snippet: None,
            notes: vec![],
            help: None,
        }))
    }

    /// Where: a path, `path:line`, `path:line:column`, `path, pixel (x, y)`, a tensor or op name. The first place given stays.
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0
            .place
            .get_or_insert_with(|| printable(place.to_string(), &[]));
        self
    }

    /// The place lies inside `file`: its name goes in front.
    pub fn within(mut self, file: impl fmt::Display) -> Self {
        self.0.place = Some(match self.0.place.take() {
            Some(p) => printable(format!("{file}, {p}"), &[]),
            None => printable(file.to_string(), &[]),
        });
        self
    }

    /// Source lines with a marker, shown below the place.
    pub fn snippet(mut self, text: impl Into<String>) -> Self {
        self.0.snippet = Some(printable(text.into(), &['\n', '\t']));
        self
    }

    /// A further fact.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.0.notes.push(printable(note.into(), &['\n']));
        self
    }

    /// How to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(printable(help.into(), &['\n']));
        self
    }

    /// An I/O error on `path`: not found, full disk and other failures get their own codes.
    pub fn io(path: impl AsRef<std::path::Path>, e: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let path = path.as_ref().display();
        match e.kind() {
            K::NotFound => {
                Error::new(Code::NotFound, format!("no such file or directory: {path}")).at(path)
            }
            K::StorageFull | K::QuotaExceeded => {
                Error::new(Code::CannotCreate, "no space left on the disk")
                    .at(path)
                    .help("free some space and run the command again")
            }
            K::PermissionDenied | K::ReadOnlyFilesystem => {
                Error::new(Code::CannotCreate, format!("not allowed: {e}")).at(path)
            }
            _ => Error::new(Code::Io, e.to_string()).at(path),
        }
    }

    /// What was noted beside the message.
    pub fn notes(&self) -> &[String] {
        &self.0.notes
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The message without code and place.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The place, if one was given.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }

    /// How to mend it, if that was given.
    pub fn remedy(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    fn one_line(&self) -> String {
        let mut s = String::new();
        if let Some(p) = &self.0.place {
            s.push_str(p);
            s.push_str(": ");
        }
        s.push_str(&self.0.message);
        if let Some(h) = &self.0.help {
            s.push_str("; ");
            s.push_str(h);
        }
        s
    }

    /// The full, several-line form for a terminal.
    pub fn render(&self) -> String {
        let i = &self.0;
        let mut s = format!("error[{}]: {}\n", i.code.id(), i.message);
        if let Some(p) = &i.place {
            s.push_str(&format!("  --> {p}\n"));
        }
        if let Some(t) = &i.snippet {
            s.push_str(t);
            if !t.ends_with('\n') {
                s.push('\n');
            }
        }
        for n in &i.notes {
            s.push_str(&format!("   = note: {n}\n"));
        }
        if let Some(h) = &i.help {
            s.push_str(&format!("   = help: {h}\n"));
        }
        s
    }
}

/// Control characters but the `kept` ones as escapes (`\n`, `\u{1b}`): a name out of a damaged file breaks no line and moves no cursor.
fn printable(text: String, kept: &[char]) -> String {
    let bad = |c: char| c.is_control() && !kept.contains(&c);
    if !text.contains(bad) {
        return text;
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match bad(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// The name in `known` nearest to `name`, if one is near enough to be a slip of the pen.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (score, best) = known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score >= 0.75).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ordered() {
        let ids: Vec<_> = Code::ALL.iter().map(|c| c.id()).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(ids.len(), sorted.len());
        assert!(Code::ALL.iter().all(|c| !c.meaning().is_empty()));
    }

    #[test]
    fn control_characters_are_shown_as_escapes() {
        let name = "a\nb\u{1b}[2J";
        let e = Error::new(Code::BadLine, format!("no class {name}"))
            .at(name)
            .within("d\rir")
            .snippet(format!("1 | \t{name}"))
            .note(name)
            .help(name);
        assert_eq!(e.message(), r"no class a\nb\u{1b}[2J");
        assert_eq!(e.place(), Some(r"d\rir, a\nb\u{1b}[2J"));
        assert_eq!(
            e.render(),
            "error[MT0206]: no class a\\nb\\u{1b}[2J\n  --> d\\rir, a\\nb\\u{1b}[2J\n1 | \ta\nb\\u{1b}[2J\n   = note: a\nb\\u{1b}[2J\n   \
             = help: a\nb\\u{1b}[2J\n"
        );
    }

    #[test]
    fn nearest_name() {
        assert_eq!(
            nearest("learnig_rate", ["batch", "learning_rate"]),
            Some("learning_rate")
        );
        assert_eq!(nearest("zzz", ["batch", "lr"]), None);
    }
}
