//! What a search shows while it runs: a bar on a terminal, plain lines elsewhere, nothing with `--quiet`.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar if the standard error is a terminal, plain lines otherwise.
    Auto,
    /// Plain lines.
    Plain,
    /// Nothing but warnings.
    Quiet,
}

/// Figures of the last steps of a stage.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures {
    /// Steps done in the stage.
    pub step: u64,
    /// Mean training loss.
    pub loss: f64,
    /// Its terms by name: `cls`, `loc`.
    pub parts: Vec<(String, f64)>,
    /// Mean loss of the architecture steps.
    pub arch_loss: Option<f64>,
    /// Mean entropy of the softmax over primitives, in nats.
    pub entropy: Option<f64>,
    /// What the searched operations are expected to cost over what they cost all equal.
    pub cost_share: Option<f64>,
    /// Skip connections among the chosen operations of the derived cell, and all of them.
    pub skips: Option<(usize, usize)>,
    /// Images since the figures before.
    pub images: u64,
}

/// Shows one stage after the other.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    stage: String,
    steps: u64,
    started: Instant,
    first: u64,
    last: Instant,
}

impl Progress {
    /// Nothing is shown before the first [`stage`](Progress::stage).
    pub fn new(show: Show) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (show == Show::Auto && terminal).then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:24}] {pos}/{len} {wide_msg}");
            let bar = ProgressBar::new(0).with_style(
                style
                    .unwrap_or_else(|_| ProgressStyle::default_bar())
                    .progress_chars("##."),
            );
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr_with_hz(5));
            bar
        });
        let now = Instant::now();
        Progress {
            bar,
            quiet: show == Show::Quiet,
            stage: String::new(),
            steps: 0,
            started: now,
            first: 0,
            last: now,
        }
    }

    /// Begins a stage (`branch:det`) of `steps` steps, of which `done` lie before a resume.
    pub fn stage(&mut self, name: &str, steps: u64, done: u64) {
        let now = Instant::now();
        (self.stage, self.steps, self.first, self.started, self.last) =
            (name.into(), steps, done, now, now);
        if let Some(bar) = &self.bar {
            bar.reset();
            bar.set_length(steps);
            bar.set_position(done);
            bar.set_prefix(name.to_string());
            bar.set_message("");
        }
    }

    /// Moves the bar; cheap enough for every step.
    pub fn tick(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// Shows figures, once for each line of the log.
    pub fn figures(&mut self, f: &Figures) {
        let now = Instant::now();
        let rate = f.images as f64 / now.duration_since(self.last).as_secs_f64().max(1e-9);
        self.last = now;
        let done = f.step.saturating_sub(self.first).max(1);
        let left = self.steps.saturating_sub(f.step) as f64 / done as f64;
        let eta = now.duration_since(self.started).mul_f64(left);
        let text = line(f, rate, eta);
        match &self.bar {
            Some(bar) => {
                bar.set_position(f.step);
                bar.set_message(text);
            }
            None if !self.quiet => eprintln!("{} {text}", head(&self.stage, f.step, self.steps)),
            None => {}
        }
    }

    /// Says something that stays on the screen; not with `--quiet`.
    pub fn say(&self, text: &str) {
        if !self.quiet {
            self.print(text);
        }
    }

    /// Says something that must be seen.
    pub fn warn(&self, text: &str) {
        self.print(&format!("warning: {text}"));
    }

    fn print(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `[branch:det  1250/5000  25%]`
fn head(stage: &str, step: u64, steps: u64) -> String {
    let width = steps.to_string().len();
    let percent = (100 * step).checked_div(steps).unwrap_or(100);
    format!("[{stage} {step:>width$}/{steps} {percent:>3}%]")
}

/// `loss 2.413 (cls 1.92 loc 0.49)  arch 2.688  H(alpha) 1.71  skip 1/8  412 img/s  eta 0:41:10`
fn line(f: &Figures, rate: f64, eta: Duration) -> String {
    let mut s = format!("loss {:.4}", f.loss);
    if !f.parts.is_empty() {
        let parts: Vec<String> = f.parts.iter().map(|(n, v)| format!("{n} {v:.3}")).collect();
        s += &format!(" ({})", parts.join(" "));
    }
    if let Some(v) = f.arch_loss {
        s += &format!("  arch {v:.4}");
    }
    if let Some(v) = f.entropy {
        s += &format!("  H(alpha) {v:.3}");
    }
    if let Some((n, of)) = f.skips {
        s += &format!("  skip {n}/{of}");
    }
    if let Some(v) = f.cost_share {
        s += &format!("  cost {v:.3}");
    }
    let seconds = eta.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    s + &format!(
        "  {rate:.0} img/s  eta {hours}:{minutes:02}:{:02}",
        seconds % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_line_tells_all() {
        let f = Figures {
            step: 1250,
            loss: 2.413,
            parts: vec![("cls".into(), 1.92), ("loc".into(), 0.49)],
            arch_loss: Some(2.688),
            entropy: Some(1.71),
            cost_share: Some(0.8125),
            skips: Some((1, 8)),
            images: 0,
        };
        assert_eq!(
            format!(
                "{} {}",
                head("branch:det", f.step, 5000),
                line(&f, 412.3, Duration::from_secs(2470))
            ),
            "[branch:det 1250/5000  25%] loss 2.4130 (cls 1.920 loc 0.490)  arch 2.6880  H(alpha) 1.710  skip 1/8  cost 0.812  412 img/s  eta 0:41:10"
        );
        let bare = Figures {
            loss: f64::NAN,
            ..Default::default()
        };
        assert_eq!(
            line(&bare, 0.0, Duration::ZERO),
            "loss NaN  0 img/s  eta 0:00:00"
        );
        assert_eq!(head("a", 0, 0), "[a 0/0 100%]");
    }

    #[test]
    fn odd_stages_do_no_harm() {
        let mut p = Progress::new(Show::Quiet);
        p.stage("x", 0, 5);
        p.tick(9);
        p.figures(&Figures {
            step: 3,
            ..Default::default()
        });
        p.finish();
    }
}
