//! Runs are made once, locked, and resumed only as what they were.

use super::*;

fn config() -> Config {
    Config::from_toml(include_str!("../../configs/demo.toml"), "demo.toml").unwrap()
}

fn record() -> RunRecord {
    RunRecord {
        instruction_set: config().run.arithmetic().unwrap(),
        ..Default::default()
    }
}

#[test]
fn a_run_is_made_once_and_resumed_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("runs/a");
    let mut run = RunDir::create(&path, &config(), record()).unwrap();
    assert!(run.stage("1-branch-det").unwrap().is_dir());
    let e = RunDir::create(&path, &config(), record()).unwrap_err();
    assert_eq!(e.code(), Code::Busy);
    assert!(e.message().contains(&std::process::id().to_string()), "{e}");
    run.set_status(Status::Interrupted).unwrap();
    drop(run);
    let e = RunDir::create(&path, &config(), record()).unwrap_err();
    assert!(
        e.code() == Code::CannotCreate && e.render().contains("mtnas resume"),
        "{e}"
    );
    let resumed = RunDir::resume(&path, &[]).unwrap();
    assert!(resumed.warnings.is_empty());
    assert_eq!(resumed.config, config());
    assert_eq!(resumed.dir.record().status, Status::Running);
    drop(resumed);
    let free = [Override::parse("run.threads=3").unwrap()];
    let other = RunDir::resume(&path, &free).unwrap();
    assert!(other.warnings.is_empty() && other.config.run.threads == 3);
    let path = dir.path().join("runs/b");
    let elsewhere = RunRecord {
        instruction_set: "neon".into(),
        ..record()
    };
    drop(RunDir::create(&path, &config(), elsewhere).unwrap());
    let moved = RunDir::resume(&path, &[]).unwrap();
    assert!(moved.warnings[0].contains("neon"), "{:?}", moved.warnings);
}

#[test]
fn a_changed_run_is_refused_with_the_difference() {
    let dir = tempfile::tempdir().unwrap();
    drop(RunDir::create(dir.path(), &config(), record()).unwrap());
    let e = RunDir::resume(dir.path(), &[Override::parse("search.batch=5").unwrap()]).unwrap_err();
    assert!(
        e.code() == Code::ConfigChanged && e.render().contains("search.batch: 8 -> 5"),
        "{}",
        e.render()
    );
    let file = dir.path().join(CONFIG);
    let text = std::fs::read_to_string(&file).unwrap();
    // Other tables have a seed of their own.
    let (before, run) = text.split_once("[run]").unwrap();
    let run = run.replacen("seed = 0", "seed = 9", 1);
    std::fs::write(&file, format!("{before}[run]{run}")).unwrap();
    let e = RunDir::resume(dir.path(), &[]).unwrap_err();
    assert!(e.render().contains("run.seed: 0 -> 9"), "{}", e.render());
    assert_eq!(e.place(), file.to_str());
}

#[test]
fn foreign_directories_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        RunDir::resume(dir.path(), &[]).unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        RunDir::resume(dir.path().join("no"), &[])
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    std::fs::write(dir.path().join(".run.toml.tmp"), "half").unwrap();
    drop(RunDir::create(dir.path(), &config(), record()).unwrap());
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("thesis.tex"), "").unwrap();
    let e = RunDir::create(other.path(), &config(), record()).unwrap_err();
    assert!(
        e.code() == Code::CannotCreate && e.message().contains("thesis.tex"),
        "{e}"
    );
    let e = RunDir::create(other.path().join("thesis.tex"), &config(), record()).unwrap_err();
    assert_eq!(e.code(), Code::CannotCreate);
}

#[test]
fn a_published_directory_is_whole_or_absent() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(dir.path(), &config(), record()).unwrap();
    let write = |d: &Path, text: &str| write_atomic(d.join("a"), text.as_bytes());
    let failed = run.publish("final", |d| {
        write(d, "half")?;
        Err(Error::new(Code::Io, "planted"))
    });
    assert!(failed.is_err() && !dir.path().join("final").exists());
    for text in ["one", "two"] {
        run.publish("final", |d| write(d, text)).unwrap();
        assert_eq!(
            std::fs::read_to_string(dir.path().join("final/a")).unwrap(),
            text
        );
    }
    assert!(!dir.path().join(".final.tmp").exists());
    assert_eq!(RunDir::config_of(dir.path()).unwrap(), config());
}

#[test]
fn two_equal_runs_have_equal_files() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for d in [&a, &b] {
        RunDir::create(d.path(), &config(), record())
            .unwrap()
            .set_status(Status::Done)
            .unwrap();
    }
    drop(
        RunDir::resume(a.path(), &[])
            .unwrap()
            .dir
            .set_status(Status::Done),
    );
    for name in [LOCK, CONFIG, RECORD] {
        let read = |d: &tempfile::TempDir| std::fs::read(d.path().join(name)).unwrap();
        assert_eq!(read(&a), read(&b), "{name}");
    }
}
