use super::*;

/// A map whose columns come in several runs: the forward against loops, its gradients by `<dy, y> = <dx, x> = <dw, w>`.
#[test]
fn columns_in_several_runs() {
    let s = ConvSizes {
        n: 2,
        c_in: 160,
        h: 81,
        w: 50,
        c_out: 6,
        ho: 41,
        wo: 25,
        k: 3,
        stride: 2,
        padding: 1,
        dilation: 1,
        groups: 2,
    };
    assert!(s.runs().count() > 1);
    let mut r = crate::rng::Rng::new(1, &[]);
    let mut random = |n: usize| -> Vec<f64> { (0..n).map(|_| r.normal()).collect() };
    let x = random(s.n * s.c_in * s.h * s.w);
    let w = random(s.c_out * s.c_in / s.groups * 9);
    let dy = random(s.n * s.c_out * s.ho * s.wo);
    let mut y = vec![0.0; dy.len()];
    forward(&s, &x, &w, &mut y);
    let per = s.c_in / s.groups;
    for (i, y) in y.iter().enumerate().step_by(37) {
        let (ox, oy) = (i % s.wo, i / s.wo % s.ho);
        let (o, n) = (i / s.out_plane() % s.c_out, i / s.out_plane() / s.c_out);
        let mut e = 0.0;
        for t in 0..per * 9 {
            let (c, iy, ix) = (t / 9, oy * 2 + t / 3 % 3, ox * 2 + t % 3);
            if (1..=s.h).contains(&iy) && (1..=s.w).contains(&ix) {
                let plane = n * s.c_in + o / 3 * per + c;
                e += w[o * per * 9 + t] * x[(plane * s.h + iy - 1) * s.w + ix - 1];
            }
        }
        assert!((y - e).abs() < 1e-10, "{i}: {y} {e}");
    }
    let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
    input_gradient(&s, &w, &dy, &mut dx);
    weight_gradient(&s, &x, &dy, &mut dw);
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let (a, b, c) = (dot(&dy, &y), dot(&dx, &x), dot(&dw, &w));
    assert!((a - b).abs() < 1e-8 && (a - c).abs() < 1e-8, "{a} {b} {c}");
}

#[test]
fn both_folds_make_the_same_tree() {
    for n in 0..20 {
        let parts: Vec<String> = (0..n).map(|i| format!("{i},")).collect();
        let merge = |a: String, b: String| format!("({a}{b})");
        assert_eq!(
            tree_fold(parts.clone(), merge),
            fold_as_they_come(parts.into_iter(), merge),
            "{n}"
        );
    }
}

/// f32 goes other ways than f64 where there are kernels by hand: dense, grouped and depthwise, strides by phase, rows of whole
/// vectors and others.
#[test]
fn f32_agrees_with_f64() {
    let mut r = crate::rng::Rng::new(2, &[]);
    for (c_in, c_out, groups, k, stride, padding, dilation, h, w) in [
        (5, 9, 1, 3, 1, 1, 1, 9, 32),
        (4, 6, 2, 3, 2, 1, 1, 10, 37),
        (3, 7, 1, 4, 2, 1, 1, 12, 64),
        (3, 2, 1, 2, 3, 0, 1, 11, 40),
        (2, 3, 1, 1, 2, 0, 1, 7, 33),
        (2, 4, 1, 3, 1, 3, 1, 6, 18),
        (2, 4, 1, 3, 1, 5, 2, 6, 16),
        (4, 4, 1, 5, 1, 4, 2, 13, 48),
        (4, 4, 4, 3, 1, 1, 1, 11, 32),
        (4, 4, 4, 5, 1, 2, 1, 10, 48),
        (4, 4, 4, 5, 1, 4, 2, 19, 20),
        (4, 4, 4, 3, 2, 1, 1, 10, 33),
        (70, 9, 1, 1, 1, 0, 1, 5, 21),
    ] {
        let reach = (k - 1) * dilation + 1;
        let out = |side: usize| (side + 2 * padding - reach) / stride + 1;
        let (n, ho, wo) = (2, out(h), out(w));
        let s = ConvSizes {
            n,
            c_in,
            h,
            w,
            c_out,
            ho,
            wo,
            k,
            stride,
            padding,
            dilation,
            groups,
        };
        let mut random = |n: usize| -> Vec<f32> { (0..n).map(|_| r.normal() as f32).collect() };
        let x = random(n * c_in * h * w);
        let wt = random(c_out * c_in / groups * k * k);
        let dy = random(n * c_out * ho * wo);
        fn all<T: Float>(s: &ConvSizes, [x, w, dy]: [&[f32]; 3]) -> [Vec<f64>; 3] {
            let of = |v: &[f32]| -> Vec<T> { v.iter().map(|&v| T::c(v.into())).collect() };
            let (x, w, dy) = (of(x), of(w), of(dy));
            let zeros = |v: &[T]| vec![T::ZERO; v.len()];
            let mut found = [zeros(&dy), zeros(&x), zeros(&w)];
            forward(s, &x, &w, &mut found[0]);
            input_gradient(s, &w, &dy, &mut found[1]);
            weight_gradient(s, &x, &dy, &mut found[2]);
            found.map(|v| v.iter().map(|v| v.v()).collect())
        }
        let (a, b) = (
            all::<f32>(&s, [&x, &wt, &dy]),
            all::<f64>(&s, [&x, &wt, &dy]),
        );
        for (what, (a, b)) in ["y", "dx", "dw"].iter().zip(a.iter().zip(&b)) {
            let far = a
                .iter()
                .zip(b)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert!(far < 2e-3, "{what} off by {far}: {s:?}");
        }
    }
}
