//! What a searched network may cost.

use super::Checks;
use super::search::MAX_BATCH;
use crate::search::config::{Config, CostMetric, Method};

pub(super) fn check(config: &Config, c: &mut Checks) {
    let k = &config.search.constraint;
    let key = |name: &str| format!("search.constraint.{name}");
    c.not_negative(key("weight"), k.weight);
    c.not_negative(key("target"), k.target);
    c.count(key("batch"), k.batch, 1, MAX_BATCH);
    let has_table = !k.table.0.is_empty();
    c.that(
        k.metric == CostMetric::Latency || !has_table,
        key("table"),
        format!(
            "there is a table of latencies, but `metric` is \"{}\"",
            k.metric
        ),
        "set `metric = \"latency\"`, or leave the table out",
    );
    if k.weight == 0.0 {
        return;
    }
    c.that(
        k.metric != CostMetric::Latency || has_table,
        key("table"),
        "`metric` is \"latency\", and there is no table of measured operations",
        "measure one: mtnas bench net NET --ops-table FILE",
    );
    let method = config.search.method;
    c.that(
        supports(method),
        key("weight"),
        format!("the method \"{method}\" does not move probabilities of operations by gradients"),
        "leave `search.constraint` out, or search with \"mtnas\", \"darts\", \"pc-darts\", \"darts+\" or \"p-darts\"",
    );
}

/// Methods whose architecture steps move the probabilities of operations of cells; "given" has no such steps and reads no key of them.
fn supports(method: Method) -> bool {
    matches!(
        method,
        Method::Mtnas
            | Method::Darts
            | Method::PcDarts
            | Method::DartsPlus
            | Method::PDarts
            | Method::Given
    )
}

#[cfg(test)]
mod tests {
    use crate::error::Code;
    use crate::search::config::Config;

    const DEMO: &str = include_str!("../../../../configs/demo.toml");

    fn read(table: &str, search: &str) -> crate::Result<Config> {
        let text = DEMO.replace("[search]\n", &format!("[search]\n{search}"));
        let table = format!("[search.constraint]\n{table}\n[finetune]");
        Config::from_toml(&text.replace("[finetune]", &table), "dir/a.toml")
    }

    #[test]
    fn slips_are_answered_with_key_and_remedy() {
        for (table, what, remedy) in [
            ("weight = -1", "`search.constraint.weight`", "[0, inf)"),
            ("target = nan", "`search.constraint.target`", "[0, inf)"),
            ("batch = 0", "`search.constraint.batch`", "1 to"),
            ("wieght = 1", "`search.constraint.wieght`", "`weight`"),
            ("metric = \"mac\"", "no choice \"mac\"", "\"macs\""),
            (
                "table = 3",
                "`search.constraint.table`",
                "a path or a list of paths",
            ),
            ("table = \"a.json\"", "`metric` is \"macs\"", "\"latency\""),
            (
                "weight = 1\nmetric = \"latency\"",
                "`search.constraint.table`",
                "mtnas bench net",
            ),
        ] {
            let e = read(table, "").expect_err(table);
            let shown = e.render();
            assert!(
                shown.contains(what) && shown.contains(remedy),
                "{table}: {shown}"
            );
            assert!(e.place().unwrap().starts_with("dir/a.toml"), "{shown}");
        }
        let c = read(
            "weight = 0.2\nmetric = \"latency\"\ntable = \"a.json\"\ntarget = 0.8",
            "",
        );
        let c = c.unwrap();
        assert_eq!(c.search.constraint.target, 0.8);
        for table in ["table = \"a.json\"", "table = [\"a.json\", \"b.json\"]"] {
            let text = format!("weight = 0.2\nmetric = \"latency\"\n{table}");
            let printed = read(&text, "").unwrap().to_toml();
            assert!(printed.contains(table), "{printed}");
        }
    }

    #[test]
    fn a_method_without_architecture_parameters_is_refused() {
        let with = |weight| read(&format!("weight = {weight}"), "method = \"random\"\n");
        assert!(with("0.0").is_ok());
        let e = with("0.1").unwrap_err();
        assert_eq!(e.code(), Code::ConfigValue);
        let shown = e.render();
        assert!(
            shown.contains("`search.constraint.weight`") && shown.contains("\"random\""),
            "{shown}"
        );
        let with = |method: &str| read("weight = 0.1", &format!("method = \"{method}\"\n"));
        for method in ["mtnas", "darts+"] {
            assert!(with(method).is_ok(), "{method}");
        }
    }
}
