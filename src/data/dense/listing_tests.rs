use super::*;

#[test]
fn paths_stay_inside_the_data_set() {
    let root = Path::new("set");
    assert_eq!(below(root, "/a/b.png").unwrap(), Path::new("set/a/b.png"));
    assert_eq!(below(root, "a.png").unwrap(), Path::new("set/a.png"));
    for text in [
        "", "/", "..", "a/../b", "./a", "a//b", "C:/a", "a\\b", "a\0",
    ] {
        assert_eq!(
            below(root, text).unwrap_err().code(),
            Code::BadLine,
            "{text:?}"
        );
    }
    assert_eq!(id_of("/train/image/3.png"), "train/image/3");
    assert_eq!(id_of("v1.2/three"), "v1.2/three");
}

fn read(text: &str, names: &[&str]) -> Result<Vec<Vec<String>>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.json");
    std::fs::write(&path, text).unwrap();
    json(&path, names, 2)
}

#[test]
fn one_split_of_a_json_listing() {
    let text = "{\"train\": [[\"a\", \"b\"], [\"c\", \"d\"]],\n \"note\": {\"x\": [1, [2]]}, \"test\": [[\"e\", \"f\"]]}";
    assert_eq!(read(text, &["train"]).unwrap(), [["a", "b"], ["c", "d"]]);
    // The first name that is there, wherever it stands.
    assert_eq!(read(text, &["val", "test"]).unwrap(), [["e", "f"]]);
    assert_eq!(read(text, &["test", "train"]).unwrap(), [["e", "f"]]);
    let e = read(text, &["dev"]).unwrap_err();
    assert!(
        e.code() == Code::NotFound && e.to_string().contains("train, note, test"),
        "{e}"
    );
}

#[test]
fn bad_listings_are_named_by_line() {
    for (text, code, place) in [
        ("", Code::BadLine, ":1"),
        ("[]", Code::BadLine, ":1"),
        ("{\"train\":\n[[\"a\"]]}", Code::BadLine, ":2"),
        (
            "{\"train\":\n\n[[\"a\", \"b\", \"c\"]]}",
            Code::BadLine,
            ":3",
        ),
        ("{\"train\": [[\"a\", 7]]}", Code::BadLine, ":1"),
        ("{\"train\": [[\"a\", \"b\"]]", Code::BadLine, ":1"),
        ("{\"train\": [[\"a\", \"b\"]]} x", Code::BadLine, ":1"),
        ("{\"train\": []}", Code::EmptyData, "list.json"),
    ] {
        let e = read(text, &["train"]).unwrap_err();
        assert_eq!(e.code(), code, "{text}: {e}");
        assert!(e.place().unwrap().ends_with(place), "{text}: {e}");
        assert!(e.remedy().is_some());
    }
    // Deep nesting in a part that is read over is refused or passed, not a stack without end.
    let deep = format!("{{\"x\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(read(&deep, &["train"]).is_err());
}

#[test]
fn lists_of_pairs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("list.txt");
    std::fs::write(&path, "/a.png /b.png\n\n/c.png  /d.png\r\n").unwrap();
    let found = pairs(&path).unwrap();
    assert_eq!(found[1], (3, "/c.png".into(), "/d.png".into()));
    std::fs::write(&path, "/a.png /b.png\n/c.png\n").unwrap();
    let e = pairs(&path).unwrap_err();
    assert!(
        e.code() == Code::BadLine && e.place().unwrap().ends_with(":2"),
        "{e}"
    );
    std::fs::write(&path, "\n").unwrap();
    assert_eq!(pairs(&path).unwrap_err().code(), Code::EmptyData);
}
