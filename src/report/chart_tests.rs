use super::*;

fn chart(points: Vec<(f64, f64)>) -> Chart {
    let series = Series {
        name: "loss".into(),
        colour: "det".into(),
        points,
        ..Series::default()
    };
    Chart {
        label: "test".into(),
        x: "step".into(),
        y: "loss".into(),
        series: vec![series],
        log_if_wide: true,
        ..Chart::default()
    }
}

#[test]
fn places_are_inside_and_ordered() {
    let svg = chart(vec![(0.0, 1.0), (50.0, 2.0), (100.0, 3.0)]).svg();
    let d = svg
        .split("class=\"line")
        .next()
        .unwrap()
        .rsplit("d=\"")
        .next()
        .unwrap();
    let numbers: Vec<f64> = d
        .trim_end_matches("\" ")
        .split(['M', 'L', ' '])
        .filter_map(|n| n.parse().ok())
        .collect();
    assert_eq!(numbers.len(), 6, "{d}");
    assert!(
        numbers[0] < numbers[2]
            && numbers[2] < numbers[4]
            && numbers[1] > numbers[3]
            && numbers[3] > numbers[5]
    );
    assert!((numbers[0] - LEFT).abs() < 0.1 && (numbers[4] - (WIDTH - RIGHT)).abs() < 0.1);
}

#[test]
fn odd_data_draws_or_says_nothing() {
    assert_eq!(chart(vec![]).svg(), "");
    assert_eq!(chart(vec![(1.0, f64::NAN)]).svg(), "");
    assert!(chart(vec![(1.0, 2.0)]).svg().contains("<circle"));
    for bad in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e300, 1e-300] {
        let svg = chart(vec![(0.0, 1.0), (1.0, bad), (2.0, 3.0)]).svg();
        assert!(
            svg.starts_with("<svg") && !svg.contains("NaN ") && !svg.contains("inf"),
            "{svg}"
        );
    }
}

#[test]
fn a_wide_span_is_logarithmic() {
    assert!(
        chart(vec![(0.0, 1.0), (1.0, 100.0)])
            .svg()
            .contains("log scale")
    );
    assert!(
        !chart(vec![(0.0, 1.0), (1.0, 10.0)])
            .svg()
            .contains("log scale")
    );
}
