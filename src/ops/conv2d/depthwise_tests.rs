//! Layouts and names of the depthwise kernels.

use super::*;

fn fast(k: usize, dilation: usize, stride: usize, h: usize, w: usize, dtype: DType) -> Fast {
    let s = ConvSizes {
        n: 32,
        c_in: 64,
        h,
        w,
        c_out: 64,
        ho: h.div_ceil(stride),
        wo: w.div_ceil(stride),
        k,
        stride,
        padding: k / 2 * dilation,
        dilation,
        groups: 64,
    };
    Fast::new(&s, dtype).unwrap()
}

#[test]
fn every_layout_fits_a_block_and_covers_the_map() {
    for dtype in [DType::F32, DType::Bf16] {
        for (k, d, s) in [
            (3, 1, 1),
            (3, 2, 1),
            (5, 1, 1),
            (5, 2, 1),
            (3, 1, 2),
            (5, 2, 2),
        ] {
            for (h, w) in [
                (1, 1),
                (3, 300),
                (10, 16),
                (80, 128),
                (129, 131),
                (512, 1000),
            ] {
                let f = fast(k, d, s, h, w, dtype);
                for most in [1, 7, 100] {
                    let l = f.layout(2048, most);
                    let size = format!("{k} {d} {s} of {h} x {w}: {l:?}");
                    assert!(l.tx * l.ty * l.planes <= THREADS && l.planes >= 1, "{size}");
                    assert!(l.planes * f.area(l.tx, l.ty) <= TILE, "{size}");
                    let covered = [l.across * l.tx * 4, l.down * l.ty * f.rows()];
                    assert!(covered[0] >= f.s.wo && covered[1] >= f.s.ho, "{size}");
                }
            }
        }
    }
}

#[test]
fn kernels_stand_in_their_places() {
    for (k, d, s) in [
        (3, 1, 1),
        (3, 1, 2),
        (3, 2, 1),
        (5, 1, 2),
        (5, 2, 1),
        (5, 2, 2),
    ] {
        let f = fast(k, d, s, 8, 8, DType::Bf16);
        let name = format!("depthwise{k}_d{d}_s{s}");
        let of = |t: [Kernel; 2]| f.of_type(t).name;
        assert_eq!(of(FORWARD[f.index()]), format!("{name}_bf16"));
        assert_eq!(of(BWD_W[f.index()]), format!("{name}_bwd_w_bf16"));
        if s == 2 {
            assert_eq!(of(BWD_X[f.index() / 2]), format!("{name}_bwd_x_bf16"));
        }
    }
}
