use super::*;
use crate::tensor::DType;

fn config(order: u8) -> Config {
    let text = format!(
        "version = 1\n[input]\nsize = [8, 8]\n[tasks.cls]\nkind = \"classification\"\ndata = \"cifar\"\n[data.cifar]\nformat = \"cifar10\"\nroot = \"none\"\n\
        [model]\nframe = \"classification\"\nchannels = 8\ncells = 3\n[search]\nmethod = \"pc-darts\"\norder = {order}\n"
    );
    Config::from_toml(&text, "step.toml").unwrap()
}

fn request() -> Request {
    Request {
        task: TaskKind::Classification,
        dtype: Precision::F64,
        batch: Some(2),
        noise: true,
        before: 0,
    }
}

#[test]
fn a_first_step_has_state_after_but_not_before() {
    let d = dump(&config(1), &request()).unwrap();
    let has = |prefix: &str| {
        d.file
            .tensors
            .keys()
            .filter(|n| n.starts_with(prefix))
            .count()
    };
    assert_eq!((has("before.momentum."), has("before.adam_t.")), (0, 0));
    assert_eq!(
        (
            has("arch.grad."),
            has("after_arch.adam_t."),
            has("before.alpha.")
        ),
        (4, 4, 4)
    );
    let weights = has("before.w.");
    assert!(weights > 100);
    assert_eq!(
        [has("weight.grad."), has("after.w."), has("after.momentum.")],
        [weights; 3]
    );
    let get = |n: &str| &d.file.tensors[n];
    assert_eq!(
        (
            get("input.arch.image").dims(),
            get("input.weight.class").dtype()
        ),
        (&[2, 3, 8, 8][..], DType::I32)
    );
    assert_eq!(get("weight.loss").item(), d.weight_loss);
    assert_ne!(
        get("after.w.stem.0.weight").f64s(),
        get("before.w.stem.0.weight").f64s()
    );
    let later = dump(
        &config(1),
        &Request {
            before: 1,
            ..request()
        },
    )
    .unwrap();
    assert_eq!(
        later.file.tensors["before.adam_t.backbone.alpha_normal"].i32s(),
        [1]
    );
}

#[test]
fn the_second_order_gradient_is_another_at_the_same_weights() {
    let (a, b) = (
        dump(&config(1), &request()).unwrap(),
        dump(&config(2), &request()).unwrap(),
    );
    let name = "arch.grad.backbone.alpha_normal";
    assert_ne!(a.file.tensors[name].f64s(), b.file.tensors[name].f64s());
    let name = "before.w.stem.0.weight";
    assert_eq!(a.file.tensors[name].f64s(), b.file.tensors[name].f64s());
}

#[test]
fn what_cannot_be_recorded_is_refused() {
    let bf16 = Request {
        dtype: Precision::Bf16,
        ..request()
    };
    assert_eq!(dump(&config(1), &bf16).unwrap_err().code(), Code::Argument);
    let det = Request {
        task: TaskKind::Detection,
        ..request()
    };
    assert_eq!(
        dump(&config(1), &det).unwrap_err().code(),
        Code::ConfigValue
    );
    let data = Request {
        noise: false,
        ..request()
    };
    assert!(dump(&config(1), &data).is_err());
}

/// Of values alone the loss cannot be computed: which pixels are known is recorded too.
#[test]
fn the_loss_of_values_can_be_recomputed() {
    let text = "version = 1\n[input]\nsize = [64, 64]\n[tasks.depth]\nkind = \"depth\"\ndata = \"rooms\"\n\
        [data.rooms]\nformat = \"nyuv2-json\"\nroot = \"none\"\ntargets = [\"depth\"]\n\
        [model]\nframe = \"mtnas-release\"\nchannels = 16\ncells = 6\nreductions = [1, 2, 4]\n\
        [search]\nmethod = \"pc-darts\"\n";
    let c = Config::from_toml(text, "step.toml").unwrap();
    let r = Request {
        task: TaskKind::Depth,
        ..request()
    };
    let d = dump(&c, &r).unwrap();
    let get = |n: &str| &d.file.tensors[n];
    for (phase, loss) in [("arch", d.arch_loss), ("weight", d.weight_loss)] {
        let values = get(&format!("input.{phase}.values")).f64s();
        let weight = get(&format!("input.{phase}.weight"));
        assert_eq!(weight.dims(), [2, 1, 64, 64]);
        let weight = weight.f64s();
        assert!(weight.contains(&0.0) && weight.contains(&1.0));
        let output = get(&format!("{phase}.output.values")).f64s();
        let known: f64 = weight.iter().sum();
        let sum: f64 = (0..weight.len())
            .map(|i| weight[i] * (output[i] - values[i]).abs())
            .sum();
        assert!(
            (sum / known - loss).abs() < 1e-9 * loss,
            "{phase}: {} {loss}",
            sum / known
        );
    }
}
