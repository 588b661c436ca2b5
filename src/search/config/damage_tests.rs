//! Configuration files that are hostile: no overflow of the stack, and an error that names the file.

use super::*;

#[test]
fn deep_nesting_is_refused() {
    let n = 100_000;
    let deep = [
        format!("a = {}{}", "[".repeat(n), "]".repeat(n)),
        format!("a = {}", "[".repeat(n)),
        format!("a = {}", "{a=".repeat(n)),
        format!("{}a = 1", "a.".repeat(n)),
        format!("[{}a]\nb = 1", "a.".repeat(n)),
        format!("run.{}a = 1", "a.".repeat(n)),
        format!("tasks.det.{}a = 1", "a.".repeat(n)),
    ];
    for text in deep {
        let e = Config::from_toml(&text, "deep.toml").unwrap_err();
        assert!(
            e.place().unwrap().starts_with("deep.toml"),
            "{}",
            e.message()
        );
    }
    let o = Override::parse(&format!("run.{}a=1", "a.".repeat(n)));
    assert!(o.is_err() || Config::from_toml_with("", "deep.toml", &[o.unwrap()]).is_err());
}
