//! List files of a mixed set.

use super::*;

#[test]
fn list_files() {
    let set = Set::new();
    let lists = set.dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    let write = |text: &str| std::fs::write(lists.join("mine.txt"), text).unwrap();
    // From both splits of a source, in any order.
    write("kitti/7\n\nwaymo/3333_000_1_000-001-front\nkitti/0\n");
    let want = ["kitti/7", "waymo/3333_000_1_000-001-front", "kitti/0"];
    assert_eq!(set.ids("mine", |_| ()), want);
    for (text, line, word) in [
        (
            "kitti/7\nkitti/9\n",
            2,
            "no source has the sample \"kitti/9\"",
        ),
        ("kitti/7\n\nkitti/7\n", 3, "already in line 1"),
        ("7\n", 1, "SOURCE/ID"),
    ] {
        write(text);
        let e = set.open("mine", |_| ()).err().unwrap();
        assert!(
            e.place().unwrap().ends_with(&format!("mine.txt:{line}")),
            "{e}"
        );
        assert!(e.to_string().contains(word), "{e}");
    }
    write("\n");
    assert_eq!(
        set.open("mine", |_| ()).err().unwrap().code(),
        Code::EmptyData
    );
}

#[test]
fn a_source_needs_only_the_splits_that_a_list_names() {
    let set = Set::new();
    let lists = set.dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    let write = |text: &str| std::fs::write(lists.join("train.txt"), text).unwrap();
    std::fs::remove_file(set.dir.path().join("kitti/ImageSets/val.txt")).unwrap();
    let ids = ["kitti/0", "waymo/3333_000_1_000-001-front"];
    write(&ids.join("\n"));
    assert_eq!(set.ids("train", |_| ()), ids);
    // What could not be opened is told where a picture is looked for in vain, and of its own source alone.
    for (id, told) in [("kitti/7", true), ("waymo/7", false)] {
        write(id);
        let e = set.open("train", |_| ()).err().unwrap();
        assert_eq!(e.code(), Code::NotFound);
        let shown = e.render();
        assert!(
            shown.contains(&format!("no source has the sample {id:?}")),
            "{shown}"
        );
        let why = "the split \"val\" of \"kitti\" could not be opened";
        assert_eq!(shown.contains(why), told, "{shown}");
    }
    // Neither split: nothing says which classes the source has.
    write(ids[1]);
    std::fs::remove_file(set.dir.path().join("kitti/ImageSets/train.txt")).unwrap();
    let shown = set.open("train", |_| ()).err().unwrap().render();
    assert!(shown.contains("it is the source \"kitti\""), "{shown}");
    assert!(shown.contains("no list of the split \"train\""), "{shown}");
}

#[test]
fn other_faults_of_a_split_are_not_passed_over() {
    let set = Set::new();
    let lists = set.dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    std::fs::write(lists.join("train.txt"), "kitti/0\n").unwrap();
    std::fs::write(set.dir.path().join("kitti/ImageSets/val.txt"), "6\n6\n").unwrap();
    let e = set.open("train", |_| ()).err().unwrap();
    assert_eq!(e.code(), Code::BadLine, "{e}");
    assert!(e.place().unwrap().ends_with("val.txt:2"), "{e}");
}

#[test]
fn an_id_of_two_pictures_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let image = Image {
        height: 2,
        width: 2,
        data: vec![0; 12],
    };
    let picture = |split: &str, name: &str| {
        let path = dir
            .path()
            .join(format!("leftImg8bit/{split}/ulm/{name}_leftImg8bit.png"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, encode_png(&image).unwrap()).unwrap();
    };
    for (split, name) in [("train", "a"), ("train", "b"), ("val", "b"), ("val", "c")] {
        picture(split, name);
    }
    let lists = dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    let list = lists.join("mine.txt");
    let city = DataSetConfig {
        format: Format::Cityscapes,
        root: dir.path().into(),
        ..Default::default()
    };
    let mut set = Set {
        data: [("city".to_string(), city)].into(),
        dir,
    };
    // The others of these splits may be named.
    std::fs::write(&list, "city/a\ncity/c\n").unwrap();
    assert_eq!(set.ids("mine", |_| ()), ["city/a", "city/c"]);
    std::fs::write(&list, "city/a\ncity/b\n").unwrap();
    let e = set.open("mine", |_| ()).err().unwrap();
    assert_eq!(e.code(), Code::BadLine);
    assert!(e.place().unwrap().ends_with("mine.txt:2"), "{e}");
    for split in ["train", "val"] {
        assert!(
            e.to_string().contains(&format!("{split}/ulm/b_left")),
            "{e}"
        );
    }
    // One split: the same picture.
    set.data.get_mut("city").unwrap().val = "train".into();
    assert_eq!(set.ids("mine", |_| ()), ["city/a", "city/b"]);
}

#[test]
fn a_picture_in_two_splits_is_one() {
    let mut set = Set::new();
    let lists = set.dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    std::fs::write(lists.join("mine.txt"), "kitti/7\nkitti/0\n").unwrap();
    set.data.get_mut("kitti").unwrap().train = "all".into();
    assert_eq!(set.ids("mine", |_| ()), ["kitti/7", "kitti/0"]);
}
