use super::*;
use crate::rng::Rng;
use crate::space::genotype::NODES;
use crate::space::random::{NoneDraws, random_genotype};
use proptest::prelude::*;

const LINE: &str = "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), \
    ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=range(2, 6), \
    reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), \
    ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=range(2, 6))";

fn any(seed: u64) -> Genotype {
    let mut rng = Rng::new(seed, &[9]);
    let nodes = if seed.is_multiple_of(4) {
        1 + rng.below(6)
    } else {
        NODES
    };
    let mut g = random_genotype(&mut rng, nodes, NoneDraws::Include);
    for concat in [&mut g.normal_concat, &mut g.reduce_concat] {
        if rng.coin(0.5) {
            *concat = rng
                .permutation(nodes)
                .into_iter()
                .map(|n| n + 2)
                .take(1 + rng.below(nodes))
                .collect();
        }
    }
    g
}

#[test]
fn ten_thousand_random_genotypes_print_and_parse_to_themselves() {
    for seed in 0..10_000 {
        let g = any(seed);
        assert_eq!(g.to_string().parse::<Genotype>().unwrap(), g);
    }
}

#[test]
fn network_text_round_trip() {
    for seed in 0..50 {
        let n = NetworkGenotype {
            backbone: any(seed),
            det: (seed % 2 == 0).then(|| any(seed + 100)),
            seg: (seed % 3 == 0).then(|| any(seed + 200)),
        };
        assert_eq!(n.to_string().parse::<NetworkGenotype>().unwrap(), n);
    }
    let single: NetworkGenotype = LINE.parse().unwrap();
    assert_eq!((single.det, single.seg), (None, None));
}

#[test]
fn prints_as_the_community_writes() {
    assert_eq!(published::by_name("DARTS_V2").unwrap().to_string(), LINE);
    let mut g = published::by_name("DARTS_V2").unwrap();
    g.normal_concat = vec![4, 2];
    assert!(g.to_string().contains("normal_concat=[4, 2],"));
}

#[test]
fn free_forms_parse() {
    let v2 = published::by_name("DARTS_V2").unwrap();
    let spread = LINE
        .replace(", (", ",\n   (")
        .replace("range(2, 6)", "[ 2,3,\t4 , 5, ]")
        .replace('\'', "\"");
    let brackets = LINE
        .replace("('", "['")
        .replace("),", "],")
        .replace(")]", "]]")
        .replace("range(2, 6],", "range(2, 6),");
    let (normal, reduce) = LINE.split_once(", reduce=").unwrap();
    let swapped = format!(
        "Genotype(reduce={}, {},)",
        reduce.strip_suffix(')').unwrap(),
        normal.strip_prefix("Genotype(").unwrap()
    );
    let short = LINE
        .replace("sep_conv_3x3", "sep3")
        .replace("max_pool_3x3", "max");
    for text in [
        spread,
        brackets,
        swapped,
        short,
        format!("# a comment\nbest = {LINE} # the end\n"),
    ] {
        assert_eq!(
            text.parse::<Genotype>()
                .unwrap_or_else(|e| panic!("{e}\n{text}")),
            v2,
            "{text}"
        );
    }
}

/// The shape of the `genotypes.py` of DARTS, P-DARTS and PC-DARTS: imports, a primitive list, foreign cells, aliases.
fn module() -> String {
    let foreign = "NASNet = Genotype(\n  normal = [\n    ('sep_conv_7x7', 1),\n  ],\n  normal_concat = [2, 3, 4, 5, 6],\n)\n";
    format!(
        "from collections import namedtuple\n\nGenotype = namedtuple('Genotype', 'normal normal_concat reduce reduce_concat')\n\
         PRIMITIVES = [\n    'none',\n    'max_pool_3x3'\n]\n\n{foreign}\nDARTS_V2 = {LINE}\nother={}\n\nDARTS = DARTS_V2\n",
        published::by_name("PDARTS").unwrap()
    )
}

#[test]
fn modules_of_many_genotypes() {
    let text = module();
    let d = Document::new(&text, "genotypes.py");
    assert_eq!(d.names(), ["NASNet", "DARTS_V2", "other", "DARTS"]);
    assert_eq!(
        d.named("DARTS").unwrap(),
        published::by_name("DARTS_V2").unwrap()
    );
    assert_eq!(
        d.named("other").unwrap(),
        published::by_name("PDARTS").unwrap()
    );
    assert_eq!(
        d.named("NASNet").unwrap_err().place(),
        Some("genotypes.py:11:6")
    );
    let e = d.only().unwrap_err();
    assert_eq!(e.message(), "expected one genotype, got 3");
    assert!(e.render().contains("NASNet, DARTS_V2, other, DARTS"));
}

#[test]
fn what_a_user_may_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("genotypes.py");
    std::fs::write(&path, module()).unwrap();
    let v2 = published::by_name("DARTS_V2").unwrap();
    assert_eq!(Genotype::resolve("DARTS_V2").unwrap(), v2);
    assert_eq!(Genotype::resolve(LINE).unwrap(), v2);
    assert_eq!(
        Genotype::resolve(&format!("{}:DARTS", path.display())).unwrap(),
        v2
    );
    assert_eq!(
        NetworkGenotype::resolve("mtnas").unwrap(),
        published::mtnas()
    );
    assert_eq!(NetworkGenotype::resolve("DARTS_V2").unwrap().backbone, v2);
    let net = dir.path().join("net.txt");
    std::fs::write(&net, published::mtnas().to_string()).unwrap();
    assert_eq!(
        NetworkGenotype::resolve(&net.display().to_string()).unwrap(),
        published::mtnas()
    );
    let e = Genotype::resolve("PC_DARTS_cfar").unwrap_err();
    assert!(
        e.to_string().contains("did you mean `PC_DARTS_cifar`?"),
        "{e}"
    );
    let e = Genotype::resolve(&dir.path().join("none.txt").display().to_string()).unwrap_err();
    assert_eq!(e.code(), Code::NotFound);
    std::fs::write(&net, [0xff, 0xfe]).unwrap();
    assert_eq!(
        Genotype::resolve(&net.display().to_string())
            .unwrap_err()
            .code(),
        Code::BadFormat
    );
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        (
            "",
            "genotype text:1:1: expected `Genotype(...)`, got an empty text",
        ),
        (
            "cell = 3",
            "genotype text:1:1: expected `Genotype(...)`, got `cell = 3`",
        ),
        (
            "\n Genotype[",
            "genotype text:1:1: expected `Genotype(...)`, got `Genotype[`",
        ),
        (
            "Genotype(",
            "genotype text:1:10: expected a field name or `)`, got the end of the text",
        ),
        (
            "Genotype()",
            "genotype text:1:11: field `normal` is missing",
        ),
        (
            "Genotype(norml=[])",
            "genotype text:1:10: expected normal, normal_concat, reduce or reduce_concat, got `norml`",
        ),
        (
            "Genotype(normal=[])",
            "genotype text:1:17: expected two operations per node, got 0; a DARTS cell has 8 operations, two for each of 4 nodes",
        ),
        (
            "Genotype(normal=['a'])",
            "genotype text:1:18: expected `('operation', input)`, got 'a'",
        ),
        (
            "Genotype(normal=\n [('sep_conv_3x4', 0)])",
            "genotype text:2:4: unknown operation `sep_conv_3x4`; did you mean `sep_conv_3x3`?",
        ),
        (
            "Genotype(normal=[('skip_connect', 2)])",
            "genotype text:1:35: node 0 reads inputs 0 to 1, got 2",
        ),
        (
            "Genotype(normal=[('skip_connect' 1)])",
            "genotype text:1:34: expected `,`, got 1",
        ),
        (
            "Genotype(normal=[('skip_connect', -1)])",
            "genotype text:1:35: expected the number of an input, got `-`",
        ),
        (
            "Genotype(normal=[('skip_connect', 1])",
            "genotype text:1:36: expected `)`, got `]`",
        ),
        (
            "Genotype(normal=[('skip",
            "genotype text:1:19: expected a closing ', got the end of the line",
        ),
        (
            "Genotype(normal_concat=range(2))",
            "genotype text:1:29: expected range(a, b), got 1 numbers",
        ),
        (
            "Genotype(normal_concat=range(6, 2))",
            "genotype text:1:29: expected at least one node, got none",
        ),
        (
            "Genotype(normal_concat=[99999999999999999999999])",
            "genotype text:1:25: number too large",
        ),
        (
            "Genotype(normal_concat=[2], normal_concat=[2])",
            "genotype text:1:29: field `normal_concat` is given twice",
        ),
        (
            "Genotype(normal_concat=[2] reduce",
            "genotype text:1:28: expected `,` or `)`, got `reduce`",
        ),
    ];
    for (text, expected) in cases {
        let e = text.parse::<Genotype>().unwrap_err();
        assert_eq!(
            (e.to_string().as_str(), e.code()),
            (expected, Code::BadGenotype),
            "{text}"
        );
    }
    let e = "Genotype(normal=[('sep_conv_3x4', 0)])"
        .parse::<Genotype>()
        .unwrap_err();
    assert!(
        e.render()
            .contains("   | Genotype(normal=[('sep_conv_3x4', 0)])\n   |                   ^\n"),
        "{}",
        e.render()
    );
}

#[test]
fn concatenated_nodes_are_nodes_of_the_cell() {
    let with = |concat: &str| LINE.replacen("range(2, 6)", concat, 1).parse::<Genotype>();
    let at = LINE.find("range").unwrap() + 1;
    let cases = [
        ("range(2, 99999999999)", 6, "expected nodes 2 to 5, got 6"),
        ("[2, 1]", 4, "expected nodes 2 to 5, got 1"),
        ("[2, 3, 2]", 7, "node 2 is given twice"),
    ];
    for (concat, offset, message) in cases {
        let e = with(concat).unwrap_err();
        assert_eq!(e.message(), message);
        let place = format!("genotype text:1:{}", at + offset.min(concat.len() - 1));
        assert_eq!(e.place(), Some(place.as_str()), "{concat}");
    }
    assert_eq!(with("(5, 2)").unwrap().normal_concat, [5, 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Mutated text parses to a genotype or fails with a place; it never panics.
    #[test]
    fn mutated_text_is_an_error_with_a_place(
        seed in 0u64..1000,
        edits in prop::collection::vec((any_index(), prop::sample::select(vec!["", "(", ")", "[", "]", "'", ",", "=", "9", "é", "\n", "#", "Genotype("])), 1..4),
    ) {
        let mut text = any(seed).to_string();
        for (at, with) in edits {
            let i = at.index(text.len());
            let i = (0..=i).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
            let end = text[i..].chars().next().map_or(i, |c| i + c.len_utf8());
            text.replace_range(i..end, with);
        }
        if let Err(e) = text.parse::<Genotype>() {
            prop_assert_eq!(e.code(), Code::BadGenotype);
            prop_assert!(e.place().is_some_and(|p| p.starts_with("genotype text")), "{}", e);
        }
        let _ = text.parse::<NetworkGenotype>();
    }

    /// Any text at all.
    #[test]
    fn any_text_never_panics(tail in "\\PC{0,60}") {
        let _ = tail.parse::<Genotype>();
        let _ = format!("Genotype({tail}").parse::<Genotype>();
        let _ = format!("x = Genotype(normal=[{tail}").parse::<NetworkGenotype>();
    }
}

fn any_index() -> impl Strategy<Value = prop::sample::Index> {
    proptest::prelude::any::<prop::sample::Index>()
}
