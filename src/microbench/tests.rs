//! Cases are checked and timed on the emulated device, whose times mean nothing.

use super::*;

fn options() -> Options {
    Options {
        size: Size::Small,
        only: Some("relu".into()),
        dtypes: vec![DType::F32, DType::Bf16],
        repeats: 3,
        span: 1 << 12,
        graph: false,
    }
}

#[test]
fn every_row_has_its_figures() {
    let e = Engine::emulated(1);
    let mut told = 0;
    let f = run(e, &options(), |_| told += 1).unwrap();
    assert_eq!((f.rows.len(), told), (4, 4));
    assert!(f.ceilings.copy > 0.0 && f.ceilings.fma > 0.0 && f.ceilings.matrix > 0.0);
    for r in &f.rows {
        assert!(r.us > 0.0 && r.quartiles[0] <= r.us && r.us <= r.quartiles[1]);
        assert_eq!(r.launches, 1);
        let bytes = if r.dtype == "f32" { 4.0 } else { 2.0 };
        let maps = if r.pass == "forward" { 2.0 } else { 3.0 };
        assert_eq!(r.bytes, maps * bytes * (2 * 8 * 9 * 13) as f64);
    }
}

const ROUND: Ceilings = Ceilings {
    copy: 100.0,
    fma: 1000.0,
    matrix: 10_000.0,
};

#[test]
fn the_ceiling_that_takes_longer_bounds() {
    let share = |bytes, flops, math| ROUND.share(bytes, flops, math, 2.0);
    // A second of bytes in two, with less than a second of operations; then two seconds of operations by one unit, a fifth by the other.
    assert_eq!(share(100.0, 900.0, Bound::Fma), (0.5, Bound::Copy));
    assert_eq!(share(100.0, 2000.0, Bound::Fma), (1.0, Bound::Fma));
    assert_eq!(share(100.0, 2000.0, Bound::Matrix), (0.5, Bound::Copy));
    assert_eq!(share(10.0, 4000.0, Bound::Matrix), (0.2, Bound::Matrix));
}

#[test]
fn dense_products_of_bf16_alone_are_of_matrices() {
    let all = cases(Size::Small);
    let math = |name: &str, dtype| all.iter().find(|c| c.name == name).unwrap().math(dtype);
    assert_eq!(math("pointwise", DType::Bf16), Bound::Matrix);
    assert_eq!(math("dense 3x3", DType::F32), Bound::Fma);
    assert_eq!(math("depthwise 3x3", DType::Bf16), Bound::Fma);
    assert_eq!(math("relu", DType::Bf16), Bound::Fma);
}

#[test]
fn chains_add_up() {
    check_ceilings(Engine::emulated(2)).unwrap();
}

#[test]
fn the_shapes_fit_the_operations() {
    for size in [Size::Full, Size::Small] {
        for c in cases(size) {
            c.op.infer(&c.shapes).unwrap();
            assert!(c.flops > 0.0, "{}", c.name);
        }
    }
}

#[test]
fn a_slower_row_is_found() {
    let row = |name: &str, us: f64| Row {
        name: name.into(),
        shape: vec![1],
        dtype: "f32".into(),
        pass: "forward".into(),
        us,
        quartiles: [us, us],
        launches: 1,
        bytes: 1.0,
        flops: 1.0,
        bound: Bound::Copy,
        of_ceiling: 0.5,
        of_bound: 0.5,
    };
    let figures = |a: f64, b: f64| Figures {
        device: "d".into(),
        ceilings: ROUND,
        rows: vec![row("a", a), row("b", b)],
    };
    let (before, now) = (figures(10.0, 10.0), figures(10.4, 13.0));
    let (slower, n) = regressions(&now, &before, 0.05).unwrap();
    assert_eq!((slower.len(), n), (1, 2));
    assert_eq!(slower[0].0.name, "b");
    assert!((slower[0].1 - 1.3).abs() < 1e-12);
    let other = Figures {
        device: "e".into(),
        ..before
    };
    assert!(regressions(&now, &other, 0.05).is_err());
}

#[test]
fn an_unknown_name_lists_the_known_ones() {
    let o = Options {
        only: Some("flux".into()),
        ..options()
    };
    let e = run(Engine::emulated(1), &o, |_| {}).unwrap_err();
    assert!(e.render().contains("depthwise 3x3"), "{}", e.render());
}
