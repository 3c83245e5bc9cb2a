//! The rules are what Prometheus reads, about metrics that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use clap::Parser as _;
use regex_automata::meta::Regex;

use super::*;
use crate::ledger::Ledger;
use crate::spikes::Kind;
use crate::telemetry::Metrics;

/// The forms of expressions that are used here, each with the type that its metric must have.
const FORMS: [(&str, &str); 4] = [
    (r#"^increase\((?P<a>[a-z_]+_total)(\{kind="[a-z_]+"\})?\[[1-9][0-9]*m\]\) > 0$"#, "counter"),
    (r"^(?P<a>[a-z_]+) == [01]$", "gauge"),
    (r"^time\(\) - (?P<a>[a-z_]+_seconds) > [1-9][0-9]*$", "gauge"),
    (r"^(?P<a>[a-z_]+) - (?P<b>[a-z_]+) > [1-9][0-9]*$", "gauge"),
];

/// The metrics of a server, each with its type, as Prometheus is told.
fn exposed() -> (BTreeMap<String, String>, BTreeSet<String>) {
    let directory = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(directory.path()).unwrap();
    let text = Metrics::of(ledger).render().unwrap();
    let told: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            Some((name.to_owned(), kind.to_owned()))
        })
        .collect();
    let types: BTreeMap<String, String> = told.iter().cloned().collect();
    assert_eq!(types.len(), told.len(), "a metric is told once, or Prometheus takes none: {told:?}");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.split([' ', '{']).next()).map(ToOwned::to_owned);
    (types, names.collect())
}

/// What an expression asks for, by its form; `None` for one that has none of them.
fn asked(expression: &str) -> Option<(Vec<String>, &'static str)> {
    FORMS.iter().find_map(|(form, kind)| {
        let form = Regex::new(form).unwrap();
        let mut captures = form.create_captures();
        form.captures(expression, &mut captures);
        captures.is_match().then(|| {
            let named = ["a", "b"].into_iter().filter_map(|name| captures.get_group_by_name(name));
            (named.filter_map(|span| expression.get(span.range())).map(ToOwned::to_owned).collect(), *kind)
        })
    })
}

#[test]
fn every_alert_asks_for_a_metric_that_the_server_exposes() {
    let (types, samples) = exposed();
    let mut looked_at = 0;
    for Alert { name, expression, .. } in alerts() {
        let (metrics, kind) = asked(&expression).unwrap_or_else(|| panic!("{name}: `{expression}`"));
        for metric in metrics {
            // The type is told for the name before `_total`.
            let family = metric.strip_suffix("_total").unwrap_or(&metric);
            assert_eq!(types.get(family).map(String::as_str), Some(kind), "{name}: `{metric}` in {types:?}");
            assert!(samples.contains(&metric), "{name}: `{metric}` is there from the start: {samples:?}");
            looked_at += 1;
        }
    }
    assert_eq!(looked_at, 12);
}

#[test]
fn every_kind_of_spike_has_its_alert() {
    let expressions: Vec<String> = alerts().map(|alert| alert.expression).into();
    for kind in Kind::ALL {
        let asks = |expression: &&String| expression.contains(&format!("{{kind=\"{}\"}}", kind.name()));
        assert_eq!(expressions.iter().filter(asks).count(), 1, "{kind:?}");
    }
}

#[test]
fn a_form_that_is_nearly_one_is_none() {
    for wrong in [
        "increase(palisade_x_total[10m] > 0",
        "increase(palisade_x[10m]) > 0",
        "increase(palisade_x_total{kind=denial}[10m]) > 0",
        "increase(palisade_x_total[10]) > 0",
        "palisade_x = 0",
        "palisade_x == ",
        "time() - palisade_x > 60",
        "palisade_x - > 7",
        "palisade_x - palisade_y > 0x7",
    ] {
        assert_eq!(asked(wrong), None, "{wrong}");
    }
}

#[test]
fn every_alert_says_what_is_wrong_and_what_to_run() {
    let mut names = BTreeSet::new();
    for Alert { name, holds, severity, summary, runbook, .. } in alerts() {
        assert!(names.insert(name) && name.starts_with("Palisade"), "{name}");
        assert!(["warning", "critical"].contains(&severity), "{name}");
        assert!(summary.starts_with("{{ $labels.instance }}: ") && !summary.ends_with('.'), "{name}");
        assert!(holds.is_empty() || holds.ends_with(['s', 'm']), "{name}");
        // Every command of ours that is named is one, with these arguments.
        let ours: Vec<&str> =
            runbook.split(" && ").filter(|command| command.starts_with("palisade ")).collect();
        assert!(!ours.is_empty(), "{name}");
        for command in ours {
            let arguments = command.split(' ').map(|argument| argument.trim_matches('"'));
            let parsed = crate::commands::Cli::try_parse_from(arguments);
            assert!(parsed.is_ok(), "{name}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn prometheus_reads_the_rules_where_it_is_installed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(ALERTS_FILE);
    let bytes = crate::build::yaml::document(ALERTS_FILE, &comment(), &rules()).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains("groups:") && text.contains("{{ $labels.instance }}"), "{text}");
    match Command::new("promtool").args(["check", "rules"]).arg(&file).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("11 rules found"), "{said}{output:?}");
        }
        Err(_) => println!(
            "promtool is not installed: the forms of the expressions were checked, and not by Prometheus"
        ),
    }
}
