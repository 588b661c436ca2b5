//! A run that is killed at any instant and resumed ends in the same bits as one that was left alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use mtnas::data::synth::{SynthConfig, generate};
use mtnas::rng::Rng;

const KILLS: usize = 20;

const CONFIG: &str = r#"
version = 1
[input]
size = [64, 96]
[tasks.det]
kind = "detection"
data = "kitti"
[tasks.seg]
kind = "segmentation"
data = "cityscapes"
[data.kitti]
format = "kitti"
root = "DATA/kitti"
[data.cityscapes]
format = "cityscapes"
root = "DATA/cityscapes"
[data.objects]
format = "image-folder"
root = "DATA/folder"
[model]
frame = "mtnas-release"
channels = 16
cells = 4
reductions = [1, 2, 3]
det_levels = 4
nodes = 2
[search]
batch = 2
iters = { branch = 4, presearch = 4, backbone = 6 }
[search.constraint]
weight = 0.5
[search.presearch]
data = "objects"
size = [32, 32]
batch = 4
[finetune]
iters = 6
batch = 2
[eval]
limit = 2
[checkpoint]
every = 2
keep = 2
[log]
every = 1
images = 1
"#;

/// Every file but those that hold wall-clock figures, the lock and what an interrupted write left behind.
fn content(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn walk(dir: &Path, root: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(dir)
            .expect("a directory of the run")
            .flatten()
        {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                walk(&path, root, out);
            } else if !["timing.jsonl", "report.html", ".lock"].contains(&name.as_str())
                && !name.ends_with(".tmp")
            {
                let key = path.strip_prefix(root).expect("inside").to_path_buf();
                out.insert(key, std::fs::read(&path).expect("a file of the run"));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(run, run, &mut out);
    out
}

fn mtnas(dir: &Path, threads: usize, arguments: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_mtnas"));
    let threads = threads.to_string();
    c.current_dir(dir)
        .args(arguments)
        .args(["--threads", &threads, "--quiet"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    c
}

fn finish(c: &mut Command) {
    let out = c.output().expect("the binary runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}

#[test]
fn killed_and_resumed_runs_end_in_the_same_bits() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let data = home.path().join("data");
    let synth = SynthConfig {
        size: [64, 96],
        train: 10,
        val: 4,
        folder_train: 6,
        folder_val: 2,
        folder_size: 32,
        ..SynthConfig::default()
    };
    generate(&data, &synth).expect("a data set");
    let text = CONFIG.replace("DATA", &data.display().to_string());
    let [quiet, killed] = ["quiet", "killed"].map(|n| {
        let dir = home.path().join(n);
        std::fs::create_dir(&dir).expect("a directory");
        std::fs::write(dir.join("small.toml"), &text).expect("a configuration");
        dir
    });
    let begin = Instant::now();
    finish(&mut mtnas(
        &quiet,
        2,
        &["search", "small.toml", "--run", "run"],
    ));
    let whole = begin.elapsed();

    let mut rng = Rng::new(std::process::id() as u64, &[]);
    let mut kills = 0;
    // A kill often falls before the first step of a resume: allow for them, but see to it that the run gets on.
    for attempt in 0.. {
        assert!(
            attempt < 4 * KILLS,
            "the run does not get on: {kills} kills"
        );
        let started = killed.join("run/run.toml").exists();
        let arguments: &[&str] = if started {
            &["resume", "run"]
        } else {
            &["search", "small.toml", "--run", "run"]
        };
        if kills >= KILLS {
            finish(&mut mtnas(&killed, if started { 1 } else { 2 }, arguments));
            break;
        }
        let mut child = mtnas(
            &killed,
            if started { 1 + attempt % 2 } else { 2 },
            arguments,
        )
        .spawn()
        .expect("the binary runs");
        let longest = whole.as_secs_f64() * 2.5 / KILLS as f64;
        std::thread::sleep(Duration::from_secs_f64(rng.f64() * longest));
        match child.try_wait().expect("a child") {
            Some(status) => {
                assert!(status.success(), "attempt {attempt} failed: {status}");
                // Finished before all kills: begin again, to kill another run.
                if kills < KILLS {
                    assert_eq!(
                        content(&quiet.join("run")).keys().collect::<Vec<_>>(),
                        content(&killed.join("run")).keys().collect::<Vec<_>>()
                    );
                    std::fs::remove_dir_all(killed.join("run")).expect("the finished run");
                }
            }
            None => {
                child.kill().expect("SIGKILL");
                child.wait().expect("a child");
                kills += 1;
            }
        }
    }
    let (a, b) = (content(&quiet.join("run")), content(&killed.join("run")));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        // The weights' file names the configuration, and with it the number of threads of the resume that wrote it.
        let strip = |v: &[u8]| {
            String::from_utf8_lossy(v)
                .replace("--threads 1", "--threads 2")
                .replace("threads = 1", "threads = 2")
        };
        let same = bytes == &b[name] || strip(bytes) == strip(&b[name]);
        assert!(same, "{} differs after {kills} kills", name.display());
    }
    let steps = String::from_utf8_lossy(&a[Path::new("metrics.jsonl")])
        .lines()
        .count();
    assert!(steps > 20, "the run recorded its steps");
}

#[test]
fn a_changed_configuration_is_refused_with_its_keys() {
    let home = tempfile::tempdir().expect("a scratch directory");
    let data = home.path().join("data");
    let synth = SynthConfig {
        size: [64, 96],
        train: 10,
        val: 4,
        folder_train: 6,
        folder_val: 2,
        folder_size: 32,
        ..SynthConfig::default()
    };
    generate(&data, &synth).expect("a data set");
    let text = CONFIG.replace("DATA", &data.display().to_string());
    std::fs::write(home.path().join("small.toml"), text).expect("a configuration");
    let mut child = mtnas(home.path(), 1, &["search", "small.toml", "--run", "run"])
        .spawn()
        .expect("the binary runs");
    while !home.path().join("run/run.toml").exists() {
        std::thread::sleep(Duration::from_millis(5));
        assert!(child.try_wait().expect("a child").is_none(), "ended early");
    }
    child.kill().expect("SIGKILL");
    child.wait().expect("a child");
    let out = mtnas(home.path(), 1, &["resume", "run", "-s", "search.batch=3"])
        .output()
        .expect("the binary runs");
    assert_eq!(out.status.code(), Some(78));
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(text.contains("search.batch: 2 -> 3"), "{text}");
}
