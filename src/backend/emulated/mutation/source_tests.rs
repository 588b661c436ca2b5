//! Which faults are planted where.

use super::*;

fn after(text: &str) -> Vec<(&'static str, String)> {
    let all = mutants("a.cu", text);
    assert!(all.iter().all(|m| m.before == text && m.line == 1));
    all.into_iter().map(|m| (m.what, m.after)).collect()
}

#[test]
fn faults_are_those_of_an_author() {
    let text = "if (i < n && j >= 0) y[i * s.w + s.h] = fmaf(a, f(b, 1), acc);";
    let got = after(text);
    for (what, want) in [
        ("drop a guard", "if (true) y["),
        ("`<` to `<=`", "if (i <= n && j >= 0)"),
        ("`>=` to `>`", "j > 0)"),
        ("drop a condition", "if (true && j >= 0)"),
        ("drop a condition", "if (i < n && true)"),
        ("`&&` to `||`", "if (i < n || j >= 0)"),
        ("index + 1", "y[(i * s.w + s.h) + 1] ="),
        ("the other direction", "y[i * s.h + s.h]"),
        ("the other direction", "y[i * s.w + s.w]"),
        ("`*` to `+`", "y[i + s.w + s.h]"),
        ("`+` to `-`", "y[i * s.w - s.h]"),
        ("drop a product", "= (acc);"),
        ("drop the sum so far", "fmaf(a, f(b, 1), 0.0f);"),
    ] {
        let found = got.iter().any(|(w, a)| *w == what && a.contains(want));
        assert!(found, "{what}: {want}, have {got:#?}");
    }
    assert_eq!(got.len(), 13, "{got:#?}");
}

#[test]
fn indices_in_lists_are_no_declarations() {
    for (text, want) in [
        ("return f(a, b[i]);", "return f(a, b[(i) + 1]);"),
        ("x = 2, b[i] = 3;", "x = 2, b[(i) + 1] = 3;"),
        ("T m = T{a, b[i]};", "T m = T{a, b[(i) + 1]};"),
    ] {
        let all = after(text);
        assert!(all.contains(&("index + 1", want.into())), "{all:?}");
    }
}

#[test]
fn barriers_lists_sums_and_leaving_guards() {
    let found = |text, what, want: &str| {
        let got = after(text);
        let one = got.iter().any(|(w, a)| *w == what && a == want);
        assert!(one, "{what}: {want}, have {got:#?}");
    };
    found(
        "a(); __syncthreads(); b();",
        "drop a barrier",
        "a(); ; b();",
    );
    found("f(p, h, w);", "swap two arguments", "f(p, w, h);");
    found("v += x[i];", "drop a sum", ";");
    found(
        "if (y < 0) continue;",
        "drop a guard",
        "if (false) continue;",
    );
    found(
        "for (int i = 0; i < n; i += s) {",
        "`+=` to `-=`",
        "for (int i = 0; i < n; i -= s) {",
    );
}

#[test]
fn a_minimum_is_the_same_with_or_without_equality() {
    for text in [
        "m = v[i] > m ? v[i] : m;",
        "f((p.x < g.x ? p.x : g.x) - 1);",
        "return lo <= f(hi, 2) ? f(hi, 2) : lo;",
    ] {
        let all = after(text);
        let compared = |a: &&(&str, String)| a.0.contains('<') || a.0.contains('>');
        assert_eq!(all.iter().filter(compared).count(), 0, "{text}: {all:?}");
    }
    for (text, want) in [
        ("m = v > m ? w : m;", "m = v >= m ? w : m;"),
        ("m = v == m ? v : m;", "m = v != m ? v : m;"),
        (
            "m = a < b ? a : b > c ? b : c;",
            "m = a <= b ? a : b > c ? b : c;",
        ),
    ] {
        let all = after(text);
        assert!(all.iter().any(|a| a.1 == want), "{text}: {all:?}");
    }
}

#[test]
fn what_is_not_an_expression_stays() {
    for text in [
        "template <typename T, int K> __device__",
        "float acc[K * K];",
        "const T *p, int *q",
        "float u, v[K * K];",
        "int top, left, right;",
        "// i < n and y[i]",
        "#include \"a + b\"",
    ] {
        let all = after(text);
        let touched = |m: &&(&str, String)| m.0 != "`*` to `+`";
        assert_eq!(all.iter().filter(touched).count(), 0, "{text}: {all:?}");
    }
    assert_eq!(after("depthwise<T, K>(x)").len(), 0);
}
